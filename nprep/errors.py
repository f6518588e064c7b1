"""The errors that a user can cause and can mend.

Each is also the built-in error that a handler who knows nothing of this package expects.
"""

from __future__ import annotations


class NprepError(Exception):
    """An input that cannot be used.

    The message is one sentence that names the input, says what is wrong with it and what to do.
    Command lines print it after ``error:`` and exit with status 2.
    """


class TableError(NprepError, ValueError):
    """A table file that is missing, foreign, damaged or lacks what was asked of it."""


class InvalidSpecError(NprepError, ValueError):
    """A specification that is not an architecture of the space."""


class MissingValueError(NprepError, LookupError):
    """A measurement that the table does not hold."""


class SettingsError(NprepError, ValueError):
    """A setting, or a combination of settings, that makes no sense."""


class OutputError(NprepError, OSError):
    """A file that cannot be written where it was asked for."""


class RunFolderError(NprepError, OSError):
    """A run folder that cannot be written, read or resumed."""


class MissingDependencyError(NprepError, ImportError):
    """An optional package that is needed here and not installed."""


class WorkerError(NprepError, RuntimeError):
    """Worker processes or cluster nodes that cannot be started or keep dying."""
