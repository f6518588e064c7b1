"""The official API of NATS-Bench's topology space, on tables of nprep.

    from nprep.nats_bench import create

    api = create("nb201-cifar10.h5", "tss")  # one table, or one for each dataset
    api.get_more_info(1234, "cifar10-valid", hp="200")

Names, keys and exceptions are those of https://github.com/D-X-Y/NATS-Bench, version 1.8. What
differs:

- A table is of one dataset; several can be given. A table of CIFAR-10 answers as "cifar10-valid",
  and as "cifar10" (networks trained on all training images) only what it was built with.
- Only the last epoch of a training is known, so ``iepoch`` must be None or that epoch.
- Where a table has means alone, the mean is the answer whatever ``is_random`` says, and ``None``
  stands for losses and times that it lacks.
- "valtest" is the mean of validation and test, which have as many images each.
- FLOPs and parameters are computed, not read; there are no weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nprep.nats_bench.results import ArchResults
from nprep.nats_bench.topology import FULL_TRAIN_EPOCHS, NATStopology

__all__ = ["FULL_TRAIN_EPOCHS", "ArchResults", "NATStopology", "create"]


def create(
    file_path_or_dict: Any,
    search_space: str,
    fast_mode: bool = False,
    verbose: bool = True,
) -> NATStopology:
    """The API on one table or several.

    Args:
        file_path_or_dict: A table file or an open table, or several of them in a list. (The
            original takes None for a file that it looks for; name the file here.)
        search_space: "tss" or "topology".
        fast_mode: Has no effect: tables are mapped, so nothing is loaded ahead.
        verbose: Whether to print what was opened.

    Raises:
        ValueError: If it is another space, or nothing is given.
        TableError: If a file is no table of NAS-Bench-201.
    """
    if search_space not in ("tss", "topology"):
        raise ValueError(f"the search space {search_space!r} is not here: use 'tss'.")
    if file_path_or_dict is None:
        raise ValueError(
            "name a table of NAS-Bench-201, such as one built by python -m nprep.table build "
            "--source nats FOLDER TABLE.h5."
        )
    given = file_path_or_dict
    if isinstance(given, Mapping):
        given = list(given.values())
    if not isinstance(given, Sequence) or isinstance(given, str):
        given = [given]
    return NATStopology(given, fast_mode, verbose)
