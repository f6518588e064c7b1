from __future__ import annotations

import hashlib
import http.server
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nprep._console import run
from nprep.table import download
from nprep.table.cli import main
from nprep.table.download import PUBLIC_FILES, DownloadError, PublicFile, fetch

CONTENT = bytes(range(256)) * 4000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; what goes wrong is set on the server."""

    server: Any

    def do_GET(self) -> None:
        plan = self.server.plan
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        answer = plan.pop(0) if plan else "all"
        if isinstance(answer, int) and answer >= 300:
            self.send_error(answer)
            return
        start = 0
        if asked and answer != "no ranges":
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206)
            shown = start + 1 if answer == "other range" else start
            self.send_header("Content-Range", f"bytes {shown}-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        part = CONTENT[start:]
        if answer == "corrupt":
            part = b"?" + part[1:]
        if isinstance(answer, tuple):
            # Drops the connection after so many bytes.
            part = part[: answer[0]]
        self.wfile.write(part)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.plan, server.requests = [], []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def dataset(server: Any, content: bytes = CONTENT) -> PublicFile:
    return PublicFile(
        f"http://127.0.0.1:{server.server_address[1]}/file",
        "file.bin",
        hashlib.sha256(content).hexdigest(),
        len(content),
        "nasbench",
    )


def fetch_now(server: Any, folder: Path) -> tuple[Path, list[tuple[int, int | None]]]:
    seen: list[tuple[int, int | None]] = []
    path = fetch(
        dataset(server), folder, lambda done, total: seen.append((done, total)), (0.0, 0.0)
    )
    return path, seen


def test_a_file_is_fetched_once(server: Any, tmp_path: Path) -> None:
    path, seen = fetch_now(server, tmp_path / "new folder")
    assert path.read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert fetch_now(server, tmp_path / "new folder")[0] == path
    assert server.requests == [None]
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


def test_an_interrupted_transfer_is_resumed(server: Any, tmp_path: Path) -> None:
    server.plan = [(100_000,), (1,), (300_000,)]
    path, seen = fetch_now(server, tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.requests == [None, "bytes=100000-", "bytes=100001-", "bytes=400001-"]
    assert (100_001, len(CONTENT)) in seen


def test_a_later_run_resumes_the_transfer(server: Any, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:5000])
    path, _ = fetch_now(server, tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.requests == ["bytes=5000-"]


def test_a_server_without_ranges_sends_the_file_again(server: Any, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:5000])
    server.plan = ["no ranges"]
    path, _ = fetch_now(server, tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_part_that_is_complete_is_only_checked(server: Any, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    path, _ = fetch_now(server, tmp_path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("answer", [500, 503, 429, "other range"])
def test_temporary_errors_are_retried(server: Any, tmp_path: Path, answer: Any) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:5000])
    server.plan = [answer, answer]
    assert fetch_now(server, tmp_path)[0].read_bytes() == CONTENT


def test_lasting_errors_end_the_transfer_and_keep_what_has_arrived(
    server: Any, tmp_path: Path
) -> None:
    server.plan = [(70_000,), 503, 503, 503, 503]
    with pytest.raises(DownloadError, match=r"failed 3 times .*70000 bytes are kept in .*\.part"):
        fetch_now(server, tmp_path)
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:70_000]
    assert not (tmp_path / "file.bin").exists()


@pytest.mark.parametrize("answer", ["corrupt", "part corrupt"])
def test_another_file_is_refused_and_deleted(server: Any, tmp_path: Path, answer: str) -> None:
    if answer == "part corrupt":
        (tmp_path / "file.bin.part").write_bytes(b"?" * 500)
    else:
        server.plan = ["corrupt"]
    with pytest.raises(DownloadError, match=r"has the SHA-256 .*, not .*; it was deleted"):
        fetch_now(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file(server: Any, tmp_path: Path) -> None:
    server.plan = [404]
    with pytest.raises(DownloadError, match=r"answered 404 .*--url"):
        fetch_now(server, tmp_path)


def test_an_existing_other_file_is_left_alone(server: Any, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_text("mine")
    with pytest.raises(DownloadError, match="exists and is another file"):
        fetch_now(server, tmp_path)
    assert (tmp_path / "file.bin").read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_a_pipe_of_that_name_is_left_alone(server: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file.bin")
    with pytest.raises(DownloadError, match="is a pipe"):
        fetch_now(server, tmp_path)


def test_a_folder_that_cannot_be_made(server: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch_now(server, tmp_path / "taken")


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = run(main, ["download", *arguments])
    return status, capsys.readouterr().err


def test_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_network(*arguments: Any, **options: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    status, shown = command(
        capsys, "--source", "nasbench-only108", "--folder", str(tmp_path), "--quiet"
    )
    assert status == 2
    assert shown.startswith("error: storage.googleapis.com cannot be reached")
    assert "check the network" in shown
    assert "build --source nasbench FILE" in shown


def test_an_address_of_another_kind_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, shown = command(
        capsys, "--source", "freerea", "--quiet", "--url", "file:///etc/hostname"
    )
    assert status == 2
    assert "begins with https://" in shown


def test_the_command_fetches_then_builds(
    server: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(download.PUBLIC_FILES, "nasbench-only108", dataset(server))
    folder = str(tmp_path)
    # What is served is no TFRecord file, so the build refuses it: it was tried.
    status, shown = command(capsys, "--source", "nasbench-only108", "--folder", folder)
    assert status == 2
    assert "the SHA-256 is right" in shown
    assert "no TFRecord file" in shown
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]
    status, _ = command(
        capsys, "--source", "nasbench-only108", "--folder", folder, "--no-build", "--quiet"
    )
    assert status == 0


def test_the_public_files() -> None:
    assert {name: d.sha256[:8] for name, d in PUBLIC_FILES.items()} == {
        "nasbench-only108": "4c39c393",
        "nasbench-full": "3d64db81",
        "freerea": "84bcca11",
        "nb201-cifar10": "c82e70b5",
        "nb201-cifar100": "87a42005",
        "nb201-imagenet16": "f5225573",
    }
    assert all(d.url.startswith("https://") for d in PUBLIC_FILES.values())
