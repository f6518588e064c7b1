"""The drop-in for the package nats_bench, beside that package on the same folder."""

from __future__ import annotations

import random

import numpy as np
import pytest

from nprep import nats_bench as own
from nprep._console import run
from nprep.errors import TableError
from nprep.table.cli import main
from tests.table import nats_writer, test_nb201_csv

official = pytest.importorskip("nats_bench")

NUMBERS = (0, 12, 1224, 1234, 15_624)
DATASETS = ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120")


def built(folder, source, table, *options):
    assert run(main, ["build", "--source", source, str(folder), *options, str(table)]) == 0
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("nats") / "NATS-tss-v1_0-3ffb9-simple"
    nats_writer.write_folder(path, NUMBERS)
    return path


@pytest.fixture(scope="module")
def apis(folder, tmp_path_factory):
    """Theirs and ours."""
    tables = tmp_path_factory.mktemp("tables")
    options = {
        "cifar10-valid": ("--dataset", "cifar10"),
        "cifar10": ("--dataset", "cifar10", "--test", "all-images"),
        "cifar100": ("--dataset", "cifar100"),
        "ImageNet16-120": ("--dataset", "ImageNet16-120"),
    }
    paths = [
        built(folder, "nats", tables / f"{name}.h5", *given) for name, given in options.items()
    ]
    theirs = official.create(str(folder), "tss", fast_mode=True, verbose=False)
    return theirs, own.create(paths, "tss", verbose=False)


def same(mine, their):
    if their is None:
        assert mine is None
    else:
        assert mine == pytest.approx(their, rel=1e-6)


def test_the_usage_of_the_official_readme(apis):
    for api in apis:
        assert api.arch(12) == api[12]
        info = api.get_more_info(1234, "cifar10")
        assert 0 <= info["test-accuracy"] <= 100
        info = api.get_cost_info(12, "cifar10")
        assert {"flops", "params", "latency"} <= set(info)
        api.reset_time()
        answer = api.simulate_train_eval(1224, dataset="cifar10", hp="12")
        assert len(answer) == 4
        assert answer[3] == api.used_time == answer[2]


def test_iteration_length_and_index(apis):
    theirs, mine = apis
    assert len(mine) == len(theirs) == 15_625
    for index, (a, b) in enumerate(zip(theirs, mine, strict=True)):
        assert a == b
        if index % 1000 == 0:
            assert mine.query_index_by_arch(a) == theirs.query_index_by_arch(a) == index
    assert mine.query_index_by_arch("|none~0|") == theirs.query_index_by_arch("|none~0|") == -1
    assert mine.query_index_by_arch(7) == 7
    for api in apis:
        with pytest.raises(ValueError, match="Invalid architecture index"):
            api.query_index_by_arch(15_625)
        with pytest.raises(ValueError, match="invalid index"):
            api.arch(15_625)
        random.seed(3)
        assert api.random() == random.Random(3).randint(0, 15_624)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("hp", ["12", "200"])
def test_more_info(apis, dataset, hp):
    theirs, mine = apis
    for number in NUMBERS:
        seeds = theirs.query_meta_info_by_index(number, hp).get_dataset_seeds(dataset)
        for is_random in (False, *seeds):
            expected = theirs.get_more_info(number, dataset, None, hp, is_random)
            found = mine.get_more_info(number, dataset, None, hp, is_random)
            expected.pop("comment", None)
            if dataset == "cifar10":
                # Of these networks a table has the test accuracy alone.
                expected = {k: v for k, v in expected.items() if k.startswith("test")}
            assert set(expected) <= set(found)
            for key, value in expected.items():
                same(found[key], value)


@pytest.mark.parametrize("hp", ["12", "200"])
def test_meta_info(apis, hp):
    theirs, mine = apis
    info, expected = (api.query_meta_info_by_index(1234, hp) for api in (mine, theirs))
    assert info.arch_str == expected.arch_str
    assert info.arch_index == 1234
    assert info.get_total_epoch() == int(hp)
    assert set(info.get_dataset_names()) == set(expected.get_dataset_names())
    for dataset, setname in (("cifar10-valid", "x-valid"), ("cifar100", "x-test")):
        seeds = expected.get_dataset_seeds(dataset)
        assert info.get_dataset_seeds(dataset) == seeds
        for is_random in (False, *seeds):
            found, wanted = (
                each.get_metrics(dataset, setname, None, is_random) for each in (info, expected)
            )
            assert found.keys() == wanted.keys()
            for name, value in wanted.items():
                same(found[name], value)
    costs, other = (i.get_compute_costs("cifar100") for i in (info, expected))
    for key in ("flops", "params", "latency", "T-train@total", "T-x-valid@epoch"):
        same(costs[key], other[key])


def test_a_random_seed_is_one_of_the_seeds(apis):
    _, mine = apis
    given = (12, "cifar100", None, "200")
    each = {mine.get_more_info(*given, seed)["test-loss"] for seed in (777, 888, 999)}
    random.seed(0)
    drawn = {mine.get_more_info(*given)["test-loss"] for _ in range(40)}
    assert drawn == each


def test_find_best(apis):
    theirs, mine = apis
    for number in NUMBERS:
        theirs.reload(theirs.archive_dir, number)
    for metric in ("valid", "test"):
        for limit in (None, 100.0):
            expected = theirs.find_best("cifar100", metric, limit, None, "200", False)
            found = mine.find_best("cifar100", metric, limit, None, "200")
            assert found[0] == expected[0]
            same(found[1], expected[1])


def test_helpers(apis):
    theirs, mine = apis
    text = mine.arch(284)
    assert mine.get_unique_str(284) == theirs.get_unique_str(284)
    assert mine.str2lists(text) == theirs.str2lists(text)
    np.testing.assert_array_equal(mine.str2matrix(text), theirs.str2matrix(text))
    assert "cifar100" in mine.query_info_str_by_arch(1234, "200")


def test_what_a_table_does_not_know(apis):
    _, mine = apis
    for call, message in (
        (lambda: mine.get_more_info(1, "cifar100"), r"arch_index \[1\]"),
        (lambda: mine.get_more_info(12, "svhn"), "invalid dataset-name : svhn"),
        (lambda: mine.get_more_info(12, "cifar100", hp="90"), "instead of 90"),
        (lambda: mine.get_more_info(12, "cifar100", iepoch=3), "invalid iepoch=3"),
        (lambda: mine.get_more_info(12, "cifar100", is_random=5), "can not find random seed"),
        (lambda: mine.get_more_info(12, "cifar100", is_random="x"), "invalid value for is_random"),
        (lambda: mine.simulate_train_eval(12, "cifar10-valid"), "Invalid dataset name"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_table_of_means(tmp_path):
    file = test_nb201_csv.write(tmp_path / "some.csv", test_nb201_csv.lines_of(5))
    path = built(file, "nb201-csv", tmp_path / "some.h5", "--dataset", "cifar100")
    mine = own.create(path, "topology", verbose=False)
    line = test_nb201_csv.lines_of(5)[3].split(",")
    for is_random in (True, False):
        info = mine.get_more_info(3, "cifar100", hp="200", is_random=is_random)
        assert info["test-accuracy"] == pytest.approx(float(line[-1]), rel=1e-6)
        assert info["valid-accuracy"] == pytest.approx(float(line[-2]), rel=1e-6)
        assert info["train-loss"] is info["train-all-time"] is None
    with pytest.raises(ValueError, match="no training times"):
        mine.simulate_train_eval(3, "cifar100", hp="200")


def test_refuses_what_is_no_table(tmp_path, capsys):
    with pytest.raises(ValueError, match="'sss' is not here"):
        own.create("x.h5", "sss")
    with pytest.raises(ValueError, match="name a table"):
        own.create(None, "tss")
    with pytest.raises(TableError, match="cannot be read"):
        own.create(tmp_path / "none.h5", "tss")
    file = test_nb201_csv.write(tmp_path / "some.csv", test_nb201_csv.lines_of(5))
    path = built(file, "nb201-csv", tmp_path / "some.h5", "--dataset", "cifar100")
    with pytest.raises(ValueError, match="two tables are of cifar100"):
        own.create([path, path], "tss")
    capsys.readouterr()
    own.create({"any": path}, "tss")
    assert "cifar100" in capsys.readouterr().out
