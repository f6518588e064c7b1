"""What all benchmarks share: the space, sizes, the machine's own limits, and the report at the end.

A benchmark notes by ``bench.common.record`` what ratios and shares of the limits are computed from.
Nothing here judges a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.common import CORES, SIZES, measure_machine
from bench.results import rows_of, to_text
from nprep.spaces.nb101.cells import CellBatch, build_index, enumerate_space
from nprep.table.view import View

_MACHINE = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--smoke", action="store_true", help="smallest sizes only: shows that benchmarks still run"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives ``size`` and ``trials`` their values."""
    smoke = metafunc.config.getoption("--smoke")
    if "size" in metafunc.fixturenames:
        metafunc.parametrize("size", SIZES[:1] if smoke else SIZES, ids=lambda n: f"{n} cells")
    if "trials" in metafunc.fixturenames:
        metafunc.parametrize("trials", (1,) if smoke else (1, 10, 100), ids=lambda n: f"{n} trials")


@pytest.fixture(scope="session")
def smoke(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--smoke"))


@pytest.fixture(scope="session")
def space() -> CellBatch:
    """All 423,624 cells."""
    return enumerate_space(CORES)[0]


@pytest.fixture(scope="session")
def shuffled(space: CellBatch) -> CellBatch:
    """All cells in a random order, so that the first N are a fair sample."""
    return space.take(np.random.default_rng(0).permutation(len(space)))


@pytest.fixture(scope="session")
def view(space: CellBatch) -> View:
    """The whole space with made-up accuracies that follow the cells' structure."""
    rng = np.random.default_rng(0)
    conv3x3 = (space.operations == 0).sum(axis=1)
    quality = 0.90 + 0.008 * conv3x3 + rng.normal(0, 0.006, len(space))
    validation = quality[:, None] + rng.normal(0, 0.003, (len(space), 3))
    return View(
        name="made up",
        description="made-up values for benchmarks",
        rows=np.arange(len(space), dtype=np.int32),
        cells=space,
        validation=validation.astype(np.float32),
        test=quality.astype(np.float32),
        training_seconds=np.ones((len(space), 3), np.float32),
        index=build_index(space),
        provenance={},
    )


@pytest.fixture(scope="session", autouse=True)
def machine(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The machine's limits, measured in this run before anything else."""
    measured = {} if request.config.getoption("--smoke") else measure_machine()
    request.config.stash[_MACHINE] = measured
    return measured


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: object, output_json: dict[str, Any]
) -> None:
    """Puts the machine's limits into the JSON."""
    output_json["limits"] = config.stash.get(_MACHINE, {})


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints ratios and shares of the machine's limits."""
    session = getattr(config, "_benchmarksession", None)
    limits = config.stash.get(_MACHINE, {})
    if session is None or not limits:
        return
    found = [
        {
            "name": bench.name,
            "extra_info": bench.extra_info,
            "stats": {"median": bench.stats.median},
        }
        for bench in session.benchmarks
        if bench and bench.extra_info.get("path")
    ]
    if found:
        terminalreporter.section("ratios to the baselines, shares of the machine's limits")
        terminalreporter.write_line(to_text(rows_of(found, limits), limits))
