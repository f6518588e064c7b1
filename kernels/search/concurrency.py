"""Searches on many machines by a simulated clock: events in order of time, ties in order of start.

A machine that is free starts the next training at once. Nothing here depends on how fast this
computer is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel
from nprep.kernels.nb101.cells import MAX_VERTICES
from nprep.kernels.search.evolution import (
    Evolution,
    Rules,
    ViewArrays,
    breed,
    first_individual,
    tournament,
)
from nprep.kernels.search.noise import draw_repeat


@kernel
def _earlier(
    times: NDArray[np.float64], serials: NDArray[np.int64], a: Integer, b: Integer
) -> bool:
    """Whether entry ``a`` of a heap comes before entry ``b``."""
    return bool(times[a] < times[b] or (times[a] == times[b] and serials[a] < serials[b]))


@kernel
def _swap(
    times: NDArray[np.float64],
    serials: NDArray[np.int64],
    slots: NDArray[np.int64],
    a: Integer,
    b: Integer,
) -> None:
    times[a], times[b] = times[b], times[a]
    serials[a], serials[b] = serials[b], serials[a]
    slots[a], slots[b] = slots[b], slots[a]


@kernel
def _push(
    times: NDArray[np.float64],
    serials: NDArray[np.int64],
    slots: NDArray[np.int64],
    size: Integer,
) -> None:
    """Restores a binary heap after an entry was put at its end, at ``size``."""
    child = size
    while child > 0:
        parent = (child - 1) // 2
        if not _earlier(times, serials, child, parent):
            break
        _swap(times, serials, slots, child, parent)
        child = parent


@kernel
def _pop(
    times: NDArray[np.float64],
    serials: NDArray[np.int64],
    slots: NDArray[np.int64],
    size: Integer,
) -> None:
    """Moves the earliest of ``size`` entries to the end and restores the heap of the others."""
    last = size - 1
    _swap(times, serials, slots, 0, last)
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= last:
            break
        if child + 1 < last and _earlier(times, serials, child + 1, child):
            child += 1
        if not _earlier(times, serials, child, parent):
            break
        _swap(times, serials, slots, child, parent)
        parent = child


@kernel
def schedule(
    seconds: NDArray[np.float32],
    rounds: NDArray[np.int32],
    workers: Integer,
    pause: float,
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
) -> None:
    """Start and end of trainings; each waits for the rounds before it and for a free machine.

    Args:
        seconds: (S,) training times; their order is the order of starts within a round.
        rounds: (Q,) where rounds begin, ascending from 0; entries of S and above are ignored.
        workers: Number of machines.
        pause: Seconds between the last end of a round and the first start of the next.
        starts: (S,) overwritten.
        ends: (S,) overwritten.
    """
    count = len(seconds)
    slots = min(workers, count)
    times = np.empty(slots, np.float64)
    serials = np.empty(slots, np.int64)
    unused = np.zeros(slots, np.int64)
    now = 0.0
    for number in range(len(rounds)):
        first = rounds[number]
        if first >= count:
            break
        last = rounds[number + 1] if number + 1 < len(rounds) else count
        last = min(last, count)
        if number:
            now += pause
        latest = now
        size = 0
        for job in range(first, last):
            start = now
            if size == slots:
                start = times[0]
                _pop(times, serials, unused, size)
                size -= 1
            starts[job] = start
            ends[job] = start + np.float64(seconds[job])
            latest = max(latest, ends[job])
            times[size] = ends[job]
            serials[size] = job
            _push(times, serials, unused, size)
            size += 1
        now = latest


@kernel
def evolve_concurrently(
    state: NDArray[np.uint64],
    space: ViewArrays,
    rules: Rules,
    settings: Evolution,
    workers: Integer,
    positions: NDArray[np.int32],
    repeats: NDArray[np.uint8],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
) -> Integer:
    """One trial of regularized evolution with ``workers`` trainings in flight.

    A free machine trains a child of what has finished; as long as fewer individuals than the
    founders have, a random one. An individual enters the population, and the oldest leaves it,
    when its training ends. With one machine this is ``evolve``, draw by draw.

    Args:
        state: (4,) uint64 generator state, advanced.
        space: The view.
        rules: How queries are answered and charged.
        settings: Of the evolution.
        workers: Number of machines.
        positions: (S,) int32; receives the charged cells in the order of their starts.
        repeats: (S,) uint8; receives the repeats seen.
        starts: (S,) float64; receives when each training starts, in seconds.
        ends: (S,) float64; receives when it ends.

    Returns:
        The number of charged queries, at most S.
    """
    population = settings.population
    genes = np.empty(population, np.int64)
    genotypes = np.empty((population, MAX_VERTICES), np.uint8)
    values = np.empty(population, np.float32)
    drawn = np.empty(settings.tournament, np.int64)
    child = np.empty(MAX_VERTICES, np.uint8)
    # In flight, by slot.
    slots = min(workers, len(positions))
    flying_genes = np.empty(slots, np.int64)
    flying_genotypes = np.empty((slots, MAX_VERTICES), np.uint8)
    flying_values = np.empty(slots, np.float32)
    # A heap of ends; what lies beyond its size are the free slots.
    times = np.empty(slots, np.float64)
    serials = np.empty(slots, np.int64)
    heap_slots = np.arange(slots)
    # When a cell's result is known, where it is free from then on.
    known = np.full(len(space.validation) if rules.free_duplicates else 1, np.inf)
    now = 0.0
    spent = 0.0
    charged = 0
    queries = 0
    begun = 0
    finished = 0
    size = 0
    while True:
        while (
            size < slots
            and charged < len(positions)
            and spent < rules.max_seconds
            and begun < rules.max_queries
        ):
            begun += 1
            if finished >= settings.founders:
                alive = min(finished, population)
                oldest = finished % population if finished >= population else 0
                parent = tournament(state, values[:alive], oldest, settings.replacement, drawn)
                bits, position = breed(
                    state, space, settings, genes[parent], genotypes[parent], child
                )
            else:
                bits, position = first_individual(state, space, rules, settings, child)
            value = np.float32(0.0)
            end = now
            if position >= 0:
                counter = queries if rules.per_query else position
                queries += 1
                repeat = draw_repeat(space.validation[position], rules.noise_seed, counter)
                value = space.validation[position, repeat]
                if rules.free_duplicates and known[position] < np.inf:
                    # A cell is trained once: a query during its training waits for the result.
                    end = max(now, float(known[position]))
                else:
                    seconds = np.float64(space.seconds[position, repeat])
                    end = now + seconds
                    positions[charged] = position
                    repeats[charged] = repeat
                    starts[charged] = now
                    ends[charged] = end
                    spent += seconds
                    charged += 1
                    if rules.free_duplicates:
                        known[position] = end
            if end <= now:
                place = finished % population
                genes[place] = bits
                genotypes[place] = child
                values[place] = value
                finished += 1
                continue
            slot = heap_slots[size]
            flying_genes[slot] = bits
            flying_genotypes[slot] = child
            flying_values[slot] = value
            times[size] = end
            serials[size] = begun
            _push(times, serials, heap_slots, size)
            size += 1
        if size == 0:
            break
        now = times[0]
        slot = heap_slots[0]
        _pop(times, serials, heap_slots, size)
        size -= 1
        place = finished % population
        genes[place] = flying_genes[slot]
        genotypes[place] = flying_genotypes[slot]
        values[place] = flying_values[slot]
        finished += 1
    return charged
