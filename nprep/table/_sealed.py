"""Arrays of a table file that are compared with their checksums when they are first used."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nprep.errors import TableError
from nprep.table._seal import Piece
from nprep.table.schema import STAGES, STORED_METRICS, Metric

REBUILD = "build it again with python -m nprep.table build"


class SealedArrays(Mapping[str, NDArray[Any]]):
    """Mapped arrays by their paths inside the file, compared with their checksums at first use."""

    def __init__(
        self, path: Path, arrays: dict[str, NDArray[Any]], pieces: dict[str, Piece]
    ) -> None:
        """Compares nothing yet.

        Args:
            path: The file, for messages.
            arrays: The mapped arrays.
            pieces: Of the file's seal.
        """
        self._path = path
        self.unchecked = arrays
        self._pending = {
            name: pieces[name].checksum for name, array in arrays.items() if array.size
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The array.

        Raises:
            TableError: If its bytes are not those that were written.
        """
        array = self.unchecked[name]
        checksum = self._pending.get(name)
        if checksum is not None:
            if zlib.crc32(array.data) != checksum:
                raise TableError(
                    f"{self._path} is damaged: the checksum of its dataset {name} differs; copy "
                    f"the whole file again or {REBUILD}."
                )
            # Another thread may have been here too.
            self._pending.pop(name, None)
        return array

    def __contains__(self, name: object) -> bool:
        """Whether there is such an array, which is not compared."""
        return name in self.unchecked

    def __iter__(self) -> Iterator[str]:
        """The paths."""
        return iter(self.unchecked)

    def __len__(self) -> int:
        """The number of arrays."""
        return len(self.unchecked)


class SealedMetrics(Mapping[tuple[str, str], Metric]):
    """The metrics of a file by stage and name, compared with their checksums at first use."""

    def __init__(self, arrays: SealedArrays, kind: str) -> None:
        """Compares nothing yet.

        Args:
            arrays: Of the file.
            kind: "metrics" or "means".
        """
        self._arrays = arrays
        self._names = {
            (stage, name): f"{kind}/{stage}/{name}"
            for stage in STAGES
            for name in STORED_METRICS
            if f"{kind}/{stage}/{name}" in arrays
        }

    def __getitem__(self, key: tuple[str, str]) -> Metric:
        """The metric.

        Raises:
            TableError: If its bytes are not those that were written.
        """
        name = self._names[key]
        return Metric(self._arrays[name], self._arrays[f"{name}_provenance"])

    def __contains__(self, key: object) -> bool:
        """Whether there is such a metric, which is not compared."""
        return key in self._names

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Stages and names."""
        return iter(self._names)

    def __len__(self) -> int:
        """The number of metrics."""
        return len(self._names)
