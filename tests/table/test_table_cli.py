"""The command line: help, misuse, and sources that are not what they should be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nprep._console import run
from nprep.errors import SettingsError
from nprep.table.cli import COMMANDS, main
from nprep.table.sources import SOURCES
from nprep.table.writer import write_table
from tests.table.small import small_content


@pytest.mark.parametrize("command", ["build", *COMMANDS])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_has_help(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["build", "--source", source, "--help"])
    assert caught.value.code == 0
    assert "--source" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["bild"], ["build"], ["build", "--source", "wrong", "a", "b"], ["info"]]
)
def test_wrong_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SettingsError, match="see --help"):
        main(arguments)


def _text(path: Path) -> None:
    path.write_text("no table")


def _pickle(path: Path) -> None:
    np.savez(path, module_hash=np.array([{}], dtype=object), allow_pickle=True)


def _other(path: Path) -> None:
    np.savez(path, a=np.zeros(3))


def _array(path: Path) -> None:
    with open(path, "wb") as stream:
        np.save(stream, np.zeros(3))


@pytest.mark.parametrize("make", [None, _text, _pickle, _other, _array])
def test_a_wrong_measured_file(
    make: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "measured.npz", tmp_path / "out.h5"
    if make is not None:
        make(source)  # type: ignore[operator]
    assert run(main, ["build", "--source", "measured", "--quiet", str(source), str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(source) in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("output", [".", "missing/out.h5", None])
def test_a_wrong_output(
    output: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [] if output is None else [str(tmp_path / output)]
    assert run(main, ["build", "--source", "measured", "--quiet", "measured.npz", *where]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_info_on_a_small_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.h5"
    write_table(path, small_content())
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "120 architectures of the space nb101" in out
    assert "view" in out


def test_as_a_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nprep.table", "info", str(tmp_path / "none.h5")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_the_report_on_the_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion-report"]) == 0
    out = capsys.readouterr().out
    assert "left out of the fit" in out
    assert "Training time: R2" in out
