"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from nprep.kernels.nb101.enumerate import enumerate_cells

Cells = tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint64]]

# The first example of a test may compile kernels for seconds, and no test judges by time.
settings.register_profile("nprep", deadline=None)
settings.load_profile("nprep")


@pytest.fixture(scope="session")
def measured_path() -> Path:
    """The measured table, or a skip that says how to provide it."""
    folder = os.environ.get("NPREP_DATA")
    if not folder:
        pytest.skip("NPREP_DATA is not set: it names the folder that holds measured.npz")
    path = Path(folder) / "measured.npz"
    if not path.is_file():
        pytest.skip(f"NPREP_DATA is {folder}, which holds no measured.npz")
    return path


@pytest.fixture(scope="session")
def all_cells() -> Cells:
    """Bits, operations, vertex counts and keys of all 423,624 cells; nobody changes them."""
    return enumerate_cells()


@pytest.fixture(scope="session")
def run_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small made-up table that the runs below searched."""
    # Here, since most tests need no replay.
    from tests.report.runs import make_table

    return make_table(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, run_table: Path) -> Path:
    """A finished run; nobody changes it."""
    from tests.report.runs import make_run

    return make_run(tmp_path_factory.mktemp("runs") / "first", run_table)


@pytest.fixture(scope="session")
def other_n(tmp_path_factory: pytest.TempPathFactory, run_table: Path) -> Path:
    """A finished run with another number of training samples; nobody changes it."""
    from tests.report.runs import make_run

    folder = tmp_path_factory.mktemp("runs-other") / "second"
    return make_run(folder, run_table, train_samples=60, methods=("mlp", "oracle"), workers=())
