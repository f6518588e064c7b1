"""The one reader of the trials that a run folder holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nprep.errors import RunFolderError
from nprep.runs.blocks import Results, TrialBlock, read_block, run_digest


def blocks_of(methods: Iterable[str], trials: int, size: int) -> list[TrialBlock]:
    """All blocks of a run, method by method.

    Args:
        methods: Names of the methods.
        trials: Trials of each.
        size: Trials in a block; the last of a method may have fewer.
    """
    return [
        TrialBlock(name, first, min(size, trials - first))
        for name in methods
        for first in range(0, trials, size)
    ]


@dataclass(frozen=True)
class StoredTrials:
    """The trials in a run folder, whoever asks for them: a resume, a merge, the outputs, a report.

    Attributes:
        folder: The folder.
        run: What lies under "run" in ``settings.json``.
        horizons: Largest number of samples of a trial, by method.
        shape: (M, R): the view's numbers of architectures and of repeats.
        budgets: The view's lengths of training in epochs, the last in full.
        digest: ``run_digest`` of the run.
    """

    folder: Path
    run: dict[str, Any]
    horizons: dict[str, int]
    shape: tuple[int, int]
    budgets: tuple[int, ...]
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Computes the digest, once for all blocks."""
        object.__setattr__(self, "digest", run_digest(self.run))

    def blocks(self, method: str | None = None) -> list[TrialBlock]:
        """The blocks of the whole run, or of one of its methods."""
        methods = self.horizons if method is None else (method,)
        return blocks_of(methods, int(self.run["trials"]), int(self.run["block"]))

    def read(self, block: TrialBlock) -> Results:
        """The trials of a block.

        Raises:
            ValueError: If they are missing, damaged or those of another run.
        """
        return read_block(
            self.folder,
            block,
            self.horizons[block.method],
            self.shape,
            self.digest,
            self.budgets,
        )

    def lacking(self, blocks: Iterable[TrialBlock]) -> dict[TrialBlock, ValueError]:
        """Those of some blocks that cannot be read, each with the reason."""
        found = {}
        for block in blocks:
            try:
                self.read(block)
            except ValueError as error:
                found[block] = error
        return found

    def results(self, method: str, finished: Sequence[TrialBlock] | None = None) -> Results:
        """All trials of a method, or those of some blocks, in order.

        Raises:
            RunFolderError: If a block of trials is missing or damaged.
        """
        try:
            blocks = [
                block for block in self.blocks(method) if finished is None or block in finished
            ]
            return Results.stack([self.read(block) for block in blocks], self.budgets[-1])
        except ValueError as error:
            raise RunFolderError(
                f"{error}: python -m nprep.replay with --resume runs those trials again."
            ) from error
