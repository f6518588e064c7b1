"""``python -m nprep.quality``."""

from __future__ import annotations

import sys

from nprep._console import run


def entry() -> None:
    """Runs the command line and exits."""
    from nprep.quality.cli import main

    sys.exit(run(main))


if __name__ == "__main__":
    entry()
