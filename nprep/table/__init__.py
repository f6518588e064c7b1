"""nprep.table."""
