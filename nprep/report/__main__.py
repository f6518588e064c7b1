"""``python -m nprep.report``."""

from __future__ import annotations

import sys

from nprep._cli import run
from nprep.report.cli import main

if __name__ == "__main__":
    sys.exit(run(main))
