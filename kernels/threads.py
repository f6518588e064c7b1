"""Slices of a batch on several threads; kernels release the GIL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def run_slices(work: Callable[[int, int], object], count: int, threads: int) -> None:
    """Calls ``work(start, stop)`` on contiguous slices that cover ``range(count)``.

    Args:
        work: Writes its results in place; must not depend on how the range is cut.
        count: Length of the batch.
        threads: How many slices, each on a thread of its own; 1 runs in the caller's thread.

    Raises:
        Exception: Whatever ``work`` raises.
    """
    threads = max(1, min(threads, count))
    if threads == 1:
        work(0, count)
        return
    bounds = [count * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work, bounds[i], bounds[i + 1]) for i in range(threads)]:
            future.result()
