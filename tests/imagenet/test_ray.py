from __future__ import annotations

import csv
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("torchvision", reason="torchvision is not installed")
pytest.importorskip("ray", reason="ray is not installed")

from nprep.errors import SettingsError
from nprep.imagenet.networks.latency import Limits
from nprep.imagenet.study.ledger import Ledger
from nprep.imagenet.study.ray_engine import RayEngine
from nprep.imagenet.study.study import Study, StudySettings
from nprep.spaces.proxyless.space import MobileSpace
from tests.imagenet.helpers import tiny

# Ray leaves sockets and log files to the interpreter's exit, and warns of its own future.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]


def starts_of(run: Path) -> list[dict[str, str]]:
    with (run / "starts.csv").open() as file:
        return list(csv.DictReader(file))


def test_no_cluster_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    # In Ray's place: on a machine with a cluster of its own, "auto" would find that.
    def nobody(**options: object) -> None:
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr("ray.init", nobody)
    with pytest.raises(SettingsError, match="no Ray cluster answers"):
        RayEngine("auto", 0, 1)


def test_a_study_survives_the_loss_of_a_node(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    train = tiny(synthetic_data=400, epochs=3, checkpoint_steps=5)
    settings = StudySettings(("random",), 3, 1, 5, 0, train, train)
    space = MobileSpace(3, 16, 0.05, 1, 1)
    engine = RayEngine(cluster.address, 0, 1)
    study = Study(tmp_path, settings, Limits(space, ()), engine, False)
    unfinished: list[Path] = []

    def lose_a_node() -> None:
        # Both nodes train by then.
        while len(list(tmp_path.glob("trainings/*/last.pt"))) < 2:
            time.sleep(0.1)
        for checkpoint in tmp_path.glob("trainings/*/last.pt"):
            if not (checkpoint.parent / "result.json").exists():
                unfinished.append(checkpoint)
        cluster.remove_node(second, allow_graceful=False)

    thread = threading.Thread(target=lose_a_node)
    thread.start()
    try:
        study.run()
    finally:
        thread.join()
        study.close()
        cluster.shutdown()
    # What the lost node was at went on elsewhere, from its checkpoint.
    moved = [rows for path in unfinished if len(rows := starts_of(path.parent)) > 1]
    assert moved
    for rows in moved:
        assert rows[0]["step"] == "0"
        assert int(rows[-1]["step"]) > 0
        assert rows[-1]["pid"] != rows[0]["pid"]
    ledger = Ledger(tmp_path / "ledger.sqlite")
    trainings = ledger.trainings()
    ledger.close()
    assert [t.status for t in trainings] == ["done"] * 4
    assert {t.result["steps"] for t in trainings if t.result} == {150}
