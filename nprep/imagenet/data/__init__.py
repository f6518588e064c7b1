"""Images: where they lie, how they are read, changed and batched."""
