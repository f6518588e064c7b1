"""Methods by name."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, cast

from nprep.errors import SettingsError
from nprep.search.baselines import Oracle, RandomSearch, RegularizedEvolution
from nprep.search.local_search import LocalSearch
from nprep.search.method import Method, Preset, Searcher, SearcherMethod
from nprep.search.successive_halving import Bohb, Hyperband

_SEQUENTIAL: dict[str, Callable[[], Method]] = {
    "random": RandomSearch,
    "evolution": RegularizedEvolution,
    # Ying et al. (2019): automl/nas_benchmarks, run_regularized_evolution.py.
    "evolution-ying": lambda: RegularizedEvolution(
        "evolution-ying", population=100, tournament=10, replacement=True, mutation="one"
    ),
    # White et al. (2021): evolution_search of naszilla (commit 7e65491). Its population grows from
    # 10 to 30, of which the oldest is dropped at once: 29 are alive when a parent is chosen.
    "evolution-naszilla": lambda: RegularizedEvolution(
        "evolution-naszilla",
        population=29,
        tournament=10,
        replacement=True,
        mutation="naszilla",
        founders=10,
    ),
    # The notebook's mutation in a population that grows from 10 to 30.
    "evolution-growing": lambda: RegularizedEvolution(
        "evolution-growing", population=30, tournament=10, replacement=True, founders=10
    ),
    # Dong and Yang (2020): NATS-Bench, exps/NATS-algos/regularized_ea.py.
    "evolution-nats": lambda: RegularizedEvolution(
        "evolution-nats", population=10, tournament=3, replacement=True, initial="cells"
    ),
    "local-search": LocalSearch,
    # local_search of naszilla, which takes cells with the same paths for the same cell: with
    # stop_at_minimum, and continuing from the best cell whose neighbours were not tried yet.
    "local-search-naszilla": lambda: LocalSearch("local-search-naszilla", same_paths=True),
    "local-search-continuing": lambda: LocalSearch(
        "local-search-continuing", same_paths=True, continuing=True
    ),
    # The plain form of White et al. (2021): one random start, all neighbours.
    "local-search-whole": lambda: LocalSearch("local-search-whole", initial=1, whole=True),
    "hyperband": Hyperband,
    "bohb": Bohb,
    "oracle": Oracle,
}

# Imported when asked for: training code costs start-up time that the others need not pay. The
# module has a function ``preset(name, train_samples) -> Method``.
_PREDICTORS = {
    **dict.fromkeys(("np", "np-one-stage", "np-faithful", "mlp"), "nprep.search.neural_predictor"),
    "np-best": "nprep.search.np_best",
    "np-best-2": "nprep.search.np_best",
    "np-best-3": "nprep.search.np_best",
    "np-iterative": "nprep.search.iterative_predictor",
    "np-ensemble": "nprep.search.ensemble",
    "bananas": "nprep.search.bananas",
    "npenas": "nprep.search.npenas",
}


# Those of other packages: see ``register_method``.
GROUP = "nprep.methods"
_registered: dict[str, object] = {}


def method_names() -> list[str]:
    """The names of the methods that come with the package."""
    return [*_SEQUENTIAL, *_PREDICTORS]


def kind_of(name: str, train_samples: int = 0) -> str:
    """The kind of a method of which only a name and N are at hand, as in a file of curves."""
    if name in _SEQUENTIAL:
        return _SEQUENTIAL[name]().kind
    return "predictor" if train_samples else "search"


def register_method(name: str, method: object) -> None:
    """Makes a method known by a name, for this process.

    Another package adds one for every process by an entry point of the group ``nprep.methods``,
    whose name is the method's and whose value is what ``method`` may be.

    Args:
        name: The name; outputs call a searcher so that has none of its own.
        method: See ``as_method``.

    Raises:
        SettingsError: If it is no method, or the name is taken.
    """
    as_method(method, name)
    if name in method_names() or _registered.get(name, method) is not method:
        raise SettingsError(f"a method {name!r} is there already: choose another name.")
    _registered[name] = method


def _of_other_packages(name: str) -> object | None:
    """What was registered by a name, or is offered by an installed package; None if nothing is."""
    if name in _registered:
        return _registered[name]
    for point in entry_points(group=GROUP, name=name):
        try:
            return cast(object, point.load())
        except (ImportError, AttributeError) as error:
            raise SettingsError(
                f"method {name!r} cannot be loaded from {point.value} ({error}): mend the package "
                "that offers it, or uninstall it."
            ) from error
    return None


def make_method(name: str, train_samples: int, backend: str = "auto") -> Method:
    """The method that a name stands for.

    Args:
        name: One of ``method_names``, or ``module:Class``, where the class is a
            ``Method`` to be made without arguments or the class of a
            ``Searcher``.
        train_samples: The number N of cells that predictors train on.
        backend: What trains and asks predictors, for the methods that leave it open.

    Raises:
        SettingsError: If the name is unknown or what it names cannot be loaded.
    """
    if name in _SEQUENTIAL:
        return _SEQUENTIAL[name]()
    if name in _PREDICTORS:
        module = importlib.import_module(_PREDICTORS[name])
        method: Preset = module.preset(name, train_samples)
        return method.with_backend(backend)
    if ":" in name:
        return _import_method(name)
    found = _of_other_packages(name)
    if found is not None:
        return as_method(found, name)
    raise SettingsError(
        f"method {name!r} is unknown: use some of {', '.join(method_names())}, or module:Class."
    )


def _import_method(name: str) -> Method:
    """The method of ``module:Class``."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        raise SettingsError(f"method {name!r} is not of the form module:Class.")
    module_name, _, attribute = name.partition(":")
    try:
        made: Any = getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise SettingsError(
            f"method {name!r} cannot be imported ({error}): check the module's name and PYTHONPATH."
        ) from error
    except AttributeError as error:
        raise SettingsError(
            f"method {name!r}: module {module_name} has no {attribute!r}; check the name."
        ) from error
    return as_method(made, name)


def as_method(given: object, name: str | None = None) -> Method:
    """The method that an object or a class of one's own stands for.

    Args:
        given: A ``Method``, its class, or the class of a
            ``Searcher``.
        name: What messages call it, and the name of a searcher that has none of its own.

    Raises:
        SettingsError: If it is none of these.
    """
    if isinstance(given, Method):
        return given
    if isinstance(given, type) and issubclass(given, Method):
        return given()
    if isinstance(given, type) and issubclass(given, Searcher):
        return SearcherMethod(str(vars(given).get("name", name or given.__name__)), given)
    raise SettingsError(
        f"method {name or given!r} is no search method: give a name, an object or class "
        "derived from nprep.search.method.Method, or a class with ask and tell."
    )
