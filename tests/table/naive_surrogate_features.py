"""The surrogate's own features by listing all paths: slow and obvious."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

OPS = ("conv3x3", "conv1x1", "maxpool3x3")


def naive_features(bits: int, operations: Sequence[int], n: int) -> dict[str, float]:
    """The features of one pruned cell, by name."""
    pairs = list(itertools.combinations(range(7), 2))
    edges = {pair for k, pair in enumerate(pairs) if (bits >> k) & 1 and pair[1] < n}
    last = n - 1

    def paths(start: int, end: int) -> Iterator[list[int]]:
        if start == end:
            yield [end]
            return
        for a, b in edges:
            if a == start:
                for rest in paths(b, end):
                    yield [start, *rest]

    def label(v: int) -> str:
        return "input" if v == 0 else "output" if v == last else OPS[operations[v]]

    whole = list(paths(0, last))
    out: Counter[str] = Counter()
    for op in OPS:
        for k in range(1, 6):
            out[f"{op}_at_depth_{k}"] = out[f"{op}_at_height_{k}"] = 0
        out[f"unavoidable_{op}"] = 0
    for v in range(1, last):
        out[f"{label(v)}_at_depth_{max(len(p) for p in paths(0, v)) - 1}"] += 1
        out[f"{label(v)}_at_height_{max(len(p) for p in paths(v, last)) - 1}"] += 1
        out[f"unavoidable_{label(v)}"] += all(v in p for p in whole)
    for a in (*OPS, "input"):
        for b in OPS:
            for c in (*OPS, "output"):
                out[f"{a}_{b}_{c}"] = 0
    for (u, v), (w, x) in itertools.product(edges, edges):
        if v == w:
            out[f"{label(u)}_{label(v)}_{label(x)}"] += 1
    for length in (4, 5):
        for a in range(length + 1):
            for b in range(length + 1 - a):
                out[f"paths_of_{a}_{b}_{length - a - b}"] = 0
    for path in whole:
        kinds = Counter(label(v) for v in path[1:-1])
        if len(path) - 2 in (4, 5):
            out["paths_of_{}_{}_{}".format(*(kinds[op] for op in OPS))] += 1

    # Channels: the output's are shared by what feeds it; others take the most their readers have.
    feeding = [v for v in range(1, last) if (v, last) in edges]
    channels: dict[int, float] = {}
    for v in range(last - 1, 0, -1):
        of_readers = [channels[w] for w in range(v + 1, last) if (v, w) in edges]
        channels[v] = max([1 / len(feeding)] * (v in feeding) + of_readers)
    for op in OPS:
        out[f"widest_{op}_to_output"] = max(
            [channels[v] for v in feeding if label(v) == op], default=0
        )
    return {name: float(value) for name, value in out.items()}
