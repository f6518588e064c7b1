"""Trains a few hundred random NASBench-101 cells on scikit-learn's digits, each with two seeds.

The cells are drawn uniformly from all 423,624; each is trained by the project's own trainer for 60
steps at a sixteenth of the width (a stem of 8 channels) on 400 images of 8 x 8 pixels, and judged
on the 1,397 others. One line of JSON a training goes to a file; run again, the script resumes::

    python examples/imagenet_digits/make_digits.py digits
    python examples/cells_on_digits/train_pool.py digits/folder pool.jsonl --cells 300

Half an hour to an hour on two idle cores (``--jobs 2``).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nprep.imagenet.settings import TrainSettings, preset
from nprep.imagenet.training.run import run_training
from nprep.spaces.nb101.cells import enumerate_space, specs_from_cells

SEEDS = (0, 1)
# Draws the cells; trainings have seeds of their own.
CELL_SEED = 0


def settings_of(arch: str, data: str, seed: int) -> TrainSettings:
    """The recipe of every training: the table's network, a short schedule of plain SGD."""
    return preset(
        "nb101",
        arch=arch,
        data=data,
        holdout=0,
        image_size=8,
        width=1 / 16,
        batch_size=40,
        epochs=6,
        optimiser="sgd",
        lr=0.1,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-4,
        # The table's 0.997 would average over more steps than there are.
        bn_momentum=0.1,
        augment="none",
        flip=False,
        device="cpu",
        threads=1,
        workers=0,
        cache=True,
        seed=seed,
        quiet=True,
    )


def draw_cells(count: int) -> list[tuple[int, str]]:
    """Rows of the space, ascending by module hash, and architectures for the trainer."""
    cells, _ = enumerate_space()
    rows = np.sort(np.random.default_rng(CELL_SEED).choice(len(cells), count, replace=False))
    specs = specs_from_cells(cells.take(rows))
    archs = [
        f"nb101:{''.join(str(bit) for row in spec.matrix for bit in row)}"
        f":{','.join(spec.operations)}"
        for spec in specs
    ]
    return list(zip(rows.tolist(), archs, strict=True))


def train_one(job: tuple[int, str, str, int]) -> dict[str, object]:
    """One training, as the line that is kept of it."""
    row, arch, data, seed = job
    with tempfile.TemporaryDirectory() as folder:
        result = run_training(settings_of(arch, data, seed), Path(folder) / "run")
    return {
        "row": row,
        "arch": arch,
        "seed": seed,
        "validation": result["val_top1"],
        "test": result["test_top1"],
        "parameters": result["parameters"],
        "seconds": result["train_seconds"],
    }


def read_pool(path: Path) -> list[dict[str, object]]:
    """The finished trainings; a line that was cut off by a kill is left out."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return lines


def missing_jobs(path: Path, data: str, cells: int) -> Iterator[tuple[int, str, str, int]]:
    """The trainings that the file does not hold yet, seed by seed of each cell."""
    done = {(line["row"], line["seed"]) for line in read_pool(path)}
    for row, arch in draw_cells(cells):
        for seed in SEEDS:
            if (row, seed) not in done:
                yield row, arch, data, seed


def main() -> None:
    """Trains what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder with train/, val/ and test/")
    parser.add_argument("pool", type=Path, help="file of the results, one line a training")
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    jobs = list(missing_jobs(options.pool, options.data, options.cells))
    text = options.pool.read_text() if options.pool.exists() else ""
    with options.pool.open("a") as file:
        if text and not text.endswith("\n"):
            file.write("\n")
        with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
            for number, line in enumerate(pool.imap_unordered(train_one, jobs), 1):
                file.write(json.dumps(line) + "\n")
                file.flush()
                if number % 10 == 0 or number == len(jobs):
                    print(f"{number} of {len(jobs)} trainings", flush=True)


if __name__ == "__main__":
    main()
