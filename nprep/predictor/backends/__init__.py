"""What trains predictors and infers with them: one interface, one module a backend."""
