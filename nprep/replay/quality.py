"""``python -m nprep.replay.quality``, a former name of ``python -m nprep.quality``."""

from __future__ import annotations

from nprep.quality.__main__ import entry

if __name__ == "__main__":
    entry()
