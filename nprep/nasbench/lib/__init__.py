"""The parts of the official ``nasbench.lib`` that need no training: specs, graphs, settings."""
