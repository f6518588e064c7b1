"""``python -m nprep.imagenet``: train, search, measure, export."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nprep import _console
from nprep.imagenet.cli import main


def entry(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    return _console.run(main, argv)


if __name__ == "__main__":
    sys.exit(entry())
