"""Settings of a training: presets, schedules, what decays, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")

from nprep.errors import NprepError, SettingsError  # noqa: E402 - needs torch
from nprep.imagenet.networks.architectures import build  # noqa: E402
from nprep.imagenet.settings import PRESETS, preset  # noqa: E402
from nprep.imagenet.training.optimisers import WeightAverage, learning_rate, parameter_groups  # noqa: E402
from nprep.imagenet.training.run import run_training  # noqa: E402
from tests.imagenet.helpers import ARCH, tiny  # noqa: E402


def test_too_few_images_for_a_batch(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="one step takes 64 images"):
        run_training(tiny(batch_size=64), tmp_path)


def test_schedule_warms_up_and_ends_at_zero() -> None:
    settings = tiny(epochs=10, warmup_epochs=2.0, lr=0.1)
    rates = [learning_rate(settings, step, 5, 512) for step in range(51)]
    assert max(rates) == rates[10] == pytest.approx(0.2)
    assert rates[0] == pytest.approx(0.2 / 11)
    assert rates[50] == pytest.approx(0)
    assert np.all(np.diff(rates[10:]) < 0)


def test_official_schedule_of_the_cells() -> None:
    settings = preset("nb101", data="x")
    assert learning_rate(settings, 0, 156, 256) == pytest.approx(0.2)
    assert learning_rate(settings, 54 * 156, 156, 256) == pytest.approx(0.1)


def test_normalisations_and_biases_do_not_decay() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    decayed, plain = parameter_groups(model, tiny())
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3, 3, 3)]
    assert len(plain["params"]) == 3
    assert plain["weight_decay"] == 0
    (everything,) = parameter_groups(model, tiny(decay_all=True))
    assert len(everything["params"]) == 4


def test_average_is_warm_from_the_start() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.0)
    average = WeightAverage(model, 0.999)
    expected = 0.0
    for step in range(20):
        torch.nn.init.constant_(model.weight, float(step))
        average.update(model)
        decay = min(0.999, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert float(average.model.weight) == pytest.approx(expected, rel=1e-5)
    assert expected > 10


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_make_sense(name: str) -> None:
    assert preset(name, data="x").arch


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"lr": -1.0}, "lr"),
        ({"optimiser": "guess"}, "optimiser"),
        ({"ema": 1.0}, "ema"),
        ({"data": "x", "synthetic_data": 3}, "--synthetic-data"),
        ({"synthetic_data": 0}, "--data"),
        ({"device": "tpu"}, "device"),
        ({"device": "cuda:99"}, "device|CUDA"),
        ({"arch": "9999999"}, "choice 9"),
        ({"arch": "nb101:01:input,output"}, "cannot be read"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with pytest.raises(NprepError, match=message):
            run_training(tiny(**changes), tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["there"]


def test_batch_norms_momentum_can_be_set() -> None:
    for arch in (ARCH, "nb101:010001000:input,conv3x3-bn-relu,output"):
        model = build(tiny(arch=arch, bn_momentum=0.25), 3)
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert {norm.momentum for norm in norms} == {0.25}
