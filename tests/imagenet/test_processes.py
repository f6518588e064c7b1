"""Trainings by several processes, with gloo on CPUs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")

from nprep.errors import SettingsError  # noqa: E402 - needs torch
from nprep.imagenet.data.layout import open_parts  # noqa: E402
from nprep.imagenet.training import processes  # noqa: E402
from nprep.imagenet.training.checkpoints import load_checkpoint  # noqa: E402
from nprep.imagenet.training.evaluation import NetworkEvaluator  # noqa: E402
from nprep.imagenet.training.processes import Processes  # noqa: E402
from nprep.imagenet.training.run import run_training  # noqa: E402
from nprep.imagenet.training.weights import load_trained  # noqa: E402
from tests.imagenet.bits import assert_same, weights_of  # noqa: E402
from tests.imagenet.helpers import tiny  # noqa: E402

WORK = """
import sys
from pathlib import Path
from nprep.imagenet.training.run import run_training
from tests.imagenet.helpers import tiny
run_training(tiny(**eval(sys.argv[2])), Path(sys.argv[1]), resume=True, listen=True)
"""

# A training, and the same one resumed from the end of its first epoch, by the same processes.
TWICE = """
import shutil
import sys
from pathlib import Path
import torch.distributed as dist
from nprep.imagenet.training.run import run_training
from tests.imagenet.helpers import tiny
# Processes that left their group meet no second time.
dist.destroy_process_group = lambda: None
root, settings = Path(sys.argv[1]), tiny(**eval(sys.argv[2]))
run_training(settings, root / "whole")
if dist.get_rank() == 0:
    (root / "parts").mkdir()
    shutil.copy(root / "whole" / "epoch-0001.pt", root / "parts" / "last.pt")
dist.barrier()
run_training(settings, root / "parts", resume=True)
"""


def start(count: int, run: Path, work: str = WORK, **changes: Any) -> subprocess.Popen[str]:
    """Starts a training by so many processes."""
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         f"--nproc-per-node={count}", "--no-python", sys.executable, "-c", work, str(run),
         repr(changes)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def train(count: int, run: Path, **changes: Any) -> None:
    process = start(count, run, **changes)
    said, _ = process.communicate()
    assert process.returncode == 0, said


# Five validation images: uneven over two processes and over three.
UNEVEN = {"synthetic_data": 20, "batch_size": 3, "epochs": 3, "dropout": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_reported_result_is_that_of_the_saved_network(
    tmp_path: Path, count: int, ema: float
) -> None:
    settings = tiny(**UNEVEN, ema=ema)
    train(count, tmp_path, **UNEVEN, ema=ema)
    result = json.loads((tmp_path / "result.json").read_text())
    losses = [row.split(",")[4] for row in (tmp_path / "summary.csv").read_text().split()[1:]]
    model, _ = load_trained(tmp_path)
    alone = Processes(0, 1, torch.device("cpu"))
    score = NetworkEvaluator(open_parts(settings).val, settings, alone).score(model)
    assert score.loss == pytest.approx(float(losses[-1]), rel=1e-5)
    assert (score.top1, score.images) == (result["val_top1"], 5)


@pytest.mark.slow
def test_stopped_by_sigterm_resumes_to_the_same_bits(tmp_path: Path) -> None:
    changes = {"synthetic_data": 600, "batch_size": 4, "epochs": 2}
    train(2, tmp_path / "whole", **changes)
    process = start(2, tmp_path / "parts", **changes)
    deadline = time.monotonic() + 120
    while not (tmp_path / "parts" / "starts.csv").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode != 0
    # Nothing but the signal asked for a checkpoint in the epoch.
    step = load_checkpoint(tmp_path / "parts" / "last.pt")["step"]
    assert 0 < step < 150
    assert not (tmp_path / "parts" / "result.json").exists()
    train(2, tmp_path / "parts", **changes)
    assert_same(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))


# Two numbers have one sum; of three and more it depends on the order, and so on where torch puts
# them before it exchanges them.
@pytest.mark.slow
def test_four_processes_resume_to_the_same_bits(tmp_path: Path) -> None:
    changes = {"synthetic_data": 96, "batch_size": 4, "epochs": 2, "checkpoint_hist": 2}
    process = start(4, tmp_path, TWICE, **changes)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    state = load_checkpoint(tmp_path / "parts" / "last.pt")
    assert (state["processes"], state["step"]) == (4, 12)
    assert_same(parts, whole)


def test_half_of_torchruns_environment_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="WORLD_SIZE is 2 and RANK is not set"):
        run_training(tiny(), tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(SettingsError, match="WORLD_SIZE is 'two'"):
        run_training(tiny(), tmp_path)
    # A study's trainings are by themselves.
    assert run_training(tiny(max_steps=1), tmp_path, alone=True)["steps"] == 1


def test_processes_do_not_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "x",
                        "MASTER_PORT": "1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="shared by all 2 processes"):
        processes.join("cuda:0")


def test_a_card_without_bfloat16_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "T4")
    with pytest.raises(SettingsError, match="T4 does not compute in it"):
        processes.refuse_precision("bf16", torch.device("cuda"))
    processes.refuse_precision("bf16", torch.device("cpu"))
    processes.refuse_precision("fp16", torch.device("cuda"))
