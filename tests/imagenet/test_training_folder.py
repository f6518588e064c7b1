"""The folder of a training: resumed by the same settings alone, safe from damage."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")

from nprep.errors import RunFolderError  # noqa: E402 - needs torch
from nprep.imagenet import files  # noqa: E402
from nprep.imagenet.__main__ import entry  # noqa: E402
from nprep.imagenet.training.checkpoints import load_checkpoint, save_checkpoint  # noqa: E402
from nprep.imagenet.training.folder import RunFolder  # noqa: E402
from nprep.imagenet.training.run import run_training  # noqa: E402
from tests.imagenet.bits import assert_same, rows_of, weights_of  # noqa: E402
from tests.imagenet.helpers import ARCH, tiny  # noqa: E402


def test_folder_of_a_run(tmp_path: Path) -> None:
    settings = tiny()
    run_training(settings, tmp_path)
    assert RunFolder(tmp_path).settings() == settings
    assert [row["epoch"] for row in rows_of(tmp_path)] == ["1", "2"]
    assert {path.name for path in tmp_path.iterdir()} == {
        ".lock", "args.yaml", "best.pt", "last.pt", "previous.pt", "result.json", "starts.csv",
        "summary.csv",
    }  # fmt: skip
    with pytest.raises(RunFolderError, match="holds a run"):
        run_training(settings, tmp_path)
    # Resuming what is finished returns its result without training.
    assert run_training(settings, tmp_path, resume=True)["steps"] == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"lr": 0.1}, "lr 0.5"), ({"epochs": 5}, "epochs 2"), ({"synthetic_data": 80}, "synthetic")],
)
def test_resuming_with_other_settings_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    run_training(tiny(), tmp_path)
    (tmp_path / "result.json").unlink()
    with pytest.raises(RunFolderError, match=message):
        run_training(tiny(**changes), tmp_path, resume=True)


def test_a_folder_removed_during_a_training_is_no_fault_of_its_own(tmp_path: Path) -> None:
    holder = RunFolder(tmp_path / "run")
    holder.lock()
    shutil.rmtree(holder.path)
    holder.unlock()
    assert not holder.path.exists()


def test_a_second_training_in_the_folder_is_refused(tmp_path: Path) -> None:
    holder = RunFolder(tmp_path)
    holder.lock()
    with pytest.raises(RunFolderError, match="in use"):
        run_training(tiny(), tmp_path)
    holder.unlock()
    run_training(tiny(max_steps=1), tmp_path)


def test_full_disk_keeps_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_training(tiny(max_steps=5), tmp_path)
    before = (tmp_path / "last.pt").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nprep._files.os.fsync", full)
    with pytest.raises(RunFolderError, match="No space left on device"):
        files.write_file(tmp_path / "last.pt", lambda file: file.write(b"half"))
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_damaged_checkpoint_is_reported(tmp_path: Path) -> None:
    run_training(tiny(), tmp_path)
    (tmp_path / "result.json").unlink()
    (tmp_path / "previous.pt").unlink()
    whole = (tmp_path / "last.pt").read_bytes()
    for length in (5000, 0):
        (tmp_path / "last.pt").write_bytes(whole[:length])
        with pytest.raises(RunFolderError, match="damaged"):
            run_training(tiny(), tmp_path, resume=True)


def test_a_damaged_checkpoint_is_replaced_by_the_one_before(tmp_path: Path) -> None:
    run_training(tiny(), tmp_path / "whole")
    run_training(tiny(), tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "last.pt").write_bytes(b"")
    run_training(tiny(), tmp_path / "run", resume=True)
    assert_same(weights_of(tmp_path / "run"), weights_of(tmp_path / "whole"))


def test_a_refused_resumption_changes_nothing(tmp_path: Path) -> None:
    run_training(tiny(), tmp_path)
    (tmp_path / "result.json").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(RunFolderError, match="epochs 2"):
        run_training(tiny(epochs=9), tmp_path, resume=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before
    assert run_training(tiny(), tmp_path, resume=True)["epochs"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"epochs": 3}, "epochs 2 and 3"), ({"arch": "2000000"}, "arch '0000000' and '2000000'")],
)
def test_a_finished_run_answers_only_for_itself(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    result = run_training(tiny(), tmp_path)
    assert run_training(tiny(workers=1), tmp_path, resume=True) == result
    with pytest.raises(RunFolderError, match=message):
        run_training(tiny(**changes), tmp_path, resume=True)


def test_another_network_is_not_the_finished_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_training(tiny(), tmp_path)
    assert entry(["train", ARCH, "--out", str(tmp_path), "--resume"]) == 0
    assert entry(["train", "2000000", "--out", str(tmp_path), "--resume"]) == 2
    assert "arch '0000000'" in capsys.readouterr().err


@pytest.mark.slow
def test_half_the_batch_resumes_as_the_same_run(tmp_path: Path) -> None:
    """After a lack of memory; a step sees the same images, and where it computes is no matter."""
    run_training(tiny(max_steps=3, threads=1), tmp_path)
    (tmp_path / "result.json").unlink()
    state = load_checkpoint(tmp_path / "last.pt")
    state["settings"]["device"] = "cuda:1"
    state["settings"]["max_steps"] = 0
    save_checkpoint(tmp_path / "last.pt", {k: v for k, v in state.items() if k != "format"})
    settings = tiny(batch_size=4, accumulate=2, threads=2)
    result = run_training(settings, tmp_path, resume=True)
    assert result["steps"] == 8  # an epoch cut short at step 3, and one of 5
    with pytest.raises(RunFolderError, match="batch_size 8"):
        run_training(tiny(batch_size=4), tmp_path, resume=True)
