"""NAS-Bench-201: strings, numbers, moves, classes, encodings, network sizes."""

from __future__ import annotations

import csv
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nprep.errors import InvalidSpecError, SettingsError
from nprep.spaces.nb201 import canonical, encode, network, strings
from nprep.spaces.nb201.space import NB201
from nprep.spaces.registry import get_space

CODES = st.lists(st.integers(0, 4), min_size=6, max_size=6)
BATCHES = st.lists(CODES, min_size=1, max_size=8).map(strings.batch_of)
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
NAMES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

# Architectures of the authors' files: number and string (README of NATS-Bench, public tables).
KNOWN = {
    0: "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
    "+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
    1: "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|"
    "+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
}


# Strings and numbers.


def test_every_architecture_occurs_once():
    space = strings.enumerate_space()
    assert len(space) == 15_625
    assert len(set(strings.format_strings(space))) == 15_625
    np.testing.assert_array_equal(strings.numbers(space), np.arange(15_625))


@pytest.mark.parametrize(("number", "text"), KNOWN.items())
def test_official_numbers(number, text):
    assert strings.format_strings(strings.from_numbers(np.array([number]))) == [text]
    assert strings.numbers(strings.parse_text(text)).tolist() == [number]


def test_official_numbers_of_the_public_file():
    folder = os.environ.get("NPREP_DATA_NB201")
    if not folder:
        pytest.skip("NPREP_DATA_NB201 is not set: it names the folder of nasbench201_cifar10.csv")
    with (Path(folder) / "nasbench201_cifar10.csv").open() as file:
        rows = {int(row["file id"]): row["arch str"] for row in csv.DictReader(file)}
    texts = strings.format_strings(strings.enumerate_space())
    assert dict(enumerate(texts)) == rows


@given(CODES)
def test_three_ways_to_write_one_architecture(codes):
    batch = strings.batch_of([codes])
    texts = (
        strings.format_strings(batch)[0],
        strings.format_digits(batch)[0],
        str(strings.numbers(batch)[0]),
    )
    edges = list(zip(EDGES, codes, strict=True))
    nodes = [[f"{NAMES[code]}~{tail}" for (tail, h), code in edges if h == n] for n in (1, 2, 3)]
    assert texts[0] == "+".join("|" + "|".join(node) + "|" for node in nodes)
    for text in texts:
        np.testing.assert_array_equal(strings.parse_text(f" {text}\n").values, batch.values)


@given(BATCHES)
def test_ranks_are_base_five_digits(batch):
    expected = [int("".join(map(str, row)), 5) for row in batch.values.tolist()]
    assert strings.ranks(batch).tolist() == expected
    np.testing.assert_array_equal(strings.from_ranks(strings.ranks(batch)).values, batch.values)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no architecture"),
        ("15625", "15625 is no architecture"),
        ("9" * 5000, "is no architecture"),
        ("-1", "is no architecture"),
        ("000005", "code 5"),
        ("|none~0|", "is no architecture"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2", "is no architecture"),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", "node 2 has 1 edges"),
        ("|none~0|+|none~1|none~0|+|none~0|none~1|none~2|", "write it OPERATION~0"),
        ("|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|", "'conv' is unknown"),
    ],
)
def test_refuses_what_is_no_architecture(text, reason):
    with pytest.raises(InvalidSpecError, match=reason):
        strings.parse_text(text)


@given(st.text(alphabet="|+~0123456789nonesk_cav", max_size=60))
def test_parse_answers_or_refuses(text):
    try:
        batch = strings.parse_text(text)
    except InvalidSpecError:
        return
    assert len(batch) == 1
    assert strings.format_strings(batch)[0] in strings.format_strings(strings.enumerate_space())


@pytest.mark.parametrize(
    "codes", [[[0, 1, 2, 3, 4]], [0] * 6, [[0.0] * 6], [[0, 0, 0, 0, 0, 5]], [[0, -1, 0, 0, 0, 0]]]
)
def test_refuses_codes_of_another_space(codes):
    with pytest.raises(InvalidSpecError):
        strings.batch_of(codes)


def _paths(codes):
    """The operation sequences from node 0 to node 3, with "none" among them or not."""
    operation = dict(zip(EDGES, codes, strict=True))
    ways = [(0, 3), (0, 1, 3), (0, 2, 3), (0, 1, 2, 3)]
    return [[operation[edge] for edge in itertools.pairwise(way)] for way in ways]


@given(BATCHES)
def test_connected_where_a_path_has_no_none(batch):
    expected = [any(0 not in path for path in _paths(row)) for row in batch.values.tolist()]
    assert strings.connected(batch).tolist() == expected


def test_number_of_connected_architectures():
    assert int(strings.connected(strings.enumerate_space()).sum()) == 15_625 - 341


# Moves.


def test_keys_are_distinct_and_not_zero():
    keys = NB201.keys(strings.enumerate_space())
    assert keys.dtype == np.uint64
    assert len(np.unique(keys)) == 15_625
    assert keys.min() > 0


@given(BATCHES, st.integers(0, 2**32))
def test_mutation_changes_one_edge(batch, seed):
    before = batch.values.copy()
    child = NB201.mutate(batch, np.random.default_rng(seed))
    assert ((child.values != batch.values).sum(axis=1) == 1).all()
    assert child.values.max() < 5
    np.testing.assert_array_equal(batch.values, before)
    again = NB201.mutate(batch, np.random.default_rng(seed))
    np.testing.assert_array_equal(again.values, child.values)


def test_mutation_draws_nodes_then_edges_then_operations():
    count = 60_000
    parents = strings.batch_of(np.tile([0, 1, 2, 3, 4, 0], (count, 1)))
    children = NB201.mutate(parents, np.random.default_rng(5)).values
    changed = children != parents.values
    expected = np.array([1 / 3, 1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9])
    assert np.abs(changed.mean(axis=0) - expected).max() < 5 * np.sqrt(0.25 / count)
    for edge in range(6):
        new = children[changed[:, edge], edge]
        shares = np.bincount(new, minlength=5) / len(new)
        assert shares[parents.values[0, edge]] == 0
        others = np.delete(shares, parents.values[0, edge])
        assert np.abs(others - 0.25).max() < 5 * np.sqrt(0.25 / len(new))


@given(CODES)
def test_neighbours_differ_in_one_edge(codes):
    near = NB201.neighbours(strings.batch_of([codes]))
    everything = strings.enumerate_space().values
    expected = everything[(everything != np.array(codes)).sum(axis=1) == 1]
    assert sorted(near.values.tolist()) == sorted(expected.tolist())


def test_samples_are_uniform():
    drawn = NB201.sample(50_000, np.random.default_rng(1))
    for edge in range(6):
        shares = np.bincount(drawn.values[:, edge], minlength=5) / len(drawn)
        assert np.abs(shares - 0.2).max() < 5 * np.sqrt(0.16 / len(drawn))


# Functional isomorphism.


def _authors_unique(codes):
    """``to_unique_str(consider_zero=True)`` of NATS-Bench, node by node."""
    nodes = {0: "0"}
    for node in (1, 2, 3):
        terms = []
        for (tail, head), code in zip(EDGES, codes, strict=True):
            if head != node:
                continue
            if NAMES[code] == "none" or nodes[tail] == "#":
                terms.append("#")
            elif NAMES[code] == "skip_connect":
                terms.append(nodes[tail])
            else:
                terms.append(f"({nodes[tail]})@{NAMES[code]}")
        nodes[node] = "+".join(sorted(terms))
    return nodes[3]


def _evaluate(codes, functions, x):
    """The output of a cell whose convolutions are given functions that map zero to zero."""
    nodes = [x, np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)]
    for (tail, head), code in zip(EDGES, codes, strict=True):
        nodes[head] = nodes[head] + functions[code](nodes[tail])
    return nodes[3]


def test_number_of_classes():
    space = strings.enumerate_space()
    assert len(np.unique(canonical.isomorphism_classes(space, "authors"))) == 6_466
    assert len(np.unique(canonical.isomorphism_classes(space))) == 4_930


@given(BATCHES)
def test_authors_rule(batch):
    expected = [_authors_unique(row) for row in batch.values.tolist()]
    assert canonical.canonical_texts(batch, "authors") == expected


def test_functional_classes_are_those_of_sums_of_functions():
    # With operations that have nothing in common but mapping zero to zero, equal functions mean
    # equal classes, and all 15,625 cells can be evaluated.
    functions = (
        lambda x: 0 * x,
        lambda x: x,
        lambda x: np.sin(3 * x) + x**2,
        lambda x: np.expm1(x / 2) * np.cos(x),
        lambda x: np.tanh(2 * x) - 0.3 * x**3 / (1 + x**2),
    )
    space = strings.enumerate_space()
    x = np.array([0.3, -0.8, 1.1])
    outputs = np.array([_evaluate(row, functions, x) for row in space.values.tolist()])
    rounded = [tuple(row) for row in np.round(outputs, 9) + 0.0]
    pairs = set(zip(rounded, canonical.isomorphism_classes(space).tolist(), strict=True))
    assert len(pairs) == len({p[0] for p in pairs}) == len({p[1] for p in pairs})


def test_unconnected_architectures_are_one_class():
    space = strings.enumerate_space()
    classes = canonical.isomorphism_classes(space)
    assert len(np.unique(classes[~strings.connected(space)])) == 1
    with pytest.raises(SettingsError, match="'other'"):
        canonical.canonical_texts(space, "other")


# Encodings.


@given(BATCHES)
def test_one_hot(batch):
    encoded = NB201.encode_flat(batch)
    assert encoded.shape == (len(batch), 30)
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded.reshape(-1, 6, 5).argmax(axis=2), batch.values)
    assert (encoded.sum(axis=1) == 6).all()


@given(BATCHES)
def test_path_encoding(batch):
    encoded = encode.encode_paths(batch)
    for row, codes in zip(encoded, batch.values.tolist(), strict=True):
        expected = set()
        for path in _paths(codes):
            if 0 not in path:
                digits = sum((code - 1) * 4**place for place, code in enumerate(path))
                expected.add({1: 0, 2: 4, 3: 20}[len(path)] + digits)
        assert set(np.flatnonzero(row).tolist()) == expected
    assert encoded.shape == (len(batch), 84)


def test_graphs_join_consecutive_edges():
    matrix = encode.graph_adjacency()
    names = ["in", *EDGES, "out"]
    joined = {(names[i], names[j]) for i, j in np.argwhere(matrix)}
    expected = {("in", edge) for edge in EDGES if edge[0] == 0}
    expected |= {(edge, "out") for edge in EDGES if edge[1] == 3}
    expected |= {(a, b) for a in EDGES for b in EDGES if a[1] == b[0]}
    assert joined == expected
    assert not np.tril(matrix).any()


@given(BATCHES)
def test_graph_types(batch):
    types = encode.graph_types(batch)
    assert (types[:, 0] == 5).all()
    assert (types[:, -1] == 6).all()
    np.testing.assert_array_equal(types[:, 1:-1], batch.values)


# The network.


@pytest.mark.parametrize("dataset", network.DATASETS.values(), ids=lambda d: d.name)
@pytest.mark.parametrize("codes", [(0,) * 6, (2,) * 6, (3,) * 6, (4, 3, 1, 2, 0, 3)], ids=str)
def test_sizes_are_those_of_a_torch_model(dataset, codes):
    pytest.importorskip("torch")
    from tests.spaces import nb201_torch

    batch = strings.batch_of([codes])
    model = nb201_torch.network([NAMES[code] for code in codes], dataset.classes)
    parameters = network.trainable_parameters(batch, dataset.name)
    assert parameters.tolist() == [nb201_torch.count_parameters(model)]
    multiplications = network.multiplications(batch, dataset.name)
    counted = nb201_torch.count_multiplications(model, dataset.image_size)
    assert multiplications.tolist() == [counted]


def test_sizes_as_the_authors_print_them():
    # NATS-Bench's README and its public sample files: parameters and multiplications in millions.
    first = strings.from_numbers(np.array([0, 1]))
    printed = [f"{n / 1e6:.3f}" for n in network.trainable_parameters(first, "cifar10").tolist()]
    assert printed == ["0.129", "0.802"]
    printed = [f"{n / 1e6:.2f}" for n in network.multiplications(first, "cifar10").tolist()]
    assert printed == ["15.65", "113.95"]


def test_an_unknown_dataset_is_refused():
    with pytest.raises(SettingsError, match="'mnist'"):
        network.trainable_parameters(strings.enumerate_space(), "mnist")


# The space as a whole.


def test_the_space_has_a_name():
    assert get_space("nb201") is NB201
    assert NB201.size == 15_625
    assert NB201.code_width == 6


def _reachable(edges, start):
    """Everything that can be reached along pairs, the start among it."""
    found = {start}
    while more := {b for a, b in edges if a in found} - found:
        found |= more
    return found


@given(BATCHES)
def test_graphs_have_what_something_passes_through(batch):
    names = ["in", *EDGES, "out"]
    matrix = encode.graph_adjacency()
    for codes, nodes in zip(batch.values.tolist(), encode.graph_nodes(batch), strict=True):
        real = {"in", "out"} | {edge for edge, code in zip(EDGES, codes, strict=True) if code}
        pairs = {(names[i], names[j]) for i, j in np.argwhere(matrix)}
        pairs = {(a, b) for a, b in pairs if {a, b} <= real}
        passed = _reachable(pairs, "in") & _reachable({(b, a) for a, b in pairs}, "out")
        expected = passed | {"in", "out"}
        assert {name for name, there in zip(names, nodes, strict=True) if there} == expected


@given(BATCHES, st.sampled_from(["row", "symmetric", "sum"]))
def test_graphs(batch, normalisation):
    graphs = NB201.graphs(batch, normalisation)
    assert len(graphs) == len(batch)
    assert graphs.num_types == len(NB201.node_types) == 7
    there = encode.graph_nodes(batch)
    np.testing.assert_array_equal(graphs.types, encode.graph_types(batch)[there])
    matrix = encode.graph_adjacency() + np.eye(8, dtype=int)
    for row, first in enumerate(graphs.cell_starts[:-1]):
        own = np.flatnonzero(there[row])
        for place, node in enumerate(own):
            start, stop = graphs.out_starts[first + place : first + place + 2]
            found = own[graphs.out_nodes[start:stop] - first]
            expected = [n for n in np.flatnonzero(matrix[node]) if there[row, n]]
            assert sorted(found.tolist()) == expected


def test_description():
    (facts,) = NB201.describe(NB201.parse("1"))
    assert facts == {
        "architecture": KNOWN[1],
        "digits": "334131",
        "number": 1,
        "connected": True,
        "trainable_parameters": 802_426,
        "multiplications": 113_951_370,
    }
