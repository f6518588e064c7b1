"""Reading NATS-Bench's folder, beside the authors' own package."""

from __future__ import annotations

import bz2
import os
import pickle

import numpy as np
import pytest

from nprep.errors import TableError
from nprep.table.sources import nats
from tests.table import nats_writer

NUMBERS = (0, 11, 284, 15_624)
SETS = {
    "cifar10": ("cifar10-valid", "x-valid", "ori-test"),
    "cifar100": ("cifar100", "x-valid", "x-test"),
    "ImageNet16-120": ("ImageNet16-120", "x-valid", "x-test"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("nats") / "NATS-tss-v1_0-3ffb9-simple"
    nats_writer.write_folder(path, NUMBERS)
    return path


@pytest.mark.parametrize("dataset", list(SETS))
def test_values_are_those_of_the_authors_package(folder, dataset):
    nats_bench = pytest.importorskip("nats_bench")
    api = nats_bench.create(str(folder), "tss", fast_mode=True, verbose=False)
    read = nats.read_folder(folder, dataset)
    assert read.numbers.tolist() == list(NUMBERS)
    networks, valid, test = SETS[dataset]
    for row, number in enumerate(NUMBERS):
        for k, budget in enumerate(nats.BUDGETS):
            info = api.query_meta_info_by_index(number, hp=str(budget))
            seeds = info.get_dataset_seeds(networks)
            for r, seed in enumerate(nats.SEEDS):
                mine = {name: float(v[row, k, r]) for name, v in read.values.items()}
                if seed not in seeds:
                    assert np.isnan(list(mine.values())).all()
                    continue
                latency = info.query(networks, seed).get_latency()
                assert mine["latency_seconds"] == np.float32(latency)
                for kind, name in (("train", "train"), ("validation", valid), ("test", test)):
                    theirs = info.get_metrics(networks, name, is_random=seed)
                    assert mine[f"{kind}_accuracy"] == np.float32(theirs["accuracy"] / 100)
                    assert mine[f"{kind}_loss"] == np.float32(theirs["loss"])
                    seconds = theirs["all_time" if kind == "train" else "cur_time"]
                    own = "training" if kind == "train" else kind
                    assert mine[f"{own}_seconds"] == pytest.approx(seconds, rel=1e-6)


def test_test_accuracy_of_networks_trained_on_all_images(folder):
    nats_bench = pytest.importorskip("nats_bench")
    api = nats_bench.create(str(folder), "tss", fast_mode=True, verbose=False)
    same = nats.read_folder(folder, "cifar10")
    full = nats.read_folder(folder, "cifar10", "all-images")
    np.testing.assert_array_equal(
        full.values["validation_accuracy"], same.values["validation_accuracy"]
    )
    for row, number in enumerate(NUMBERS):
        info = api.get_more_info(number, "cifar10", hp="200", is_random=False)
        mine = np.nanmean(full.values["test_accuracy"][row, 1].astype(np.float64))
        assert mine == pytest.approx(info["test-accuracy"] / 100, rel=1e-6)


def test_any_number_of_processes_reads_the_same(tmp_path):
    nats_writer.write_folder(tmp_path, range(0, 1400, 20))
    lines = []
    one = nats.read_folder(tmp_path, "cifar100", progress=lines.append)
    two = nats.read_folder(tmp_path, "cifar100", processes=2)
    for name, values in one.values.items():
        np.testing.assert_array_equal(values, two.values[name])
    assert one.attributes == two.attributes
    assert lines == ["70 of 70 architectures"]


def test_the_authors_sample_files():
    # fake_torch_dir of the repository NATS-Bench holds three files of the published folder; the
    # values are those that the authors' package prints for number 11.
    folder = os.environ.get("NPREP_DATA_NATS")
    if not folder:
        pytest.skip("NPREP_DATA_NATS is not set: it names the folder NATS-tss-v1_0-3ffb9-simple")
    read = nats.read_folder(nats.Path(folder), "cifar10")
    row = read.numbers.tolist().index(11)
    validation = read.values["validation_accuracy"][row, 1].astype(np.float64)
    assert np.nanmean(validation) == pytest.approx(0.879399999983724, abs=1e-7)
    assert read.values["training_seconds"][row, 1, 1] == pytest.approx(2492.411359, rel=1e-6)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: {}, "no training of 12 or 200 epochs"),
        (lambda content: [1, 2], "no file of one architecture"),
        (lambda content: {"200": {"arch_str": "|x~0|"}}, "no architecture of NAS-Bench-201"),
        (lambda content: {"200": {**content["200"], "all_results": 3}}, "no file of one"),
    ],
)
def test_refuses_other_content(tmp_path, damage, message):
    content = nats_writer.record(5, np.random.default_rng(0))
    nats_writer.dump(damage(content), tmp_path / "000005.pickle.pbz2")
    with pytest.raises(TableError, match=message):
        nats.read_folder(tmp_path, "cifar10")


def test_refuses_impossible_values(tmp_path):
    content = nats_writer.record(5, np.random.default_rng(0))
    content["200"]["all_results"]["cifar100", 888]["eval_acc1es"]["x-valid@199"] = 100.5
    nats_writer.dump(content, tmp_path / "000005.pickle.pbz2")
    with pytest.raises(TableError, match=r"validation accuracy of 1\.005"):
        nats.read_folder(tmp_path, "cifar100")
    assert nats.read_folder(tmp_path, "cifar10").numbers.tolist() == [5]


def test_refuses_files_in_the_wrong_place(tmp_path):
    path = tmp_path / "000006.pickle.pbz2"
    nats_writer.dump(nats_writer.record(5, np.random.default_rng(0)), path)
    with pytest.raises(TableError, match="holds architecture 5"):
        nats.read_folder(tmp_path, "cifar10")
    with pytest.raises(TableError, match="cannot be read"):
        nats.read_folder(tmp_path / "none", "cifar10")
    path.rename(tmp_path / "020000.pickle.pbz2")
    with pytest.raises(TableError, match="not of the topology space"):
        nats.read_folder(tmp_path, "cifar10")
    (tmp_path / "020000.pickle.pbz2").unlink()
    with pytest.raises(TableError, match="no file such as 000000"):
        nats.read_folder(tmp_path, "cifar10")


def test_refuses_damaged_files(tmp_path):
    path = tmp_path / "000005.pickle.pbz2"
    nats_writer.dump(nats_writer.record(5, np.random.default_rng(0)), path)
    whole = path.read_bytes()
    for damaged in (whole[:1000], b"", whole[:200] + b"\0" * 50 + whole[250:], b"BZh9no"):
        path.write_bytes(damaged)
        with pytest.raises(TableError, match=r"000005\.pickle\.pbz2"):
            nats.read_folder(tmp_path, "cifar10")


class _Runs:
    def __reduce__(self):
        return os.system, ("touch proof",)


def test_runs_nothing_that_a_pickle_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "000005.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps({"12": _Runs()})))
    with pytest.raises(TableError, match="system, which a table has no use for"):
        nats.read_folder(tmp_path, "cifar10")
    assert not (tmp_path / "proof").exists()


def test_a_search_by_short_trainings(tmp_path):
    """The view that shows 12 epochs, charges training and validation, and reports 200 epochs."""
    from nprep.runs.protocols import protocol_named
    from nprep.search.registry import make_method
    from nprep.search.rules import trial_seed
    from nprep.table.build import build_from_file
    from nprep.table.table import Table

    contents = nats_writer.write_folder(tmp_path / "folder", range(60))
    path = build_from_file("nats", tmp_path / "folder", tmp_path / "t.h5", dataset="cifar100")
    table = Table.open(path)
    assert set(table.views) == {"runs", "search-12"}
    view = table.view("search-12")
    assert (view.budgets, view.full_epochs, len(view)) == ((12,), 12, 60)
    for row in (0, 37, 59):
        short = contents[row]["12"]["all_results"]["cifar100", 111]
        seconds = sum(short["train_times"].values()) + short["eval_times"]["x-valid@11"]
        place = nats.SEEDS.index(111)
        assert view.validation[row, place] == np.float32(short["eval_acc1es"]["x-valid@11"] / 100)
        assert view.training_seconds[row, place] == pytest.approx(seconds, rel=1e-6)
        full = [contents[row]["200"]["all_results"]["cifar100", s] for s in (777, 888, 999)]
        mean = np.mean([result["eval_acc1es"]["x-test@199"] for result in full]) / 100
        assert view.test[row] == pytest.approx(mean, rel=1e-6)
    rules = protocol_named("nb201").rules
    (trace,) = make_method("random", 43).run_block(view, [trial_seed(0, "a", 0)], 2000, rules)
    spent = trace.seconds.astype(np.float64)
    # The training that goes beyond the limit is the last.
    assert spent.sum() >= 12_000 > spent[:-1].sum()
