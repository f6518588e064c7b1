"""Fuzzes the readers of tables and of run folders: ``python -m tests.fuzz.run --cases 10000``.

Cases run in batches in processes of their own, so that a crash or a hang is counted and the
other batches still run. A case is decided by its target, its number and the seed alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
# The first case compiles or loads kernels.
FIRST_SECONDS = 1200.0
# A case that starts a process, on a machine that others use, takes long.
CASE_SECONDS = 300.0
# Far above what any case needs, far below what damaged sizes may ask for.
MEMORY_BYTES = 16 << 30


@dataclass
class Tally:
    """How the cases of a target ended.

    Attributes:
        ended: Counts of "refused", "same" and each kind of failure.
        failures: What went wrong, one text each.
    """

    ended: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def fail(self, kind: str, text: str) -> None:
        """Counts a failure."""
        self.ended[kind] += 1
        self.failures.append(f"{kind}: {text}")


def child(target: str, seed: int, first: int, count: int, base: Path) -> None:
    """Runs cases and prints a line before and after each."""
    from tests.fuzz.targets import TARGETS, WrongDataError

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with tempfile.TemporaryDirectory(dir=base) as scratch:
        case = TARGETS[target][0](base, Path(scratch))
        for number in range(first, first + count):
            print(json.dumps({"begin": number}), flush=True)
            rng = np.random.default_rng([seed, *target.encode(), number])
            try:
                kind, what = case(rng)
            except WrongDataError as error:
                kind, what = "wrong data", str(error)
            except Exception:
                kind, what = "exception", traceback.format_exc()
            print(json.dumps({"end": number, "kind": kind, "what": what}), flush=True)


def run_batch(target: str, seed: int, first: int, count: int, base: Path, tally: Tally) -> None:
    """Runs cases in a child, and in another one after a crash or a hang."""
    end, lost = first + count, 0
    while first < end:
        command = [sys.executable, "-m", "tests.fuzz.run", "--child", target, "--seed", str(seed)]
        command += ["--first", str(first), "--cases", str(end - first), "--base", str(base)]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            lines: queue.Queue[str] = queue.Queue()
            errors: list[str] = []
            assert process.stdout is not None
            assert process.stderr is not None
            readers = [
                threading.Thread(target=_forward, args=(process.stdout, lines.put)),
                threading.Thread(target=_forward, args=(process.stderr, errors.append)),
            ]
            for reader in readers:
                reader.start()
            begun, patience = None, FIRST_SECONDS
            while True:
                try:
                    line = lines.get(timeout=patience)
                except queue.Empty:
                    process.kill()
                    if begun is not None:
                        tally.fail("hang", f"{target} {begun}")
                    break
                if not line:
                    break
                patience = CASE_SECONDS
                event = json.loads(line)
                if "begin" in event:
                    begun = event["begin"]
                    continue
                first, begun = event["end"] + 1, None
                if event["kind"] in ("refused", "same"):
                    tally.ended[event["kind"]] += 1
                else:
                    tally.fail(event["kind"], f"{target} {event['end']}: {event['what']}")
            process.wait()
            for reader in readers:
                reader.join()
        if begun is not None:
            first = begun + 1
            if process.returncode not in (0, -9):
                tally.fail("crash", f"{target} {begun}: exit status {process.returncode}")
        elif process.returncode:
            lost += 1
            if lost > 3 or first >= end:
                raise RuntimeError(
                    f"the fuzzer's process for {target} ended with status {process.returncode} "
                    f"between cases:\n{''.join(errors)}"
                )


def _forward(stream: object, put: object) -> None:
    for line in stream:  # type: ignore[attr-defined]
        put(line)  # type: ignore[operator]
    put("")  # type: ignore[operator]


def fuzz(cases: int, seed: int, batch: int, base: Path, say: bool = False) -> dict[str, Tally]:
    """Fuzzes all targets, each with its share of the cases, at least one.

    Args:
        cases: In total.
        seed: Decides all damage.
        batch: Cases of one child process.
        base: A folder for what is damaged copies of.
        say: Whether to print how far it is.
    """
    from tests.fuzz.targets import TARGETS

    tallies = {}
    for target, (_, share) in TARGETS.items():
        tally = tallies[target] = Tally()
        count, start = max(1, round(cases * share)), time.perf_counter()
        for first in range(0, count, batch):
            run_batch(target, seed, first, min(batch, count - first), base, tally)
            if say:
                done = min(first + batch, count)
                seconds = time.perf_counter() - start
                print(f"{target}: {done}/{count}, {seconds:.0f} s", file=sys.stderr, flush=True)
    return tallies


def main() -> int:
    """Runs the command and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="damaged inputs in total")
    parser.add_argument("--seed", type=int, default=0, help="decides all damage")
    parser.add_argument("--batch", type=int, default=500, help="cases of one process")
    parser.add_argument("--child", help="target of a child process")
    parser.add_argument("--first", type=int, default=0, help="first case of a child process")
    parser.add_argument("--base", type=Path, help="folder of a child process")
    options = parser.parse_args()
    if options.child:
        # One case alone, by its number, can be run so too.
        base = options.base or Path(tempfile.mkdtemp())
        child(options.child, options.seed, options.first, options.cases, base)
        return 0
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as base:
        start = time.perf_counter()
        tallies = fuzz(options.cases, options.seed, options.batch, Path(base), say=True)
        seconds = time.perf_counter() - start
    total = sum(sum(tally.ended.values()) for tally in tallies.values())
    failures = [text for tally in tallies.values() for text in tally.failures]
    for target, tally in tallies.items():
        ended = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.ended.items()))
        print(f"{target}: {sum(tally.ended.values())} cases: {ended}")
    print(f"{total} cases in {seconds:.0f} s, seed {options.seed}: {len(failures)} failures")
    for text in failures[:50]:
        print(text)
    return 1 if failures else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
