"""Spaces by name: those that come with the package, and those of other packages.

Another package adds its space by an entry point of the group ``nprep.spaces`` in its
``pyproject.toml``, whose name is the space's and whose value is a ``Space``
or a function without arguments that makes one::

    [project.entry-points."nprep.spaces"]
    my-space = "my_package.space:MySpace"

A script adds one with ``register``.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from nprep.errors import SettingsError
from nprep.spaces.base import Space

GROUP = "nprep.spaces"

# Imported when asked for.
_BUILT_IN = {
    "nb101": "nprep.spaces.nb101.space:NB101",
    "nb201": "nprep.spaces.nb201.space:NB201",
    "proxyless": "nprep.spaces.proxyless.chains:PROXYLESS",
}
_registered: dict[str, Space] = {}


def register(space: Space) -> None:
    """Makes a space known by its name, for this process.

    Raises:
        SettingsError: If another space has that name.
    """
    if not isinstance(space, Space):
        raise SettingsError(f"{space!r} is no space: derive its class from nprep.Space.")
    known = _registered.get(space.name)
    if space.name in _BUILT_IN or (known is not None and type(known) is not type(space)):
        raise SettingsError(f"a space {space.name!r} is there already: choose another name.")
    _registered[space.name] = space


def space_names() -> list[str]:
    """The names of all spaces that can be had."""
    found = {point.name for point in entry_points(group=GROUP)}
    return [*_BUILT_IN, *sorted({*_registered, *found} - {*_BUILT_IN})]


def get_space(name: str) -> Space:
    """The space of a name.

    Raises:
        SettingsError: If it is unknown, or the package that offers it cannot be loaded.
    """
    if name in _registered:
        return _registered[name]
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        return _checked(name, getattr(importlib.import_module(module), attribute))
    for point in entry_points(group=GROUP):
        if point.name == name:
            try:
                made: Any = point.load()
            except (ImportError, AttributeError) as error:
                raise SettingsError(
                    f"space {name!r} cannot be loaded from {point.value} ({error}): mend the "
                    "package that offers it, or uninstall it."
                ) from error
            _registered[name] = _checked(name, made if isinstance(made, Space) else made())
            return _registered[name]
    raise SettingsError(
        f"space {name!r} is unknown: use one of {', '.join(space_names())}, or install the package "
        "that offers it."
    )


def _checked(name: str, made: object) -> Space:
    """A space under its own name.

    Raises:
        SettingsError: If it is none.
    """
    if not isinstance(made, Space) or made.name != name:
        raise SettingsError(f"what is offered as the space {name!r} is {made!r}, not that space.")
    return made
