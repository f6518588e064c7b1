"""Which images a process sees, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")

from nprep.imagenet.data import loading  # noqa: E402
from nprep.imagenet.training.folder import RunFolder  # noqa: E402
from nprep.imagenet.training.loop import Trainer  # noqa: E402
from nprep.imagenet.training.processes import Processes  # noqa: E402
from tests.imagenet.helpers import image_folder, tiny  # noqa: E402


def test_validation_counts_every_image_once() -> None:
    for count in (1, 7, 16, 17):
        for processes in (1, 2, 3):
            keys = [
                index
                for rank in range(processes)
                for batch in loading.evaluation_keys(count, 4, rank, processes)
                for _, index in batch
            ]
            assert sorted(keys) == list(range(count))


def test_processes_see_what_one_sees() -> None:
    source = _FakeSource(50, None)
    one = loading.EpochKeys(source, 3, 8, 0, 1)
    pair = [loading.EpochKeys(source, 3, 4, rank, 2) for rank in (0, 1)]
    for keys in (one, *pair):
        keys.move_to(2, 0)
    for whole, left, right in zip(one, *pair, strict=True):
        assert whole == left + right


class _FakeSource:
    classes = ("a", "b")

    def __init__(self, count: int, groups: Any) -> None:
        self.labels, self.groups = np.zeros(count, np.int64), groups

    def __len__(self) -> int:
        return len(self.labels)


def test_order_visits_few_shards_at_a_time() -> None:
    groups = np.repeat(np.arange(40, dtype=np.int32), 5)
    order = loading.epoch_order(_FakeSource(200, groups), 0, 0)
    assert sorted(order) == list(range(200))
    for start in range(0, 200, 80):
        assert len(set(groups[order[start : start + 80]])) <= loading.SHARDS_AT_ONCE
    assert not np.array_equal(order, loading.epoch_order(_FakeSource(200, groups), 0, 1))


def test_holdout_comes_out_of_the_training_images(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "data")
    settings = tiny(data=str(data), holdout=6, num_classes=0)
    who = Processes(0, 1, torch.device("cpu"))
    trainer = Trainer(settings, RunFolder(tmp_path / "run"), who)
    parts = trainer.parts
    assert (len(parts.train), len(parts.val), len(parts.test or [])) == (18, 6, 12)
    assert np.bincount(parts.val.labels).tolist() == [2, 2, 2]
    names = {s.name(i) for s in (parts.train, parts.val) for i in range(len(s))}
    assert len(names) == 24
