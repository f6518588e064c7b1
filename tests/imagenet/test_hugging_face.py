"""Data sets of Hugging Face as a source of images."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")

from nprep.errors import MissingDependencyError  # noqa: E402 - needs torch
from nprep.imagenet.__main__ import entry  # noqa: E402
from nprep.imagenet.data.hugging_face import HuggingFaceSource  # noqa: E402
from nprep.imagenet.data.layout import open_parts  # noqa: E402
from nprep.imagenet.data.sources import DataError  # noqa: E402
from nprep.imagenet.training.run import run_training  # noqa: E402
from tests.imagenet.bits import assert_same, weights_of  # noqa: E402
from tests.imagenet.helpers import ARCH, png, tiny  # noqa: E402

NAMES = ["ant", "bee", "cat"]


def split(count: int, **columns: Any) -> Any:
    """So many images, of the classes in turn, and further columns."""
    labels = [number % 3 for number in range(count)]
    images = [{"bytes": png(70 * label + n), "path": None} for n, label in enumerate(labels)]
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    made = datasets.Dataset.from_dict(
        {"image": images, "label": labels}, features=datasets.Features(features)
    )
    for name, values in columns.items():
        made = made.add_column(name, values)
    return made


def saved(folder: Path, **splits: Any) -> str:
    """Saves a data set, and says what to call it."""
    datasets.DatasetDict(splits).save_to_disk(folder)
    return f"hf:{folder}"


def parts_of(data: str, **changes: Any) -> Any:
    return open_parts(tiny(data=data, num_classes=0, **changes))


def test_splits_labels_and_images_are_those_that_were_saved(tmp_path: Path) -> None:
    parts = parts_of(saved(tmp_path / "d", train=split(10), validation=split(4), test=split(5)))
    assert parts.num_classes == 3
    assert [len(part) for part in (parts.train, parts.val, parts.test)] == [10, 4, 5]
    for part in (parts.train, parts.val, parts.test):
        assert part.classes == ("ant", "bee", "cat")
        assert part.labels.tolist() == [n % 3 for n in range(len(part))]
        assert [part.read(n) for n in range(len(part))] == [
            png(70 * (n % 3) + n) for n in range(len(part))
        ]
    assert parts.train.name(3) == f"row 3 of {tmp_path / 'd'} (train)"
    # Loader processes may be started anew.
    assert pickle.loads(pickle.dumps(parts.train)).read(7) == parts.train.read(7)


def test_rows_that_were_chosen_or_moved_keep_their_labels(tmp_path: Path) -> None:
    rows = [5, 0, 7, 3, 1, 8]
    parts = parts_of(saved(tmp_path / "d", train=split(10).select(rows), test=split(3)), holdout=3)
    # Without a split to validate on, some training images; what else there is becomes the test set.
    assert (len(parts.train), len(parts.val), len(parts.test)) == (3, 3, 3)
    source = parts.train.source
    assert source.labels.tolist() == [row % 3 for row in rows]
    assert source.read(2) == png(70 * 1 + 7)


def test_a_training_reads_them_in_an_order_of_its_own(tmp_path: Path) -> None:
    data = saved(tmp_path / "d", train=split(24), validation=split(6))
    common = {"data": data, "num_classes": 0, "epochs": 2}
    result = run_training(tiny(**common), tmp_path / "whole")
    assert (result["steps"], result["val_images"], result["num_classes"]) == (6, 6, 3)
    run_training(tiny(**common, workers=2), tmp_path / "loaders")
    assert_same(weights_of(tmp_path / "loaders"), weights_of(tmp_path / "whole"))


def test_the_command_line_takes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = saved(tmp_path / "d", train=split(16), test=split(5))
    flags = ["--data", data, "--holdout", "4", "--image-size", "16", "--width", "0.05", "--depth",
             "1", "--stem-stride", "1", "--epochs", "1", "--batch-size", "4", "--workers", "0",
             "--device", "cpu", "--quiet"]  # fmt: skip
    assert entry(["train", ARCH, "--out", str(tmp_path / "run"), *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["val_images"], result["num_classes"]) == (4, 3)
    assert result["test_top1"] is not None
    assert (
        entry(["train", ARCH, "--out", str(tmp_path / "other"), *flags, "--label-column", "x"]) == 2
    )
    assert "no column 'x': it has image, label" in capsys.readouterr().err


def test_columns_of_other_names_and_kinds(tmp_path: Path) -> None:
    words = [["dog", "ape"][n % 2] for n in range(6)]
    made = split(6, kind=words).rename_columns({"image": "photo", "label": "fine"})
    made = made.add_column("coarse", [n // 3 for n in range(6)])
    made = made.cast_column("coarse", datasets.ClassLabel(num_classes=2))
    data = saved(tmp_path / "d", train=made, val=made)
    with pytest.raises(DataError, match=r"several columns of labels \(fine, coarse\).*target-key"):
        parts_of(data)
    assert parts_of(data, label_column="coarse").train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    parts = parts_of(data, label_column="kind", image_column="photo")
    # Words: classes in alphabetical order.
    assert parts.train.classes == ("ape", "dog")
    assert parts.train.labels.tolist() == [1, 0] * 3
    with pytest.raises(DataError, match="no images in column kind"):
        parts_of(data, image_column="kind", label_column="fine")


def test_pictures_beside_the_data_set_are_read(tmp_path: Path) -> None:
    files = []
    for number in range(4):
        files.append(str(tmp_path / f"{number}.png"))
        Path(files[-1]).write_bytes(png(50 * number))
    made = datasets.Dataset.from_dict({"image": files, "label": [0, 1, 0, 1]})
    made = made.cast_column("image", datasets.Image())
    source = HuggingFaceSource(made, "mine")
    assert source.classes == ("0", "1")
    assert [source.read(n) for n in range(4)] == [png(50 * n) for n in range(4)]
    Path(files[2]).unlink()
    with pytest.raises(OSError, match=r"2\.png"):
        source.read(2)


def relabelled(labels: list[Any]) -> Any:
    made = split(len(labels)).remove_columns("label")
    return made.add_column("label", labels)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": split(6)}, "lacks a split validation.*--holdout"),
        ({"test": split(6)}, "must be called train"),
        ({"train": split(6).remove_columns("label"), "val": split(3)}, "known to hold labels"),
        ({"train": split(6).remove_columns("image"), "val": split(3)}, "known to hold images"),
        ({"train": split(6), "val": relabelled([0, 1, 3])}, "row 2 of .* has label 3"),
        ({"train": relabelled([0, 1, -1]), "val": split(3)}, "row 2 of .* has label -1"),
        ({"train": relabelled([0, None, 1]), "val": split(3)}, "without a value in column label"),
        ({"train": relabelled([0.0, 0.5]), "val": split(3)}, "no classes"),
        ({"train": split(6), "val": relabelled([-1, -1])}, "has no labels"),
        ({"train": relabelled(["a", "b"]), "val": relabelled(["c"])}, "class 'c'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, splits: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parts_of(saved(tmp_path / "d", **splits))


def test_a_split_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="mine has no rows"):
        HuggingFaceSource(split(6).select([]), "mine")


def test_a_test_split_with_secret_labels_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = saved(tmp_path / "d", train=split(6), val=split(3), test=relabelled([-1, -1, -1]))
    assert parts_of(data).test is None
    assert "no test accuracy" in caplog.text


def test_an_image_that_is_missing_is_named(tmp_path: Path) -> None:
    made = split(8)
    images = [None if n == 5 else {"bytes": png(n), "path": None} for n in range(8)]
    made = datasets.Dataset.from_dict(
        {"image": images, "label": [n % 3 for n in range(8)]}, features=made.features
    )
    data = saved(tmp_path / "d", train=made, val=split(3))
    with pytest.raises(DataError, match=r"row 5 of .*\(train\) \(the row has no image\)"):
        run_training(tiny(data=data, num_classes=0), tmp_path / "run")


def test_what_cannot_be_had_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*names: Any) -> Any:
        raise ConnectionError(f"Couldn't reach {names} on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(
        DataError, match=r"lab/birds:small cannot be opened.*birds', 'small'.*save_to"
    ):
        parts_of("hf:lab/birds:small")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "dataset_dict.json").write_text("{")
    with pytest.raises(DataError, match="cannot be opened"):
        parts_of(f"hf:{tmp_path / 'd'}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependencyError, match=r"datasets is not installed.*nprep\[hf\]"):
        parts_of("hf:lab/birds")
