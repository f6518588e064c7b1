"""The protocols that published comparisons follow, by name.

Peers differ in what drives the search, what is reported, how random cells are drawn, what becomes
of invalid specs and duplicates, and what ends a trial. Numbers from different protocols cannot be
compared; under one of these names they can.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.search.rules import ReplayProtocol
from nprep.table.view import Fidelity, View

# How far a published number can be trusted.
CONFIDENCE = {
    "read": "read in the source",
    "quoted": "quoted by others",
    "recalled": "from memory of the paper, unverified",
    "unsure": "from memory, unsure",
}


@dataclass(frozen=True)
class Published:
    """A number that a paper reports under a protocol.

    Attributes:
        method: The method's name here.
        metric: "validation" or "test".
        samples: After how many samples; 0 where the method has no budget.
        percent: The mean over trials.
        confidence: A key of ``CONFIDENCE``.
        source: Where it stands.
    """

    method: str
    metric: str
    samples: int
    percent: float
    confidence: str
    source: str


@dataclass(frozen=True)
class NamedProtocol:
    """The rules of a published comparison, with its methods and budgets as defaults.

    Attributes:
        rules: The rules.
        source: What they were taken from.
        methods: Names for ``nprep.search.registry.make_method``.
        samples: Budget of the sequential methods; under a limit of seconds, no more than a cap.
        train_samples: Number N of cells that predictors train on.
        top_k: Number K of cells that they have trained in the end.
        published: What the source and others report under these rules.
        space: Name of the space that they report it of.
    """

    rules: ReplayProtocol
    source: str
    methods: tuple[str, ...]
    samples: int
    train_samples: int
    top_k: int
    published: tuple[Published, ...] = ()
    space: str = "nb101"


_WEN = "Wen et al., ECCV 2020, section 4"
_AE_NAS = "AE-NAS, Sci. Rep. 2025, table 1"

# One random run of each cell drives the search and the mean of its runs is reported; cells are
# drawn uniformly, a cell met again costs again. Evolution's settings are not stated there.
WEN2020 = NamedProtocol(
    rules=ReplayProtocol(),
    source="Wen et al., Neural Predictor for Neural Architecture Search, ECCV 2020",
    methods=("random", "evolution", "np", "oracle"),
    samples=10_000,
    train_samples=172,
    top_k=1000,
    published=(
        Published("evolution", "test", 5000, 94.04, "recalled", _WEN),
        Published("evolution", "validation", 5000, 95.06, "recalled", _WEN),
        # "22.83 and 12.40 times faster" than 5,000 samples.
        Published("np", "test", 219, 94.04, "recalled", _WEN),
        Published("np", "validation", 403, 95.06, "recalled", _WEN),
        Published("oracle", "test", 0, 94.18, "unsure", _WEN),
    ),
)

# experiment_scripts/run_*.py of automl/nas_benchmarks: each query draws a run by the official API,
# the mean of the runs is the test error, both are shown as regrets against training time. Specs
# are drawn without a check: an invalid one has error 1, costs no time and is dropped from the
# trace. How long trials were is a choice here: the scripts end after a number of queries.
YING2019 = NamedProtocol(
    rules=ReplayProtocol(
        name="ying2019",
        repeats="query",
        sampling="specs",
        invalid="zero",
        shows="regret",
        axis="seconds",
        seconds=1e7,
    ),
    source="Ying et al., NAS-Bench-101, ICML 2019, with the code of automl/nas_benchmarks",
    methods=("random", "evolution-ying", "np", "oracle"),
    samples=20_000,
    train_samples=172,
    top_k=10_000,
)

# naszilla, "deterministic": searchers see the mean of the runs, an easier task than a single run.
# The table has 93.669 for a GCN predictor, too. It ranks nothing: ``gcn_predictor`` of naszilla
# sorts its predictions and then trains the first cells of its list, whatever is predicted of them.
# Which of its two local searches the table ran is not said.
BANANAS = NamedProtocol(
    rules=ReplayProtocol(name="bananas", repeats="mean", sampling="specs"),
    source="White et al., BANANAS, AAAI 2021, with the code of naszilla",
    methods=("random", "evolution-naszilla", "np", "oracle"),
    samples=150,
    train_samples=86,
    top_k=64,
    published=(
        Published("random", "test", 150, 93.659, "read", _AE_NAS),
        Published("evolution-naszilla", "test", 150, 93.891, "read", _AE_NAS),
        Published("bohb", "test", 150, 93.644, "read", _AE_NAS),
        Published("local-search", "test", 150, 94.068, "read", _AE_NAS),
        Published("bananas", "test", 150, 94.077, "read", _AE_NAS),
        Published("npenas", "test", 150, 94.14, "quoted", "96linan/Performance-Predictor"),
    ),
)

# NASBench.ipynb of google-research/nasbench: each query draws a run by the API's generator, and
# the test accuracy of that very run is reported, until 5e6 seconds are spent.
NOTEBOOK = NamedProtocol(
    rules=ReplayProtocol(
        name="nasbench-notebook",
        repeats="query",
        sampling="specs",
        report="run",
        axis="seconds",
        seconds=5e6,
    ),
    source="NASBench.ipynb of google-research/nasbench (Ying et al., ICML 2019)",
    methods=("random", "evolution", "np", "oracle"),
    samples=20_000,
    train_samples=172,
    top_k=5000,
)

# simulate_train_eval of the authors' NATS-Bench with hp="12": each query trains for 12 epochs by a
# random seed and is charged with its training and one validation, until 12,000 s are spent; what is
# reported is after 200 epochs. The view "search-12" of a table built by the source nats is that.
# Evolution there has a population of 10 and tournaments of 3. Most trials end after about 100
# queries.
NB201 = NamedProtocol(
    rules=ReplayProtocol(name="nb201", repeats="query", axis="seconds", seconds=12_000),
    source="Dong and Yang, NAS-Bench-201, ICLR 2020, with the code of NATS-Bench",
    methods=("random", "evolution-nats", "np", "oracle"),
    samples=2000,
    train_samples=43,
    top_k=1000,
    space="nb201",
)

# Mean validation accuracies and 150 queries, as naszilla does it on NAS-Bench-201.
NB201_MEAN = NamedProtocol(
    rules=ReplayProtocol(name="nb201-mean", repeats="mean"),
    source="White et al., BANANAS, AAAI 2021, with the code of naszilla, on NAS-Bench-201",
    methods=("random", "evolution", "np", "oracle"),
    samples=150,
    train_samples=86,
    top_k=64,
    space="nb201",
)

PROTOCOLS = {
    named.rules.name: named for named in (WEN2020, YING2019, BANANAS, NOTEBOOK, NB201, NB201_MEAN)
}


def protocol_named(name: str) -> NamedProtocol:
    """The protocol of a name.

    Raises:
        SettingsError: If there is none.
    """
    if name not in PROTOCOLS:
        raise SettingsError(
            f"protocol {name!r} is unknown: use {', '.join(list(PROTOCOLS)[:-1])} or "
            f"{list(PROTOCOLS)[-1]}."
        )
    return PROTOCOLS[name]


def published_of(protocol: ReplayProtocol, view: Mapping[str, object]) -> tuple[Published, ...]:
    """What is published under the rules of a protocol's name, of the space of a run's view.

    Args:
        protocol: The rules.
        view: The view as ``settings.json`` describes it.
    """
    named = PROTOCOLS.get(protocol.name)
    if named is None or named.space != view.get("space", WEN2020.space):
        return ()
    return named.published


def differences(protocol: ReplayProtocol) -> dict[str, object]:
    """The rules that are not those of the protocol of that name; all of them if it has none."""
    rules = dataclasses.asdict(protocol)
    name = rules.pop("name")
    named = dataclasses.asdict(PROTOCOLS[name].rules) if name in PROTOCOLS else {}
    missing = object()
    return {rule: value for rule, value in rules.items() if named.get(rule, missing) != value}


def label(protocol: ReplayProtocol) -> str:
    """The name, and the rules that differ from it: "wen2020 with duplicates free"."""
    differing = differences(protocol)
    if not differing:
        return protocol.name
    return f"{protocol.name} with " + ", ".join(
        f"{rule} {'unlimited' if value is None else value}" for rule, value in differing.items()
    )


def in_words(protocol: ReplayProtocol) -> str:
    """The rules in one sentence, for captions."""
    driver = {
        "architecture": "the validation accuracy of one run of each cell, drawn once per trial",
        "query": "the validation accuracy of one run, drawn at every query",
        "mean": "the mean validation accuracy of the runs",
    }[protocol.repeats]
    report = {"mean": "the mean test accuracy of its runs", "run": "the test accuracy of that run"}
    sampling = {"cells": "uniformly over cells", "specs": "by the official sampler of specs"}
    words = (
        f"the search sees {driver}; reported of its best cell is "
        f"{report[protocol.report]}; random cells are drawn {sampling[protocol.sampling]}; "
        f"duplicates are {protocol.duplicates}"
    )
    if protocol.invalid == "zero":
        words += "; invalid specs score 0 and cost nothing"
    if protocol.seconds is not None:
        words += f"; trials end after {protocol.seconds:,.0f} s of training"
    return words


def with_rules(view: View, protocol: ReplayProtocol) -> View:
    """The view as the searches of a protocol may see it.

    Where the mean of the repeats drives, a cell has that one value instead of its repeats.
    """
    if protocol.repeats != "mean":
        return view
    lower = {
        budget: Fidelity(
            fidelity.epochs, _mean(fidelity.validation), _mean(fidelity.training_seconds)
        )
        for budget, fidelity in view.lower.items()
    }
    return dataclasses.replace(
        view,
        validation=_mean(view.validation),
        training_seconds=_mean(view.training_seconds),
        test_runs=view.test[:, None],
        lower=lower,
    )


def _mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, 1) means of the repeats that are present of (M, R); NaN where none is."""
    present = ~np.isnan(values)
    total = np.where(present, values, 0).sum(axis=1, dtype=np.float64, keepdims=True)
    count = present.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return (total / count).astype(np.float32)
