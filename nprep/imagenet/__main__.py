"""``python -m nprep.imagenet``: train, search, measure, export."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nprep._console import run


def _main(argv: Sequence[str] | None) -> int:
    # Here, so that what is wrong at import, such as a setting of the environment, is one sentence,
    # too. Worker processes import this module and need none of it.
    from nprep.imagenet.cli import main

    return main(argv)


def entry(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(entry())
