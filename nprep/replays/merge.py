"""``python -m nprep.replay merge``: joins the parts of a replay into one run folder."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nprep.errors import RunFolderError, SettingsError
from nprep.replays.engine import Prepared, Replay, blocks_of, prepare, write_outputs
from nprep.runs.blocks import TrialBlock
from nprep.runs.files import SETTINGS, read_settings, write_file
from nprep.runs.folder import differences_of, opened
from nprep.runs.settings import ReplaySettings, TableSource, ViewSource, settings_from
from nprep.runs.shard import Shard


@dataclasses.dataclass(frozen=True)
class Part:
    """One shard's folder.

    Attributes:
        folder: The folder.
        shard: Which shard it says it is.
        content: Of its ``settings.json``.
    """

    folder: Path
    shard: Shard
    content: dict[str, Any]


def read_parts(folders: Sequence[Path]) -> list[Part]:
    """The parts in the order of their numbers, all of one replay and none missing or twice.

    Raises:
        RunFolderError: If they are no such parts.
    """
    parts = []
    for folder in folders:
        try:
            content = read_settings(folder)
        except RunFolderError as error:
            raise RunFolderError(
                f"{folder} cannot be merged, name the folders of shards: {error}"
            ) from error
        try:
            shard = Shard(int(content["shard"]["number"]), int(content["shard"]["of"]))
        except (KeyError, TypeError, ValueError, SettingsError) as error:
            raise RunFolderError(
                f"{folder} is no shard of a run (or its {SETTINGS} is damaged): name folders that "
                "were run with --shard."
            ) from error
        parts.append(Part(folder, shard, content))
    parts.sort(key=lambda part: part.shard.number)
    first = parts[0]
    for part in parts[1:]:
        differences = list(differences_of(part.content["run"], first.content["run"]))
        if part.shard.of != first.shard.of:
            differences.insert(0, f"shard {part.shard}, not of {first.shard.of}")
        if differences:
            raise RunFolderError(
                f"{part.folder} is of another run than {first.folder}: it has "
                f"{'; '.join(differences[:4])}: merge the shards of one run."
            )
    for part, following in itertools.pairwise(parts):
        if part.shard == following.shard:
            raise RunFolderError(
                f"{part.folder} and {following.folder} are both shard {part.shard}: name one of "
                "them."
            )
    missing = sorted({*range(1, first.shard.of + 1)} - {part.shard.number for part in parts})
    if missing:
        shown = ", ".join(f"{number}/{first.shard.of}" for number in missing[:10])
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise RunFolderError(
            f"shards are missing: {shown}{more}: run them with --shard and name their folders too."
        )
    return parts


def settings_of(content: dict[str, Any], name: Path) -> ReplaySettings:
    """The settings that a ``settings.json`` holds.

    Raises:
        RunFolderError: If it holds none that this version knows.
    """
    try:
        settings = settings_from(content["run"])
    except (KeyError, TypeError, SettingsError) as error:
        raise RunFolderError(
            f"the settings of {name} are damaged or of another version of nprep "
            f"({str(error).rstrip('.')}): use the version that ran the shards."
        ) from error
    return settings


def _recorded_source(content: dict[str, Any], name: Path, table: Path | None) -> ViewSource:
    """The table that the shards were run on."""
    source = content.get("source")
    if not isinstance(source, dict) or not isinstance(source.get("view"), str):
        raise RunFolderError(f"{name / SETTINGS} does not say which view was searched.")
    path = source.get("table") if table is None else table
    if not isinstance(path, str | Path) or not Path(path).is_file():
        raise RunFolderError(
            f"the table {path} of the shards is not on this machine: name it with --table."
        )
    return TableSource(Path(path), source["view"])


def complete_blocks(prepared: Prepared, part: Part) -> list[TrialBlock]:
    """The blocks of a part, all of them there and sound."""
    blocks = part.shard.select(blocks_of(prepared.settings))
    wrong = list(prepared.trials(part.folder).lacking(blocks).values())
    if wrong:
        raise RunFolderError(
            f"shard {part.shard} lacks {len(wrong)} of its {len(blocks)} blocks of trials "
            f"({wrong[0]}): finish it with --shard {part.shard} --out {part.folder} --resume."
        )
    return blocks


def merge(
    folders: Sequence[Path],
    folder: Path,
    *,
    table: Path | None = None,
    source: ViewSource | None = None,
) -> Replay:
    """Joins the shards of a replay into a run folder with the files of a single run.

    Where it was killed it may be called again. The shards' folders are left as they are.

    Args:
        folders: Of all shards, in any order.
        folder: The run folder to make.
        table: The table, if it is not where the shards found it.
        source: Where the view comes from, instead of a table.

    Raises:
        RunFolderError: If shards are missing, unfinished, there twice or of different runs, or if
            the table is not theirs.
    """
    parts = read_parts(folders)
    first = parts[0]
    settings = settings_of(first.content, first.folder)
    prepared = prepare(settings, source or _recorded_source(first.content, first.folder, table))
    differences = list(differences_of(first.content["run"], prepared.content["run"]))
    if differences:
        raise RunFolderError(
            f"the shards cannot be merged by this version, or with this table: they were run with "
            f"{'; '.join(differences[:4])}."
        )
    # As the first machine had it, not as this one has.
    content = {key: value for key, value in first.content.items() if key != "shard"}
    blocks = [(part, block) for part in parts for block in complete_blocks(prepared, part)]
    prepared = dataclasses.replace(prepared, content=content)
    with opened(folder, content, resume=(folder / SETTINGS).exists()):
        for part, block in blocks:
            write_file(folder / block.file, (part.folder / block.file).read_bytes())
        for path in sorted(path for part in parts for path in part.folder.glob("predictions/*")):
            write_file(folder / "predictions" / path.name, path.read_bytes())
        return write_outputs(prepared, folder)
