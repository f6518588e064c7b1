"""Trains some random networks of a study again with another seed: how far can ranks be trusted?

python examples/imagenet_digits/retrain.py STUDY COUNT
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from nprep.imagenet.study.ledger import Ledger
from nprep.imagenet.study.ranking import kendall_tau
from nprep.imagenet.training.folder import RunFolder
from nprep.imagenet.training.run import run_training


def main(study: Path, count: int) -> None:
    """Prints both accuracies of each network, and how they agree."""
    ledger = Ledger(study / "ledger.sqlite")
    trainings = [p.training for p in ledger.proposals("random")][:count]
    ledger.close()
    pairs = []
    for training in trainings:
        run = study / "trainings" / f"{training.number:04d}-{training.stage}"
        settings = RunFolder(run).settings()
        with tempfile.TemporaryDirectory() as folder:
            again = run_training(replace(settings, seed=settings.seed + 1000), Path(folder))
        pairs.append((100 * (training.accuracy or 0.0), 100 * again["val_top1"]))
        print(f"{training.encoding}  {pairs[-1][0]:6.2f} %  {pairs[-1][1]:6.2f} %", flush=True)
    first, second = np.array(pairs).T
    print(
        f"Kendall tau between the two {kendall_tau(first, second):.3f}; a training scatters by "
        f"{(first - second).std(ddof=1) / np.sqrt(2):.2f} points, and networks differ by "
        f"{((first + second) / 2).std(ddof=1):.2f} (deviations)"
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]))
