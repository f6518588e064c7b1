"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

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
