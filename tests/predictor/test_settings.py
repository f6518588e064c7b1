"""The defaults and presets of the predictors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nprep.errors import SettingsError
from nprep.predictor.settings import FAITHFUL, GcnSettings, MlpSettings
from nprep.search.registry import make_method, method_names


def test_the_faithful_preset_does_not_follow_the_defaults() -> None:
    # Everything that experiment changed is named in it, so that another default cannot leak in.
    assert (FAITHFUL.labels, FAITHFUL.activation, FAITHFUL.head_bias) == (
        "sigmoid",
        "linear",
        False,
    )
    assert (FAITHFUL.epochs, FAITHFUL.learning_rate) == (300, 1e-4)
    assert FAITHFUL.classifier_learning_rate == 2e-4
    assert FAITHFUL.regressor_samples == "classifier"


def test_methods_have_the_settings_that_their_names_promise() -> None:
    names = ("np", "np-one-stage", "np-faithful", "mlp", "np-best")
    assert set(names) <= set(method_names())
    settings = {name: make_method(name, 172).settings() for name in names}
    assert settings["np"]["predictor"] == settings["np-one-stage"]["predictor"]
    assert (settings["np"]["two_stage"], settings["np-one-stage"]["two_stage"]) == (True, False)
    assert settings["np-faithful"]["predictor"] != settings["np"]["predictor"]
    assert all(settings[name]["name"] == name for name in names)


@pytest.mark.parametrize(
    ("settings", "change", "words"),
    [
        (GcnSettings(), {"regressor_samples": "some"}, "regressor_samples 'some' is unknown"),
        (GcnSettings(), {"threshold": 91.0}, "threshold is 91.0"),
        (GcnSettings(), {"layers": 0}, "layers is 0"),
        (GcnSettings(), {"width": 0}, "width is 0"),
        (GcnSettings(), {"dropout_readout": 1.0}, "dropout_readout is 1.0"),
        (MlpSettings(), {"labels": "percent"}, "labels 'percent' is unknown"),
        (MlpSettings(), {"head": (128, 0)}, "has a layer without units"),
        (MlpSettings(), {"weight_decay": -1e-3}, "weight_decay is -0.001"),
    ],
)
def test_a_wrong_setting_is_named(
    settings: GcnSettings | MlpSettings, change: dict[str, object], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        replace(settings, **change)  # type: ignore[arg-type] # wrong on purpose
