"""Parts of a replay, joined: the files of a single run, or a sentence on what is wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nprep._console import run as run_command
from nprep.errors import RunFolderError, SettingsError
from nprep.replays import cli
from nprep.replays.engine import blocks_of, run_replay, run_shard
from nprep.replays.merge import merge
from nprep.runs.folder import differences_of
from nprep.runs.settings import ReplaySettings
from nprep.runs.shard import Shard
from nprep.table.writer import write_table
from tests.synthetic import SyntheticSource
from tests.table.small import small_content

ROOT = Path(__file__).parents[2]
SETTINGS = ReplaySettings(
    methods=("random", "evolution", "tests.replay.run_synthetic:Predictor"),
    trials=7,
    samples=60,
    train_samples=20,
    top_k=30,
    block=2,
    bootstrap=20,
    seed=5,
)
SOURCE = SyntheticSource()


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single") / "out"
    run_replay(SETTINGS, SOURCE, folder)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    base = tmp_path_factory.mktemp("shards")
    folders = [base / f"s{number}" for number in (1, 2, 3)]
    for number, folder in enumerate(folders, 1):
        run_shard(SETTINGS, SOURCE, folder, Shard(number, 3), jobs=1 + number % 2)
    return folders


@pytest.fixture
def copies(shards: list[Path], tmp_path: Path) -> list[Path]:
    return [Path(shutil.copytree(shard, tmp_path / shard.name)) for shard in shards]


@given(trials=st.integers(1, 60), block=st.integers(1, 9), of=st.integers(1, 40))
def test_shards_divide_the_blocks(trials: int, block: int, of: int) -> None:
    settings = ReplaySettings(methods=("random", "evolution", "np"), trials=trials, block=block)
    blocks = blocks_of(settings)
    chosen = []
    for number in range(1, of + 1):
        if of <= len(blocks):
            part = Shard(number, of).select(blocks)
            for count in Counter(block.method for block in part).values():
                assert abs(count - len(blocks) / 3 / of) < 1
            chosen += part
        elif number > len(blocks):
            with pytest.raises(SettingsError, match="is empty"):
                Shard(number, of).select(blocks)
    if of <= len(blocks):
        assert Counter(chosen) == Counter(blocks)


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "-1/3", "1/0", "a/b", "1/2/3", "1.5/2"])
def test_wrong_shards_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="shard is"):
        Shard.parse(text)


def test_merged_files_are_those_of_a_single_run(
    single: Path, shards: list[Path], tmp_path: Path
) -> None:
    before = [everything(shard) for shard in shards]
    assert not any("curves.csv" in files for files in before)
    merge([shards[2], shards[0], shards[1]], tmp_path / "out", source=SOURCE)
    assert everything(tmp_path / "out") == everything(single)
    assert [everything(shard) for shard in shards] == before
    # What was merged is a run like any other.
    run_replay(SETTINGS, SOURCE, tmp_path / "out", resume=True)
    assert everything(tmp_path / "out") == everything(single)


def test_a_killed_merge_is_resumed(single: Path, shards: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    merge(shards, folder, source=SOURCE)
    files = sorted(folder.glob("trials/*/*.npz"))
    files[0].unlink()
    files[1].write_bytes(b"cut")
    (folder / "curves.csv").unlink()
    merge(shards, folder, source=SOURCE)
    assert everything(folder) == everything(single)


def refused(message: str, folders: list[Path], tmp_path: Path) -> str:
    with pytest.raises(RunFolderError, match=message) as caught:
        merge(folders, tmp_path / "merged", source=SOURCE)
    assert not (tmp_path / "merged").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_and_repeated_shards(copies: list[Path], tmp_path: Path) -> None:
    refused(r"shards are missing: 2/3", [copies[0], copies[2]], tmp_path)
    refused(r"shards are missing: 1/3, 3/3", [copies[1]], tmp_path)
    again = Path(shutil.copytree(copies[1], tmp_path / "again"))
    refused(r"are both shard 2/3: name one", [*copies, again], tmp_path)
    shutil.rmtree(copies[1])
    copies[1].mkdir()
    refused("holds no settings.json", copies, tmp_path)


def test_foreign_shards(copies: list[Path], single: Path, tmp_path: Path) -> None:
    refused("is no shard of a run", [*copies, single], tmp_path)
    other = tmp_path / "seed"
    run_shard(ReplaySettings(**{**vars(SETTINGS), "seed": 6}), SOURCE, other, Shard(2, 3))
    refused(r"of another run than .*s1.*: it has seed 6, not 5", [copies[0], other], tmp_path)
    overlapping = tmp_path / "half"
    run_shard(SETTINGS, SOURCE, overlapping, Shard(2, 2))
    refused(r"it has shard 2/2, not of 3", [copies[0], overlapping], tmp_path)
    table = tmp_path / "table"
    run_shard(SETTINGS, SyntheticSource(seed=1), table, Shard(2, 3))
    refused(r"view\.digest", [copies[0], table, copies[2]], tmp_path)


def test_another_table(copies: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"with this table: .* view\.digest"):
        merge(copies, tmp_path / "merged", source=SyntheticSource(seed=1))
    with pytest.raises(RunFolderError, match="which view was searched"):
        merge(copies, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_unfinished_damaged_and_mixed_up_shards(
    single: Path, copies: list[Path], tmp_path: Path
) -> None:
    files = sorted(copies[1].glob("trials/*/*.npz"))
    sound = [path.read_bytes() for path in files]
    files[0].unlink()
    message = refused(r"shard 2/3 lacks 1 of its 4 blocks", copies, tmp_path)
    assert f"--shard 2/3 --out {copies[1]} --resume" in message
    # Sound files of other trials are no replacement.
    files[0].write_bytes(sound[1])
    refused("holds other trials than its name says", copies, tmp_path)
    files[0].write_bytes(sound[0][:-1])
    refused("lacks 1 of its 4", copies, tmp_path)
    run_shard(SETTINGS, SOURCE, copies[1], Shard(2, 3), resume=True)
    merge(copies, tmp_path / "merged", source=SOURCE)
    assert everything(tmp_path / "merged") == everything(single)


def test_a_shard_is_resumed_as_itself_alone(copies: list[Path], single: Path) -> None:
    with pytest.raises(RunFolderError, match=r"run with shard\.number 1, not 2"):
        run_shard(SETTINGS, SOURCE, copies[0], Shard(2, 3), resume=True)
    with pytest.raises(RunFolderError, match="run with shard"):
        run_replay(SETTINGS, SOURCE, copies[0], resume=True)
    with pytest.raises(RunFolderError, match="run with shard"):
        run_shard(SETTINGS, SOURCE, single, Shard(1, 3), resume=True)
    with pytest.raises(RunFolderError, match="run with shard"):
        merge(copies, copies[0], source=SOURCE)


@pytest.mark.parametrize("content", ["", "[]", '{"run": {}, "format": 99}', '{"run": 3}'])
def test_damaged_settings(copies: list[Path], content: str, tmp_path: Path) -> None:
    (copies[1] / "settings.json").write_text(content)
    refused(re.escape(str(copies[1])), copies, tmp_path)


def test_changed_settings_are_noticed_by_the_trials(copies: list[Path], tmp_path: Path) -> None:
    for copy in copies:
        content = json.loads((copy / "settings.json").read_text())
        content["run"]["seed"] = 7
        (copy / "settings.json").write_text(json.dumps(content))
    refused("another run", copies, tmp_path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.h5"
    write_table(table, small_content())
    common = f"--table {table} --trials 4 --samples 30 --methods random --jobs 1 --block 1"
    arguments = [*common.split(), "--bootstrap", "20"]
    assert run_command(cli.main, [*arguments, "--quiet", "--out", str(tmp_path / "one")]) == 0
    for number in (1, 2):
        out = str(tmp_path / f"s{number}")
        assert run_command(cli.main, [*arguments, "--shard", f"{number}/2", "--out", out]) == 0
        printed = capsys.readouterr().out
        assert f"shard {number}/2: 2 trials are in {out}" in printed
    folders = [str(tmp_path / "s1"), str(tmp_path / "s2")]
    merged = tmp_path / "merged"
    done = subprocess.run(
        [sys.executable, "-m", "nprep.replay", "merge", *folders, "--out", str(merged)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "test accuracy (%)" in done.stdout
    assert everything(merged) == everything(tmp_path / "one")
    # The table has moved.
    moved = table.rename(tmp_path / "moved.h5")
    again = ["merge", *folders, "--out", str(tmp_path / "again"), "--quiet"]
    assert run_command(cli.main, again) == 2
    assert "name it with --table" in capsys.readouterr().err
    assert run_command(cli.main, [*again, "--table", str(moved)]) == 0
    assert everything(tmp_path / "again") == everything(tmp_path / "one")
    for wrong, named in (
        (["merge"], "required: shards, --out"),
        (["merge", "--out", "x", "nothing"], "nothing holds no settings.json"),
        ([*arguments, "--table", str(moved), "--shard", "9/9"], "is empty"),
    ):
        assert run_command(cli.main, wrong) == 2
        assert named in capsys.readouterr().err


def test_a_damaged_name_of_a_setting_is_a_difference() -> None:
    stored = {"rate": 1, "fonders": None, "inner": {"seed": 0}}
    wanted = {"rate": 1, "founders": None, "inner": {"seed": 0}}
    assert list(differences_of(stored, wanted)) == [
        "fonders null, not absent",
        "founders absent, not null",
    ]
