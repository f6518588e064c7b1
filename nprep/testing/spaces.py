"""What every space must hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from nprep.errors import InvalidSpecError, SettingsError
from nprep.spaces.base import Space
from nprep.spaces.choices import MOST_ENUMERATED
from nprep.spaces.graphs import NORMALISATIONS


def _same(space: Space, a: Any, b: Any) -> None:
    """Asserts that two batches hold the same architectures, in order."""
    assert len(a) == len(b)
    assert_array_equal(space.keys(a), space.keys(b))


class SpaceSuite:
    """Derive from it, name the class ``Test...`` and set ``space``.

    Attributes:
        space: What is tested.
    """

    space: Space

    def _some(self, count: int = 40, seed: int = 0) -> Any:
        return self.space.sample(count, np.random.default_rng(seed))

    def test_name_and_title(self) -> None:
        """The name can be part of files, options and messages."""
        assert self.space.name == self.space.name.lower()
        assert self.space.name.replace("-", "").isalnum()
        assert self.space.title
        assert 1 <= len(self.space.node_types) <= 256
        assert len(set(self.space.node_types)) == len(self.space.node_types)

    def test_a_seed_decides_what_is_drawn(self) -> None:
        """Sampling and mutation depend on the generator alone."""
        _same(self.space, self._some(), self._some())
        a, b = (
            self.space.mutate(self._some(), np.random.default_rng(7)),
            self.space.mutate(self._some(), np.random.default_rng(7)),
        )
        _same(self.space, a, b)
        other = self._some(seed=1)
        assert (self.space.keys(self._some()) != self.space.keys(other)).any()

    def test_take_picks_in_order_with_repetitions(self) -> None:
        """A batch can be indexed by positions."""
        batch = self._some(10)
        places = np.array([3, 0, 3, 9])
        picked = batch.take(places)
        assert len(picked) == 4
        assert_array_equal(self.space.keys(picked), self.space.keys(batch)[places])
        assert len(batch.take(np.zeros(0, np.int64))) == 0

    def test_keys_are_uint64_and_never_zero(self) -> None:
        """A look-up takes 0 for an empty slot."""
        keys = self.space.keys(self._some())
        assert keys.dtype == np.uint64
        assert keys.shape == (40,)
        assert (keys != 0).all()

    def test_codes_come_back(self) -> None:
        """``from_codes`` inverts ``to_codes``."""
        batch = self._some()
        codes = self.space.to_codes(batch)
        assert codes.dtype == np.uint8
        assert codes.shape == (40, self.space.code_width)
        _same(self.space, self.space.from_codes(codes), batch)

    def test_texts_come_back(self) -> None:
        """``parse`` inverts ``format``."""
        batch = self._some(5)
        texts = self.space.format(batch)
        assert len(texts) == 5
        for place, text in enumerate(texts):
            _same(self.space, self.space.parse(text), batch.take(np.array([place])))

    def test_other_texts_are_refused_in_one_sentence(self) -> None:
        """A person's mistake names the text."""
        for text in ("", "no architecture", "[]", "{}"):
            with pytest.raises(InvalidSpecError) as caught:
                self.space.parse(text)
            assert "\n" not in str(caught.value)

    def test_children_are_architectures_of_the_space(self) -> None:
        """One valid child for each parent, and mutation leads away."""
        parents = self._some()
        children = self.space.mutate(parents, np.random.default_rng(1))
        assert len(children) == len(parents)
        assert (self.space.keys(children) != self.space.keys(parents)).mean() > 0.3

    def test_neighbours_are_different_architectures(self) -> None:
        """Each once, the architecture itself left out, and the relation goes both ways."""
        one = self._some(1)
        found = self.space.neighbours(one)
        keys = self.space.keys(found)
        own = self.space.keys(one)[0]
        assert len(found) >= 1
        assert len(np.unique(keys)) == len(keys)
        assert own not in keys
        for place in range(min(5, len(found))):
            back = self.space.keys(self.space.neighbours(found.take(np.array([place]))))
            assert own in back

    def test_flat_features_tell_architectures_apart(self) -> None:
        """Equal length, finite, and not all the same."""
        features = self.space.encode_flat(self._some())
        assert features.dtype == np.float32
        assert features.shape[0] == 40
        assert np.isfinite(features).all()
        assert len(np.unique(features, axis=0)) > 1

    def test_graphs_are_well_formed(self) -> None:
        """Every vertex reads itself first; both directions hold the same edges."""
        batch = self._some(12)
        for normalisation in NORMALISATIONS:
            graphs = self.space.graphs(batch, normalisation)
            assert len(graphs) == 12
            assert graphs.num_types == len(self.space.node_types)
            assert graphs.types.max() < graphs.num_types
            nodes = np.arange(graphs.num_nodes)
            owners = np.repeat(np.arange(12), np.diff(graphs.cell_starts))
            pairs = []
            for side in ("out", "in"):
                starts = getattr(graphs, f"{side}_starts")
                entries = getattr(graphs, f"{side}_nodes")
                weights = getattr(graphs, f"{side}_weights")
                assert_array_equal(entries[starts[:-1]], nodes)
                readers = np.repeat(nodes, np.diff(starts))
                assert_array_equal(owners[readers], owners[entries])
                if normalisation == "row":
                    assert_allclose(np.add.reduceat(weights, starts[:-1]), 1, rtol=1e-6)
                pair = (readers, entries) if side == "out" else (entries, readers)
                pairs.append(set(zip(*(part.tolist() for part in pair), strict=True)))
            assert pairs[0] == pairs[1]
        with pytest.raises(SettingsError, match="column"):
            self.space.graphs(batch, "column")

    def test_descriptions_and_columns_have_one_entry_each(self) -> None:
        """What is shown of N architectures is N long."""
        batch = self._some(6)
        assert len(self.space.describe(batch)) == 6
        for name, column in self.space.columns(batch).items():
            assert len(column) == 6, name

    def test_enumeration(self) -> None:
        """Each architecture once; a space that is too large says so."""
        if self.space.size is None or self.space.size > MOST_ENUMERATED:
            with pytest.raises(SettingsError, match=self.space.name):
                self.space.enumerate()
            return
        everything = self.space.enumerate()
        keys = self.space.keys(everything)
        assert len(np.unique(keys)) == len(everything) == self.space.size
        drawn = self.space.keys(self._some(200))
        assert np.isin(drawn, keys).all()
