"""Fuzz target: a whole command in a random environment, with random streams."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nprep.errors import NprepError
from nprep.results.reading import read_run
from nprep.table.writer import write_table
from tests.table.small import small_content

Rng = np.random.Generator
Case = Callable[[Rng], tuple[str, str]]

ROOT = Path(__file__).parents[2]
_COMMAND = (
    "-m nprep.replay --view completed --methods random --trials 2 --samples 20 --bootstrap 10 "
    "--jobs 1"
)
# None: not set. "{folder}" is a folder of the case.
_SETTINGS: dict[str, tuple[str | None, ...]] = {
    # Neither "/" nor "", which means the same: the superuser's libraries would write there.
    "HOME": ("/proc", "/proc/nowhere", "{folder}", None),
    "XDG_CACHE_HOME": (None, "/proc/nowhere", "{folder}", "relative"),
    "NPREP_CACHE": (None, "/proc/nowhere", "{folder}", "{folder}/file", ""),
    "NUMBA_CACHE_DIR": (None, "/proc/nowhere"),
    "NUMBA_DISABLE_JIT": (None, None, None, "0", "1"),
    "NUMBA_NUM_THREADS": (None, "1", "x", "0"),
    "NPREP_SIMD": (None, None, None, "", "nonsense"),
    "MPLBACKEND": (None, "module://no_such_module", "nonsense", "agg"),
    "MPLCONFIGDIR": (None, "/proc/nowhere"),
    "PYTHONIOENCODING": (None, "ascii", "latin-1:strict", "utf-16"),
    "PYTHONUTF8": (None, "0", "1"),
    "LC_ALL": (None, "C", "xx_YY.UTF-8"),
    "TMPDIR": (None, "/proc/nowhere", "{folder}"),
    "COLUMNS": (None, "1", "abc", "100000"),
    "TERM": (None, "dumb", "nonsense"),
    "NO_COLOR": (None, "1"),
    "PYTHONOPTIMIZE": (None, "2"),
    "PYTHONWARNINGS": (None, "error"),
    "OMP_NUM_THREADS": (None, "x"),
    "TZ": (None, "nonsense"),
}
_STREAMS = ("", "<&-", ">&-", "2>&-", ">&- 2>&-", ">/dev/full", "2>/dev/full", "| head -c 1")


class NotToldError(AssertionError):
    """A command that ended otherwise than complete, or in one sentence."""


def environments(base: Path, scratch: Path) -> Case:
    """A run ends complete or in one sentence, whatever the environment and the streams are."""
    table = base / "table-of-environments.h5"
    if not table.exists():
        write_table(table, small_content(40))

    def case(rng: Rng) -> tuple[str, str]:
        folder = scratch / "environment"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "file").write_bytes(b"")
        # Run in the case's own folder, where a relative cache folder of other packages may lie.
        paths = (str(ROOT), os.environ.get("PYTHONPATH"))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        chosen = {}
        for name in rng.choice([*_SETTINGS], rng.integers(1, 7), replace=False).tolist():
            values = _SETTINGS[name]
            value = values[rng.integers(len(values))]
            environment.pop(name, None)
            if value is not None:
                environment[name] = value.format(folder=folder)
            chosen[name] = value
        streams = _STREAMS[rng.integers(len(_STREAMS))]
        what = f"{chosen}, {streams or 'plain streams'}"
        out, said = folder / "out", folder / "said"
        errors = "" if "2>" in streams else f"2>{said}"
        command = f"{sys.executable} {_COMMAND} --table {table} --out {out} {errors} {streams}"
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            cwd=folder,
            env=environment,
            capture_output=True,
            timeout=250,
        )
        text = said.read_text("utf-8", "replace") if said.exists() else ""
        # Numba's own warning of a number that it cannot read shows one.
        if "Traceback" in text and "could not be parsed" not in text:
            raise NotToldError(f"{text[-600:]!r} after: {what}")
        ended = "refused" if done.returncode else "same"
        # 141: nobody reads; 2: refused, or nowhere to print to.
        if done.returncode not in (0, 2, 141):
            raise NotToldError(f"exit status {done.returncode}, {text[-600:]!r} after: {what}")
        if done.returncode == 2 and ">/dev/full" not in streams:
            sentences = re.findall("^error: ", text, re.MULTILINE)
            if not errors:
                return ended, what
            if len(sentences) != 1 and "utf-16" not in what:
                raise NotToldError(f"{text[-600:]!r} after: {what}")
            return ended, what
        try:
            read_run(out)
        except NprepError as error:
            refused_before = done.returncode == 2 and not out.exists()
            if not refused_before:
                raise NotToldError(f"{error} after: {what}") from None
        return ended, what

    return case
