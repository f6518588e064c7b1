"""What a replay costs: time to its first line of progress and in all, and the most memory.

    python -m bench.replay_cost --table table.h5 --view completed --trials 500 --out run

All arguments go to ``python -m nprep.replay``. Memory is the proportional set size (shared pages
are divided by the processes that share them) of all its processes together, sampled twice a
second; Linux alone tells it. Nothing is judged.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench.common import processor


def processes_of(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The command in parentheses may hold blanks.
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def memory_of(root: int) -> int:
    """Bytes of a process and its descendants: proportional set sizes."""
    total = 0
    for process in processes_of(root):
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
        total += 1024 * int(match[1]) if match else 0
    return total


def main(arguments: list[str]) -> int:
    """Runs a replay and prints what it cost."""
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "nprep.replay", *arguments], stderr=subprocess.PIPE, text=True
    )
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            peak[0] = max(peak[0], memory_of(child.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    first_line = None
    assert child.stderr is not None
    for line in child.stderr:
        if first_line is None and "trials" in line:
            first_line = time.perf_counter() - start
        sys.stderr.write(line)
    status = child.wait()
    took = time.perf_counter() - start
    done.set()
    watcher.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = "never" if first_line is None else f"{first_line:.2f} s"
    print(
        f"{processor()}, {os.cpu_count()} cores: first line of progress after {shown}, in all "
        f"{took:.1f} s ({used.ru_utime + used.ru_stime:.1f} s of processor time), at most "
        f"{peak[0] / 1e9:.2f} GB of memory, exit status {status}"
    )
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
