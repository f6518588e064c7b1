"""Which architectures of NAS-Bench-201 compute the same kind of function.

A node is a sum of terms; an edge without operation or from a zero adds nothing, a skip connection
adds the terms of its tail. Two architectures are functionally isomorphic where the sums at the
output are equal whatever the order of their terms. That makes 4,930 classes of the 15,625 strings.

The authors' rule (``to_unique_str(consider_zero=True)`` of NATS-Bench) makes 6,466: it keeps zeros
as terms of a sum and does not merge the sum behind a skip connection into the sum in which it
stands, so it tells some architectures apart that are the same function. Both treat a convolution of
zeros as a zero, although its batch normalisation may shift it by a constant.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nprep.errors import SettingsError
from nprep.spaces.choices import Codes
from nprep.spaces.nb201.strings import (
    EDGES,
    NONE,
    NUM_NODES,
    OPERATION_NAMES,
    SKIP,
    enumerate_space,
    numbers,
)

Rule = Literal["functional", "authors"]
RULES: tuple[Rule, ...] = ("functional", "authors")

ZERO = "#"
INPUT = "0"


def canonical_texts(batch: Codes, rule: Rule = "functional") -> list[str]:
    """A text for each architecture, equal for isomorphic ones only.

    Args:
        batch: N architectures.
        rule: "functional", or "authors" for the texts of the authors' ``to_unique_str``.

    Returns:
        N texts such as ``(0)@nor_conv_3x3+0``; ``#`` is zero and ``0`` the cell's input.

    Raises:
        SettingsError: If the rule is unknown.
    """
    if rule not in RULES:
        raise SettingsError(f"the rule is {rule!r}; known are {' and '.join(RULES)}.")
    write = _functional_text if rule == "functional" else _authors_text
    return [write(row) for row in batch.values.tolist()]


def _functional_text(codes: list[int]) -> str:
    """The sum at the output, its terms sorted, zeros left out."""
    sums: list[list[str]] = [[INPUT]] + [[] for _ in range(NUM_NODES - 1)]
    for (tail, head), code in zip(EDGES, codes, strict=True):
        if code == NONE or not sums[tail]:
            continue
        if code == SKIP:
            sums[head] += sums[tail]
        else:
            sums[head].append(f"({'+'.join(sorted(sums[tail]))})@{OPERATION_NAMES[code]}")
    return "+".join(sorted(sums[-1])) or ZERO


def _authors_text(codes: list[int]) -> str:
    """What the authors' program writes."""
    terms: list[list[str]] = [[] for _ in range(NUM_NODES)]
    texts = [INPUT]
    for (tail, head), code in zip(EDGES, codes, strict=True):
        if head == len(texts) + 1:
            texts.append("+".join(sorted(terms[len(texts)])))
        if code == NONE or texts[tail] == ZERO:
            terms[head].append(ZERO)
        elif code == SKIP:
            terms[head].append(texts[tail])
        else:
            terms[head].append(f"({texts[tail]})@{OPERATION_NAMES[code]}")
    return "+".join(sorted(terms[-1]))


@cache
def _classes_by_number(rule: Rule) -> NDArray[np.int32]:
    """The class of each official number; classes are numbered in the order of their texts."""
    texts = canonical_texts(enumerate_space(), rule)
    number_of = {text: number for number, text in enumerate(sorted(set(texts)))}
    classes = np.array([number_of[text] for text in texts], np.int32)
    classes.flags.writeable = False
    return classes


def isomorphism_classes(batch: Codes, rule: Rule = "functional") -> NDArray[np.int32]:
    """The class of each architecture: (N,) int32, equal for isomorphic ones only.

    Args:
        batch: N architectures.
        rule: See ``canonical_texts``.
    """
    return _classes_by_number(rule)[numbers(batch)]
