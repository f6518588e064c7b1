from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nprep.kernels.numeric.lookup import KeyIndex, find_key

WORDS = st.integers(1, 2**64 - 1)
# Low bits decide the slot: few of them, to make chains and wrap around the end.
CROWDED = st.integers(0, 3).flatmap(
    lambda low: st.integers(1, 40).map(lambda h: h << 32 | 31 - low)
)


@given(st.lists(WORDS | CROWDED, unique=True, max_size=60), st.lists(WORDS | CROWDED, max_size=60))
def test_as_a_dictionary(keys: list[int], queries: list[int]) -> None:
    index = KeyIndex.build(np.array(keys, np.uint64))
    rows = {key: row for row, key in enumerate(keys)}
    asked = np.array([*keys, *queries, 0], np.uint64)
    expected = [rows.get(int(key), -1) for key in asked]
    found = index.find(asked)
    assert found.dtype == np.int32
    assert found.tolist() == expected
    assert [find_key(index.slot_keys, index.slot_rows, key) for key in asked] == expected


def test_half_full_at_most() -> None:
    keys = np.random.default_rng(0).integers(1, 2**63, 1000).astype(np.uint64)
    index = KeyIndex.build(keys)
    assert len(index.slot_keys) >= 2000
    assert (index.slot_keys != 0).sum() == 1000


@pytest.mark.parametrize("keys", [[5, 6, 5], [1, 0]])
def test_refused_keys(keys: list[int]) -> None:
    with pytest.raises(ValueError, match="is 0 or a repetition"):
        KeyIndex.build(np.array(keys, np.uint64))
