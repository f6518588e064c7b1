"""nprep.predictor."""
