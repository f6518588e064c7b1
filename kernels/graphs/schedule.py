"""When rows are computed and where they stay: a plan for buffers of a cache's size.

Graphs are handled in chunks, in a fixed order that the plan knows beforehand. A chunk needs rows;
each has a slot of a buffer from when it is computed until its last use, or until it makes way: for
a row that is needed sooner, the row that is needed latest goes (Belady's rule, which computes
fewest rows again). Slots that became free last are used first, since they are in the cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel


@kernel
def _distinct_uses(
    uses: NDArray[np.int32], bounds: NDArray[np.int32], rows: Integer
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The distinct rows of each chunk, in order of use, and (C + 1,) where they begin."""
    last = np.full(rows, -1, np.int32)
    distinct = np.empty(len(uses), np.int32)
    starts = np.zeros(len(bounds), np.int32)
    count = 0
    for chunk in range(len(bounds) - 1):
        for k in range(bounds[chunk], bounds[chunk + 1]):
            if last[uses[k]] != chunk:
                last[uses[k]] = chunk
                distinct[count] = uses[k]
                count += 1
        starts[chunk + 1] = count
    return distinct[:count].copy(), starts


@kernel
def assign_slots(
    uses: NDArray[np.int32], bounds: NDArray[np.int32], rows: Integer, capacity: Integer
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], int]:
    """Decides which rows each chunk computes, and the slot of every row.

    Args:
        uses: (U,) rows that the chunks use, chunk by chunk.
        bounds: (C + 1,) where each chunk's uses begin.
        rows: How many rows there are.
        capacity: Slots; more are taken where a single chunk needs more.

    Returns:
        The rows computed (K,), chunk by chunk; where each chunk's begin (C + 1,); the slot of each
        row computed (K,); the slot of each use (U,); the number of slots in use.
    """
    distinct, starts = _distinct_uses(uses, bounds, rows)
    chunks = len(bounds) - 1
    for chunk in range(chunks):
        capacity = max(capacity, starts[chunk + 1] - starts[chunk])
    # The chunk in which each row of a chunk is used next; ``chunks`` if in none.
    following = np.empty(len(distinct), np.int32)
    coming = np.full(rows, chunks, np.int32)
    for chunk in range(chunks - 1, -1, -1):
        for k in range(starts[chunk], starts[chunk + 1]):
            following[k] = coming[distinct[k]]
            coming[distinct[k]] = chunk

    slot_of = np.full(rows, -1, np.int32)
    free = np.arange(capacity - 1, -1, -1).astype(np.int32)
    num_free = capacity
    # Rows kept between chunks, in lists by the chunk of their next use.
    head = np.full(chunks + 1, -1, np.int32)
    link = np.full(rows, -1, np.int32)
    farthest = 0
    computed = np.empty(len(distinct), np.int32)
    slots = np.empty(len(distinct), np.int32)
    computed_bounds = np.zeros(chunks + 1, np.int32)
    use_slots = np.empty(len(uses), np.int32)
    count = 0
    used: Integer = 0
    for chunk in range(chunks):
        for k in range(starts[chunk], starts[chunk + 1]):
            row = distinct[k]
            if slot_of[row] >= 0:
                continue
            if num_free == 0:
                while head[farthest] < 0:
                    farthest -= 1
                gone = head[farthest]
                head[farthest] = link[gone]
                free[0] = slot_of[gone]
                slot_of[gone] = -1
                num_free = 1
            num_free -= 1
            slot_of[row] = free[num_free]
            used = max(used, np.int64(free[num_free]) + 1)
            computed[count] = row
            slots[count] = slot_of[row]
            count += 1
        computed_bounds[chunk + 1] = count
        for k in range(bounds[chunk], bounds[chunk + 1]):
            use_slots[k] = slot_of[uses[k]]
        for k in range(starts[chunk], starts[chunk + 1]):
            row, coming_use = distinct[k], following[k]
            if coming_use == chunks:
                free[num_free] = slot_of[row]
                num_free += 1
                slot_of[row] = -1
            else:
                link[row] = head[coming_use]
                head[coming_use] = row
                farthest = max(farthest, coming_use)
    return computed[:count].copy(), computed_bounds, slots[:count].copy(), use_slots, used


@kernel
def list_entries(
    members: NDArray[np.int32],
    lower: NDArray[np.int32],
    starts: NDArray[np.int32],
    nodes: NDArray[np.int32],
    codes: NDArray[np.uint16],
    also_starts: NDArray[np.int32],
    also_nodes: NDArray[np.int32],
    also_codes: NDArray[np.uint16],
    backward: NDArray[np.bool_],
    list_starts: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """What some nodes gather in one direction each.

    Args:
        members: (n,) nodes.
        lower: (V,) each node's row below.
        starts: (V + 1,) first entry of each node along the edges.
        nodes: Entries.
        codes: Numbers of their weights.
        also_starts: Likewise against the edges, as the next two.
        also_nodes: Entries.
        also_codes: Numbers of their weights.
        backward: (n,) whether a node gathers against the edges.
        list_starts: (n + 1,) receives the first entry of each list.

    Returns:
        Rows below and numbers of weights of all entries.
    """
    total = 0
    for i in range(len(members)):
        node = members[i]
        list_starts[i] = total
        if backward[i]:
            total += also_starts[node + 1] - also_starts[node]
        else:
            total += starts[node + 1] - starts[node]
    list_starts[len(members)] = total
    rows = np.empty(total, np.int32)
    row_codes = np.empty(total, np.uint16)
    position = 0
    for i in range(len(members)):
        node = members[i]
        if backward[i]:
            for entry in range(also_starts[node], also_starts[node + 1]):
                rows[position] = lower[also_nodes[entry]]
                row_codes[position] = also_codes[entry]
                position += 1
        else:
            for entry in range(starts[node], starts[node + 1]):
                rows[position] = lower[nodes[entry]]
                row_codes[position] = codes[entry]
                position += 1
    return rows, row_codes


@kernel
def along_first(
    sums: NDArray[np.int32], slots: NDArray[np.int32], bounds: NDArray[np.int32], limit: Integer
) -> NDArray[np.int32]:
    """Puts each chunk's sums along the edges before those against them.

    Args:
        sums: (K,) numbers of sums, changed in place; those from ``limit`` on are against the edges.
        slots: (K,) their slots, moved with them.
        bounds: (C + 1,) where each chunk's begin.
        limit: See ``sums``.

    Returns:
        (2 C + 1,) where each chunk's sums along and against the edges begin.
    """
    cuts = np.empty(2 * len(bounds) - 1, np.int32)
    cuts[len(cuts) - 1] = bounds[-1]
    for chunk in range(len(bounds) - 1):
        first, last = bounds[chunk], bounds[chunk + 1]
        held = np.empty(last - first, np.int32)
        held_slots = np.empty(last - first, np.int32)
        place, count = first, 0
        for k in range(first, last):
            if sums[k] < limit:
                sums[place], slots[place] = sums[k], slots[k]
                place += 1
            else:
                held[count], held_slots[count] = sums[k], slots[k]
                count += 1
        sums[place:last] = held[:count]
        slots[place:last] = held_slots[:count]
        cuts[2 * chunk], cuts[2 * chunk + 1] = first, place
    return cuts
