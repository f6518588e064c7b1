"""Some hundred damaged tables and run folders; ``python -m tests.fuzz.run`` does thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.run import Tally, fuzz, run_batch


@pytest.mark.slow
def test_damage_is_never_taken_for_data(tmp_path: Path) -> None:
    tallies = fuzz(300, seed=1, batch=300, base=tmp_path)
    failures = [text for tally in tallies.values() for text in tally.failures]
    assert not failures, "\n".join(failures)
    assert sum(sum(tally.ended.values()) for tally in tallies.values()) >= 300
    # Of those a few cases run, which may all end well.
    few = ("run-resumed", "environments")
    assert all(tally.ended["refused"] for name, tally in tallies.items() if name not in few)


def test_the_same_cases_again(tmp_path: Path) -> None:
    counts = []
    for _ in range(2):
        tally = Tally()
        run_batch("table-bytes", 5, 10, 20, tmp_path, tally)
        counts.append(tally.ended)
    assert counts[0] == counts[1]
