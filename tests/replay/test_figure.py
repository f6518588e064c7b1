"""The numbers of figures, and that they are what is drawn."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from nprep.errors import SettingsError
from nprep.plot.data import SMALLEST_REGRET, figure_data
from nprep.plot.draw import draw
from nprep.plot.files import make_figure, render
from nprep.plot.labels import spread_out
from nprep.plot.styles import line_styles
from nprep.results.curves import Curves
from nprep.results.series import series_of


def made_curves(name: str, test: np.ndarray, train_samples: int = 0) -> Curves:
    test = np.asarray(test, float)
    seconds = np.cumsum(np.full(test.shape, 1000.0), axis=1)
    return Curves(name, train_samples, test.shape[1], test + 1, test, seconds)


def some_curves() -> list[Curves]:
    return [
        made_curves("random", np.array([np.linspace(90, 93, 400), np.linspace(91, 94, 400)])),
        made_curves("np", np.full((2, 300), 93.7) + np.array([[0.1], [-0.1]]), 172),
        made_curves("my:Own", np.full((2, 50), 92.0)),
        made_curves("oracle", np.array([[94.1], [94.3]])),
    ]


def test_numbers_of_the_figure() -> None:
    curves = some_curves()
    data = figure_data(curves, "test", ("View completed: modelled validation.",), band="deviation")
    random, predictor, _ = data.lines
    assert [line.label for line in data.lines] == ["random", "np", "my:Own"]
    assert random.x[0] == 10
    at = list(random.x).index(100)
    low, high = curves[0].test[:, 99]
    assert random.middle[at] == pytest.approx((low + high) / 2)
    deviation = abs(high - low) / math.sqrt(2)
    assert random.high[at] - random.middle[at] == pytest.approx(deviation)
    assert random.middle[at] - random.low[at] == pytest.approx(deviation)
    assert (predictor.x[0], predictor.x[-1]) == (173, 300)
    assert data.oracles == (("oracle", pytest.approx(94.2)),)
    assert data.training == (("N = 172", 172.0),)
    assert data.x_limits == (10, 400)
    assert data.y_limits[0] < random.middle[0]
    assert data.y_limits[1] > 94.2


@pytest.mark.parametrize("metric", ["test", "validation"])
def test_bands_are_what_they_are_called(metric: str) -> None:
    values = np.array([[90.0], [91.0], [93.0], [97.0]]).repeat(20, axis=1)
    shift = {"test": 0.0, "validation": 1.0}[metric]
    curves = [made_curves("m", values)]
    mean = values[:, 0].mean() + shift
    spread = values[:, 0].std(ddof=1)
    for band, wanted in {
        "deviation": (mean, mean - spread, mean + spread),
        "error": (mean, mean - spread / 2, mean + spread / 2),
        "quartiles": (92 + shift, 90.75 + shift, 94 + shift),
        "none": (mean, mean, mean),
    }.items():
        line = figure_data(curves, metric, band=band).lines[0]
        assert (line.middle[-1], line.low[-1], line.high[-1]) == pytest.approx(wanted)


def test_time_is_an_x_axis() -> None:
    data = figure_data(some_curves(), x_axis="seconds")
    random, predictor, _ = data.lines
    assert (random.x[0], random.x[-1]) == (10_000, 400_000)
    assert predictor.x[0] == 173_000
    assert data.training == (("N = 172", 172_000.0),)


def test_unknown_times_are_refused() -> None:
    curves = some_curves()[0]
    unknown = Curves(
        "random", 0, 400, curves.validation, curves.test, np.full(curves.test.shape, np.nan)
    )
    with pytest.raises(SettingsError, match="no training times for 'random'"):
        figure_data([unknown], x_axis="seconds")
    assert len(figure_data([unknown]).lines) == 1


@pytest.mark.parametrize("wrong", [{"metric": "train"}, {"x_axis": "days"}, {"band": "wide"}])
def test_unknown_names_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="use one of"):
        figure_data(some_curves(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="no curve to draw"):
        figure_data([])


def test_what_is_drawn_are_the_numbers() -> None:
    data = figure_data(some_curves())
    axes = Figure().add_subplot()
    draw(axes, data)
    drawn = {line.get_label(): line for line in axes.get_lines()}
    for line in data.lines:
        np.testing.assert_array_equal(drawn[line.label].get_xdata(), line.x)
        np.testing.assert_array_equal(drawn[line.label].get_ydata(), line.middle)
    assert drawn["oracle"].get_ydata()[0] == pytest.approx(94.2)
    assert drawn["N = 172"].get_xdata()[0] == 172
    assert drawn["N = 172"].get_linestyle() == ":"
    assert axes.get_xscale() == "log"
    written = [text.get_text() for text in axes.texts]
    assert written == ["oracle 94.20", "N = 172", "my:Own 92.00", "np 93.70", "random 93.50"]


def boxes_of(figure: Figure) -> list[Bbox]:
    FigureCanvasAgg(figure).draw()
    # Of the words alone: an annotation's own extent has the line that leads to it.
    return [Text.get_window_extent(text) for text in figure.axes[0].texts]


@pytest.mark.parametrize("ends", [(2000,) * 6, (470, 480, 500, 620, 700, 2000)])
@pytest.mark.parametrize("best", [None, 95.0])
def test_labels_at_the_ends_do_not_overlap(ends: tuple[int, ...], best: float | None) -> None:
    steps = np.log(np.arange(1, 2001))
    curves = [
        made_curves(f"method-{i}", 92 + (0.2 + 0.001 * i) * steps[None, :end].repeat(2, 0))
        for i, end in enumerate(ends)
    ]
    figure = make_figure(figure_data(curves, best=best), "")
    boxes = boxes_of(figure)
    assert len(boxes) == 6
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    # The rightmost ends inside the picture.
    assert max(box.x1 for box in boxes) <= figure.bbox.x1


@pytest.mark.parametrize("size", [(7.2, 4.9), (3.9, 3.9)])
def test_many_lines_have_a_legend_outside(size: tuple[float, float]) -> None:
    steps = np.log(np.arange(1, 2001))
    curves = [
        made_curves(f"method-{i}", 92 + (0.2 + 0.01 * i) * steps[None].repeat(2, 0))
        for i in range(10)
    ]
    figure = make_figure(figure_data(curves), "", size)
    assert boxes_of(figure) == []
    axes = figure.axes[0]
    legend = axes.get_legend()
    assert legend is not None
    # In the order of the ends, the best first.
    texts = [text.get_text().split()[0] for text in legend.get_texts()]
    assert texts == [f"method-{i}" for i in reversed(range(10))]
    box = legend.get_window_extent()
    assert not box.overlaps(axes.get_window_extent())
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1 + 1


def test_files_are_the_same_each_time() -> None:
    data = figure_data(some_curves(), notes=("note",))
    for kind, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        first, second = (render(make_figure(data, "Title"), kind) for _ in range(2))
        assert first == second
        assert first.startswith(start)


@pytest.mark.parametrize("curves", [made_curves("random", np.array([[93.0]])), some_curves()[3]])
def test_figure_of_one_sample(curves: Curves) -> None:
    data = figure_data([curves])
    assert data.x_limits[0] < data.x_limits[1]
    assert data.y_limits[0] < data.y_limits[1]
    draw(Figure().add_subplot(), data)


def test_styles_differ_without_colour() -> None:
    methods = ["random", "evolution", "evolution-ying", "np", "np-one-stage", "mlp", "np-best"]
    styles = line_styles([*methods, *(f"other-{i}" for i in range(10))])
    assert len({(str(style.dashes), style.marker) for style in styles}) == 17
    # The same method of a second run gets another style, and keeps its own in the first.
    again = line_styles(["np", "np"])
    assert again[0] == styles[3]
    assert again[1] not in styles[:7]


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.floats(0.01, 0.2),
)
def test_labels_are_spread_out(values: list[float], gap: float) -> None:
    places = spread_out(values, gap, 0.0, 1.0)
    gap = min(gap, 1 / max(1, len(values) - 1))
    ordered = sorted(places)
    assert all(b - a >= gap - 1e-9 for a, b in itertools.pairwise(ordered))
    assert ordered[0] >= -1e-9
    assert ordered[-1] <= 1 + 1e-9
    for i, j in itertools.combinations(range(len(values)), 2):
        if values[i] < values[j]:
            assert places[i] < places[j]
    # Whoever has room stays.
    if all(abs(a - b) > gap for a, b in itertools.combinations(values, 2)):
        assert places == pytest.approx(values)


def test_regrets_are_drawn_on_a_logarithmic_axis() -> None:
    data = figure_data(some_curves(), best=94.25)
    axes = Figure().add_subplot()
    draw(axes, data)
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "test regret (percentage points)"
    # From some_curves(): random ends at 93.5, the oracle is at 94.2.
    assert data.lines[0].middle[-1] == pytest.approx(0.75)
    assert data.oracles[0][1] == pytest.approx(0.05)
    assert "random 0.750" in [text.get_text() for text in axes.texts]
    # What is better than the best mean has no place on the axis but the lowest.
    better = figure_data(some_curves(), best=93.0)
    assert better.lines[1].middle.min() == SMALLEST_REGRET


def test_early_times_do_not_flatten_the_rest() -> None:
    steps = np.log10(np.arange(1, 20_001))
    slow = made_curves("random", 80 + 3 * steps[None].repeat(2, 0))
    data = figure_data([slow], x_axis="seconds")
    assert data.lines[0].x[0] >= data.lines[0].x[-1] / 1000
    assert data.y_limits[0] > 80
    whole = figure_data([slow], x_axis="seconds", best=94.0)
    assert whole.lines[0].x[0] == 10_000


def test_draws_have_a_second_band() -> None:
    series = series_of(some_curves()[0])
    columns = {
        **series.columns,
        "test_mean_over_draws": series.columns["test_mean"] + 0.1,
        "test_std_between_draws": np.full(len(series.x), 0.05),
    }
    data = figure_data([dataclasses.replace(series, columns=columns)], best=None)
    [line] = data.lines
    assert line.between_draws is not None
    np.testing.assert_allclose(line.between_draws[0], line.middle + 0.05)
    np.testing.assert_allclose(line.between_draws[1], line.middle + 0.15)
    axes = Figure().add_subplot()
    draw(axes, data)
    lighter, band = (band.get_alpha() for band in axes.collections)
    assert lighter < band
    [regret] = figure_data([dataclasses.replace(series, columns=columns)], best=95.0).lines
    assert regret.between_draws is not None
    np.testing.assert_allclose(regret.between_draws[1], 95.0 - line.middle - 0.05)
    assert figure_data([series]).lines[0].between_draws is None
