"""What a training leaves, to compare it with another's bit for bit."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")

from nprep.imagenet.training.checkpoints import load_checkpoint  # noqa: E402


def weights_of(run: Path) -> dict[str, Any]:
    state = load_checkpoint(run / "last.pt")
    return {"model": state["model"], "average": state["average"], "optimiser": state["optimiser"]}


def assert_same(left: Any, right: Any) -> None:
    """Bit for bit, through containers."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for name in left:
            assert_same(left[name], right[name])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    else:
        assert left == right


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "summary.csv").open() as file:
        return [{k: v for k, v in r.items() if k != "train_seconds"} for r in csv.DictReader(file)]
