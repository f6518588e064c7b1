"""The architectures of NAS-Bench-201: as codes, as strings, as numbers.

A cell has four nodes, node 0 being its input and node 3 its output. Each of the six edges j -> i
(j < i) carries one of five operations, and a node is the sum of what its edges bring. A batch
(``nprep.spaces.choices.Codes``) holds a row of six operation codes for each architecture, in
the order of the official string::

    |op~0|+|op~0|op~1|+|op~0|op~1|op~2|        (edges into node 1, node 2, node 3)

Source: Dong and Yang, "NAS-Bench-201" (ICLR 2020), and the authors' programs NATS-Bench and
AutoDL-Projects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from random import Random

import numpy as np
from numpy.typing import NDArray

from nprep.errors import InvalidSpecError
from nprep.spaces.choices import Codes

# The position of a name is its operation code.
OPERATION_NAMES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE, SKIP, CONV_1X1, CONV_3X3, AVG_POOL = range(5)
NUM_OPERATIONS = len(OPERATION_NAMES)

NUM_NODES = 4
# (tail, head) of each edge, in the order of the official string.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
NUM_EDGES = len(EDGES)
SIZE = NUM_OPERATIONS**NUM_EDGES

# The authors shuffle the enumerated architectures with this seed ("do not change this line for
# reproducibility", exps/NATS-Bench/main-tss.py of AutoDL-Projects); the numbers in their files and
# programs are positions in the shuffled list.
_OFFICIAL_SEED = 88
_POWERS = NUM_OPERATIONS ** np.arange(NUM_EDGES - 1, -1, -1, dtype=np.int64)
_EXAMPLE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"


def batch_of(codes: Sequence[Sequence[int]] | NDArray[np.integer]) -> Codes:
    """A batch of given codes.

    Args:
        codes: (N, 6) operation codes.

    Raises:
        InvalidSpecError: If the shape or a code is not of this space.
    """
    array = np.asarray(codes)
    if array.ndim != 2 or array.shape[1] != NUM_EDGES or array.dtype.kind not in "iu":
        raise InvalidSpecError(
            f"the codes are {array.dtype} {array.shape}; give whole numbers, {NUM_EDGES} for each "
            "architecture."
        )
    wrong = (array < 0) | (array >= NUM_OPERATIONS)
    if wrong.any():
        position, edge = (int(part) for part in np.argwhere(wrong)[0])
        raise InvalidSpecError(
            f"edge {edge} of the architecture at position {position} has the operation code "
            f"{int(array[position, edge])}; the codes are 0 to {NUM_OPERATIONS - 1}."
        )
    return Codes(np.ascontiguousarray(array, np.uint8))


def ranks(batch: Codes) -> NDArray[np.int32]:
    """The codes read as six digits of base 5: (N,) int32 from 0 to 15,624."""
    return (batch.values.astype(np.int64) @ _POWERS).astype(np.int32)


def from_ranks(numbers: NDArray[np.integer]) -> Codes:
    """The inverse of ``ranks``, for (N,) numbers from 0 to 15,624."""
    digits = np.asarray(numbers, np.int64)[:, None] // _POWERS % NUM_OPERATIONS
    return Codes(digits.astype(np.uint8))


@cache
def _official_order() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The rank of each official number, and the official number of each rank: both (15625,)."""
    # The authors' enumeration runs through the ranks in ascending order.
    shuffled = list(range(SIZE))
    Random(_OFFICIAL_SEED).shuffle(shuffled)
    rank_of = np.array(shuffled, np.int32)
    number_of = np.empty(SIZE, np.int32)
    number_of[rank_of] = np.arange(SIZE, dtype=np.int32)
    rank_of.flags.writeable = number_of.flags.writeable = False
    return rank_of, number_of


def enumerate_space() -> Codes:
    """All 15,625 architectures, in the order of their official numbers."""
    return from_ranks(_official_order()[0])


def numbers(batch: Codes) -> NDArray[np.int32]:
    """The official numbers (N,) int32, by which the authors' files and programs name them."""
    return _official_order()[1][ranks(batch)]


def from_numbers(official: NDArray[np.integer]) -> Codes:
    """The architectures of official numbers.

    Raises:
        InvalidSpecError: If one is outside 0 to 15,624.
    """
    array = np.asarray(official)
    outside = (array < 0) | (array >= SIZE)
    if outside.any():
        raise InvalidSpecError(
            f"{int(array[outside][0])} is no architecture of NAS-Bench-201; the numbers are 0 to "
            f"{SIZE - 1}."
        )
    return from_ranks(_official_order()[0][array])


def format_strings(batch: Codes) -> list[str]:
    """The official strings, such as ``|none~0|+|none~0|none~1|+|none~0|none~1|none~2|``."""
    texts = []
    for row in batch.values.tolist():
        nodes: list[list[str]] = [[] for _ in range(NUM_NODES - 1)]
        for (tail, head), code in zip(EDGES, row, strict=True):
            nodes[head - 1].append(f"{OPERATION_NAMES[code]}~{tail}")
        texts.append("+".join(f"|{'|'.join(node)}|" for node in nodes))
    return texts


def format_digits(batch: Codes) -> list[str]:
    """The codes as six digits each, such as ``310004``."""
    return ["".join(map(str, row)) for row in batch.values.tolist()]


def parse_text(text: str) -> Codes:
    """Reads one architecture.

    Args:
        text: The official string; six digits (the operation codes in the order of the string); or
            the official number, which has at most five digits. Blanks at the ends do not matter.

    Returns:
        A batch of one.

    Raises:
        InvalidSpecError: If the text is none of them.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        if len(text) == NUM_EDGES:
            return batch_of([[int(digit) for digit in text]])
        # Any longer number is outside too, and int() refuses very long ones.
        return from_numbers(np.array([int(text[:10])]))
    groups = text.split("+")
    if len(groups) != NUM_NODES - 1 or not all(re.fullmatch(r"\|(.*)\|", g) for g in groups):
        raise InvalidSpecError(
            f"{_shown(text)} is no architecture of NAS-Bench-201: give a string such as "
            f"{_EXAMPLE}, six digits or a number below {SIZE}."
        )
    codes = []
    for head, group in enumerate(groups, start=1):
        parts = group[1:-1].split("|")
        if len(parts) != head:
            raise InvalidSpecError(
                f"{_shown(text)}: node {head} has {len(parts)} edges, and {head} are needed."
            )
        for tail, part in enumerate(parts):
            name, _, source = part.partition("~")
            if source != str(tail):
                raise InvalidSpecError(
                    f"{_shown(text)}: edge {tail} of node {head} is {part!r}; write it OPERATION~"
                    f"{tail}."
                )
            if name not in OPERATION_NAMES:
                raise InvalidSpecError(
                    f"{_shown(text)}: the operation {name!r} is unknown: use "
                    f"{', '.join(OPERATION_NAMES)}."
                )
            codes.append(OPERATION_NAMES.index(name))
    return batch_of([codes])


def _shown(text: str) -> str:
    """A text of unknown length, for a message."""
    return repr(text if len(text) <= 100 else f"{text[:100]}...")


def connected(batch: Codes) -> NDArray[np.bool_]:
    """Which architectures pass anything from their input to their output: (N,) bool.

    The others (341 of 15,625) are valid and were trained too; they answer the same to any image.
    """
    reached = np.zeros((len(batch), NUM_NODES), bool)
    reached[:, 0] = True
    for edge, (tail, head) in enumerate(EDGES):
        reached[:, head] |= reached[:, tail] & (batch.values[:, edge] != NONE)
    return reached[:, -1]
