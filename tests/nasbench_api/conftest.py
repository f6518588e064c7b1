"""A small made-up data set for all tests of the drop-in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nprep.nasbench import api
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table.sources._runs import Runs, to_content
from nprep.table.writer import write_table
from tests.nasbench_api.cells import SPACE
from tests.table.official_small import made_up_values


@pytest.fixture(scope="session")
def values() -> np.ndarray:
    return made_up_values(SPACE, BUDGETS)


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("api") / "table.h5"
    write_table(path, to_content("nasbench", Runs(values, {"file": "x"}), SPACE))
    return path


@pytest.fixture
def nasbench(path: Path) -> api.NASBench:
    return api.NASBench(path, seed=3)
