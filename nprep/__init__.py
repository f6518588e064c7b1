"""nprep: replay neural architecture search on tabular benchmarks.

    import nprep

    result = nprep.run(trials=50, methods=["random", "evolution", "np"])
    print(result)
    result.figure()

Names are imported when they are first used, so that ``import nprep`` itself costs nothing.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nprep import errors
    from nprep.api import load, register, run
    from nprep.api import run as replay
    from nprep.search.evaluator import Evaluator
    from nprep.search.method import Method, Searcher
    from nprep.spaces.base import Space
    from nprep.spaces.nb101.spec import Spec
    from nprep.table.table import Table
    from nprep.table.view import View

__all__ = [
    "Evaluator",
    "Method",
    "Searcher",
    "Space",
    "Spec",
    "Table",
    "View",
    "__version__",
    "errors",
    "load",
    "register",
    "replay",
    "run",
]

# The one place: the distribution's metadata is made from it.
__version__ = "0.1.0"

# Public name to its module and its name there.
_LAZY = {
    "Evaluator": ("nprep.search.evaluator", "Evaluator"),
    "Method": ("nprep.search.method", "Method"),
    "Searcher": ("nprep.search.method", "Searcher"),
    "Space": ("nprep.spaces.base", "Space"),
    "Spec": ("nprep.spaces.nb101.spec", "Spec"),
    "Table": ("nprep.table.table", "Table"),
    "View": ("nprep.table.view", "View"),
    "load": ("nprep.api", "load"),
    "register": ("nprep.api", "register"),
    # The former name of run.
    "replay": ("nprep.api", "run"),
    "run": ("nprep.api", "run"),
}

# In a checkout, kernels/ and data/ lie beside this folder and not inside it as in an installed
# package. Python run from the checkout's root imports this folder even where a wheel is installed,
# so the root is made a second home of the package.
_root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isfile(os.path.join(_root, "pyproject.toml")) and os.path.isfile(
    os.path.join(_root, "kernels", "jit.py")
):
    __path__.append(_root)


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used."""
    if name == "errors":
        return importlib.import_module("nprep.errors")
    if name not in _LAZY:
        raise AttributeError(f"module 'nprep' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
