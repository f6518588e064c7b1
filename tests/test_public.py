"""The public face: what the package offers, what it costs, and what it is called by."""

from __future__ import annotations

import logging
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

import nprep
from nprep import cli
from nprep._console import run
from nprep.errors import NprepError, SettingsError
from nprep.search import registry
from nprep.search.registry import make_method
from nprep.table import sources
from nprep.table.table import Table
from nprep.table.writer import write_table
from tests.table.small import small_content

ROOT = Path(__file__).parents[1]
NAMES = {
    "Evaluator", "Method", "Searcher", "Space", "Spec", "Table", "View", "__version__", "errors",
    "load", "register", "replay", "run",
}  # fmt: skip


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_is_public() -> None:
    assert set(dir(nprep)) == NAMES
    for name in NAMES:
        assert getattr(nprep, name) is not None
    assert nprep.replay is nprep.run
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        nprep.nothing  # noqa: B018


def test_import_loads_nothing_of_weight() -> None:
    loaded = python("import sys, nprep; print(*sys.modules)").split()
    assert not {"numpy", "numba", "h5py", "matplotlib", "typing_extensions"} & set(loaded)
    assert [name for name in loaded if name.startswith("nprep")] == ["nprep"]


def test_replay_is_a_function_whatever_was_imported_before() -> None:
    code = (
        "import nprep.replays.engine, nprep.quality.cli, nprep.api; from nprep import replay; "
        "print(type(replay).__name__)"
    )
    assert python(code) == "function"


@pytest.mark.parametrize("built_in", [ValueError, OSError, ImportError, LookupError])
def test_errors_are_what_a_generic_handler_expects(built_in: type[Exception]) -> None:
    kinds = [kind for kind in vars(nprep.errors).values() if isinstance(kind, type)]
    assert all(issubclass(kind, NprepError) for kind in kinds)
    assert any(issubclass(kind, built_in) for kind in kinds)
    for kind in kinds:
        # None of the built-in ones changes how the sentence reads.
        assert str(kind("a sentence")) == "a sentence"


def test_load(tmp_path: Path) -> None:
    write_table(tmp_path / "t.h5", small_content())
    assert isinstance(nprep.load(tmp_path / "t.h5"), Table)
    with pytest.raises(nprep.errors.TableError):
        nprep.load(tmp_path / "missing.h5")
    with pytest.raises(nprep.errors.RunFolderError, match="is no run"):
        nprep.load(tmp_path)


class Blind:
    """Asks for random cells."""

    def __init__(self, pool: nprep.View, rng: np.random.Generator) -> None:
        self.size, self.rng = len(pool), rng

    def ask(self) -> np.ndarray:
        return self.rng.integers(self.size, size=1, dtype=np.int32)

    def tell(self, positions: object, values: object) -> None:
        pass


def test_register_a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    nprep.register("method", "blind", Blind)
    assert make_method("blind", 10).name == "blind"
    nprep.register("method", "blind", Blind)
    with pytest.raises(SettingsError, match="there already"):
        nprep.register("method", "random", Blind)
    with pytest.raises(SettingsError, match="no search method"):
        nprep.register("method", "mine", object())
    with pytest.raises(SettingsError, match="kind is 'table'"):
        nprep.register("table", "mine", object())


@pytest.mark.parametrize(
    ("value", "found"), [("tests.test_public:Blind", True), ("tests.test_public:Missing", False)]
)
def test_a_method_of_another_package(
    value: str, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [EntryPoint("theirs", value, registry.GROUP)]
    monkeypatch.setattr(
        registry,
        "entry_points",
        lambda group, name: [
            point for point in points if (point.group, point.name) == (group, name)
        ],
    )
    if found:
        assert make_method("theirs", 10).name == "theirs"
    else:
        with pytest.raises(SettingsError, match=r"cannot be loaded from tests.test_public:Missing"):
            make_method("theirs", 10)
    with pytest.raises(SettingsError, match="is unknown"):
        make_method("nobodys", 10)


def test_register_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_registered", {})
    nprep.register("source", "mine", sources.source_named("freerea"))
    assert "mine" in sources.source_names()
    assert sources.source_named("mine") is sources.source_named("freerea")
    with pytest.raises(SettingsError, match="no functions build"):
        nprep.register("source", "other", object())


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_a_complete_help(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: nprep {command}")
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert f"  {command} " in capsys.readouterr().out


def test_wrong_arguments_of_any_command_are_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (["nothing"], [], *([name, "--no-such-option"] for name in cli.COMMANDS)):
        assert run(cli.main, arguments) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err


@pytest.mark.parametrize(
    "module",
    ["nprep", "nprep.replay", "nprep.table", "nprep.plot", "nprep.report", "nprep.quality",
     "nprep.replay.quality", "nprep.imagenet"],
)  # fmt: skip
def test_module_forms(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


def test_messages_go_through_logging(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO, "nprep")
    write_table(tmp_path / "t.h5", small_content())
    view = next(iter(Table.open(tmp_path / "t.h5").views))
    nprep.run(1, "random", tmp_path / "t.h5", view=view, samples=5, bootstrap=10)
    assert any("1/1 trials" in message for message in caplog.messages)
    caplog.clear()
    nprep.run(1, "random", tmp_path / "t.h5", view=view, samples=5, bootstrap=10, quiet=True)
    assert caplog.messages == []
