"""What the methods that train predictors share: the sample, the candidates, and their ranking."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.numeric.rng import seed_state, shuffle
from nprep.kernels.search.evolution import draw_positions
from nprep.predictor.backends.base import Backend
from nprep.predictor.backends.make import make_backend
from nprep.predictor.gcn import GcnWeights
from nprep.predictor.plan_store import stored_plan
from nprep.predictor.scoring import Plan, plan_for, scores_of
from nprep.predictor.settings import GcnSettings
from nprep.search.compiled import has_compiled_loops, view_arrays
from nprep.search.evaluator import Evaluator
from nprep.search.pool import Pool
from nprep.search.rules import CANDIDATE_STREAM, stream
from nprep.spaces.base import Members
from nprep.table.view import View

# Candidates that a classifier judges at a time, best predicted first.
_CLASSIFIED_AT_ONCE = 2048


class _PoolCache:
    """What was derived from the closed pool in use: a plan costs more than a prediction with it.

    Nothing but time depends on it, and it goes when the pool goes.
    """

    def __init__(self) -> None:
        """Holds nothing yet."""
        self._pool: weakref.ref[Pool] | None = None
        self._derived: dict[object, Any] = {}

    def get(self, pool: Pool, key: object, derive: Callable[[], Any]) -> Any:
        """What ``derive`` makes of the pool, made once."""
        if self._pool is None or self._pool() is not pool:
            self._pool = weakref.ref(pool, lambda _: self._derived.clear())
            self._derived = {}
        if key not in self._derived:
            self._derived[key] = derive()
        return self._derived[key]


_CACHE = _PoolCache()


def members_of(pool: Pool, positions: NDArray[np.int32]) -> Members:
    """Architectures of a pool as predictors take them."""
    return Members(pool.space, pool.take(positions))


def backend_of(pool: Pool, name: str) -> Backend:
    """The backend of a name, kept with what it holds for the pool in use."""
    backend: Backend = _CACHE.get(pool, ("backend", name), lambda: make_backend(name))
    return backend


@dataclass(frozen=True)
class Candidates:
    """What a predictor ranks.

    Attributes:
        pool: Where they are from.
        positions: (C,) int32, ascending.
    """

    pool: Pool
    positions: NDArray[np.int32]

    def __len__(self) -> int:
        """Their number C."""
        return len(self.positions)

    def places(self, positions: NDArray[np.int32]) -> NDArray[np.int64]:
        """Where some positions are among the candidates; those that are none are left out."""
        found = np.searchsorted(self.positions, positions)
        inside = found < len(self.positions)
        inside[inside] = self.positions[found[inside]] == positions[inside]
        return found[inside]

    def plan(self, settings: GcnSettings) -> Plan:
        """What predicts all of them; kept for a pool that never changes."""
        if not self.pool.closed:
            return plan_for(members_of(self.pool, self.positions), settings)
        plan: Plan = _CACHE.get(
            self.pool, (settings.normalisation, settings.layers), lambda: self._stored(settings)
        )
        return plan

    def _stored(self, settings: GcnSettings) -> Plan:
        members = members_of(self.pool, self.positions)
        if members.take(np.arange(min(1, len(members)))).graphs("row").chain_length:
            return plan_for(members, settings)
        return stored_plan(members, settings.normalisation, settings.layers)

    def scores(
        self, backend: Backend, weights: Sequence[GcnWeights]
    ) -> Iterator[NDArray[np.float32]]:
        """(C,) float32 predictions of one predictor after the other, all of the same settings."""
        return scores_of(backend, self.plan(weights[0].settings), weights)

    def best_new(
        self,
        scores: NDArray[np.float32],
        known: NDArray[np.int32],
        count: int,
        accepts: Callable[[NDArray[np.int32]], NDArray[np.bool_]] | None = None,
    ) -> NDArray[np.int32]:
        """Positions of the candidates with the highest scores; see ``best_new``."""
        if len(self.positions) == len(self.pool):
            return best_new(scores, known, count, accepts)
        judge = None if accepts is None else (lambda places: accepts(self.positions[places]))
        places = best_new(scores, self.places(known).astype(np.int32), count, judge)
        return self.positions[places]


def candidates_of(pool: Pool, seed: np.random.SeedSequence) -> Candidates:
    """What the predictor of a trial ranks.

    Args:
        pool: The architectures.
        seed: The trial's seed; a closed pool does not need it.
    """
    if pool.closed:
        every: NDArray[np.int32] = _CACHE.get(
            pool, "candidates", lambda: pool.candidates(np.random.default_rng(0))
        )
        return Candidates(pool, every)
    rng = np.random.default_rng(stream(seed, CANDIDATE_STREAM))
    return Candidates(pool, pool.candidates(rng))


def plan_of(pool: Pool, settings: GcnSettings) -> Plan:
    """What predicts everything in a closed pool."""
    return candidates_of(pool, np.random.SeedSequence(0)).plan(settings)


def flat_features(pool: Pool) -> NDArray[np.float32]:
    """(M, F) flat encodings of everything in a closed pool."""
    features: NDArray[np.float32] = _CACHE.get(
        pool,
        "flat",
        lambda: pool.space.encode_flat(pool.take(np.arange(len(pool), dtype=np.int32))),
    )
    return features


def encode(pool: Pool, candidates: Candidates) -> NDArray[np.float32]:
    """(C, F) flat encodings of candidates."""
    if pool.closed:
        return flat_features(pool)
    return pool.space.encode_flat(pool.take(candidates.positions))


def draw_sample(
    pool: Pool, count: int, sampling: str, seed: np.random.SeedSequence
) -> NDArray[np.int32]:
    """Draws the architectures that a predictor is trained on.

    Args:
        pool: The architectures.
        count: How many.
        sampling: "cells": uniformly, all different; "specs": by the space's own sampler, which may
            draw one again.
        seed: Decides the draw.

    Returns:
        (N,) int32 positions; fewer than ``count`` where the pool has fewer.
    """
    if not isinstance(pool, View):
        return _draw_different(pool, count, np.random.default_rng(seed))
    if sampling == "specs":
        if not has_compiled_loops(pool):
            return pool.sample(count, np.random.default_rng(seed), "specs")
        drawn = np.empty(count, np.int32)
        draw_positions(seed_state(seed), view_arrays(pool), True, drawn)
        return drawn
    everything = np.arange(len(pool), dtype=np.int32)
    shuffle(seed_state(seed), everything)
    return everything[:count]


def _draw_different(pool: Pool, count: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Uniformly random architectures of an open pool, all different."""
    found: dict[int, None] = {}
    for _ in range(100):
        if len(found) >= count:
            break
        found.update(dict.fromkeys(pool.sample(count - len(found), rng).tolist()))
    return np.array([*found][:count], np.int32)


def train_sample(
    pool: Pool,
    evaluator: Evaluator,
    count: int,
    sampling: str,
    seed: np.random.SeedSequence,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Queries random architectures; returns those answered, each once, and their first values."""
    positions = draw_sample(pool, count, sampling, seed)
    values = evaluator.query(positions)
    _, first = np.unique(positions[: len(values)], return_index=True)
    # In the order drawn: unique() sorts, and the order decides the first batches.
    first = np.sort(first)
    return positions[first], values[first]


def lifted(labels: NDArray[np.float32], floor: float) -> NDArray[np.float32]:
    """Labels, those below a quantile of them replaced by it.

    Args:
        labels: (N,) accuracies.
        floor: The quantile, 0 to below 1; 0 replaces nothing.
    """
    raised: NDArray[np.float32] = np.maximum(labels, np.quantile(labels, floor).astype(np.float32))
    return raised


def best_new(
    scores: NDArray[np.float32],
    known: NDArray[np.int32],
    count: int,
    accepts: Callable[[NDArray[np.int32]], NDArray[np.bool_]] | None = None,
) -> NDArray[np.int32]:
    """The architectures with the highest scores, best first, those known left out.

    Args:
        scores: (M,) predictions.
        known: Positions to leave out.
        count: K.
        accepts: Tells for some positions which are worth training, or None. It is called for
            architectures in the order of their scores, so few are judged; the answer is the same as
            if all were. Those that it refuses come after all that it accepts.

    Returns:
        (K,) int32 positions; fewer where fewer are left. Equal scores go by position.
    """
    new = np.ones(len(scores), bool)
    new[known] = False
    wanted = max(count, _CLASSIFIED_AT_ONCE)
    accepted: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
    refused: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
    left = np.flatnonzero(new).astype(np.int32)
    found = 0
    while len(left) and found < count:
        if len(left) > wanted:
            limit = np.partition(scores[left], len(left) - wanted)[len(left) - wanted]
            inside = scores[left] >= limit
            head, left = left[inside], left[~inside]
        else:
            head, left = left, left[:0]
        head = head[np.argsort(-scores[head], kind="stable")]
        good = np.ones(len(head), bool) if accepts is None else accepts(head)
        accepted.append(head[good])
        refused.append(head[~good])
        found += int(good.sum())
        wanted *= 2
    return np.concatenate([*accepted, *refused])[:count]
