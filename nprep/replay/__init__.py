"""nprep.replay."""
