"""Named protocols: what they mean for a view, a trial, the curves and what outputs say."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nprep.errors import SettingsError
from nprep.replays.cli import main
from nprep.replays.engine import run_replay
from nprep.results.curves import curves_of
from nprep.results.summary import best_of
from nprep.runs.blocks import Results
from nprep.runs.protocols import (
    CONFIDENCE,
    PROTOCOLS,
    differences,
    in_words,
    label,
    protocol_named,
    with_rules,
)
from nprep.runs.settings import ReplaySettings
from nprep.search.baselines import RandomSearch, RegularizedEvolution
from nprep.search.evaluator import TableEvaluator
from nprep.search.registry import make_method
from nprep.search.rules import ReplayProtocol, trial_seed
from tests.synthetic import SyntheticSource, synthetic_view

PREDICTOR = "tests.replay.run_synthetic:Predictor"
VIEW = synthetic_view()
named = pytest.mark.parametrize("name", PROTOCOLS)


def small(name: str, **changes: object) -> ReplaySettings:
    """The settings of a protocol, small enough for a made-up view."""
    methods = tuple(PREDICTOR if m == "np" else m for m in PROTOCOLS[name].methods)
    limit = {} if PROTOCOLS[name].rules.seconds is None else {"seconds": 150_000.0}
    given = {
        "methods": methods, "trials": 5, "samples": 140, "train_samples": 20, "top_k": 60,
        "block": 2, "bootstrap": 40, "workers": (1, 7), **limit, **changes,
    }  # fmt: skip
    return ReplaySettings.of_protocol(name, **given)


@named
def test_a_replay_does_not_depend_on_jobs_or_interruptions(name: str, tmp_path: Path) -> None:
    settings = small(name)
    replay = run_replay(settings, SyntheticSource(), tmp_path / "one")
    files = [path.name for path in replay.files if path.suffix != ".png"]
    assert {"curves.csv", "curves-seconds.csv", "clock.csv", "summary.json"} <= set(files)
    resumed = tmp_path / "resumed"
    shutil.copytree(tmp_path / "one", resumed)
    for file in [*list(resumed.glob("trials/*/*.npz"))[::2], *(resumed / f for f in files[1:])]:
        file.unlink()
    run_replay(settings, SyntheticSource(), resumed, resume=True, jobs=2)
    for file in files:
        assert (resumed / file).read_bytes() == (tmp_path / "one" / file).read_bytes()


@named
def test_every_output_names_the_protocol(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = (
        f"--protocol {name} --methods random,oracle --trials 3 --samples 60 --bootstrap 20 "
        f"--sampling cells --duplicates charged --seconds 90000 --jobs 1 --out {out}"
    ).split()
    assert main(arguments, lambda table, view: SyntheticSource()) == 0
    printed = capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    run = json.loads((out / "settings.json").read_text())["run"]
    wanted = {"seconds": 90000.0}
    if PROTOCOLS[name].rules.sampling != "cells":
        wanted["sampling"] = "cells"  # type: ignore[assignment]
    assert run["protocol"]["name"] == summary["protocol"]["name"] == name
    assert run["protocol_differs_in"] == summary["protocol"]["differs_in"] == wanted
    assert summary["protocol"]["source"] == PROTOCOLS[name].source
    svg = (out / "figure.svg").read_text()
    for text in (printed, svg, summary["protocol"]["label"]):
        assert f"{name} with" in " ".join(text.split())
    assert summary["protocol"]["rules"] in " ".join(printed.split())


def test_labels_name_what_differs() -> None:
    assert label(ReplayProtocol()) == "wen2020"
    assert label(ReplayProtocol(duplicates="free")) == "wen2020 with duplicates free"
    notebook = dataclasses.replace(PROTOCOLS["nasbench-notebook"].rules, seconds=None)
    assert label(notebook) == "nasbench-notebook with seconds unlimited"
    mine = ReplayProtocol(name="mine", repeats="mean")
    assert differences(mine)["repeats"] == "mean"
    assert set(differences(mine)) == {f.name for f in dataclasses.fields(mine)} - {"name"}


@named
def test_protocols_are_complete(name: str) -> None:
    protocol = protocol_named(name)
    assert protocol.rules.name == name
    assert protocol.source
    assert in_words(protocol.rules)
    for method in protocol.methods:
        assert make_method(method, protocol.train_samples).name == method
    for number in protocol.published:
        assert number.confidence in CONFIDENCE
        assert number.source
        assert number.samples <= max(protocol.samples, protocol.train_samples + protocol.top_k)
    settings = ReplaySettings.of_protocol(name)
    assert settings.protocol == protocol.rules
    assert (settings.samples, settings.methods) == (protocol.samples, protocol.methods)


def test_changes_go_to_the_settings_or_to_the_rules() -> None:
    settings = ReplaySettings.of_protocol("bananas", samples=200, duplicates="free")
    assert (settings.samples, settings.train_samples) == (200, 86)
    assert settings.protocol == dataclasses.replace(PROTOCOLS["bananas"].rules, duplicates="free")
    with pytest.raises(SettingsError, match=r"'wen' is unknown: use wen2020, .* or nb201-mean"):
        ReplaySettings.of_protocol("wen")


def test_the_mean_of_the_runs_drives() -> None:
    mean = with_rules(VIEW, ReplayProtocol(repeats="mean"))
    assert mean.validation.shape == (len(VIEW), 1)
    for position in range(0, len(VIEW), 7):
        runs = [float(v) for v in VIEW.validation[position] if not np.isnan(v)]
        assert mean.validation[position, 0] == np.float32(sum(runs) / len(runs))
    assert with_rules(VIEW, ReplayProtocol()) is VIEW
    seed = trial_seed(0, "m", 0)
    evaluator = TableEvaluator(mean, seed, 5, ReplayProtocol(repeats="mean"))
    np.testing.assert_array_equal(
        evaluator.query(np.array([3, 3, 9], np.int32)), mean.validation[[3, 3, 9], 0]
    )


def test_the_run_that_was_seen_is_reported() -> None:
    protocol = ReplayProtocol(repeats="query", report="run")
    seeds = [trial_seed(1, "r", trial) for trial in range(3)]
    traces = RandomSearch().run_block(VIEW, seeds, 50, protocol)
    curves = curves_of("random", 0, 50, Results.of_traces(traces), VIEW, protocol)
    assert VIEW.test_runs is not None
    for trial, trace in enumerate(traces):
        for step in (0, 20, 49):
            best = int(np.argmax(trace.validation[: step + 1]))
            run = VIEW.test_runs[trace.positions[best], trace.repeats[best]]
            assert curves.test[trial, step] == 100 * float(run)


def test_a_limit_of_time_ends_trials_and_curves() -> None:
    protocol = ReplayProtocol(seconds=60_000.0)
    seeds = [trial_seed(1, "s", trial) for trial in range(4)]
    traces = RegularizedEvolution().run_block(VIEW, seeds, 500, protocol)
    for trace in traces:
        assert trace.seconds[:-1].sum() < 60_000 <= trace.seconds.sum()
    curves = curves_of("evolution", 0, 500, Results.of_traces(traces), VIEW, protocol)
    assert curves.horizon == max(len(trace) for trace in traces)
    # A method that looks at no clock is cut by the engine.
    settings = small("nasbench-notebook", methods=(PREDICTOR,), seconds=9000.0)
    assert settings.protocol.seconds == 9000.0


def test_methods_that_know_no_limit_of_time_are_cut(tmp_path: Path) -> None:
    settings = small("nasbench-notebook", methods=(PREDICTOR,), seconds=9000.0, workers=())
    replay = run_replay(settings, SyntheticSource(), tmp_path / "out")
    spent = replay.curves[0].seconds[:, -1]
    longest = float(np.nanmax(VIEW.training_seconds))
    assert ((spent >= 9000) & (spent < 9000 + longest)).all()


def test_invalid_specs_enter_the_first_population_at_no_cost() -> None:
    method = RegularizedEvolution("e", population=200, replacement=True, mutation="one")
    seeds = [trial_seed(2, "i", trial) for trial in range(3)]
    kept = method.run_block(VIEW, seeds, 50, ReplayProtocol(invalid="zero"))
    redrawn = method.run_block(VIEW, seeds, 50, ReplayProtocol())
    for one, other in zip(kept, redrawn, strict=True):
        # Those charged are cells either way.
        assert one.validation.min() > 0
        assert not np.array_equal(one.positions, other.positions)


def test_regret_is_the_distance_to_the_best_cell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = small("ying2019", methods=("random",))
    replay = run_replay(settings, SyntheticSource(), tmp_path / "out")
    best = replay.summary["best_percent"]
    assert best == best_of(VIEW)
    assert best["test"] == 100 * float(VIEW.test.max())
    assert best["validation"] == pytest.approx(
        100 * max(np.nanmean(VIEW.validation[i]) for i in range(len(VIEW))), abs=1e-5
    )
    from nprep.results.text import to_text

    text = to_text(replay.summary)
    assert "test regret (%) after" in text
    assert "validation regret (%) after" in text


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("nasbench-notebook", {"test_runs": None}, "--report mean"),
        ("ying2019", {"training_seconds": None}, "does not know all training times"),
    ],
)
def test_views_that_lack_what_a_protocol_needs_are_refused(
    name: str, change: dict[str, object], message: str, tmp_path: Path
) -> None:
    class Lacking(SyntheticSource):
        def load(self):  # type: ignore[no-untyped-def]
            view = super().load()
            if "training_seconds" in change:
                change["training_seconds"] = np.full_like(view.training_seconds, np.nan)
            return dataclasses.replace(view, **change)

    with pytest.raises(SettingsError, match=message):
        run_replay(small(name), Lacking(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_published_numbers_stand_beside_ours(tmp_path: Path) -> None:
    settings = small("bananas", methods=("random", "oracle"), samples=150)
    replay = run_replay(settings, SyntheticSource(), tmp_path / "out")
    rows = {row["method"]: row for row in replay.summary["published"]}
    at = replay.curves[0].test[:, 149].mean()
    assert rows["random"]["here_percent"] == pytest.approx(at)
    assert rows["random"]["published_percent"] == 93.659
    assert rows["random"]["confidence"].startswith("read: ")
    assert rows["npenas"]["here_percent"] is None
