"""The public functions of ``nprep``, and what a replay returns to Python."""

from nprep.api.functions import load, load_run, register, run
from nprep.api.result import Result

__all__ = ["Result", "load", "load_run", "register", "run"]
