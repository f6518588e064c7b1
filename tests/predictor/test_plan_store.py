"""Plans on disk: the same plan, whatever happens to the file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from nprep.predictor import plan_store
from nprep.predictor.plan import SharingPlan
from nprep.predictor.plan_store import plan_digest, stored_plan
from tests.predictor.some_cells import random_cells
from tests.predictor.test_plan import SMALL, untrained

CELLS = random_cells(300, 5)


@pytest.fixture(autouse=True)
def _store_small_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_store, "FEWEST_CELLS", 10)


def same(one: SharingPlan, two: SharingPlan) -> bool:
    """Whether two plans hold the same arrays and predict the same bits."""
    named, other = dict(plan_store._arrays(one)), dict(plan_store._arrays(two))
    weights = untrained(SMALL)
    return (
        named.keys() == other.keys()
        and all(named[k].dtype == other[k].dtype for k in named)
        and all(np.array_equal(named[k], other[k]) for k in named)
        and np.array_equal(one.outputs(weights), two.outputs(weights))
    )


def forbid_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> SharingPlan:
        raise AssertionError("the plan was built although it is stored")

    monkeypatch.setattr(SharingPlan, "build", fail)


def test_a_stored_plan_is_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = SharingPlan.build(CELLS, "row", 3)
    assert same(stored_plan(CELLS, "row", 3, tmp_path), built)
    forbid_building(monkeypatch)
    loaded = stored_plan(CELLS, "row", 3, tmp_path)
    assert same(loaded, built)
    assert all(array.flags.writeable for _, array in plan_store._arrays(loaded))
    assert [path.suffix for path in tmp_path.iterdir()] == [".h5"]


def test_every_input_has_a_plan_of_its_own() -> None:
    others = [
        (CELLS.take(np.arange(299)), "row", 3),
        (CELLS.take(np.arange(300)[::-1]), "row", 3),
        (CELLS, "sum", 3),
        (CELLS, "row", 2),
    ]
    digests = {plan_digest(CELLS, "row", 3), *(plan_digest(*other) for other in others)}
    assert len(digests) == 5


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign", "attribute"])
def test_a_damaged_file_is_built_again(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = stored_plan(CELLS, "row", 3, tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        offset = file["0/entries"].id.get_offset()
    if damage == "flipped":
        content[offset + 5] ^= 1
    elif damage == "attribute":
        with h5py.File(path, "r+") as file:
            file.attrs["parts"] = 7
        content = bytearray(path.read_bytes())
    else:
        content = {
            "empty": bytearray(),
            "cut": content[: len(content) // 2],
            "foreign": bytearray(b"\x93NUMPY" * 40_000),
        }[damage]
    path.write_bytes(content)
    assert same(stored_plan(CELLS, "row", 3, tmp_path), built)
    forbid_building(monkeypatch)
    assert same(stored_plan(CELLS, "row", 3, tmp_path), built)


def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    assert same(stored_plan(CELLS, "row", 3, blocked), SharingPlan.build(CELLS, "row", 3))
    assert blocked.read_bytes() == b""


def test_writers_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = SharingPlan.build(CELLS, "row", 3)
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda _: stored_plan(CELLS, "row", 3, tmp_path), range(12)))
    assert all(same(plan, built) for plan in plans)
    assert len(list(tmp_path.iterdir())) == 1
    forbid_building(monkeypatch)
    assert same(stored_plan(CELLS, "row", 3, tmp_path), built)


def test_old_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_store, "KEPT_FILES", 2)
    for layers in (1, 2, 3, 4):
        stored_plan(CELLS, "row", layers, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 2
    assert f"plan-{plan_digest(CELLS, 'row', 4)}.h5" in names
