"""Parts of a replay that run on machines which know nothing of each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nprep.errors import SettingsError
from nprep.runs.blocks import TrialBlock

MAX_SHARDS = 100_000


@dataclass(frozen=True)
class Shard:
    """One of the parts of a replay.

    Attributes:
        number: From 1.
        of: The number of parts.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        """Refuses numbers that make no sense."""
        if not 1 <= self.number <= self.of <= MAX_SHARDS:
            raise SettingsError(
                f"shard is {self}: use 1/n to n/n for a part of n, with n up to {MAX_SHARDS}."
            )

    def __str__(self) -> str:
        """As the command line has it."""
        return f"{self.number}/{self.of}"

    @staticmethod
    def parse(text: str) -> Shard:
        """The shard that a text such as "3/10" names.

        Raises:
            SettingsError: If it names none.
        """
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
        if match is None:
            raise SettingsError(f"shard is {text!r}: use i/n, such as 3/10 for the third of ten.")
        return Shard(int(match[1]), int(match[2]))

    def select(self, blocks: Sequence[TrialBlock]) -> list[TrialBlock]:
        """The blocks of this part: every n-th, so that each part has a like share of each method.

        Args:
            blocks: All blocks of the replay, method by method.

        Raises:
            SettingsError: If none is left for it.
        """
        chosen = list(blocks[self.number - 1 :: self.of])
        if not chosen:
            raise SettingsError(
                f"shard {self} is empty, for the replay has {len(blocks)} blocks of trials: use at "
                "most so many shards, or a smaller --block."
            )
        return chosen

    def to_json(self) -> dict[str, int]:
        """As ``settings.json`` has it."""
        return {"number": self.number, "of": self.of}
