"""A made-up space of 432 architectures, a table of it, and what runs on it."""
