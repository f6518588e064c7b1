"""The files that the drop-in opens: official ones, tables, and what is neither."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nprep.errors import TableError
from nprep.nasbench import _store, api
from nprep.table.sources._runs import Runs, to_content
from nprep.table.writer import write_table
from tests import tfrecord_writer as writer
from tests.nasbench_api.cells import INPUT, OUTPUT, SPACE, spec_of
from tests.table.official_small import made_up_values, records


def test_a_tfrecord_file_gives_the_same_answers(
    tmp_path: Path, path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "load_space", lambda: SPACE)
    file = tmp_path / "nasbench_full.tfrecord"
    writer.write(file, records(SPACE, values))
    one, other = api.NASBench(str(file), seed=1), api.NASBench(path, seed=1)
    assert one.valid_epochs == other.valid_epochs
    for row in range(60):
        first, second = one.query(spec_of(row)), other.query(spec_of(row))
        assert first.pop("module_adjacency").tolist() == second.pop("module_adjacency").tolist()
        assert first == second


def test_a_file_of_108_epochs_knows_no_other_budget(tmp_path: Path) -> None:
    path = tmp_path / "table.h5"
    write_table(path, to_content("nasbench", Runs(made_up_values(SPACE), {}), SPACE))
    nasbench = api.NASBench(path)
    assert nasbench.valid_epochs == {108}
    for epochs in (4, 12, 36, 107, "108", None):
        with pytest.raises(api.OutOfDomainError, match=r"must be one of \[108\]"):
            nasbench.query(spec_of(0), epochs)  # type: ignore[arg-type]


def test_missing_runs(tmp_path: Path) -> None:
    values = made_up_values(SPACE)
    values[3, 3, 1] = np.nan
    values[4, 3] = np.nan
    values[5, 3, :, 0] = np.nan
    values[..., 1] = np.nan
    path = tmp_path / "table.h5"
    write_table(path, to_content("nasbench", Runs(values, {}), SPACE))
    nasbench = api.NASBench(path, seed=0)
    seen = {nasbench.query(spec_of(3))["training_time"] for _ in range(50)}
    assert seen == {values[3, 3, 0, 1, 0], values[3, 3, 2, 1, 0]}
    assert len(nasbench.get_metrics_from_spec(spec_of(3))[1][108]) == 2
    assert np.isnan(nasbench.query(spec_of(0))["train_accuracy"])
    before = nasbench.get_budget_counters()
    for query in (
        lambda: nasbench.query(spec_of(4)),
        lambda: nasbench.query(spec_of(5), stop_halfway=True),
        lambda: nasbench.query(api.ModelSpec([[0, 1], [0, 0]], [INPUT, OUTPUT])),
    ):
        for kind in (api.OutOfDomainError, KeyError):
            with pytest.raises(kind, match=r"table\.h5"):
                query()
    assert nasbench.get_budget_counters() == before
    # As in the original, what the file lacks is not listed.
    hashes = list(nasbench.hash_iterator())
    assert len(hashes) == len(SPACE) - 1
    assert all(108 in nasbench.get_metrics_from_hash(each)[1] for each in hashes)
    with pytest.raises(KeyError, match="does not hold the cell"):
        nasbench.get_metrics_from_spec(spec_of(4))


def test_a_file_of_some_cells_lists_those(
    tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "load_space", lambda: SPACE)
    some = values.copy()
    some[10:] = np.nan
    file = tmp_path / "part.tfrecord"
    writer.write(file, records(SPACE, values)[: 10 * 12])
    nasbench = api.NASBench(file)
    hashes = [*nasbench.hash_iterator()]
    assert 0 < len(hashes) < len(SPACE)
    for name in hashes:
        assert set(nasbench.get_metrics_from_hash(name)[1]) == nasbench.valid_epochs


def test_a_table_that_is_cut_short_later_is_still_read(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "table.h5"
    write_table(path, to_content("nasbench", Runs(values, {}), SPACE))
    nasbench = api.NASBench(path, seed=0)
    expected = api.NASBench(path, seed=0).query(spec_of(0))["test_accuracy"]
    # In place, as rsync --inplace does; a mapped file would end the process with a bus error.
    os.truncate(path, 100)
    assert nasbench.query(spec_of(0))["test_accuracy"] == expected


def test_files_that_are_no_data_sets(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no table")
    (tmp_path / "damaged.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    for name in ("text", "damaged.h5", "absent"):
        with pytest.raises(TableError):
            api.NASBench(tmp_path / name)
