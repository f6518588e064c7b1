"""The predictor of a study: the project's GCN on chains, cross-validated."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.errors import RunFolderError, SettingsError
from nprep.imagenet.files import write_atomically
from nprep.predictor.agreement import kendall_tau
from nprep.predictor.chains import predict_chains
from nprep.predictor.gcn import GcnWeights, train
from nprep.predictor.labels import LabelScale
from nprep.predictor.settings import GcnSettings
from nprep.spaces.proxyless.chains import chain_graphs

FOLDS = 5
# Layers per block: 18 for the 22 blocks of the paper.
LAYERS_PER_BLOCK = 18 / 22
# A prediction is the mean over predictors that differ in their seed alone.
MEMBERS = 3


@dataclass(frozen=True)
class Choice:
    """Settings and how they did.

    Attributes:
        settings: Of the predictor.
        tau: Kendall's tau between predictions of left-out networks and their accuracy, mean over
            folds.
    """

    settings: GcnSettings
    tau: float


@dataclass(frozen=True)
class Ranker:
    """Trained predictors and where their settings came from.

    Attributes:
        members: Predictors whose mean is the prediction.
        choices: All settings that were tried, best first.
    """

    members: list[GcnWeights]
    choices: list[Choice]

    def predict(self, encodings: NDArray[np.uint8], threads: int = 1) -> NDArray[np.float32]:
        """Predicted accuracy: (N, B) to (N,) float32."""
        return np.mean(
            [predict_chains(member, encodings, threads) for member in self.members],
            axis=0,
            dtype=np.float32,
        )


def save_ranker(path: Path, ranker: Ranker) -> None:
    """Writes the trained predictors, without the settings that were not chosen."""
    members = ranker.members
    header = {
        "tau": ranker.choices[0].tau,
        "settings": asdict(members[0].settings),
        "num_types": members[0].num_types,
        "scales": [asdict(member.scale) for member in members],
    }
    parameters = np.stack([member.parameters for member in members])
    losses = np.stack([member.losses for member in members])

    def write(file: Any) -> None:
        np.savez(file, header=json.dumps(header), parameters=parameters, losses=losses)

    write_atomically(path, write)


def load_ranker(path: Path) -> Ranker:
    """Reads what :func:`save_ranker` wrote.

    Raises:
        RunFolderError: If the file is missing or damaged.
    """
    try:
        with np.load(path) as kept:
            header = json.loads(str(kept["header"]))
            parameters, losses = kept["parameters"], kept["losses"]
        head = tuple(header["settings"].pop("head"))
        settings = GcnSettings(**header["settings"], head=head)
        scales = [LabelScale(**scale) for scale in header["scales"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"predictor {path} cannot be read ({error})") from error
    members = [
        GcnWeights(weights, header["num_types"], settings, scale, loss)
        for weights, scale, loss in zip(parameters, scales, losses, strict=True)
    ]
    return Ranker(members, [Choice(settings, header["tau"])])


def candidate_settings(blocks: int) -> list[GcnSettings]:
    """The settings that cross-validation chooses from.

    Args:
        blocks: Nodes of a chain; the layers go with them, 18 for 22.
    """
    deep = max(1, round(LAYERS_PER_BLOCK * blocks))
    # Rates above 1e-4 kill the deep stack on a hundred networks; a shallow one likes them.
    plans = ((deep, 1e-4, 300), (max(1, deep // 3), 3e-4, 150))
    return [
        GcnSettings(
            layers=layers,
            width=width,
            head=(512, 128),
            initialisation="he",
            learning_rate=rate,
            epochs=epochs,
        )
        for layers, rate, epochs in plans
        for width in (48, 96)
    ]


def fit_ranker(
    encodings: NDArray[np.uint8],
    accuracies: NDArray[np.floating],
    seed: np.random.SeedSequence,
    settings: list[GcnSettings] | None = None,
    threads: int = 1,
) -> Ranker:
    """Chooses settings by cross-validation and trains on all networks.

    Args:
        encodings: (N, B) trained networks.
        accuracies: (N,) their accuracy, in [0, 1].
        seed: Of folds and predictors.
        settings: What to choose from; None takes :func:`candidate_settings`.
        threads: Predictors trained at a time; the result does not depend on it.

    Raises:
        SettingsError: If there are too few networks to learn from.
    """
    count, blocks = encodings.shape
    if count < 2:
        raise SettingsError(
            f"{count} networks are trained and a predictor needs at least 2: train more"
        )
    tried = candidate_settings(blocks) if settings is None else settings
    folds = np.random.default_rng(seed).permutation(count) % min(FOLDS, count)
    # spawn() would change the caller's seed, and so a resumed study.
    fold_seed, *member_seeds = (
        np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, number))
        for number in range(1 + MEMBERS)
    )

    def left_out(job: tuple[GcnSettings, int]) -> float:
        inside = folds != job[1]
        weights = train(chain_graphs(encodings[inside]), accuracies[inside], job[0], fold_seed)
        return kendall_tau(
            predict_chains(weights, encodings[~inside]), accuracies[~inside], constant=0.0
        )

    jobs = [(one, fold) for one in tried for fold in range(int(folds.max()) + 1)]
    with ThreadPoolExecutor(threads) as pool:
        taus = np.array(list(pool.map(left_out, jobs))).reshape(len(tried), -1).mean(axis=1)
        choices = [Choice(one, float(tau)) for one, tau in zip(tried, taus, strict=True)]
        choices.sort(key=lambda choice: -choice.tau)
        graphs = chain_graphs(encodings)
        members = list(
            pool.map(lambda s: train(graphs, accuracies, choices[0].settings, s), member_seeds)
        )
    return Ranker(members, choices)
