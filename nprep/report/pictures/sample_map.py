"""Mean accuracy by number of training samples N and of candidates K."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nprep.report.html import Picture
from nprep.report.pictures.base import picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Map:
    """Mean accuracy by number of training samples and candidates.

    Attributes:
        train_samples: N of each row, ascending.
        top_k: K of each column.
        values: (N, K) percent; NaN where a run does not go that far.
    """

    train_samples: tuple[int, ...]
    top_k: tuple[int, ...]
    values: NDArray[np.float64]


def accuracy_map(entries: Sequence[dict[str, Any]], metric: str = "test") -> Map:
    """Mean accuracy at N + K of one method run with several N.

    Args:
        entries: Of the method in each run's summary, each with another N.
        metric: "test" or "validation".
    """
    ordered = sorted(entries, key=lambda each: int(each["train_samples"]))
    top_k = sorted({int(row["top_k"]) for each in ordered for row in each["by_top_k"]})
    values = np.full((len(ordered), len(top_k)), np.nan)
    for line, each in zip(values, ordered, strict=True):
        for row in each["by_top_k"]:
            line[top_k.index(row["top_k"])] = row[f"{metric}_mean"]
    return Map(tuple(int(each["train_samples"]) for each in ordered), tuple(top_k), values)


def map_picture(name: str, data: Map, title: str, caption: str, more: str) -> Picture:
    """The map with its numbers written in, so that it can be read without colours."""

    def drawing(figure: Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        values = np.ma.masked_invalid(data.values)
        axes.pcolormesh(values, cmap="cividis", edgecolors="white", linewidth=1)
        middle = (values.min() + values.max()) / 2
        for (row, column), value in np.ndenumerate(data.values):
            if np.isfinite(value):
                axes.text(
                    column + 0.5,
                    row + 0.5,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    fontsize=6.0 if narrow else 9.0,
                    color="white" if value < middle else "black",
                )
        axes.set_xticks(np.arange(len(data.top_k)) + 0.5, [f"{k:,}" for k in data.top_k])
        axes.set_yticks(
            np.arange(len(data.train_samples)) + 0.5, [f"{n:,}" for n in data.train_samples]
        )
        axes.tick_params(length=0, labelsize=7 if narrow else 9)
        axes.set_xlabel("candidates K")
        axes.set_ylabel("training samples N")

    row, column = np.unravel_index(np.nanargmax(data.values), data.values.shape)
    alt = (
        f"Heat map of mean test accuracy, training samples N from {data.train_samples[0]} to "
        f"{data.train_samples[-1]} against candidates K from {data.top_k[0]} to {data.top_k[-1]}; "
        f"the highest is {data.values[row, column]:.2f} % at N = {data.train_samples[row]} and "
        f"K = {data.top_k[column]}."
    )
    height = 1.2 + 0.5 * len(data.train_samples)
    sizes = ((9.4, height), (3.9, height))
    return picture(name, drawing, alt, caption, title, "svg", sizes, more)
