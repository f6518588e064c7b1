"""Native kernels: plain arrays in, plain arrays out; nothing here knows about search."""
