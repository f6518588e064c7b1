"""``python -m nprep.report`` and the command ``nprep-report``."""

from __future__ import annotations

import sys

from nprep._console import run
from nprep.report.cli import main


def entry() -> None:
    """Runs the command line and exits."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry()
