"""nprep: replay neural architecture search on tabular benchmarks."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"

# In a checkout, kernels/ and data/ lie beside this folder and not inside it as in an installed
# package. Python run from the checkout's root imports this folder even where a wheel is installed,
# so the root is made a second home of the package.
_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "pyproject.toml").is_file() and (_ROOT / "kernels" / "jit.py").is_file():
    __path__.append(str(_ROOT))
