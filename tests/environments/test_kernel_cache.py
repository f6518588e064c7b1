"""Where kernels are compiled to, and environments that they cannot have."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nprep import _files
from nprep.errors import OutputError
from nprep.kernels import cache
from tests.environments.replays import ROOT


def test_kernels_are_compiled_into_the_first_folder_that_can_be_written(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import tempfile
        from pathlib import Path
        tempfile.tempdir = {str(tmp_path)!r}
        from nprep.kernels import cache
        writable = cache.can_write
        cache.can_write = lambda folder: tempfile.tempdir in str(folder) and writable(folder)
        import nprep.kernels.numeric.ranks as ranks
        import numpy as np
        print(ranks.count_inversions(np.array([2, 1])) if hasattr(ranks, "count_inversions") else 1)
        """
    )
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("NUMBA_CACHE")
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**environment, "NPREP_CACHE": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "kernels are compiled into" in done.stderr
    assert list(tmp_path.glob("nprep-*/kernels/*/*/*.nbi"))


def test_a_kernel_is_compiled_again_when_one_that_it_calls_has_changed(tmp_path: Path) -> None:
    (tmp_path / "outer.py").write_text(
        "from inner import step\nfrom nprep.kernels.jit import kernel\n"
        "@kernel\ndef twice(x):\n    return step(x) + step(x)\nprint(twice(10))\n"
    )
    kept = tmp_path / "kept"
    for number in (1, 2, 3, 4, 1):
        (tmp_path / "inner.py").write_text(
            "from nprep.kernels.jit import kernel\n"
            f"@kernel\ndef step(x):\n    return x + {number}\n"
        )
        done = subprocess.run(
            [sys.executable, "-B", str(tmp_path / "outer.py")],
            env={**os.environ, "NUMBA_CACHE_DIR": str(kept), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{2 * (10 + number)}\n"
    # Sets of machine code do not pile up.
    assert len(list(kept.glob("__main__-*"))) == 3
    assert list(kept.glob("__main__-*/*/*.nbi"))


def test_where_nothing_can_be_written_kernels_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    script = textwrap.dedent(
        """
        from nprep.kernels import cache
        cache.can_write = lambda folder: False
        import nprep.kernels.numeric.ranks
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "compiles the kernels anew" in done.stderr
    monkeypatch.setattr(cache, "can_write", lambda folder: False)
    with pytest.raises(OutputError, match="set NPREP_CACHE"):
        _files.cache_folder()


@pytest.mark.parametrize(
    ("variable", "value", "words", "command"),
    [
        *(
            ("NUMBA_DISABLE_JIT", "1", "NUMBA_DISABLE_JIT is set", command)
            for command in (
                "nprep table build --source surrogate --out t.h5",
                "nprep.imagenet search --data absent",
                "nprep.plot absent",
                "nprep.quality",
                "nprep.replay",
                "nprep.report absent",
                "nprep.table info t.h5",
            )
        ),
        ("NUMBA_NUM_THREADS", "0", "numba does not start", "nprep.replay"),
        ("NUMBA_NUM_THREADS", "x", "numba does not start", "nprep.replay"),
        ("NPREP_SIMD", "nonsense", "NPREP_SIMD is", "nprep.replay"),
    ],
)
def test_an_environment_that_kernels_cannot_have_is_one_sentence(
    variable: str, value: str, words: str, command: str
) -> None:
    more = {"PYTHONWARNINGS": "error"} if value == "x" else {}
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=ROOT,
        env={**os.environ, variable: value, **more},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {words}")
    assert done.stderr.count("\n") == 1
