"""One module for each kind of file that a table can be built from."""
