"""Methods that train shortly, from trials to curves and files."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nprep.errors import SettingsError
from nprep.replays.engine import run_replay
from nprep.results.curves import curves_of
from nprep.runs.blocks import Results, TrialBlock, read_block, write_block
from nprep.runs.settings import ReplaySettings
from nprep.search.registry import make_method
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.trace import Trace
from nprep.table.view import View
from tests.search.short_trainings import with_short_trainings
from tests.synthetic import SyntheticSource, synthetic_view

VIEW = with_short_trainings(synthetic_view(300))


@dataclasses.dataclass(frozen=True)
class ShortSource(SyntheticSource):
    """A view that knows short trainings."""

    def load(self) -> View:
        return with_short_trainings(super().load())


def traces_of(samples: int = 30, trials: int = 3) -> list[Trace]:
    seeds = [trial_seed(1, "hyperband", trial) for trial in range(trials)]
    return make_method("hyperband", 10).run_block(VIEW, seeds, samples, ReplayProtocol())


def test_curves_by_samples_equal_a_loop() -> None:
    traces = traces_of()
    # A trial that ended early stays as it was.
    short = traces[1]
    traces[1] = Trace(
        short.positions[:40], short.repeats[:40], short.validation[:40], short.seconds[:40],
        None if short.epochs is None else short.epochs[:40], None,
    )  # fmt: skip
    curves = curves_of("hyperband", 0, 30, Results.of_traces(traces), VIEW)
    assert curves.test.shape == (3, 30)
    assert curves.epochs is not None
    assert curves.queries is not None
    for trial, trace in enumerate(traces):
        assert trace.epochs is not None
        for samples in range(1, 31):
            best, spent, done, seconds = -1, 0, 0, 0.0
            for number in range(len(trace)):
                if spent + int(trace.epochs[number]) > 108 * samples:
                    break
                spent += int(trace.epochs[number])
                seconds += float(trace.seconds[number])
                done += 1
                if best < 0 or trace.validation[number] > trace.validation[best]:
                    best = number
            at = (trial, samples - 1)
            assert curves.epochs[at] == spent
            assert curves.queries[at] == done
            assert curves.seconds[at] == pytest.approx(seconds, rel=1e-6)
            assert curves.validation[at] == 100 * float(trace.validation[best])
            assert curves.test[at] == 100 * float(VIEW.test[trace.positions[best]])


def test_a_replay_of_short_trainings(tmp_path: Path) -> None:
    settings = ReplaySettings(
        methods=("random", "hyperband", "bohb"), trials=4, samples=40, block=2, bootstrap=20,
        workers=(1, 8),
    )  # fmt: skip
    replay = run_replay(settings, ShortSource(), tmp_path / "one")
    run_replay(settings, ShortSource(), tmp_path / "two", jobs=2)
    for path in replay.files:
        if path.suffix != ".png":
            assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    with open(tmp_path / "one" / "curves.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    last = {row["method"]: row for row in rows if row["samples"] == "40"}
    assert float(last["random"]["queries_mean"]) == 40
    assert float(last["hyperband"]["queries_mean"]) > 80
    for row in last.values():
        assert float(row["epochs_mean"]) <= 40 * 108
    ends = {
        name: [entry["ends_mean_seconds"] for entry in entries]
        for name, entries in replay.summary["clock"]["methods"].items()
    }
    assert ends["hyperband"][0] > 4 * ends["hyperband"][1]


def test_a_view_without_short_trainings_is_refused_before_anything_runs(tmp_path: Path) -> None:
    settings = ReplaySettings(methods=("random", "hyperband"), trials=1, samples=5)
    with pytest.raises(
        SettingsError, match=r"'hyperband' trains for 4, 12, 36 epochs .* leave it out"
    ):
        run_replay(settings, SyntheticSource(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "damage",
    [
        {"epochs": lambda a: a[:, :-1]},
        {"epochs": lambda a: a.astype(np.int16)},
        {"epochs": lambda a: np.where(a == 4, 5, a).astype(np.uint8)},
        {"epochs": lambda a: np.full_like(a, 108)},
        {"rounds": lambda a: a + np.int32(1)},
        {"rounds": lambda a: a[:-1]},
        {"rounds": lambda a: a[:, ::-1]},
        {"rounds": lambda a: a.astype(np.int64)},
        {"rounds": lambda a: np.where(a == a[:, 1:2], 0, a).astype(np.int32)},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_blocks_that_no_replay_writes_are_refused(
    damage: dict[str, object], tmp_path: Path
) -> None:
    results = Results.of_traces(traces_of(20, 2))
    block = TrialBlock("hyperband", 0, 2)
    write_block(tmp_path, block, results, "run")
    sound = read_block(tmp_path, block, 20, VIEW.validation.shape, "run", VIEW.budgets)
    np.testing.assert_array_equal(sound.epochs, results.epochs)
    np.testing.assert_array_equal(sound.rounds, results.rounds)
    changes = {name: change(getattr(results, name)) for name, change in damage.items()}  # type: ignore[operator]
    write_block(tmp_path, block, dataclasses.replace(results, **changes), "run")
    with pytest.raises(ValueError, match="does not hold what its name says"):
        read_block(tmp_path, block, 20, VIEW.validation.shape, "run", VIEW.budgets)
