"""Tables of measurements: one HDF5 file, opened in milliseconds, with its provenance inside."""
