"""Replays on a real Ray cluster of two nodes: losses cost no trial and change no byte."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nprep
from nprep._workers import RayCluster
from nprep.errors import MissingDependencyError, NprepError, SettingsError
from nprep.replays import workers
from nprep.replays.engine import blocks_of, run_replay
from nprep.runs.settings import ReplaySettings
from tests.synthetic import SyntheticSource

# Ray leaves sockets and log files to the interpreter's exit, and warns of its own future.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
HERE = "tests.replay.run_synthetic"
SETTINGS = ReplaySettings(
    methods=(f"{HERE}:Slow", "evolution", f"{HERE}:Predictor"),
    trials=6,
    samples=60,
    train_samples=20,
    top_k=30,
    block=1,
    bootstrap=20,
)


def test_missing_ray_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'nprep\[ray\]'"):
        RayCluster("auto")


@dataclasses.dataclass
class Running:
    """The cluster and the folder in which its workers leave their process numbers."""

    cluster: Any
    pids: Path

    def workers(self) -> dict[int, int]:
        """Workers that are at work now, each with the process of its node."""
        found = {}
        for path in self.pids.iterdir():
            try:
                stat = Path(f"/proc/{path.name}/stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[int(path.name)] = int(stat[1])
        return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "out"
    run_replay(SETTINGS, SyntheticSource(), folder)
    return folder


@pytest.fixture(scope="module")
def running(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    pytest.importorskip("ray", reason="ray is not installed")
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    from ray.cluster_utils import Cluster

    pids = tmp_path_factory.mktemp("pids")
    with pytest.MonkeyPatch.context() as patch:
        # Nodes hand their environment down to their workers.
        patch.setenv("NPREP_TEST_PIDS", str(pids))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # Ray's workers give way to everything else, so a busy machine would hold up the tests.
        patch.setenv("RAY_worker_niceness", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        try:
            cluster.add_node(num_cpus=1)
            cluster.wait_for_nodes()
            yield Running(cluster, pids)
        finally:
            cluster.shutdown()


@pytest.fixture(autouse=True)
def _no_old_pids(request: pytest.FixtureRequest) -> None:
    if "running" in request.fixturenames:
        for path in request.getfixturevalue("running").pids.iterdir():
            path.unlink()


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def during(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def test_a_cluster_gives_the_bytes_of_a_local_run(
    running: Running, reference: Path, tmp_path: Path
) -> None:
    with RayCluster(running.cluster.address) as cluster:
        assert cluster.places == 2
        run_replay(SETTINGS, SyntheticSource(), tmp_path / "out", workers=cluster)
        assert len(set(running.workers().values())) == 2
    assert everything(tmp_path / "out") == everything(reference)


def test_a_killed_worker_costs_nothing(
    running: Running, reference: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed = []

    def kill() -> None:
        wait_until(lambda: running.workers(), "a worker")
        time.sleep(0.1)  # It sleeps for longer.
        killed.extend(running.workers())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    with RayCluster(running.cluster.address) as cluster:
        thread = during(kill)
        run_replay(SETTINGS, SyntheticSource(), tmp_path / "out", workers=cluster)
        thread.join()
    assert killed
    assert "which starts again" in caplog.text
    assert everything(tmp_path / "out") == everything(reference)


def test_a_driver_that_was_killed_is_resumed(
    running: Running, reference: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    arguments = ["--methods", ",".join(SETTINGS.methods), "--trials", "6", "--samples", "60"]
    arguments += ["--train-samples", "20", "--top-k", "30", "--block", "1", "--bootstrap", "20"]
    arguments += ["--engine", "ray", "--address", running.cluster.address, "--out", str(folder)]
    command = [sys.executable, "-m", HERE, *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: len(list(folder.glob("trials/*/*.npz"))) >= 2, "two blocks")
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list(folder.glob("trials/*/*.npz")))
    assert finished < len(blocks_of(SETTINGS))
    again = subprocess.run(
        [*command, "--resume"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert again.returncode == 0, again.stderr
    assert f"/{len(blocks_of(SETTINGS)) - finished} trials" in again.stderr
    assert everything(folder) == everything(reference)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "host:99999"])
def test_no_cluster_is_reported(address: str) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    with pytest.raises(SettingsError, match="no Ray cluster answers"):
        RayCluster(address)


def test_what_can_never_run_is_reported(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RayCluster, "retries", 1)
    with pytest.raises(SettingsError, match=r"no node of the Ray cluster .* has 1 CPUs and 1 GPUs"):
        RayCluster(running.cluster.address, gpus=1)
    with pytest.raises(SettingsError, match="more than 0 CPUs"):
        RayCluster(running.cluster.address, cpus=0)
    with RayCluster(running.cluster.address) as cluster:
        with monkeypatch.context() as patch:
            patch.setattr(nprep, "__version__", "9.9")
            with pytest.raises(SettingsError, match=r"has nprep .* 9\.9"):
                run_replay(SETTINGS, SyntheticSource(), tmp_path / "version", workers=cluster)
        with monkeypatch.context() as patch:
            # As if this machine had what the nodes lack.
            patch.setattr(workers, "to_jsonable", lambda methods: {"evolution": {"gpu": 1}})
            with pytest.raises(SettingsError, match=r"would run the methods with .*--backend"):
                run_replay(SETTINGS, SyntheticSource(), tmp_path / "gpu", workers=cluster)
        for name, expected in (("Crash", "2 times"), ("Silent", "0 traces")):
            settings = dataclasses.replace(SETTINGS, methods=(f"{HERE}:{name}",), trials=2)
            with pytest.raises(NprepError, match=expected):
                run_replay(settings, SyntheticSource(), tmp_path / name, workers=cluster)
            assert not (tmp_path / name).exists()


# The last one, for the cluster is smaller after it.
def test_a_lost_node_costs_nothing(
    running: Running, reference: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = running.cluster.list_all_nodes()[-1]
    lost = []

    def lose() -> None:
        wait_until(lambda: len(set(running.workers().values())) == 2, "work on both nodes")
        before = len(running.workers())
        running.cluster.remove_node(node, allow_graceful=False)
        # A worker outlives its node for a moment, in which it could still answer.
        wait_until(lambda: len(running.workers()) < before, "the end of the node's worker")
        lost.append(len(list(tmp_path.glob("out/trials/*/*.npz"))))
        (running.pids / "hold").unlink()

    (running.pids / "hold").touch()
    with RayCluster(running.cluster.address) as cluster:
        thread = during(lose)
        run_replay(SETTINGS, SyntheticSource(), tmp_path / "out", workers=cluster)
        thread.join()
    assert lost[0] < len(blocks_of(SETTINGS)), "the node was lost too late"
    assert "which starts again" in caplog.text
    assert everything(tmp_path / "out") == everything(reference)
