from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.errors import InvalidSpecError, SettingsError
from nprep.spaces.proxyless.space import SKIP, MobileSpace, round_channels

FULL = MobileSpace()
SMALL = MobileSpace(num_classes=10, image_size=32, width=0.25, depth=2, stem_stride=1)


def test_size_is_the_published_count() -> None:
    assert FULL.num_blocks == 22
    assert FULL.size == 3 * 6**6 * 7**15 == 664_506_689_423_701_824


def test_resolutions_end_at_a_thirty_second() -> None:
    assert FULL.stem_size == 112
    assert [b.out_size for b in FULL.blocks[:2]] == [112, 56]
    assert FULL.blocks[-1].out_size == 7


def test_first_blocks_of_stages_cannot_be_skipped() -> None:
    forbidden = [i for i, b in enumerate(FULL.blocks) if SKIP not in b.choices]
    assert forbidden == [0, 1, 5, 9, 13, 17, 21]


@given(st.integers(0, FULL.size - 1))
def test_numbers_and_encodings_are_one_to_one(index: int) -> None:
    encoding = FULL.from_index(index)
    assert FULL.index_of(FULL.check(encoding)) == index
    assert np.array_equal(FULL.parse(FULL.format(encoding)), encoding)


def test_sampling_is_uniform_in_every_block_and_seeded() -> None:
    draws = FULL.sample(np.random.default_rng(0), 21_000)
    FULL.check(draws)
    for block, column in zip(FULL.blocks, draws.T, strict=True):
        counts = np.bincount(column, minlength=7)[list(block.choices)]
        expected = len(draws) / len(block.choices)
        # 5 standard deviations of a binomial count.
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    assert np.array_equal(draws, FULL.sample(np.random.default_rng(0), 21_000))


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_mutation_changes_exactly_so_many_blocks(seed: int, changes: int) -> None:
    rng = np.random.default_rng(seed)
    parent = SMALL.sample(rng, 1)[0]
    before = parent.copy()
    child = SMALL.mutate(rng, parent, changes)
    assert np.array_equal(parent, before)
    assert (SMALL.check(child) != parent).sum() == changes


def test_mutation_reaches_every_allowed_choice() -> None:
    rng = np.random.default_rng(0)
    parent = SMALL.known("smallest")
    seen = {
        (int(b), int(c[b]))
        for c in (SMALL.mutate(rng, parent) for _ in range(2000))
        for b in np.flatnonzero(c != parent)
    }
    wanted = {(i, c) for i, b in enumerate(SMALL.blocks) for c in b.choices if c != parent[i]}
    assert seen == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0" * 21, "22 blocks"),
        ("1" + "0" * 21, "block 0 has choice 1"),
        ("06" + "0" * 20, "block 1 has choice 6"),
        ("0" * 21 + "8", "block 21 has choice 8"),
        ("resnet", "no network of the mobile space"),
        ("", "no network of the mobile space"),
    ],
)
def test_wrong_encodings_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        FULL.parse(text)


@pytest.mark.parametrize(
    "setting",
    [{"num_classes": 1}, {"depth": 0}, {"width": 0}, {"image_size": 4}, {"stem_stride": 3}],
)
def test_wrong_spaces_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=next(iter(setting))):
        MobileSpace(**setting)


def test_rounding_keeps_at_least_nine_tenths() -> None:
    assert [round_channels(c) for c in (1, 8, 11, 12, 22.4, 33)] == [8, 8, 16, 16, 24, 32]
    for channels in range(8, 400):
        assert round_channels(channels) >= 0.9 * channels
