"""The source for the pickles of NASLib and NASBenchAPI."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from nprep.table.schema import Content
from nprep.table.sources._runs import load_space, to_content
from nprep.table.sources.community import read_nasbench_pickle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this source."""
    parser.add_argument("input", type=Path, help="the pickle of NASLib or NASBenchAPI")


def build(arguments: argparse.Namespace, progress: Callable[[str], None]) -> Content:
    """Reads the file.

    Raises:
        TableError: If the file is not what it should be.
    """
    progress("enumerating the space")
    space = load_space()
    progress(f"reading {arguments.input}")
    runs = read_nasbench_pickle(arguments.input, space)
    for warning in runs.warnings:
        progress(f"note: {warning}")
    return to_content("nasbench-pickle", runs, space)
