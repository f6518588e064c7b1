from __future__ import annotations

import csv
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("torchvision", reason="torchvision is not installed")
pytest.importorskip("ray", reason="ray is not installed")

from nprep.imagenet.study.engines import make_engine
from nprep.imagenet.study.ledger import Ledger
from nprep.imagenet.study.limits import Limits
from nprep.imagenet.study.settings import StudySettings
from nprep.imagenet.study.study import Study
from nprep.spaces.proxyless.chains import ProxylessSpace
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


def test_a_study_survives_the_loss_of_a_node(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    train = tiny(synthetic_data=400, epochs=3, checkpoint_steps=5)
    settings = StudySettings(("random",), 3, 1, 5, 0, train, train)
    space = ProxylessSpace(MobileSpace(3, 16, 0.05, 1, 1))
    engine = make_engine(cluster.address, 0, "cpu", 0, 1, print)
    study = Study(tmp_path, settings, Limits(space), engine, False)
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
