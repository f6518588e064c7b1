"""Optional packages, imported when they are needed and missed with one clear sentence."""

from __future__ import annotations

import importlib
from types import ModuleType

from nprep.errors import MissingDependencyError


def need(
    module: str,
    purpose: str,
    package: str | None = None,
    extra: str | None = None,
    instead: str | None = None,
) -> ModuleType:
    """Imports an optional package.

    Args:
        module: The module to import.
        purpose: What needs it, to go after "is needed to".
        package: What to install, where it is not called as the module.
        extra: The extra of this package that brings it.
        instead: What else can be done without it, to go after "or".

    Returns:
        The module.

    Raises:
        MissingDependencyError: If it is not installed, or fails to import.
    """
    top = module.split(".")[0]
    name = package or top
    try:
        return importlib.import_module(module)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == top
        what = "is not installed" if absent else f"cannot be imported ({_first_line(error)})"
        ways = [f"pip install {name}"]
        ways += [f"pip install 'nprep[{extra}]'"] if extra else []
        ways += [instead] if instead else []
        raise MissingDependencyError(
            f"{name} {what}, and it is needed to {purpose}: {', or '.join(ways)}."
        ) from error
    except (RuntimeError, OSError) as error:
        # A torchvision that was built for another torch ends here, as does a library that lacks
        # another one of the system.
        raise MissingDependencyError(
            f"{name} does not fit the other packages here ({_first_line(error)}), and it is needed "
            f"to {purpose}: install releases that belong together."
        ) from error


def _first_line(error: Exception) -> str:
    """What is wrong; some packages add pages of advice."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
