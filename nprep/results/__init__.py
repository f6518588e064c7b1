"""What follows from a run folder: curves, clocks, statistics. Runs no search and draws nothing."""
