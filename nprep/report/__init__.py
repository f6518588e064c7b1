"""One self-contained page about runs: ``python -m nprep.report --help``."""
