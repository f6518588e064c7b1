"""Export, latency measurement and the smaller commands."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")

from nprep.errors import NprepError  # noqa: E402 - needs torch
from nprep.imagenet.__main__ import entry  # noqa: E402
from nprep.imagenet.networks.latency import load_latency  # noqa: E402
from nprep.imagenet.training.export import export  # noqa: E402
from nprep.imagenet.training.run import run_training  # noqa: E402
from nprep.imagenet.training.weights import load_trained  # noqa: E402
from nprep.spaces.proxyless.space import MobileSpace  # noqa: E402
from tests.imagenet.helpers import tiny  # noqa: E402


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run_training(tiny(), folder)
    return folder


def test_torchscript_computes_the_same(run: Path, tmp_path: Path) -> None:
    model, about = load_trained(run)
    (path,) = export(model, about, tmp_path / "net", ["torchscript"])
    extra = {"nprep": ""}
    # torch.jit is deprecated since torch 2.9 and is what these files are for.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        loaded = torch.jit.load(str(path), _extra_files=extra)
    images = torch.randn(3, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), model(images))
    assert json.loads(extra["nprep"])["arch"] == "0000000"


def test_safetensors_hold_weights_and_encoding(run: Path, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed")
    model, about = load_trained(run)
    (path,) = export(model, about, tmp_path / "net", ["safetensors"])
    with safetensors.safe_open(str(path), "pt") as file:
        assert json.loads(file.metadata()["nprep"])["arch"] == "0000000"
        assert set(file.keys()) == set(model.state_dict())
        for name, value in model.state_dict().items():
            assert torch.equal(file.get_tensor(name), value)


def test_onnx_computes_the_same(run: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    from onnx.reference import ReferenceEvaluator

    model, about = load_trained(run)
    (path,) = export(model, about, tmp_path / "net", ["onnx"])
    proto = onnx.load(str(path))
    images = torch.randn(2, 3, 16, 16)
    (logits,) = ReferenceEvaluator(proto).run(None, {"images": images.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(logits, model(images).numpy(), rtol=1e-3, atol=1e-4)
    (about_it,) = (p.value for p in proto.metadata_props if p.key == "nprep")
    assert json.loads(about_it)["arch"] == "0000000"


def test_exported_weights_are_the_averaged_ones(run: Path) -> None:
    model, _ = load_trained(run)
    state = torch.load(run / "last.pt", weights_only=True)
    weights = model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in state["average"].items())


def test_unknown_formats_and_missing_runs_are_reported(run: Path, tmp_path: Path) -> None:
    model, about = load_trained(run)
    with pytest.raises(NprepError, match="coreml"):
        export(model, about, tmp_path / "net", ["coreml"])
    with pytest.raises(NprepError, match=r"args\.yaml"):
        load_trained(tmp_path)


def test_latency_is_measured_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = ["--image-size", "16", "--width", "0.05", "--depth", "2", "--num-classes", "3"]
    path = tmp_path / "latency.json"
    command = ["measure-latency", "--out", str(path), "--repeats", "2", "--networks", "3"]
    assert entry([*command, *shape, "--device", "cpu"]) == 0
    assert "Kendall tau" in capsys.readouterr().out
    space = MobileSpace(3, 16, 0.05, 2)
    cost = load_latency(path, space)
    assert (cost.blocks[:, 6][space.allowed[:, 6]] == 0).all()
    assert (cost.blocks[:, :6][space.allowed[:, :6]] > 0).all()
    check = json.loads(path.read_text())["about"]["against_whole_networks"]
    assert check["networks"] == 3
    assert check["factor"] > 0
    # The file has the sums that were compared, times the factor.
    drawn = space.sample(np.random.default_rng(0), 3)
    wanted = check["mean_summed_ms"] * check["factor"]
    assert cost.of(drawn).mean() == pytest.approx(wanted, rel=1e-3)
    assert entry([*command, "--repeats", "0"]) == 2


def test_latency_of_half_precision(tmp_path: Path) -> None:
    path = tmp_path / "half.json"
    command = ["measure-latency", "--out", str(path), "--repeats", "1", "--networks", "2"]
    shape = ["--image-size", "16", "--width", "0.05", "--depth", "1", "--num-classes", "3"]
    assert entry([*command, *shape, "--device", "cpu", "--precision", "bf16"]) == 0
    assert json.loads(path.read_text())["about"]["precision"] == "bf16"


def test_small_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry(["info"]) == 0
    assert "664,506,689,423,701,824" in capsys.readouterr().out
    assert entry(["info", "123"]) == 2
    assert entry(["budget", "--images-per-second", "1000"]) == 0
    assert "GPU-hours" in capsys.readouterr().out
    assert entry(["budget", "--images-per-second", "-1"]) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "/proc/nowhere"], "does not exist"),
        (["--synthetic-data", "9", "--latency-max", "85"], "--latency-table"),
        (["--synthetic-data", "9", "--latency-table", "/nowhere.json"], "cannot be read"),
        (["--synthetic-data", "9", "--methods", "guessing"], "guessing"),
        (["--synthetic-data", "9", "--train-samples", "0"], "train_samples"),
        (["--synthetic-data", "9", "--jobs", "-1"], "jobs"),
        (["--synthetic-data", "9", "--flops-max", "1"], "widen"),
        ([], "--data"),
    ],
)
def test_wrong_searches_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert entry(["search", "--out", str(tmp_path / "study"), "--device", "cpu", *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
