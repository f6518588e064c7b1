"""The example's images: real ones, the same in folders and in shards."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")
datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")

from nprep.imagenet.data.layout import open_parts  # noqa: E402 - needs torch
from nprep.imagenet.data.transforms import decode  # noqa: E402
from tests.imagenet.helpers import tiny  # noqa: E402

SCRIPT = Path(__file__).parents[2] / "examples" / "imagenet_digits" / "make_digits.py"


def test_digits_are_split_and_written_twice(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_digits", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    folder, shards = (
        open_parts(tiny(data=str(tmp_path / name), num_classes=10)) for name in ("folder", "shards")
    )
    pixels, labels = datasets.load_digits(return_X_y=True)
    names: list[str] = []
    for part, count in (("train", 400), ("val", 698), ("test", 699)):
        one, other = getattr(folder, part), getattr(shards, part)
        assert len(one) == len(other) == count
        assert np.bincount(one.labels).tolist() == np.bincount(other.labels).tolist()
        assert {one.read(i) for i in range(0, count, 50)} <= {other.read(i) for i in range(count)}
        names += [Path(one.name(i)).stem for i in range(count)]
    assert sorted(map(int, names)) == list(range(1797))
    # Four pixels to one and smooth between: their means are nearly those of the scans.
    image = np.asarray(decode(folder.train.read(0)).convert("L"), float)
    row = int(Path(folder.train.name(0)).stem)
    assert labels[row] == folder.train.labels[0]
    means = image.reshape(8, 4, 8, 4).mean((1, 3))
    assert np.corrcoef(means.ravel(), pixels[row])[0, 1] > 0.95
