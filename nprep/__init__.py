"""nprep: replay neural architecture search on tabular benchmarks."""

from __future__ import annotations

__version__ = "0.1.0"
