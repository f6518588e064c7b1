"""Reading the public CSV files of NAS-Bench-201."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from nprep.errors import TableError
from nprep.spaces.nb201 import strings
from nprep.table.sources import nb201_csv

HEADER = "file id,arch str,cfg name,C,N,train accuracy,validation accuracy,test accuracy"


def lines_of(count, seed=0):
    """Lines as the files have them, with made-up accuracies."""
    rng = np.random.default_rng(seed)
    texts = strings.format_strings(strings.from_numbers(np.arange(count)))
    return [
        f"{number},{text},infer.tiny,16,5," + ",".join(map(repr, rng.uniform(10, 95, 3).tolist()))
        for number, text in enumerate(texts)
    ]


def write(path, lines, header=HEADER):
    path.write_text("\n".join([header, *lines, ""]))
    return path


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "some.csv", lines_of(50))


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "ImageNet16-120"])
def test_reads_what_is_there(file, dataset):
    read = nb201_csv.read_csv(file, dataset)
    assert read.dataset == dataset
    assert read.numbers.tolist() == list(range(50))
    assert (read.budgets, read.repeats) == ((200,), ())
    with file.open() as stream:
        for row in csv.DictReader(stream):
            for name in ("train", "validation", "test"):
                value = read.values[f"{name}_accuracy"][int(row["file id"]), 0]
                assert value == np.float32(float(row[f"{name} accuracy"]) / 100)
    assert read.attributes["known_file"] == "False"


def test_order_of_lines_does_not_matter(tmp_path, file):
    lines = lines_of(50)
    shuffled = write(
        tmp_path / "other.csv", [lines[k] for k in np.random.default_rng(1).permutation(50)]
    )
    first, second = (nb201_csv.read_csv(path, "cifar10") for path in (file, shuffled))
    for name, values in first.values.items():
        np.testing.assert_array_equal(values, second.values[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line.replace("16,5", "16,3"), "C = 16 and N = 3"),
        (lambda line: "7" + line[1:], "file id is 7, and its architecture is number 3"),
        (lambda line: line.replace("none", "zero").replace("avg", "max"), "is unknown"),
        (lambda line: ",".join(line.split(",")[:6]), "too few fields"),
        (lambda line: line.rsplit(",", 1)[0] + ",high", "could not convert"),
        (lambda line: line.rsplit(",", 1)[0] + ",101", "test accuracy of 1.01"),
        (lambda line: line.rsplit(",", 1)[0] + ",nan", "architecture 3 has no test_accuracy"),
        (lambda line: line + "\n" + line, "architecture 3 is there twice"),
    ],
)
def test_refuses_other_lines(tmp_path, change, message):
    lines = lines_of(6)
    lines[3] = change(lines[3])
    with pytest.raises(TableError, match=message):
        nb201_csv.read_csv(write(tmp_path / "bad.csv", lines), "cifar10")


def test_refuses_other_files(tmp_path):
    for content, message in (
        (b"", "lacks the column 'file id'"),
        (b"a,b\n1,2\n", "lacks the column 'file id'"),
        (HEADER.encode(), "no line but its header"),
        (b"\xff\xfe\x00", "is no CSV file"),
    ):
        path = tmp_path / "bad.csv"
        path.write_bytes(content)
        with pytest.raises(TableError, match=message):
            nb201_csv.read_csv(path, "cifar10")
    with pytest.raises(TableError, match="cannot be read"):
        nb201_csv.read_csv(tmp_path / "none.csv", "cifar10")


# Best validation accuracy, its architecture and test accuracy there, and the best test accuracy, in
# percent (published for CIFAR-10: 91.61; CIFAR-100: 73.49 and 73.51).
BEST = {
    "cifar10": (91.61, 6111, 91.09, 91.52),
    "cifar100": (73.49, 9930, 73.51, 73.51),
    "ImageNet16-120": (46.73, 10676, 46.20, 47.31),
}


@pytest.mark.parametrize("dataset", list(BEST))
def test_the_public_files(dataset):
    folder = os.environ.get("NPREP_DATA_NB201", "")
    path = Path(folder) / f"nasbench201_{dataset}.csv"
    if not folder or not path.is_file():
        pytest.skip(f"NPREP_DATA_NB201 names no folder that holds nasbench201_{dataset}.csv")
    read = nb201_csv.read_csv(path, dataset)
    assert read.attributes["known_file"] == "True"
    assert len(read.numbers) == 15_625
    validation = read.values["validation_accuracy"][:, 0]
    test = read.values["test_accuracy"][:, 0]
    row = int(validation.argmax())
    found = (validation[row], row, test[row], test.max())
    shown = tuple(n if isinstance(n, int) else round(100 * float(n), 2) for n in found)
    assert shown == BEST[dataset]
    other = next(name for name in BEST if name != dataset)
    with pytest.raises(TableError, match=f"is the file of {dataset}, not of {other}"):
        nb201_csv.read_csv(path, other)
