"""How methods look in figures: told apart by the colour-blind, and in grey.

Colours are Okabe and Ito's (yellow apart, which white paper swallows); dashes and markers tell
lines apart where there are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

INK = "#222222"
FAINT = "#595959"  # The lightest grey that small text may have on white.
GRID = "#DDDDDD"


@dataclass(frozen=True)
class Look:
    """A line's looks, as matplotlib takes them.

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

# A method keeps its look whatever else is drawn.
_LOOKS = {
    "random": Look(_SKY, (0, (1, 1.2)), "s"),
    "evolution": Look(_VERMILION, (0, (5, 1.5)), "^"),
    "evolution-ying": Look(_PURPLE, (0, (5, 1.5, 1, 1.5)), "v"),
    "np": Look(_BLUE, "solid", "o"),
    "np-one-stage": Look(_GREEN, (0, (8, 2)), "D"),
    "mlp": Look(_ORANGE, (0, (3, 1, 1, 1, 1, 1)), "P"),
    "np-best": Look(_BLACK, "solid", "*"),
}
ORACLE = Look(_BLACK, (0, (2, 2)), "")

# For all others: each differs from every other, and from those above, in more than its colour.
_OTHERS = tuple(
    Look(colour, dashes, marker)
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


def looks_for(methods: Sequence[str]) -> list[Look]:
    """A look for each line of a figure.

    Args:
        methods: The method of each line; one that comes again, from another run, looks otherwise.

    Returns:
        As many looks, all different for up to 17 lines.
    """
    looks = []
    taken: set[str] = set()
    others = 0
    for method in methods:
        if method in _LOOKS and method not in taken:
            taken.add(method)
            looks.append(_LOOKS[method])
        else:
            looks.append(_OTHERS[others % len(_OTHERS)])
            others += 1
    return looks
