"""Optional packages, imported when they are needed and missed with one clear sentence."""

from __future__ import annotations

import importlib
from types import ModuleType

from nprep.errors import MissingDependencyError


def need(module: str, purpose: str, package: str | None = None) -> ModuleType:
    """Imports an optional package.

    Args:
        module: The module to import.
        purpose: What needs it, to go after "is needed to".
        package: What to install, where it is not called as the module.

    Returns:
        The module.

    Raises:
        MissingDependencyError: If it is not installed, or fails to import.
    """
    name = package or module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module.split(".")[0]:
            reason = f"{name} is not installed"
        else:
            reason = f"{name} cannot be imported ({error})"
        raise MissingDependencyError(
            f"{reason}, and it is needed to {purpose}: install it with "
            f"`pip install {name}`, or all that training needs with "
            "`pip install 'nprep[imagenet]'`."
        ) from error
    except RuntimeError as error:
        # A torchvision that was built for another torch ends here, not in an ImportError.
        raise MissingDependencyError(
            f"{name} does not fit the other packages here ({error}), and it is needed to "
            f"{purpose}: install releases of torch and torchvision that belong together."
        ) from error
