"""Line styles of methods, which the colour-blind can tell apart, also in print without colour.

Colours are those of Okabe and Ito without yellow, which is too faint on white; dashes and markers
differ as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

INK = "#222222"
FAINT = "#595959"  # The lightest grey that small text may have on white.
GRID = "#DDDDDD"


@dataclass(frozen=True)
class LineStyle:
    """How a line is drawn, as matplotlib takes it.

    Attributes:
        colour: Of the line and its band.
        dashes: Line style.
        marker: Marker.
    """

    colour: str
    dashes: Any
    marker: str


_SKY, _VERMILION, _PURPLE = "#56B4E9", "#D55E00", "#CC79A7"
_BLUE, _GREEN, _ORANGE, _BLACK = "#0072B2", "#009E73", "#E69F00", "#000000"

# A method has the same style in every figure.
_STYLES = {
    "random": LineStyle(_SKY, (0, (1, 1.2)), "s"),
    "evolution": LineStyle(_VERMILION, (0, (5, 1.5)), "^"),
    "evolution-ying": LineStyle(_PURPLE, (0, (5, 1.5, 1, 1.5)), "v"),
    "np": LineStyle(_BLUE, "solid", "o"),
    "np-one-stage": LineStyle(_GREEN, (0, (8, 2)), "D"),
    "mlp": LineStyle(_ORANGE, (0, (3, 1, 1, 1, 1, 1)), "P"),
    "np-best": LineStyle(_BLACK, "solid", "*"),
}
ORACLE = LineStyle(_BLACK, (0, (2, 2)), "")

# For all others: each differs from every other, and from those above, in more than its colour.
_OTHERS = tuple(
    LineStyle(colour, dashes, marker)
    for colour, dashes, marker in (
        (_GREEN, (0, (6, 1, 1, 1)), "X"),
        (_PURPLE, (0, (2, 1)), "<"),
        (_ORANGE, (0, (4, 2, 2, 2)), ">"),
        (_BLACK, (0, (7, 1.5, 1, 1.5, 1, 1.5)), "p"),
        (_BLUE, (0, (1, 2)), "h"),
        (_VERMILION, (0, (10, 2)), "d"),
        (_SKY, (0, (5, 1, 2, 1)), "H"),
        (_GREEN, (0, (1, 1)), "8"),
        (_PURPLE, (0, (12, 2, 2, 2)), "*"),
        (_ORANGE, (0, (6, 3)), "X"),
    )
)


def line_styles(methods: Sequence[str]) -> list[LineStyle]:
    """The style of each line of a figure.

    Args:
        methods: The method of each line; the same method of another run gets another style.

    Returns:
        As many styles, all different for up to 17 lines.
    """
    styles = []
    taken: set[str] = set()
    others = 0
    for method in methods:
        if method in _STYLES and method not in taken:
            taken.add(method)
            styles.append(_STYLES[method])
        else:
            styles.append(_OTHERS[others % len(_OTHERS)])
            others += 1
    return styles
