"""Builds, describes and checks tables: python -m nprep.table."""

from __future__ import annotations

import sys

from nprep._console import run


def entry() -> int:
    """The command line; returns the exit status."""
    # h5py and the kernels are not needed to find out that a command is misspelt.
    from nprep.table.cli import main

    return run(main)


if __name__ == "__main__":
    sys.exit(entry())
