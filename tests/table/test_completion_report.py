"""Drawing a completed table again, and the report of how much depends on its draw."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from nprep._console import run
from nprep.errors import TableError
from nprep.model.known_runs import IMAGES, Known
from nprep.spaces.nb101.cells import module_hashes, trainable_parameters
from nprep.spaces.nb101.facts import BUDGETS, REPEATS
from nprep.spaces.nb101.space import NB101
from nprep.table.cli import main
from nprep.table.redraw import build_seed_of, completed_draw, redraw
from nprep.table.schema import Content, Metric, Provenance
from nprep.table.sources._complete import (
    FINAL,
    draw_all,
    measured_test_means,
    modelled_metrics,
)
from nprep.table.table import Table
from nprep.table.view import View
from nprep.table.writer import write_table
from tests.synthetic import synthetic_cells
from tests.table.small import small_content

CELLS = 300


def completed_content(build_seed: int) -> Content:
    """Real cells, made-up sums; of some the best run is known, of some all three."""
    batch, _ = synthetic_cells(CELLS, seed=3)
    hashes = module_hashes(batch)
    order = np.lexsort(hashes.T[::-1])
    batch, hashes = batch.take(order), hashes[order]
    rng = np.random.default_rng(7)
    total = rng.integers(int(0.88 * 3 * IMAGES), int(0.94 * 3 * IMAGES), CELLS)
    known = Known.nothing(CELLS)
    known.best[:40] = total[:40] // 3 + 90
    known.total[70:90] = total[70:90] + 160
    known.runs[80:100, 0] = total[80:100] // 3 + 40
    parameters = trainable_parameters(batch)
    drawn = draw_all(batch, parameters, total, known, build_seed, threads=1)
    metrics = modelled_metrics(drawn)
    validation, seconds = metrics["validation_accuracy"], metrics["training_seconds"]
    for rows, images in ((slice(0, 40), known.best), (slice(80, 100), known.runs[:, 0])):
        at = np.arange(CELLS)[rows], FINAL, (drawn.validation == images[:, None])[rows].argmax(1)
        validation.provenance[at] = Provenance.MEASURED
        if rows.start == 0:
            seconds.provenance[at] = Provenance.MEASURED
    means = np.full((CELLS, len(BUDGETS)), np.nan, np.float32)
    means[70:90, FINAL] = known.total[70:90] / (3 * IMAGES)
    triples = np.random.default_rng(8).integers(8900, 9500, (30, 3)) / IMAGES
    validation.values[40:70, FINAL] = triples
    validation.provenance[40:70, FINAL] = Provenance.MEASURED
    return Content(
        source="made-up",
        space=NB101,
        budgets=BUDGETS,
        repeats=REPEATS,
        cells=batch,
        facts={"module_hash": hashes, "trainable_parameters": parameters},
        metrics={("final", name): metric for name, metric in metrics.items()},
        means={
            ("final", "test_accuracy"): measured_test_means(total),
            ("final", "validation_accuracy"): Metric.measured(means),
        },
        views={"completed": "made-up, everything"},
        sources={"made-up": {"file": "nothing"}},
        attributes={"build_seed": build_seed},
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "table.h5"
    write_table(path, completed_content(build_seed=2))
    return path


def ordered(view: View) -> np.ndarray:
    return np.sort(view.validation, axis=1)


def test_a_redrawn_table_is_the_one_that_the_seed_builds(path: Path, tmp_path: Path) -> None:
    table = Table.open(path)
    other = tmp_path / "other.h5"
    write_table(other, completed_content(build_seed=5))
    same, new = redraw(table, [2, 5], threads=1)
    np.testing.assert_array_equal(ordered(same), ordered(table.view("completed")))
    np.testing.assert_array_equal(ordered(new), ordered(Table.open(other).view("completed")))
    assert (ordered(new)[100:] != ordered(same)[100:]).mean() > 0.9


def test_measured_validation_stays(path: Path) -> None:
    table = Table.open(path)
    view = table.view("completed")
    (new,) = redraw(table, [9])
    np.testing.assert_array_equal(new.validation[40:70], view.validation[40:70])
    np.testing.assert_array_equal(new.validation[:40].max(axis=1), view.validation[:40].max(axis=1))
    means = [one.validation[70:90].mean(axis=1, dtype=np.float64) for one in (new, view)]
    np.testing.assert_allclose(means[0], means[1], atol=1e-7)
    codes = table.metrics["final", "validation_accuracy"].provenance[:, FINAL]
    kept = codes == Provenance.MEASURED
    assert kept.sum() == 40 + 90 + 20
    np.testing.assert_array_equal(new.validation[kept], view.validation[kept])
    assert (new.validation[~kept] != view.validation[~kept]).mean() > 0.8
    # A run's test accuracy goes with its validation accuracy, and the sum stays.
    assert new.test_runs is not None
    np.testing.assert_allclose(new.test_runs[100:].mean(axis=1), view.test[100:], atol=1e-6)
    assert (new.test_runs[100:] != view.test_runs[100:]).mean() > 0.8


def test_draws_are_numbered_from_the_tables_own(path: Path) -> None:
    table = Table.open(path)
    own = completed_draw(table, 0)
    np.testing.assert_array_equal(own.validation, table.view("completed").validation)
    assert build_seed_of(table, 3) == 5
    (wanted,) = redraw(table, [5])
    found = completed_draw(table, 3)
    np.testing.assert_array_equal(found.validation, wanted.validation)
    np.testing.assert_array_equal(found.test_runs, wanted.test_runs)
    with pytest.raises(TableError, match="draw -1"):
        completed_draw(table, -1)


def test_draws_together_are_the_draws_alone(path: Path) -> None:
    table = Table.open(path)
    many = list(redraw(table, range(10)))
    (alone,) = redraw(table, [9])
    np.testing.assert_array_equal(many[9].validation, alone.validation)


def test_test_means_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.h5"
    write_table(path, small_content())
    with pytest.raises(TableError, match="not means of three runs"):
        next(redraw(Table.open(path), [0]))
    content = dataclasses.replace(completed_content(0), views={"surrogate": "another view"})
    write_table(path, content)
    with pytest.raises(TableError, match="has no view 'completed'"):
        next(redraw(Table.open(path), [0]))


def test_the_report_gives_the_spread_over_draws(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["completion-report", str(path), "--trials", "3", "--draws", "3"]
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert "draw 3 of 3" in captured.err
    report = json.loads(captured.out)
    # The table's own seed is 2.
    best = [
        float(100 * v.validation.mean(axis=1).max()) for v in redraw(Table.open(path), [3, 4, 5])
    ]
    found = report["aggregates_over_draws"]["best mean validation"]["validation"]
    assert found["mean"] == pytest.approx(np.mean(best), abs=1e-4)
    assert found["sd"] == pytest.approx(np.std(best, ddof=1), abs=1e-4)
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "mean +- sd over 3 other draws" in out
    assert f"[{found['mean']:.3f} +- {found['sd']:.3f}]" in out
    assert main([*arguments[:-1], "0"]) == 0
    assert "other draws" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value"), [("--draws", "1"), ("--draws", "-1"), ("--trials", "1")]
)
def test_numbers_out_of_range(
    path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert run(main, ["completion-report", str(path), option, value]) == 2
    assert f"error: {option} is {value}" in capsys.readouterr().err
