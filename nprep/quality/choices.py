"""What is open in a method: factors and the levels that are tried of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nprep.errors import SettingsError
from nprep.predictor.settings import GcnSettings
from nprep.search.method import Method
from nprep.search.neural_predictor import NeuralPredictor
from nprep.search.np_best import preset

Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Factor:
    """One open choice.

    Attributes:
        levels: What may be done instead of what ships; each a change of one or more settings.
    """

    levels: tuple[Changes, ...]


def _one(name: str, *values: object) -> Factor:
    """A factor that is one setting."""
    return Factor(tuple({name: value} for value in values))


# Settings of the method come first, then those of its networks. Batches and first samples are
# changed together: what counts is how soon the networks begin to choose.
FAMILIES: dict[str, tuple[Factor, ...]] = {
    "np-best": (
        Factor(
            (
                {"initial": 20, "batch": 10, "pool_rounds": 4},
                {"initial": 20, "batch": 5, "pool_rounds": 8},
            )
        ),
        _one("floor", 0.75, 0.85),
        _one("learning_rate", 3e-3),
        _one("warm_epochs", 50),
        _one("members", 1),
        _one("loss", "ranking"),
    ),
    "np-best-2": (
        _one("pool_rounds", 1),
        Factor(tuple({"neighbours": count, "pool_rounds": 1} for count in (1, 2, 3, 5))),
    ),
    "np": (
        _one("labels", "normal-scores", "sigmoid"),
        _one("regressor_samples", "classifier", "all"),
        _one("learning_rate", 3e-4, 3e-3),
        _one("epochs", 50, 200),
        _one("loss", "ranking"),
    ),
}

# Training samples of "np" where 150 samples are charged.
_TRAIN_SAMPLES = 86


def made(family: str, changes: Changes) -> Method:
    """A method of a family with some settings changed.

    Args:
        family: A key of ``FAMILIES``.
        changes: Settings of the method or of its networks.

    Raises:
        SettingsError: If a setting is unknown.
    """
    base: Any = (
        NeuralPredictor("np", _TRAIN_SAMPLES) if family == "np" else preset(family, _TRAIN_SAMPLES)
    )
    own = {field.name for field in dataclasses.fields(base)}
    inner = {field.name for field in dataclasses.fields(GcnSettings)}
    unknown = sorted(set(changes) - own - inner)
    if unknown:
        raise SettingsError(f"method {family} has no setting {unknown[0]!r}.")
    predictor = dataclasses.replace(
        base.predictor, **{name: value for name, value in changes.items() if name not in own}
    )
    method: Method = dataclasses.replace(
        base,
        predictor=predictor,
        **{name: value for name, value in changes.items() if name in own},
    )
    return method
