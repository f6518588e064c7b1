"""``python -m nprep.replay``."""

from __future__ import annotations

import sys

from nprep._console import run


def entry() -> None:
    """Runs the command line and exits."""
    # Worker processes import this module and need none of it.
    from nprep.replays.cli import main

    sys.exit(run(main))


if __name__ == "__main__":
    entry()
