"""One run for all tests of the report and the plots."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.runs import make_run, make_table


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_table(tmp_path_factory.mktemp("report-table"))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, table: Path) -> Path:
    return make_run(tmp_path_factory.mktemp("report-runs") / "first", table)


@pytest.fixture(scope="session")
def other_n(tmp_path_factory: pytest.TempPathFactory, table: Path) -> Path:
    folder = tmp_path_factory.mktemp("report-other") / "second"
    return make_run(folder, table, train_samples=60, methods=("mlp", "oracle"), workers=())
