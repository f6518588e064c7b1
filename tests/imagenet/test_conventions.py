"""What users of timm and torchvision expect of a training script."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")
pytest.importorskip("yaml", reason="PyYAML is not installed")

import nprep.imagenet  # noqa: E402 - needs torch
from nprep._console import Parser  # noqa: E402
from nprep.errors import NprepError, RunFolderError, SettingsError  # noqa: E402
from nprep.imagenet import _flags  # noqa: E402
from nprep.imagenet.__main__ import entry  # noqa: E402
from nprep.imagenet.data.transforms import decode, evaluation_transform, training_transform  # noqa: E402
from nprep.imagenet.networks.architectures import build  # noqa: E402
from nprep.imagenet.settings import TrainSettings  # noqa: E402
from nprep.imagenet.training.checkpoints import load_checkpoint  # noqa: E402
from nprep.imagenet.training.export import export  # noqa: E402
from nprep.imagenet.training.optimisers import learning_rate, make_optimiser  # noqa: E402
from nprep.imagenet.training.run import run_training  # noqa: E402
from nprep.imagenet.training.weights import load_trained, transform_of  # noqa: E402
from tests.imagenet.bits import assert_same, rows_of, weights_of  # noqa: E402
from tests.imagenet.helpers import ARCH, image_folder, png, tiny  # noqa: E402

CELL = "nb101:010001000:input,conv3x3-bn-relu,output"


def test_customary_names_are_accepted() -> None:
    parser = Parser()
    _flags.add_flags(parser, TrainSettings)
    words = (
        "--opt adamw --sched step --model-ema-decay 0.99 --smoothing 0.2 --clip-grad 5 -j 3 -b 64 "
        "--mixup-alpha 0.1 --lr-min 0.001 --reprob 0.25 --img-size 96 --wd 0.05 --drop 0.3"
    )
    found = _flags.given(parser.parse_args(words.split()), TrainSettings)
    assert found == {
        "optimiser": "adamw", "schedule": "step", "ema": 0.99, "label_smoothing": 0.2,
        "clip_norm": 5.0, "workers": 3, "batch_size": 64, "mixup": 0.1, "min_lr": 0.001,
        "erase": 0.25, "image_size": 96, "weight_decay": 0.05, "dropout": 0.3,
    }  # fmt: skip
    # The help names them.
    assert "also --opt" in parser.format_help()


def test_every_customary_name_is_of_a_setting() -> None:
    fields = TrainSettings.__dataclass_fields__
    assert set(_flags.CUSTOMARY) <= set(fields)
    others = [name for names in _flags.CUSTOMARY.values() for name in names]
    assert len(others) == len(set(others))


def test_the_documents_list_every_accepted_name() -> None:
    page = (Path(__file__).parents[2] / "docs" / "real-training.md").read_text(encoding="utf-8")
    table = page.split("| here | also | |")[1].split("\n\n")[0]
    listed: dict[str, set[str]] = {}
    for row in table.splitlines()[2:]:
        here, there = (re.findall(r"`(-[\w-]+)`", cell) for cell in row.split("|")[1:3])
        listed[" ".join(here)] = set(there)
    accepted = {name: {*names} for name, names in _flags.CUSTOMARY.items()}
    # Of the command itself, no settings.
    accepted |= {
        "config": {"-c"}, "out": {"--output", "--output-dir"}, "eval_only": {"--test-only"},
    }  # fmt: skip
    for row_names, others in listed.items():
        found: set[str] = set()
        for name in row_names.split():
            found |= accepted.pop(name[2:].replace("-", "_"))
        assert others == found, row_names
    assert not accepted


def test_the_documents_name_options_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "real-training.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        entry(["train", "--help"])
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", capsys.readouterr().out))
    table = page.split("| there | here |")[1].split("\n\n")[0]
    named = [row.split("|")[2] for row in table.splitlines()[2:]]
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", " ".join(named))) <= known


def test_settings_come_from_a_file_and_the_command_line_wins(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "opt: adamw\nbatch-size: 8\nlr: 1\nmodel_ema_decay: 0.5\nflip: false\nweight_decay: 1e-4\n"
    )
    assert _flags.from_config(str(config), TrainSettings) == {
        "optimiser": "adamw", "batch_size": 8, "lr": 1.0, "ema": 0.5, "flip": False,
        "weight_decay": 1e-4,
    }  # fmt: skip
    flags = ["--synthetic-data", "16", "--num-classes", "2", "--image-size", "16", "--width",
             "0.05", "--depth", "1", "--stem-stride", "1", "--epochs", "1", "--workers", "0",
             "--device", "cpu", "--lr", "0.01"]  # fmt: skip
    run = tmp_path / "run"
    assert entry(["train", ARCH, "--config", str(config), "--out", str(run), *flags]) == 0
    written = (run / "args.yaml").read_text()
    assert "optimiser: adamw" in written
    assert "lr: 0.01" in written


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("colour: 3\n", "no setting"),
        ("epochs: many\n", "type int"),
        ("flip: 1\n", "type bool"),
        ("- 1\n", "no settings"),
        ("a: [\n", "cannot be read"),
    ],
)
def test_wrong_files_of_settings_are_reported(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(NprepError, match=message):
        _flags.from_config(str(tmp_path / "config.yaml"), TrainSettings)


@pytest.mark.parametrize("name", ["AdamW", "adamw", "nadam", "adagrad", "Rprop", "lion"])
def test_optimisers_by_name(name: str) -> None:
    model = torch.nn.Linear(2, 2)
    if name == "lion":
        with pytest.raises(SettingsError, match=r"lion.* is unknown: use sgd.*adamw"):
            make_optimiser(model, tiny(optimiser=name))
        return
    made = make_optimiser(model, tiny(optimiser=name, lr=0.5))
    assert type(made).__name__.lower() == name.lower()
    assert made.param_groups[0]["lr"] == 0.5


def test_optimisers_take_the_options_that_they_have() -> None:
    model = torch.nn.Linear(2, 2)
    made = make_optimiser(model, tiny(optimiser="adamw", opt_betas="0.8,0.95", opt_eps=1e-6))
    assert made.param_groups[0]["betas"] == (0.8, 0.95)
    assert made.param_groups[0]["eps"] == 1e-6
    with pytest.raises(SettingsError, match="has no betas"):
        make_optimiser(model, tiny(optimiser="adagrad", opt_betas="0.8,0.95"))
    with pytest.raises(SettingsError, match="2 numbers"):
        tiny(opt_betas="0.8")


def test_schedules_end_where_they_should() -> None:
    common = {"epochs": 10, "warmup_epochs": 2.0, "lr": 0.1, "min_lr": 0.01, "scale_lr": False}

    def rates(**changes: Any) -> list[float]:
        return [learning_rate(tiny(**common, **changes), step, 5, 64) for step in range(51)]

    for name in ("cosine", "poly"):
        found = rates(schedule=name, decay_rate=2.0)
        assert found[10] == pytest.approx(0.1)
        assert found[50] == pytest.approx(0.01)
        assert np.all(np.diff(found[10:]) < 0)
    assert set(rates(schedule="constant")[10:]) == {0.1}
    steps = rates(schedule="step", decay_epochs=3.0, decay_rate=0.5)
    assert steps[10:25] == [0.1] * 15
    assert steps[25:40] == pytest.approx([0.05] * 15)
    assert steps[40:] == pytest.approx([0.025] * 11)


@pytest.mark.parametrize("aa", ["rand-m9-n2", "autoaugment", "trivial", "augmix"])
def test_automatic_augmentation_changes_images(aa: str) -> None:
    from PIL import Image

    picture = Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3))
    settings = tiny(augment="none", aa=aa)
    plain = training_transform(tiny(augment="none"))(picture)
    assert any(not torch.equal(training_transform(settings)(picture), plain) for _ in range(10))


@pytest.mark.parametrize("aa", ["rand-m99", "rand-x3", "magic", "rand-m9-mstd0.5"])
def test_unknown_augmentation_is_reported(aa: str) -> None:
    with pytest.raises(SettingsError, match="aa is"):
        training_transform(tiny(aa=aa))


def test_erased_images_have_holes_of_the_mean_colour() -> None:
    from PIL import Image

    white = Image.fromarray(np.full((16, 16, 3), 255, np.uint8))
    image = training_transform(tiny(augment="none", erase=1.0))(white)
    assert (image == 0).any()
    assert not (training_transform(tiny(augment="none"))(white) == 0).any()


def test_images_are_normalised_as_told() -> None:
    from PIL import Image

    white = Image.fromarray(np.full((16, 16, 3), 255, np.uint8))
    image = training_transform(tiny(augment="none", mean="0.5,0.5,0.5", std="0.25,0.5,1"))(white)
    torch.testing.assert_close(image[:, 0, 0], torch.tensor([2.0, 1.0, 0.5]))
    with pytest.raises(SettingsError, match="3 numbers"):
        tiny(mean="0.5")


@pytest.mark.parametrize("arch", ["0111111", CELL])
def test_gradient_checkpointing_changes_no_weight(tmp_path: Path, arch: str) -> None:
    for kept in (False, True):
        settings = tiny(arch=arch, grad_checkpointing=kept, max_steps=4, drop_path=0.3)
        run_training(settings, tmp_path / str(kept))
    assert_same(weights_of(tmp_path / "True"), weights_of(tmp_path / "False"))


def test_dropped_paths_are_dropped_in_training_alone() -> None:
    torch.manual_seed(0)
    settings = tiny(arch="0" + "1" * 11, depth=2, drop_path=0.9, dropout=0.0)
    model = build(settings, 3)
    images = torch.randn(2, 3, 16, 16)
    model.eval()
    assert torch.equal(model(images), model(images))
    rates = [block.drop_path for block in model.blocks]
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0.9)
    block = next(b for b in model.blocks if b.residual and b.drop_path > 0.3).train()
    features = torch.randn(64, *[block.layers[0][0].in_channels], 4, 4)
    same = (block(features) == features).flatten(1).all(1)
    assert 0 < same.sum() < 64


def test_validation_every_so_many_epochs(tmp_path: Path) -> None:
    result = run_training(tiny(epochs=5, val_every=2, val_batch_size=3), tmp_path)
    assert [bool(row["val_top1"]) for row in rows_of(tmp_path)] == [False, True, False, True, True]
    assert result["val_images"] == 10


def test_mixing_ends_when_told(tmp_path: Path) -> None:
    runs = {"never": {}, "off": {"mixup": 1.0, "mix_off_epoch": 1}, "on": {"mixup": 1.0}}
    for name, changes in runs.items():
        run_training(tiny(epochs=2, **changes), tmp_path / name)
    losses = {name: [float(r["train_loss"]) for r in rows_of(tmp_path / name)] for name in runs}
    assert losses["off"][0] == losses["on"][0] != losses["never"][0]
    assert losses["off"][1] != losses["on"][1]
    run_training(tiny(epochs=2, mixup=1.0, mix_prob=0.0), tmp_path / "prob")
    assert float(rows_of(tmp_path / "prob")[0]["train_loss"]) == losses["never"][0]


def test_recalibrated_norms_are_those_of_training_images(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "data")
    common = {"data": str(data), "num_classes": 0, "max_steps": 3, "arch": CELL, "width": 0.1}
    run_training(tiny(**common), tmp_path / "plain")
    # All 24 images in one batch.
    settings = tiny(**common, bn_recalibrate=3)
    run_training(settings, tmp_path / "renewed")
    model, _ = load_trained(tmp_path / "renewed")
    plain, _ = load_trained(tmp_path / "plain")
    weights, others = model.state_dict(), plain.state_dict()
    for name in weights:
        renewed = "running" in name or "tracked" in name
        assert renewed or torch.equal(weights[name], others[name])
    transform = evaluation_transform(settings)
    files = sorted((data / "train").rglob("*.png"))
    images = torch.stack([transform(decode(file.read_bytes())) for file in files])
    with torch.no_grad():
        features = model.stem[0](images)
    found = model.stem[1].running_mean
    # The mean over three batches of 8 is the mean over all.
    torch.testing.assert_close(found, features.mean((0, 2, 3)))
    assert not torch.allclose(plain.stem[1].running_mean, found, atol=1e-2)


def test_checkpoints_of_epochs_are_kept(tmp_path: Path) -> None:
    run_training(tiny(epochs=4, checkpoint_hist=2), tmp_path)
    kept = sorted(path.name for path in tmp_path.glob("epoch-*.pt"))
    assert kept == ["epoch-0003.pt", "epoch-0004.pt"]
    assert [load_checkpoint(tmp_path / name)["epoch"] for name in kept] == [3, 4]


class Notes:
    """A tracker of one's own."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.closed = False
        MADE.append(self)

    def log(self, epoch: int, values: dict[str, float]) -> None:
        self.rows.append((epoch, dict(values)))

    def close(self) -> None:
        self.closed = True


MADE: list[Notes] = []


def test_trackers_take_every_epoch(tmp_path: Path) -> None:
    MADE.clear()
    settings = tiny(track="tests.imagenet.test_conventions:Notes", clip_norm=0.5, val_every=2)
    run_training(settings, tmp_path)
    (notes,) = MADE
    assert (notes.folder, notes.settings["lr"], notes.closed) == (tmp_path, 0.5, True)
    assert [epoch for epoch, _ in notes.rows] == [1, 2]
    assert "val_top1" not in notes.rows[0][1]
    written = rows_of(tmp_path)[1]
    assert notes.rows[1][1]["val_top1"] == float(written["val_top1"])
    assert notes.rows[1][1]["gradient_norm"] > 0
    with pytest.raises(SettingsError, match="tracker 'paper' is unknown"):
        run_training(tiny(track="paper"), tmp_path / "paper")


def test_wandb_is_told_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Run:
        def log(self, values: dict[str, float], step: int) -> None:
            calls.append((step, sorted(values)))

        def finish(self) -> None:
            calls.append("finished")

    def init(**options: Any) -> Run:
        calls.append((options["id"], options["resume"]))
        return Run()

    # In the place of the package, which needs an account.
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    run_training(tiny(track="wandb", epochs=1), tmp_path / "mine")
    assert calls[0] == ("mine", "allow")
    assert calls[1][0] == 1
    assert "train_loss" in calls[1][1]
    assert calls[2] == "finished"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A data folder, the run trained on it, and its export."""
    root = tmp_path_factory.mktemp("trained")
    data = image_folder(root / "data")
    run_training(tiny(data=str(data), num_classes=0, epochs=8, dropout=0.0), root / "run")
    model, known = load_trained(root / "run")
    (path,) = export(model, known, root / "net", ["safetensors"])
    return data, root / "run", path


def test_exports_say_what_they_need(trained: tuple[Path, Path, Path]) -> None:
    _, run, path = trained
    model, known = nprep.imagenet.load(path)
    assert known["classes"] == ["class0", "class1", "class2"]
    assert known["mean"] == [0.485, 0.456, 0.406]
    assert (known["image_size"], known["resize"], known["crop"]) == (16, 18, "centre")
    from_run, _ = nprep.imagenet.load(run)
    images = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        assert torch.equal(model(images), from_run(images))
    assert transform_of(known)(__import__("PIL.Image").Image.new("RGB", (30, 20))).shape == (
        3, 16, 16,
    )  # fmt: skip


def test_foreign_files_are_no_exports(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(RunFolderError, match="does not say what network"):
        nprep.imagenet.load(tmp_path / "other.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunFolderError, match="cannot be read"):
        nprep.imagenet.load(tmp_path / "bad.safetensors")


def test_images_are_classified(
    trained: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, path = trained
    files = []
    for label in range(3):
        files.append(tmp_path / f"{label}.png")
        files[-1].write_bytes(png(70 * label + 3))
    assert entry(["predict", str(path), *map(str, files), "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    model, known = nprep.imagenet.load(path)
    pictures = [decode(file.read_bytes()) for file in files]
    with torch.inference_mode():
        shares = model(torch.stack([transform_of(known)(p) for p in pictures])).softmax(1)
    best = shares.max(1)
    assert [line.split()[1] for line in lines] == [f"class{i}" for i in best.indices.tolist()]
    for line, share in zip(lines, best.values.tolist(), strict=True):
        assert float(line.split()[2]) == pytest.approx(100 * share, abs=0.06)
    (tmp_path / "x.png").write_bytes(b"")
    assert entry(["predict", str(path), str(tmp_path / "x.png")]) == 2


def test_evaluation_alone_gives_the_same_numbers(
    trained: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data, run, path = trained
    wanted = json.loads((run / "result.json").read_text())
    flags = ["--data", str(data), "--image-size", "16", "--width", "0.05", "--depth", "1",
             "--stem-stride", "1", "--workers", "0", "--device", "cpu", "--eval-only"]  # fmt: skip
    before = sorted(run.iterdir())
    for weights in ([], ["--initial-weights", str(path)]):
        assert entry(["train", ARCH, "--out", str(run), *flags, *weights]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["val_top1"] == wanted["val_top1"]
        assert found["val_images"] == 12
    assert sorted(run.iterdir()) == before


def test_training_starts_from_weights(trained: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, run, path = trained
    common = {"data": str(data), "num_classes": 0, "max_steps": 1, "lr": 1e-9, "ema": 0.0}
    for source in (path, run, run / "last.pt"):
        out = tmp_path / source.name
        run_training(tiny(**common, initial_weights=str(source)), out)
        mine, theirs = weights_of(out)["model"], load_trained(run)[0].state_dict()
        torch.testing.assert_close(mine["stem.0.weight"], theirs["stem.0.weight"])
        torch.testing.assert_close(mine["classifier.weight"], theirs["classifier.weight"])
    other = tiny(synthetic_data=40, num_classes=5, max_steps=1, initial_weights=str(path))
    run_training(other, tmp_path / "classes")
    with pytest.raises(SettingsError, match="another network"):
        run_training(tiny(**common, arch="0111111", initial_weights=str(path)), tmp_path / "other")
