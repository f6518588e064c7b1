"""Cells drawn as graphs: layers from input to output, as SVG.

An edge that skips layers runs through a lane of its own in each, so no edge crosses a vertex.
"""

from __future__ import annotations

import html
import itertools
from dataclasses import dataclass

from nprep.spaces.nb101.spec import Spec

# Words for the official names, and a light fill that dark text is readable on.
_OPERATIONS = {
    "input": ("input", "#EEEEEE"),
    "output": ("output", "#EEEEEE"),
    "conv3x3-bn-relu": ("conv 3×3", "#CBE3F2"),
    "conv1x1-bn-relu": ("conv 1×1", "#FBE3BC"),
    "maxpool3x3": ("max-pool 3×3", "#CDEBDF"),
}
_WIDTH, _HEIGHT = 88.0, 24.0
_LANE = 16.0  # Width of a lane that only an edge runs through.
_LAYER = 46.0  # Distance between layers.
_GAP = 12.0
_MARGIN = 6.0
# Orders of the vertices and lanes of all layers that are tried for the fewest crossings.
_MAX_ORDERS = 720

_Slot = tuple[str, int, int]


@dataclass(frozen=True)
class Layout:
    """Where the vertices and edges of a cell are drawn.

    Attributes:
        centres: (x, y) of each vertex.
        paths: For each edge (source, target), the points it runs through, from centre to centre.
        size: Width and height of the whole.
    """

    centres: tuple[tuple[float, float], ...]
    paths: dict[tuple[int, int], tuple[tuple[float, float], ...]]
    size: tuple[float, float]


def layers_of(spec: Spec) -> list[int]:
    """The layer of each vertex: the longest way from the input, which is in layer 0."""
    layers = [0] * len(spec.operations)
    # Edges lead from lower to higher numbers.
    for target in range(len(layers)):
        for source in range(target):
            if spec.matrix[source][target]:
                layers[target] = max(layers[target], layers[source] + 1)
    return layers


def lay_out(spec: Spec) -> Layout:
    """Places the vertices and edges of a pruned cell.

    Args:
        spec: A cell in which every vertex lies on a way from input to output.
    """
    layers = layers_of(spec)
    edges = [
        (source, target)
        for target in range(len(layers))
        for source in range(target)
        if spec.matrix[source][target]
    ]
    # Each layer's slots: its vertices, and a lane for every edge that passes.
    rows: list[list[_Slot]] = [[] for _ in range(layers[-1] + 1)]
    for vertex, layer in enumerate(layers):
        rows[layer].append(("vertex", vertex, vertex))
    for source, target in edges:
        for layer in range(layers[source] + 1, layers[target]):
            rows[layer].append(("lane", source, target))
    rows = _untangle(rows, edges, layers)
    x: dict[tuple[int, _Slot], float] = {}
    widest = 0.0
    for layer, row in enumerate(rows):
        widths = [_WIDTH if kind == "vertex" else _LANE for kind, _, _ in row]
        place = -(sum(widths) + _GAP * (len(row) - 1)) / 2
        widest = max(widest, -2 * place)
        for slot, width in zip(row, widths, strict=True):
            x[layer, slot] = place + width / 2
            place += width + _GAP
    middle = widest / 2 + _MARGIN

    def point(layer: int, slot: _Slot) -> tuple[float, float]:
        return middle + x[layer, slot], _MARGIN + _HEIGHT / 2 + layer * _LAYER

    centres = tuple(point(layers[v], ("vertex", v, v)) for v in range(len(layers)))
    paths = {
        (source, target): (
            centres[source],
            *(
                point(layer, ("lane", source, target))
                for layer in range(layers[source] + 1, layers[target])
            ),
            centres[target],
        )
        for source, target in edges
    }
    size = (2 * middle, 2 * _MARGIN + _HEIGHT + layers[-1] * _LAYER)
    return Layout(centres, paths, size)


def _untangle(
    rows: list[list[_Slot]], edges: list[tuple[int, int]], layers: list[int]
) -> list[list[_Slot]]:
    """The rows in the order with the fewest crossings of edges, the first of several."""

    def ends(layer: int, source: int, target: int) -> tuple[_Slot, _Slot]:
        """The slots of an edge's piece from a layer to the next."""
        lane: _Slot = ("lane", source, target)
        return (
            ("vertex", source, source) if layers[source] == layer else lane,
            ("vertex", target, target) if layers[target] == layer + 1 else lane,
        )

    pieces = [
        [ends(layer, s, t) for s, t in edges if layers[s] <= layer < layers[t]]
        for layer in range(len(rows) - 1)
    ]

    def crossings(layer: int, upper: tuple[_Slot, ...], lower: tuple[_Slot, ...]) -> int:
        places = [(upper.index(a), lower.index(b)) for a, b in pieces[layer]]
        return sum((a - c) * (b - d) < 0 for (a, b), (c, d) in itertools.combinations(places, 2))

    def orders(row: list[_Slot]) -> list[tuple[_Slot, ...]]:
        return list(itertools.islice(itertools.permutations(row), _MAX_ORDERS))

    # Layer by layer: the fewest crossings with which each order of a layer can be reached.
    reached: dict[tuple[_Slot, ...], tuple[int, list[tuple[_Slot, ...]]]] = {
        tuple(rows[0]): (0, [tuple(rows[0])])
    }
    for layer in range(len(rows) - 1):
        following = {}
        for lower in orders(rows[layer + 1]):
            following[lower] = min(
                (
                    (count + crossings(layer, upper, lower), [*way, lower])
                    for upper, (count, way) in reached.items()
                ),
                key=lambda found: found[0],
            )
        reached = following
    _, way = min(reached.values(), key=lambda found: found[0])
    return [list(row) for row in way]


def describe(spec: Spec) -> str:
    """A cell in words, for those who cannot see the drawing."""
    names = [_OPERATIONS[operation][0] for operation in spec.operations]
    parts = []
    for source, name in enumerate(names):
        targets = [
            f"{names[t]} ({t})" if 0 < t < len(names) - 1 else names[t]
            for t in range(len(names))
            if spec.matrix[source][t]
        ]
        if targets:
            inner = f"{name} ({source})" if 0 < source < len(names) - 1 else name
            parts.append(f"{inner} to {', '.join(targets)}")
    return f"Cell of {len(names)} vertices: {'; '.join(parts)}."


def draw_cell(spec: Spec) -> str:
    """A cell as an SVG element.

    Args:
        spec: A pruned cell.
    """
    layout = lay_out(spec)
    width, height = layout.size
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" '
        f'aria-label="{html.escape(describe(spec))}" font-family="sans-serif" font-size="12">'
    ]
    for path in layout.paths.values():
        parts.append(f'<path d="{_curve(path)}" fill="none" stroke="#444444" stroke-width="1.4"/>')
        # The arrow's head touches the vertex from above.
        x, y = path[-1][0], path[-1][1] - _HEIGHT / 2
        parts.append(
            f'<path d="M{x - 3.5:.1f} {y - 6:.1f}L{x + 3.5:.1f} {y - 6:.1f}L{x:.1f} {y:.1f}Z" '
            'fill="#444444"/>'
        )
    for (x, y), operation in zip(layout.centres, spec.operations, strict=True):
        name, fill = _OPERATIONS[operation]
        parts.append(
            f'<rect x="{x - _WIDTH / 2:.1f}" y="{y - _HEIGHT / 2:.1f}" width="{_WIDTH:.0f}" '
            f'height="{_HEIGHT:.0f}" rx="5" fill="{fill}" stroke="#444444"/>'
            f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" fill="#222222">{name}</text>'
        )
    return "".join(parts) + "</svg>"


def _curve(path: tuple[tuple[float, float], ...]) -> str:
    """A smooth way down through points: vertical at each of them."""
    (x, y), *rest = path
    y += _HEIGHT / 2
    commands = [f"M{x:.1f} {y:.1f}"]
    for number, (next_x, next_y) in enumerate(rest):
        # Straight along a lane's height, so that the bends lie between layers.
        top = next_y - _HEIGHT / 2
        end = top if number == len(rest) - 1 else next_y + _HEIGHT / 2
        bend = (top - y) / 2
        commands.append(
            f"C{x:.1f} {y + bend:.1f} {next_x:.1f} {top - bend:.1f} {next_x:.1f} {top:.1f}"
        )
        if end != top:
            commands.append(f"L{next_x:.1f} {end:.1f}")
        x, y = next_x, end
    return "".join(commands)
