"""Reading NASLib's pickles of NAS-Bench-201."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from nprep.errors import TableError
from nprep.spaces.nb201 import strings
from nprep.table.sources import nb201_naslib


def entries(count, datasets=("cifar10-valid",), seed=0):
    """What NASLib's files hold, as its own tests make it up (tests/test_nb201_search_space.py)."""
    rng = np.random.default_rng(seed)

    def numbers(low, high):
        return rng.uniform(low, high, 200).tolist()

    return {
        text: {
            dataset: {
                "train_losses": numbers(0, 3),
                "eval_losses": numbers(0, 3),
                "train_acc1es": numbers(10, 100),
                "eval_acc1es": numbers(10, 100),
                "cost_info": {
                    "flops": 15.64737,
                    "params": np.float64(0.129306),
                    "latency": 0.0139359758611311,
                    "train_time": float(rng.uniform(5, 30)),
                },
            }
            for dataset in datasets
        }
        for text in strings.format_strings(strings.from_numbers(np.arange(count)))
    }


def write(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 4])
def test_reads_what_is_there(tmp_path, protocol):
    content = entries(9, ("cifar10-valid", "cifar100"))
    path = write(tmp_path / "some.pickle", content, protocol)
    for dataset, name in (("cifar10", "cifar10-valid"), ("cifar100", "cifar100")):
        read = nb201_naslib.read_pickle(path, dataset)
        assert read.numbers.tolist() == list(range(9))
        for row, entry in enumerate(content.values()):
            entry = entry[name]
            expected = {
                "train_accuracy": entry["train_acc1es"][-1] / 100,
                "validation_accuracy": entry["eval_acc1es"][-1] / 100,
                "train_loss": entry["train_losses"][-1],
                "validation_loss": entry["eval_losses"][-1],
                "training_seconds": 200 * entry["cost_info"]["train_time"],
            }
            for metric, value in expected.items():
                assert read.values[metric].shape == (9, 1, 1)
                assert read.values[metric][row, 0, 0] == pytest.approx(value, rel=1e-6)


def _without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: {}, "no dict of architectures"),
        (lambda content: [content], "no dict of architectures"),
        (lambda content: {3: 4}, "no architecture strings"),
        (lambda content: {"|x~0|": {}}, "no architecture of NAS-Bench-201"),
        (lambda content: {t: 7 for t in content}, "not as NASLib writes it"),
        (lambda content: {t: {"cifar100": e} for t, e in content.items()}, "only cifar100"),
        (
            lambda content: {
                t: {"cifar10-valid": _without(e["cifar10-valid"], "cost_info")}
                for t, e in content.items()
            },
            "not as NASLib writes it",
        ),
        (
            lambda content: {
                t: {"cifar10-valid": {**e["cifar10-valid"], "eval_acc1es": [1.0]}}
                for t, e in content.items()
            },
            "eval_acc1es is no list of 200 epochs",
        ),
        (
            lambda content: {
                t: {"cifar10-valid": {**e["cifar10-valid"], "eval_acc1es": [101.0] * 200}}
                for t, e in content.items()
            },
            "validation accuracy of 1.01",
        ),
    ],
)
def test_refuses_other_content(tmp_path, damage, message):
    path = write(tmp_path / "bad.pickle", damage(entries(2)))
    with pytest.raises(TableError, match=message):
        nb201_naslib.read_pickle(path, "cifar10")


def test_joins_test_accuracies_by_architecture(tmp_path):
    from tests.table import test_nb201_csv

    file = test_nb201_csv.write(tmp_path / "some.csv", test_nb201_csv.lines_of(5)[::-1])
    read = nb201_naslib.read_pickle(write(tmp_path / "some.pickle", entries(5)), "cifar10")
    joined = nb201_naslib.join_test(read, file)["test_accuracy"]
    for row, line in enumerate(test_nb201_csv.lines_of(5)):
        assert joined[row, 0] == np.float32(float(line.split(",")[-1]) / 100)
    more = nb201_naslib.read_pickle(write(tmp_path / "some.pickle", entries(6)), "cifar10")
    with pytest.raises(TableError, match="lacks architecture 5"):
        nb201_naslib.join_test(more, file)
