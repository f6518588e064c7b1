"""Compares the studies of several seeds: chosen networks, and predictions of others' networks.

python examples/imagenet_digits/compare_seeds.py STUDY STUDY ...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nprep.imagenet.ledger import Ledger
from nprep.imagenet.ranking import kendall_tau, load_ranker


def trained_networks(study: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The random networks that a study trained, and their validation accuracy."""
    ledger = Ledger(study / "ledger.sqlite")
    rows = [p.training for p in ledger.proposals("random") if p.training.accuracy is not None]
    ledger.close()
    encodings = np.array([list(map(int, t.encoding)) for t in rows], np.uint8)
    return encodings, np.array([t.accuracy for t in rows], np.float64)


def main(studies: list[Path]) -> None:
    """Prints a line a study, and means with standard deviations."""
    networks = [trained_networks(study) for study in studies]
    print("study       tau(folds)  tau(others)  networks  test predictor  test random")
    rows = []
    for number, study in enumerate(studies):
        report = json.loads((study / "report.json").read_text())
        others = [networks[other] for other in range(len(studies)) if other != number]
        ranker = load_ranker(study / "predictor.npz")
        encodings = np.concatenate([part[0] for part in others])
        accuracies = np.concatenate([part[1] for part in others])
        tau = kendall_tau(ranker.predict(encodings), accuracies)
        tests = [100 * report["methods"][m]["test_top1"] for m in ("predictor", "random")]
        rows.append([ranker.choices[0].tau, tau, *tests])
        print(
            f"{study.name:<11} {rows[-1][0]:>10.3f}  {tau:>11.3f}  {len(accuracies):>8}  "
            f"{tests[0]:>13.2f}%  {tests[1]:>10.2f}%"
        )
    mean, deviation = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
    print(
        f"{'mean':<11} {mean[0]:>10.3f}  {mean[1]:>11.3f}  {'':>8}  {mean[2]:>13.2f}%  "
        f"{mean[3]:>10.2f}%\n"
        f"{'deviation':<11} {deviation[0]:>10.3f}  {deviation[1]:>11.3f}  {'':>8}  "
        f"{deviation[2]:>13.2f}   {deviation[3]:>10.2f}"
    )


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main([Path(name) for name in sys.argv[1:]])
