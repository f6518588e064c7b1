"""NAS-Bench-201: all 15,625 cells with an operation on each of six edges."""
