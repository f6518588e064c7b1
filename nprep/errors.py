"""The errors that a user can cause and can mend."""

from __future__ import annotations


class NprepError(Exception):
    """An input that cannot be used.

    The message is one sentence that names the input, says what is wrong with it and what to do.
    Command lines print it after ``error:`` and exit with status 2.
    """


class TableError(NprepError):
    """A table file that is missing, foreign, damaged or lacks what was asked of it."""


class InvalidSpecError(NprepError):
    """A specification that is not a cell of the NASBench-101 space."""


class MissingValueError(NprepError):
    """A measurement that the table does not hold."""


class SettingsError(NprepError):
    """A setting, or a combination of settings, that makes no sense."""


class RunFolderError(NprepError):
    """A run folder that cannot be written, read or resumed."""


class MissingDependencyError(NprepError):
    """An optional package that is needed here and not installed."""
