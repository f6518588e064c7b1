"""Single figures of one or several runs: ``python -m nprep.plot --help``."""
