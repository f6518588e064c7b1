"""Command-line flags out of dataclass fields."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any


def add_flags(
    parser: argparse.ArgumentParser, settings: type[Any], skip: frozenset[str] = frozenset()
) -> None:
    """Adds one flag a field; a flag that is not given leaves nothing behind.

    Args:
        parser: Where the flags go, as one group.
        settings: A dataclass whose fields have ``help`` and ``choices`` in their metadata.
        skip: Fields without a flag.
    """
    group = parser.add_argument_group(settings.__name__)
    for item in dataclasses.fields(settings):
        if item.name in skip:
            continue
        options: dict[str, Any] = {
            "dest": item.name,
            "default": argparse.SUPPRESS,
            "help": f"{item.metadata['help'].replace('%', '%%')} (default: {item.default})",
        }
        # Annotations are strings here; a default of the right type tells as much.
        if isinstance(item.default, bool):
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = type(item.default)
            options["choices"] = item.metadata["choices"]
            options["metavar"] = None if options["choices"] else type(item.default).__name__.upper()
        group.add_argument("--" + item.name.replace("_", "-"), **options)


def given(args: argparse.Namespace, settings: type[Any]) -> dict[str, Any]:
    """The fields of a dataclass that the command line gave."""
    values = vars(args)
    return {f.name: values[f.name] for f in dataclasses.fields(settings) if f.name in values}
