"""Compares the studies of several seeds: chosen networks, and predictions of others' networks.

python examples/imagenet_digits/compare_seeds.py STUDY STUDY ...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.imagenet.study.ledger import Ledger, Training
from nprep.imagenet.study.ranking import kendall_tau, load_ranker

METHODS = ("predictor", "random")


def trainings_of(study: Path, method: str, phase: str | None = None) -> list[Training]:
    """The trainings that a method asked for and that gave an accuracy."""
    ledger = Ledger(study / "ledger.sqlite")
    rows = [
        p.training
        for p in ledger.proposals(method)
        if p.training.accuracy is not None and phase in (None, p.phase)
    ]
    ledger.close()
    return rows


def as_arrays(trainings: list[Training]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """(n, B) encodings and (n,) validation accuracies."""
    encodings = np.array([list(map(int, t.encoding)) for t in trainings], np.uint8)
    return encodings, np.array([t.accuracy for t in trainings], np.float64)


def last_phase(study: Path, method: str) -> float:
    """Mean test accuracy of the K networks that a method trained last, in percent."""
    results = [t.result for t in trainings_of(study, method, "top") if t.result]
    return float(np.mean([100 * result["test_top1"] for result in results]))


def line(name: str, row: list[float], unit: str = "%") -> str:
    """A line of the table."""
    taus, accuracies = row[:2], row[2:]
    return f"{name:<11} " + "  ".join(
        [*(f"{tau:>10.3f}" for tau in taus), *(f"{a:>9.2f}{unit:<1}" for a in accuracies)]
    )


def main(studies: list[Path]) -> None:
    """Prints a line a study, and means with standard deviations."""
    networks = [as_arrays(trainings_of(study, "random")) for study in studies]
    unseen = sum(len(part[1]) for part in networks) - len(networks[0][1])
    print(
        "tau: Kendall's, between predictions and validation accuracy: of left-out folds, and of\n"
        f"the {unseen} networks that the other seeds trained, which the predictor never saw.\n"
        "test: of the network that a method chose by validation; mean K: of its last K networks.\n"
        "study        tau folds   tau unseen  test pred.  test rand.  mean K p.  mean K r."
    )
    rows: list[list[float]] = []
    for number, study in enumerate(studies):
        report = json.loads((study / "report.json").read_text())
        others = [networks[other] for other in range(len(studies)) if other != number]
        ranker = load_ranker(study / "predictor.npz")
        encodings = np.concatenate([part[0] for part in others])
        accuracies = np.concatenate([part[1] for part in others])
        tau = kendall_tau(ranker.predict(encodings), accuracies)
        tests = [100 * report["methods"][method]["test_top1"] for method in METHODS]
        means = [last_phase(study, method) for method in METHODS]
        rows.append([ranker.choices[0].tau, tau, *tests, *means])
        print(line(study.name, rows[-1]))
    print(line("mean", np.mean(rows, axis=0).tolist()))
    print(line("deviation", np.std(rows, axis=0, ddof=1).tolist()))
    every = np.concatenate([part[1] for part in networks])
    print(
        f"{len(every)} random networks: validation accuracy {100 * every.min():.2f} to "
        f"{100 * every.max():.2f} %, mean {100 * every.mean():.2f} %, deviation "
        f"{100 * every.std(ddof=1):.2f} points"
    )


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main([Path(name) for name in sys.argv[1:]])
