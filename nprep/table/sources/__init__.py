"""What a table can be built from: one module per source, named in ``SOURCES``.

A source module has

- ``add_arguments(parser)``: adds its own arguments, the input file first;
- ``build(arguments, progress) -> Content``: reads the input; ``progress`` takes one line of text;
- optionally ``is_default(arguments) -> bool``: whether they build the default table, which goes to
  the cache folder if no file is named.

Another package adds one by an entry point of the group ``nprep.sources`` whose value is a module, a
script by ``register_source``.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from nprep.errors import SettingsError

# Name to module and one line of help; the modules are imported when they are used.
SOURCES: dict[str, tuple[str, str]] = {
    "surrogate": (
        "nprep.table.sources.surrogate",
        "no input: the fitted surrogate of NASBench-101 that ships; nothing is measured",
    ),
    "measured": (
        "nprep.table.sources.measured",
        "measured.npz: public measurements joined; the rest modelled",
    ),
    "nasbench": (
        "nprep.table.sources.nasbench",
        "nasbench_only108.tfrecord or nasbench_full.tfrecord: the official files",
    ),
    "freerea": (
        "nprep.table.sources.freerea",
        "accuracies.pkl.gz of FreeREA: test means of all cells; the rest modelled",
    ),
    "neuralpredictor": (
        "nprep.table.sources.neuralpredictor",
        "nasbench.hdf5 of ultmaster/neuralpredictor.pytorch",
    ),
    "nasbench-pickle": (
        "nprep.table.sources.nasbench_pickle",
        "the pickle of NASLib or NASBenchAPI",
    ),
    "nb201-csv": (
        "nprep.table.sources.nb201_csv",
        "nasbench201_cifar10.csv and its siblings: means of all of NAS-Bench-201",
    ),
    "nats": (
        "nprep.table.sources.nats",
        "the folder NATS-tss-v1_0-3ffb9-simple: every training of NAS-Bench-201",
    ),
    "nb201-naslib": (
        "nprep.table.sources.nb201_naslib",
        "NASLib's pickle of NAS-Bench-201",
    ),
}

GROUP = "nprep.sources"
_registered: dict[str, ModuleType] = {}


def source_names() -> list[str]:
    """The names of all sources that can be had."""
    offered = {point.name for point in entry_points(group=GROUP)}
    return [*SOURCES, *sorted({*_registered, *offered} - {*SOURCES})]


def register_source(name: str, module: Any) -> None:
    """Makes a source known by a name, for this process.

    Args:
        name: The name.
        module: A module, or what has its functions.

    Raises:
        SettingsError: If it is no source, or the name is taken.
    """
    if not callable(getattr(module, "build", None)) or not hasattr(module, "add_arguments"):
        raise SettingsError(f"source {name!r} has no functions build and add_arguments.")
    if name in SOURCES or _registered.get(name, module) is not module:
        raise SettingsError(f"a source {name!r} is there already: choose another name.")
    _registered[name] = module


def source_named(name: str) -> ModuleType:
    """The module of a source.

    Raises:
        SettingsError: If it is unknown, or the package that offers it cannot be loaded.
    """
    if name in _registered:
        return _registered[name]
    if name in SOURCES:
        return importlib.import_module(SOURCES[name][0])
    for point in entry_points(group=GROUP, name=name):
        try:
            module: ModuleType = point.load()
        except (ImportError, AttributeError) as error:
            raise SettingsError(
                f"source {name!r} cannot be loaded from {point.value} ({error}): mend the package "
                "that offers it, or uninstall it."
            ) from error
        return module
    raise SettingsError(f"source {name!r} is unknown: use one of {', '.join(source_names())}.")
