"""Neural predictors: settings, training, and inference for whole spaces that share computations."""
