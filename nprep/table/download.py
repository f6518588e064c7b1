"""python -m nprep.table download: fetches a public file, checks its SHA-256 and builds a table.

What has arrived is kept under the file's name with ``.part`` and continued by the next attempt, in
this run or a later one. A file takes its own name only once its SHA-256 is right.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nprep._console import add_output, log
from nprep._files import refuse_special
from nprep.errors import NprepError
from nprep.table._progress import ByteProgress
from nprep.table.build import build_from_file
from nprep.table.sources import freerea, nasbench, nb201_csv
from nprep.table.sources.community import file_sha256

_BLOCK_BYTES = 1 << 18
_TIMEOUT_SECONDS = 30.0
_PAUSES_SECONDS = (1.0, 3.0, 10.0)


class DownloadError(NprepError, RuntimeError):
    """A file that cannot be fetched, or that is not the one expected."""


@dataclass(frozen=True)
class PublicFile:
    """A public file.

    Attributes:
        url: Where it is.
        file_name: What to call it.
        sha256: Its digest.
        size: About how many bytes it has.
        source: The name of the source that builds a table from it.
        settings: Arguments of the source.
    """

    url: str
    file_name: str
    sha256: str
    size: int
    source: str
    settings: Mapping[str, str] = field(default_factory=dict)


_OFFICIAL = {name: digest for digest, name in nasbench.OFFICIAL_SHA256.items()}
PUBLIC_FILES = {
    "nasbench-only108": PublicFile(
        "https://storage.googleapis.com/nasbench/nasbench_only108.tfrecord",
        "nasbench_only108.tfrecord",
        _OFFICIAL["nasbench_only108.tfrecord"],
        499_000_000,
        "nasbench",
    ),
    "nasbench-full": PublicFile(
        "https://storage.googleapis.com/nasbench/nasbench_full.tfrecord",
        "nasbench_full.tfrecord",
        _OFFICIAL["nasbench_full.tfrecord"],
        1_950_000_000,
        "nasbench",
    ),
    "freerea": PublicFile(
        "https://raw.githubusercontent.com/NiccoloCavagnero/FreeREA/"
        "9c2a726cd3adf526c43ae52a515a8fc5ea927fe7/"
        "cached_metrics/nasbench101/cifar10/accuracies.pkl.gz",
        "freerea_accuracies.pkl.gz",
        freerea.KNOWN_SHA256,
        1_844_769,
        "freerea",
    ),
    **{
        name: PublicFile(
            "https://raw.githubusercontent.com/Zhenhan-Huang/NASGraph-Public/"
            "1f8fd621c60a48728fcc890818b6b94eee62e4dc/data/nasbench201_" + images + ".csv",
            f"nasbench201_{images}.csv",
            nb201_csv.KNOWN_SHA256[images],
            size,
            "nb201-csv",
            {"dataset": images},
        )
        for name, images, size in (
            ("nb201-cifar10", "cifar10", 2_383_893),
            ("nb201-cifar100", "cifar100", 2_427_026),
            ("nb201-imagenet16", "ImageNet16-120", 2_540_708),
        )
    },
}


class _Interrupted(Exception):
    """A connection that ended early; trying again may help."""


def _by_hand(public: PublicFile) -> str:
    options = "".join(f" --{name} {value}" for name, value in public.settings.items())
    return (
        f"or get the file in another way and run python -m nprep.table build --source "
        f"{public.source}{options} FILE TABLE.h5"
    )


def _open(public: PublicFile, have: int) -> Any:
    """Asks for the file from byte ``have`` on.

    Raises:
        DownloadError: The server refuses.
        _Interrupted: The server is busy, or the connection failed after it was reached.
    """
    headers = {"User-Agent": "nprep", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(public.url, headers=headers)
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 or error.code >= 500 or error.code == 429:
                raise _Interrupted(f"the server answered {error.code}") from error
            raise DownloadError(
                f"{public.url}: the server answered {error.code} {error.reason}: name another "
                f"address with --url, {_by_hand(public)}."
            ) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, (TimeoutError, ConnectionError)):
            raise _Interrupted(str(error.reason)) from error
        host = urllib.parse.urlsplit(public.url).hostname
        raise DownloadError(
            f"{host} cannot be reached ({error.reason}): check the network, {_by_hand(public)}."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(str(error) or type(error).__name__) from error


def _start_of(response: Any, have: int) -> int:
    """The byte at which the server's answer begins.

    Raises:
        _Interrupted: It does not say, or not what was asked for.
    """
    if response.status != 206:
        return 0
    # "bytes FIRST-LAST/TOTAL"
    given = response.headers.get("Content-Range", "")
    first = given.removeprefix("bytes ").split("-")[0]
    if first != str(have):
        raise _Interrupted(f"the server answered the range {given!r}")
    return have


def _fetch_once(
    public: PublicFile, part: Path, progress: Callable[[int, int | None], object]
) -> None:
    """Fetches what is missing of ``part``.

    Raises:
        DownloadError: Trying again will not help.
        _Interrupted: It may.
    """
    have = part.stat().st_size if part.exists() else 0
    try:
        response = _open(public, have)
    except _Interrupted as error:
        # 416: nothing lies beyond what we have, so it is complete or wrong; the digest will tell.
        if isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code == 416:
            return
        raise
    with response, part.open("r+b" if part.exists() else "wb") as file:
        start = _start_of(response, have)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        if total is not None and shutil.disk_usage(part.parent).free < total - start:
            raise DownloadError(
                f"{part.parent} has too little free space for {total - start} bytes: free some, or "
                "name another folder with --folder."
            )
        # A server that cannot continue sends the file from its beginning.
        file.seek(start)
        file.truncate()
        done = start
        progress(done, total)
        while True:
            try:
                block = response.read(_BLOCK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise _Interrupted(str(error) or type(error).__name__) from error
            if not block:
                break
            file.write(block)
            done += len(block)
            progress(done, total)
    if total is not None and done < total:
        raise _Interrupted(f"the connection ended after {done} of {total} bytes")


def fetch(
    public: PublicFile,
    folder: Path,
    progress: Callable[[int, int | None], object],
    pauses: tuple[float, ...] = _PAUSES_SECONDS,
) -> Path:
    """Fetches a file into a folder, unless it is there already.

    Args:
        public: What to fetch.
        folder: Where to; made if it does not exist.
        progress: Called with the bytes there and in all (None: unknown).
        pauses: Seconds to wait after each attempt in a row that brought nothing.

    Returns:
        The file, whose SHA-256 is right.

    Raises:
        DownloadError: It cannot be had, or is another one.
    """
    if urllib.parse.urlsplit(public.url).scheme not in ("http", "https"):
        raise DownloadError(f"{public.url}: give an address that begins with https:// or http://.")
    path = folder / public.file_name
    part = folder / (public.file_name + ".part")
    for place in (path, part):
        refuse_special(place, DownloadError, "move it away")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if file_sha256(path) == public.sha256:
                return path
            raise DownloadError(
                f"{path} exists and is another file (its SHA-256 is not {public.sha256}): move it "
                "away."
            )
        failures = 0
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                _fetch_once(public, part, progress)
                break
            except _Interrupted as error:
                after = part.stat().st_size if part.exists() else 0
                failures = 0 if after > before else failures + 1
                if failures > len(pauses):
                    raise DownloadError(
                        f"{public.url}: the connection failed {failures} times in a row "
                        f"({error}); {after} bytes are kept in {part}: run the command again to "
                        f"go on, {_by_hand(public)}."
                    ) from error
                time.sleep(pauses[failures - 1] if failures else 0.0)
        digest = file_sha256(part)
        if digest != public.sha256:
            part.unlink()
            raise DownloadError(
                f"{public.url}: what it sends has the SHA-256 {digest}, not {public.sha256}; it "
                "was deleted. Try again, or name another address with --url."
            )
        os.replace(part, path)
    except OSError as error:
        raise DownloadError(
            f"{folder}: a file cannot be written there ({error.strerror or error})."
        ) from error
    return path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument(
        "--source", required=True, choices=sorted(PUBLIC_FILES), help="what to fetch"
    )
    parser.add_argument("--folder", type=Path, default=Path(), help="where to (default: here)")
    parser.add_argument("--url", help="another address of the same file")
    parser.add_argument("--no-build", action="store_true", help="fetch the file and stop")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_output(parser, "the table to write (default: beside the file, .h5)")


def command(arguments: argparse.Namespace) -> int:
    """Fetches the file and builds the table."""
    public = PUBLIC_FILES[arguments.source]
    if arguments.url:
        public = replace(public, url=arguments.url)
    log.info(f"{public.url} ({public.size / 1e6:,.0f} MB)")
    bar = ByteProgress(f"fetching {public.file_name}")
    with contextlib.closing(bar):
        path = fetch(public, arguments.folder, bar)
    log.info(f"{path}: the SHA-256 is right")
    if arguments.no_build:
        return 0
    output = arguments.output or path.with_name(public.file_name.split(".")[0] + ".h5")
    build_from_file(public.source, path, output, **public.settings)
    return 0
