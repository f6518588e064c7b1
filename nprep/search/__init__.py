"""nprep.search."""
