"""``python -m nprep.quality``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nprep._console import run


def _main(argv: Sequence[str] | None) -> int:
    # Here, so that what is wrong at import, such as a setting of the environment, is one sentence,
    # too. Worker processes import this module and need none of it.
    from nprep.quality.cli import main

    return main(argv)


def entry() -> None:
    """Runs the command line and exits."""
    sys.exit(run(_main))


if __name__ == "__main__":
    entry()
