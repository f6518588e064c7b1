"""Structural features against a slow enumeration of paths, and under renumbering."""

from __future__ import annotations

import numpy as np
import pytest

from nprep.spaces.nb101.cells import (
    CellBatch,
    Spec,
    cells_from_specs,
    specs_from_cells,
    trainable_parameters,
)
from nprep.spaces.nb101.features import FEATURE_NAMES, structure_features
from tests.synthetic import synthetic_cells


@pytest.fixture(scope="module")
def cells() -> CellBatch:
    return synthetic_cells(200, seed=3)[0]


def _paths(spec: Spec) -> list[tuple[int, ...]]:
    last = len(spec.operations) - 1

    def walk(path: tuple[int, ...]) -> list[tuple[int, ...]]:
        if path[-1] == last:
            return [path]
        ahead = [j for j in range(last + 1) if spec.matrix[path[-1]][j]]
        return [whole for j in ahead for whole in walk((*path, j))]

    return walk((0,))


def _naive(spec: Spec) -> dict[str, float]:
    names = {"conv3x3-bn-relu": "conv3x3", "conv1x1-bn-relu": "conv1x1", "maxpool3x3": "maxpool3x3"}
    operations = [names.get(name, name) for name in spec.operations]
    paths = [[operations[v] for v in path[1:-1]] for path in _paths(spec)]
    matrix = np.array(spec.matrix)
    out: dict[str, float] = {
        "vertices": len(operations),
        "edges": int(matrix.sum()),
        "input_to_output": matrix[0, -1],
        "input_out_degree": matrix[0].sum(),
        "output_in_degree": matrix[:, -1].sum(),
        "depth": max(map(len, paths)) + 1,
        "shortest_path": min(map(len, paths)) + 1,
        "paths": len(paths),
        "mean_path_length": float(np.mean([len(p) for p in paths])),
        "max_in_degree": matrix.sum(axis=0).max(),
        "max_out_degree": matrix.sum(axis=1).max(),
    }
    for length in range(6):
        out[f"paths_of_length_{length}"] = sum(len(p) == length for p in paths)
    for op in names.values():
        counts = [p.count(op) for p in paths]
        out[f"count_{op}"] = operations.count(op)
        out[f"most_{op}_on_a_path"] = max(counts)
        out[f"fewest_{op}_on_a_path"] = min(counts)
        out[f"mean_{op}_on_a_path"] = float(np.mean(counts))
        for other in (*names.values(), "output"):
            out[f"edges_{op}_to_{other}"] = sum(
                matrix[i, j]
                for i in range(len(matrix))
                for j in range(len(matrix))
                if operations[i] == op and operations[j] == other
            )
    for name in FEATURE_NAMES:
        if name.startswith("path_"):
            sequence = [] if name == "path_direct" else name[5:].split("-")
            out[name] = sum(p == sequence for p in paths)
    return out


def test_features_equal_the_enumeration_of_paths(cells: CellBatch) -> None:
    features = structure_features(cells, trainable_parameters(cells))
    assert features.shape == (len(cells), len(FEATURE_NAMES))
    assert np.isfinite(features).all()
    for row, spec in enumerate(specs_from_cells(cells)):
        for name, value in _naive(spec).items():
            got = features[row, FEATURE_NAMES.index(name)]
            assert got == pytest.approx(value, abs=1e-5), (name, spec)


def test_isomorphic_cells_have_equal_features(cells: CellBatch) -> None:
    rng = np.random.default_rng(0)
    compared = 0
    for spec in specs_from_cells(cells):
        matrix, size = np.array(spec.matrix), len(spec.operations)
        order = [0, *(1 + rng.permutation(size - 2)), size - 1]
        moved = matrix[np.ix_(order, order)]
        if np.tril(moved).any() or order == list(range(size)):
            continue
        pair = cells_from_specs([spec, Spec(moved, [spec.operations[k] for k in order])])
        a, b = structure_features(pair, trainable_parameters(pair))
        # The count of parameters depends on the numbering: channels that cannot be split evenly go
        # to the first vertices.
        np.testing.assert_allclose(a[:-1], b[:-1], rtol=1e-6)
        np.testing.assert_allclose(a[-1], b[-1], atol=0.01)
        compared += 1
    assert compared > 10


def test_names_are_unique() -> None:
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)


def test_cost_orders_networks_as_their_parameters_do(cells: CellBatch) -> None:
    parameters = trainable_parameters(cells)
    features = structure_features(cells, parameters)
    cost = sum(
        features[:, FEATURE_NAMES.index(f"cost_{name}")]
        for name in ("conv3x3", "conv1x1", "projection")
    )
    assert np.corrcoef(cost, parameters)[0, 1] > 0.98
