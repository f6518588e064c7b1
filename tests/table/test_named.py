"""Tables by name: fetched on first use, kept, and said to be missing where there is no network."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from nprep._console import run
from nprep.errors import TableError
from nprep.runs.source import open_source
from nprep.table import download, named
from nprep.table.cli import main
from tests.table import test_nb201_csv
from tests.table.test_download import Handler

NAME = "nb201-cifar10"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("NPREP_CACHE", str(folder))
    return folder


@pytest.fixture
def served(cache, monkeypatch, tmp_path):
    """Has the named table come from a server of this test; gives the list of requests."""
    import http.server
    import threading

    file = test_nb201_csv.write(tmp_path / "some.csv", test_nb201_csv.lines_of(40))
    content = file.read_bytes()

    class Own(Handler):
        pass

    monkeypatch.setattr("tests.table.test_download.CONTENT", content)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        server.plan, server.requests = [], []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        own = dataclasses.replace(
            download.PUBLIC_FILES[NAME],
            url=f"http://127.0.0.1:{server.server_address[1]}/file",
            sha256=hashlib.sha256(content).hexdigest(),
        )
        monkeypatch.setitem(download.PUBLIC_FILES, NAME, own)
        yield server
        server.shutdown()
        thread.join()


def test_names_and_files_agree():
    assert set(named.NAMED) == {named.SURROGATE, *download.PUBLIC_FILES}


def test_a_table_is_fetched_once(served):
    first = named.named_table(NAME)
    assert len(named.open_table(NAME)) == 40
    assert named.named_table(NAME) == first
    assert len(served.requests) == 1


def test_an_interrupted_download_is_continued(served, monkeypatch):
    monkeypatch.setattr(download, "_PAUSES_SECONDS", ())
    served.plan[:] = [(1000,), 404]
    with pytest.raises(download.DownloadError, match="nb201-cifar10 is not in the cache"):
        named.named_table(NAME)
    assert len(named.open_table(NAME)) == 40
    assert served.requests[-1] == "bytes=1000-"


def test_a_replay_takes_a_name(served, monkeypatch, tmp_path):
    source = open_source(named.Path(NAME), None)
    assert source.load().space.name == "nb201"
    # A file of that name comes first.
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).write_bytes(b"no table")
    assert not named.is_named(NAME)
    with pytest.raises(TableError, match="so no nprep table"):
        open_source(named.Path(NAME), None)


def test_without_a_network_one_sentence(cache, monkeypatch, capsys):
    own = dataclasses.replace(download.PUBLIC_FILES[NAME], url="http://no-such-host.invalid/file")
    monkeypatch.setitem(download.PUBLIC_FILES, NAME, own)
    monkeypatch.setattr(download, "_PAUSES_SECONDS", ())
    with pytest.raises(download.DownloadError) as caught:
        named.named_table(NAME)
    text = str(caught.value)
    assert text.startswith(f"the table {NAME} is not in the cache: no-such-host.invalid cannot be")
    assert "build --source nb201-csv --dataset cifar10 FILE TABLE.h5" in text
    assert "\n" not in text


def test_an_unknown_name(cache):
    assert not named.is_named("nb301")
    with pytest.raises(TableError, match="no table is named 'nb301'"):
        named.named_table("nb301")


def test_the_list(served, capsys):
    assert run(main, ["list"]) == 0
    before = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in before[1:]] == list(named.NAMED)
    assert all(" no " in line for line in before[1:])
    named.named_table(NAME)
    capsys.readouterr()
    run(main, ["list"])
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if " yes " in line).startswith(NAME)
    assert sum(" yes " in line for line in lines) == 1
