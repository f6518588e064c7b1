"""Data that is wrong in every way seen in the wild: one sentence, never a traceback."""

from __future__ import annotations

import io
import os
import signal
import sys
import tarfile
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")

import torch

from nprep.errors import NprepError
from nprep.imagenet.__main__ import entry
from nprep.imagenet.data import loading
from nprep.imagenet.data.layout import DataParts, open_parts
from nprep.imagenet.data.shards import ShardSource, write_shards
from nprep.imagenet.data.sources import DataError, FolderSource
from nprep.imagenet.data.transforms import decode, training_transform
from nprep.imagenet.training.run import run_training
from tests.imagenet.helpers import image_folder, png, tiny

_FLAGS_TEXT = (
    "--image-size 16 --width 0.05 --depth 1 --stem-stride 1 --epochs 1 --batch-size 8 "
    "--warmup-epochs 0 --workers 0 --threads 1 --device cpu --quiet"
)
FLAGS = _FLAGS_TEXT.split()


def train(data: Path, run: Path, *more: str) -> int:
    return entry(["train", "0000000", "--data", str(data), "--out", str(run), *FLAGS, *more])


def shard_folder(root: Path) -> Path:
    root.mkdir()
    for part, count in (("train", 24), ("val", 9)):
        images = [(png(70 * (i % 3) + i), i % 3) for i in range(count)]
        write_shards(root, part, images, ".png", 10)
    return root


def add_to_shard(shard: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(shard, "a") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _no_data(d: Path) -> None:
    for path in sorted(d.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def _empty_class(d: Path) -> None:
    for path in (d / "train/class1").iterdir():
        path.unlink()


def _no_val(d: Path) -> None:
    (d / "val").rename(d / "validation")


def _more_classes_in_val(d: Path) -> None:
    (d / "val/class9").mkdir()
    (d / "val/class9/0.png").write_bytes(png())


def _less_classes_in_val(d: Path) -> None:
    (d / "val/class2").rename(d / "elsewhere")


def _only_files(d: Path) -> None:
    _no_data(d)
    (d / "train").mkdir()
    (d / "train/0.png").write_bytes(png())


def _one_class(d: Path) -> None:
    for part in ("train", "val"):
        for label in (1, 2):
            (d / part / f"class{label}").rename(d / f"{part}{label}")


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda d: (d / "train/class0" / name).write_bytes(content) and None


def _corrupt_val(d: Path) -> None:
    (d / "val/class0/0.png").write_bytes(b"no image")


def _dangling_link(d: Path) -> None:
    (d / "train/class0").joinpath("0.png").unlink()
    (d / "train/class0/0.png").mkdir()
    for number in range(1, 8):
        (d / f"train/class0/{number}.png").unlink()


BAD_FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty folder": (_no_data, "neither a folder train/ nor shards"),
    "class folder without images": (_empty_class, "class1 holds no images"),
    "no validation": (_no_val, "--holdout"),
    "classes only in val": (_more_classes_in_val, "1 more: class9"),
    "classes missing in val": (_less_classes_in_val, "1 missing: class2"),
    "images without class folders": (_only_files, "no class folders"),
    "single class": (_one_class, "single class"),
    "zero bytes": (_write("0.png", b""), "class0/0.png"),
    "text in a png": (_write("0.png", b"<html>404</html>"), "class0/0.png"),
    "truncated png": (_write("0.png", png(1, 64)[:200]), "class0/0.png"),
    "bad checksum": (_write("0.png", png()[:40] + b"\0\1\2\3" + png()[44:]), "class0/0.png"),
    "truncated jpeg": (_write("0.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF"), "class0/0.jpg"),
    "zeros in a gif": (_write("0.gif", b"GIF89a" + bytes(50)), "class0/0.gif"),
    "corrupt in val": (_corrupt_val, "val/class0/0.png"),
    "folder named as an image": (_dangling_link, "class0 holds no images"),
}


@pytest.mark.parametrize("case", list(BAD_FOLDERS))
def test_bad_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    spoil, message = BAD_FOLDERS[case]
    data = image_folder(tmp_path / "data")
    spoil(data)
    assert train(data, tmp_path / "run", "--overfit-batches", "0") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1


def _truncate(d: Path) -> None:
    shard = d / "train-000001.tar"
    # Ends in the middle of an image.
    shard.write_bytes(shard.read_bytes()[:700])


def _not_a_tar(d: Path) -> None:
    (d / "train-000001.tar").write_bytes(b"404 not found" * 100)


def _gzipped(d: Path) -> None:
    import gzip

    shard = d / "train-000001.tar"
    shard.write_bytes(gzip.compress(shard.read_bytes()))


def _no_labels(d: Path) -> None:
    add_to_shard(d / "train-000000.tar", {"lonely.png": png()})


def _word_label(d: Path) -> None:
    add_to_shard(d / "train-000000.tar", {"x.png": png(), "x.cls": b"cat"})


def _negative_label(d: Path) -> None:
    add_to_shard(d / "train-000000.tar", {"x.png": png(), "x.cls": b"-1"})


def _json_without_label(d: Path) -> None:
    add_to_shard(d / "train-000000.tar", {"x.png": png(), "x.json": b'{"class": 1}'})


def _high_label_in_val(d: Path) -> None:
    add_to_shard(d / "val-000000.tar", {"x.png": png(), "x.cls": b"7"})


def _empty_shards(d: Path) -> None:
    for shard in d.glob("train-*.tar"):
        with tarfile.open(shard, "w"):
            pass


def _bad_image(d: Path) -> None:
    add_to_shard(d / "train-000000.tar", {"x.png": b"nothing", "x.cls": b"1"})


def _no_val_shards(d: Path) -> None:
    for shard in d.glob("val-*.tar"):
        shard.unlink()


BAD_SHARDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated shard": (_truncate, "train-000001.tar cannot be read"),
    "no tar": (_not_a_tar, "train-000001.tar cannot be read"),
    "compressed": (_gzipped, "uncompressed tar"),
    "image without label": (_no_labels, "no label for image lonely"),
    "label is a word": (_word_label, "label b'cat' for x"),
    "negative label": (_negative_label, "label b'-1'"),
    "json without label": (_json_without_label, "no label for image x"),
    "label beyond the classes": (_high_label_in_val, "label 7"),
    "empty shards": (_empty_shards, "hold no images"),
    "corrupt image": (_bad_image, "at byte"),
    "no validation shards": (_no_val_shards, "--holdout"),
}


@pytest.mark.parametrize("case", list(BAD_SHARDS))
def test_bad_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    spoil, message = BAD_SHARDS[case]
    data = shard_folder(tmp_path / "data")
    spoil(data)
    assert train(data, tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1


def test_missing_folder_and_class_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert train(tmp_path / "nowhere", tmp_path / "run") == 2
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert "does not exist" in capsys.readouterr().err
    data = image_folder(tmp_path / "data")
    assert train(data, tmp_path / "run", "--num-classes", "10") == 2
    assert "has 3 classes and num_classes is 10" in capsys.readouterr().err
    (tmp_path / "file").write_text("x")
    assert train(data, tmp_path / "file") == 2
    assert "cannot be made" in capsys.readouterr().err


def test_corrupt_images_in_loader_processes_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = image_folder(tmp_path / "data")
    _write("0.png", b"broken")(data)
    assert train(data, tmp_path / "run", "--workers", "2") == 2
    assert "class0/0.png" in capsys.readouterr().err


def test_corrupt_images_can_be_skipped(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "data")
    _write("0.png", b"broken")(data)
    _corrupt_val(data)
    assert train(data, tmp_path / "run", "--on-corrupt", "skip") == 0


def test_too_many_corrupt_images_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = image_folder(tmp_path / "data")
    for path in (data / "train").rglob("*.png"):
        path.write_bytes(b"broken")
    assert train(data, tmp_path / "run", "--on-corrupt", "skip") == 2
    assert "8 images of a batch cannot be read" in capsys.readouterr().err
    data = image_folder(tmp_path / "other")
    for path in (data / "val").rglob("*.png"):
        path.write_bytes(b"broken")
    assert train(data, tmp_path / "run2", "--on-corrupt", "skip") == 2
    assert "no validation image" in capsys.readouterr().err


def test_a_batch_of_one_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = image_folder(tmp_path / "data")
    assert train(data, tmp_path / "run", "--batch-size", "1") == 2
    assert "batch_size is 1" in capsys.readouterr().err


def test_a_run_with_a_corrupt_image_is_resumed_once_it_is_mended(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "data")
    _write("0.png", b"broken")(data)
    assert train(data, tmp_path / "run", "--checkpoint-steps", "1") == 2
    _write("0.png", png())(data)
    assert train(data, tmp_path / "run", "--checkpoint-steps", "1", "--resume") == 0


def test_folders_and_shards_hold_the_same(tmp_path: Path) -> None:
    folder = FolderSource(image_folder(tmp_path / "data") / "train")
    images = [(folder.read(i), int(folder.labels[i])) for i in range(len(folder))]
    shards = ShardSource(write_shards(tmp_path, "train", images, ".png", 7))
    assert np.array_equal(folder.labels, shards.labels)
    assert [shards.read(i) for i in range(len(shards))] == [content for content, _ in images]
    assert shards.groups is not None
    assert np.bincount(shards.groups).tolist() == [7, 7, 7, 3]


def test_folder_lists_what_torchvision_lists(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    root = image_folder(tmp_path / "data") / "train"
    (root / "class1/deep").mkdir()
    (root / "class1/deep/x.PNG").write_bytes(png())
    (root / "class1/notes.txt").write_text("not an image")
    theirs = datasets.ImageFolder(str(root))
    ours = FolderSource(root)
    assert list(ours.classes) == theirs.classes
    assert {(ours.name(i), int(ours.labels[i])) for i in range(len(ours))} == set(theirs.samples)


# webdataset shuts its files in finalisers, which pytest reports.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_reads_our_shards_and_we_read_its(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    images = [(png(i), i % 3) for i in range(8)]
    (ours,) = write_shards(tmp_path, "train", images, ".png", 10)
    read = [(s["png"], int(s["cls"])) for s in webdataset.WebDataset(str(ours), shardshuffle=False)]
    assert read == images
    theirs = tmp_path / "theirs.tar"
    with webdataset.TarWriter(str(theirs)) as writer:
        for number, (content, label) in enumerate(images):
            writer.write({"__key__": f"{number:04d}", "png": content, "cls": label})
    source = ShardSource([theirs])
    assert [(source.read(i), int(source.labels[i])) for i in range(8)] == images


def test_shards_are_read_from_forked_loaders(tmp_path: Path) -> None:
    assert train(shard_folder(tmp_path / "data"), tmp_path / "run", "--workers", "2") == 0


def test_odd_but_good_images_are_read() -> None:
    from PIL import Image

    for mode in ("1", "L", "P", "RGBA", "LA", "CMYK", "I;16"):
        out = io.BytesIO()
        Image.new(mode, (5, 4)).save(out, "TIFF" if mode == "CMYK" else "PNG")
        assert decode(out.getvalue()).mode == "RGB"


def test_layout_prefers_test_for_testing(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "data")
    os.rename(data / "val", data / "test")
    parts = open_parts(tiny(data=str(data), num_classes=0, holdout=5))
    assert len(parts.val) == 5
    assert parts.test is not None
    assert len(parts.test) == 12


def test_missing_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert train(image_folder(tmp_path / "data"), tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: torchvision")
    assert "pip install" in said


def _shard_of(folder: Path, files: dict[str, bytes]) -> ShardSource:
    with tarfile.open(folder / "train-0.tar", "w"):
        pass
    add_to_shard(folder / "train-0.tar", files)
    return ShardSource([folder / "train-0.tar"])


def test_class_file_counts_beside_a_json_about_the_image(tmp_path: Path) -> None:
    shards = _shard_of(
        tmp_path,
        {
            "a.png": png(), "a.cls": b"0", "a.json": b'{"caption": "a cat"}',
            "b.png": png(), "b.json": b'{"label": "dog"}', "b.cls": b"1",
            "c.png": png(), "c.json": b"no JSON", "c.cls": b"1",
            "d.png": png(), "d.json": b'{"label": 1}',
            "e.png": png(), "e.json": b'{"label": 1}', "e.cls": b"1",
        },
    )  # fmt: skip
    assert shards.labels.tolist() == [0, 1, 1, 1, 1]


@pytest.mark.parametrize("order", [("x.cls", "x.json"), ("x.json", "x.cls")])
def test_labels_that_disagree_are_reported(tmp_path: Path, order: tuple[str, str]) -> None:
    content = {"x.cls": b"0", "x.json": b'{"label": 1}'}
    with pytest.raises(DataError, match=r"the labels 0 \(\.cls\) and 1 \(\.json\) for x"):
        _shard_of(tmp_path, {"x.png": png(), **{name: content[name] for name in order}})


@pytest.mark.parametrize(
    ("labels", "message"), [((1, 2, 3), "count from 1"), ((0, 1, 3), "no image of class 2")]
)
def test_labels_with_gaps_are_reported(
    tmp_path: Path, labels: tuple[int, ...], message: str
) -> None:
    write_shards(tmp_path, "train", [(png(), label) for label in labels], ".png", 10)
    write_shards(tmp_path, "val", [(png(), label) for label in labels], ".png", 10)
    with pytest.raises(DataError, match=message):
        open_parts(tiny(data=str(tmp_path), num_classes=0))
    # Who says how many classes there are means the gaps.
    assert open_parts(tiny(data=str(tmp_path), num_classes=5)).num_classes == 5


def test_sixteen_bits_are_seen(tmp_path: Path) -> None:
    from PIL import Image

    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    pixels = np.asarray(decode(out.getvalue()))[..., 0]
    assert np.abs(pixels.astype(int) - values // 257).max() <= 1
    assert (pixels == 255).mean() < 0.02
    out = io.BytesIO()
    Image.fromarray(values.astype(np.float32) / 65535).save(out, "TIFF")
    with pytest.raises(ValueError, match="8 bits"):
        decode(out.getvalue())


def test_a_compressed_shard_is_reported_as_such(tmp_path: Path) -> None:
    data = shard_folder(tmp_path / "data")
    _gzipped(data)
    with pytest.raises(DataError, match="unpack it with gunzip"):
        open_parts(tiny(data=str(data)))


def test_little_shared_memory_is_reported_and_changes_no_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = image_folder(tmp_path / "data")
    source = open_parts(tiny(data=str(data))).train
    images = loading.ImageSet(source, training_transform(tiny(augment="colour")), 0, cache=False)
    keys = [[(0, i) for i in range(start, start + 8)] for start in (0, 8, 16)]
    expected = list(loading.Loader(images, keys, 0, pin=False))
    size = expected[0].images.nbytes
    # Room for three batches, and two processes may hold six.
    free = types.SimpleNamespace(f_bavail=3, f_frsize=size)
    monkeypatch.setattr(loading.os, "statvfs", lambda path: free)
    got = list(loading.Loader(images, keys, 2, pin=False, timeout=60, batch_bytes=size))
    assert "--shm-size" in caplog.text
    for one, two in zip(expected, got, strict=True):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.labels, two.labels)
    assert not loading.shared_memory_is_short(1, size)


class _Hangs:
    """A source whose images never come."""

    classes, labels, groups = ("a", "b"), np.zeros(8, np.int64), None

    def __len__(self) -> int:
        return 8

    def read(self, index: int) -> bytes:
        time.sleep(60)
        return b""

    def name(self, index: int) -> str:
        return "slow"


def test_a_loader_that_hangs_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = DataParts(_Hangs(), _Hangs(), None)
    monkeypatch.setattr("nprep.imagenet.training.loop.open_parts", lambda settings: parts)
    with pytest.raises(NprepError, match=r"not loaded in time .* --loader-timeout"):
        run_training(tiny(workers=1, loader_timeout=1.0), tmp_path / "run")


def test_batches_can_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What DataLoader's pinning thread looks for; without it, it leaves a batch as it is."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    batch = loading.ImageBatch(torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64), ["x"])
    plain = loading.PlainBatch(batch.images.numpy(), batch.labels.numpy(), ["x"])
    for kind in (batch, plain):
        pinned = kind.pin_memory()
        assert pinned.images.min() == pinned.labels.min() == 1
        assert pinned.unreadable == ["x"]
