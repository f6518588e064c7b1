"""Cells drawn as graphs: nothing lies on anything else."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nprep.report.drawing import describe, draw_cell, lay_out, layers_of
from nprep.spaces.nb101.cells import specs_from_cells
from nprep.spaces.nb101.spec import Spec
from tests.synthetic import synthetic_cells

CELLS, _ = synthetic_cells(1500, seed=3)
WIDTH, HEIGHT = 88.0, 24.0

SPECS = st.integers(0, len(CELLS) - 1).map(
    lambda number: specs_from_cells(CELLS.take(np.array([number])))[0]
)
SKIP = Spec(
    [[0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]],
    ["input", "conv3x3-bn-relu", "maxpool3x3", "output"],
)


def test_layers_are_longest_paths() -> None:
    assert layers_of(SKIP) == [0, 1, 2, 3]


@given(SPECS)
def test_layers_equal_a_search_over_all_paths(spec: Spec) -> None:
    size = len(spec.operations)

    def longest(vertex: int) -> int:
        before = [v for v in range(size) if spec.matrix[v][vertex]]
        return 1 + max(map(longest, before)) if before else 0

    assert layers_of(spec) == [longest(vertex) for vertex in range(size)]


@given(SPECS)
def test_nothing_overlaps(spec: Spec) -> None:
    layout = lay_out(spec)
    width, height = layout.size
    for x, y in layout.centres:
        assert WIDTH / 2 <= x <= width - WIDTH / 2
        assert HEIGHT / 2 <= y <= height - HEIGHT / 2
    for (x, y), (u, v) in itertools.combinations(layout.centres, 2):
        assert abs(x - u) >= WIDTH or abs(y - v) >= HEIGHT
    edges = {
        (s, t) for s in range(len(spec.matrix)) for t in range(len(spec.matrix))
        if spec.matrix[s][t]
    }  # fmt: skip
    assert set(layout.paths) == edges
    for (source, target), path in layout.paths.items():
        assert (path[0], path[-1]) == (layout.centres[source], layout.centres[target])
        # One step a layer, always down.
        assert (np.diff([y for _, y in path]) > 0).all()
        for x, y in path[1:-1]:
            # A lane on the way is beside every vertex of its layer.
            assert all(abs(x - u) >= WIDTH / 2 for u, v in layout.centres if abs(y - v) < HEIGHT)
            assert 0 < x < width


@given(SPECS)
def test_svg_is_sound(spec: Spec) -> None:
    drawing = draw_cell(spec)
    root = ElementTree.fromstring(drawing)
    assert root.get("role") == "img"
    assert root.get("aria-label") == describe(spec)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert len(texts) == len(spec.operations)
    assert (texts[0], texts[-1]) == ("input", "output")
    edges = sum(map(sum, spec.matrix))
    assert len(re.findall(r'fill="none"', drawing)) == edges
    # Edges start and end at the borders of their vertices.
    for curve in re.findall(r'<path d="M([\d.]+) ([\d.]+)C', drawing):
        assert any(
            abs(float(curve[0]) - x) < 0.06 and abs(float(curve[1]) - y - HEIGHT / 2) < 0.06
            for x, y in lay_out(spec).centres
        )
    assert " id=" not in drawing


def test_figures_are_described_in_words() -> None:
    assert describe(SKIP) == (
        "Cell of 4 vertices: input to conv 3×3 (1), max-pool 3×3 (2), output; conv 3×3 (1) to "
        "max-pool 3×3 (2); max-pool 3×3 (2) to output."
    )
