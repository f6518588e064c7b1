"""Replays of search methods on tables: trials, curves, summary and figure.

On the command line ``python -m nprep.replay --help``. From Python, a notebook for instance, the
package itself is called::

    from nprep import replay

    result = replay(trials=50, methods=["random", "evolution", "np"], table="table.h5")
    result.figure()  # a matplotlib figure
    result.frame()  # a pandas frame
    replay.load("run")  # what python -m nprep.replay --out run wrote

``nprep.replay.run`` is the same function under a name that type checkers know. Its arguments are
described in :func:`nprep.api.run`.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nprep.api import Result, load, run
    from nprep.table.view import View

__all__ = ["Result", "load", "run"]


def __getattr__(name: str) -> Any:
    """What notebooks use, imported when asked for: workers and the command line need none."""
    if name in __all__:
        from nprep import api as notebook

        return getattr(notebook, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _CallablePackage(types.ModuleType):
    """A package that is also the function that it is about."""

    def __call__(
        self,
        trials: int = 100,
        methods: str | Sequence[object] | None = None,
        table: str | Path | View | None = None,
        **options: Any,
    ) -> Result:
        """Runs a replay; :func:`nprep.api.run` describes the arguments."""
        from nprep.api import run

        return run(trials, methods, table, **options)


sys.modules[__name__].__class__ = _CallablePackage
