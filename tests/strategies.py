"""Hypothesis strategies for specs and cells, in the form of ``tests.naive``."""

from __future__ import annotations

from hypothesis import strategies as st

from tests import naive


@st.composite
def specs(draw: st.DrawFn, max_vertices: int = 7, broken: bool = False) -> naive.Cell:
    """Unpruned specs, valid or not; ``broken`` ones may have any operation anywhere."""
    size = draw(st.integers(2, max_vertices))
    density = draw(st.sampled_from([0.2, 0.5, 0.8]))
    bits = st.floats(0, 1).map(lambda x: int(x < density))
    matrix = [[draw(bits) if j > i else 0 for j in range(size)] for i in range(size)]
    names = st.sampled_from(naive.INTERIOR)
    operations = ["input", *(draw(names) for _ in range(size - 2)), "output"]
    if broken and draw(st.booleans()):
        other = st.sampled_from([*naive.CODES, "dilated"])
        operations[draw(st.integers(0, size - 1))] = draw(other)
    return matrix, operations


@st.composite
def cells(draw: st.DrawFn, max_vertices: int = 7) -> naive.Cell:
    """Pruned valid cells."""
    spec = draw(specs(max_vertices).filter(lambda s: naive.validity(s) == "valid"))
    pruned = naive.prune(spec)
    assert pruned is not None
    return pruned
