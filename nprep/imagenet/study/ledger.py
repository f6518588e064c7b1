"""The ledger of a study: which networks are wanted by whom, and what their trainings gave.

One SQLite file. Every change is one transaction, so the ledger is whole whenever it is read; a
training is known by its stage and network and is run once, however many methods ask for it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nprep.errors import RunFolderError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trainings (
  id INTEGER PRIMARY KEY,
  stage TEXT NOT NULL,
  encoding TEXT NOT NULL,
  status TEXT NOT NULL DEFAULT 'pending',
  starts INTEGER NOT NULL DEFAULT 0,
  result TEXT,
  error TEXT,
  UNIQUE (stage, encoding)
);
CREATE TABLE IF NOT EXISTS proposals (
  method TEXT NOT NULL,
  position INTEGER NOT NULL,
  phase TEXT NOT NULL,
  training INTEGER NOT NULL REFERENCES trainings (id),
  predicted REAL,
  PRIMARY KEY (method, position)
);
"""


@dataclass(frozen=True)
class Training:
    """A row of the trainings.

    Attributes:
        number: Its id.
        stage: "proxy" or "full".
        encoding: The network.
        status: "pending", "running", "done" or "failed".
        starts: How often it was handed to a worker.
        result: What it gave, once done.
        error: Why it failed, once failed.
    """

    number: int
    stage: str
    encoding: str
    status: str
    starts: int
    result: dict[str, Any] | None
    error: str | None

    @property
    def accuracy(self) -> float | None:
        """Top-1 on the validation images, in [0, 1]."""
        return None if self.result is None else float(self.result["val_top1"])


@dataclass(frozen=True)
class Proposal:
    """A network that a method asked for.

    Attributes:
        method: Who asked.
        position: Its number among the method's proposals.
        phase: "sample" or "top".
        training: The training of it.
        predicted: What the predictor said, where one did.
    """

    method: str
    position: int
    phase: str
    training: Training
    predicted: float | None


class Ledger:
    """The open ledger of a study."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file.

        Raises:
            RunFolderError: If it is no ledger, damaged or cannot be written.
        """
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            try:
                # One writer, and every commit on disk before the search continues.
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.executescript(_SCHEMA)
            except sqlite3.Error:
                self._db.close()
                raise
        except sqlite3.Error as error:
            raise RunFolderError(
                f"study ledger {path} cannot be used ({error}): make room where the disk is full; "
                "else restore it from a copy, or start another study"
            ) from error

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def _change(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for statement, values in statements:
                self._db.execute(statement, values)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise RunFolderError(
                f"study ledger {self.path} cannot be written ({error}): make room or mend the "
                "folder, then continue with --resume"
            ) from error

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise RunFolderError(
                f"study ledger {self.path} cannot be read ({error}): restore it from a copy, or "
                "start another study"
            ) from error

    def note(self, name: str, content: Any) -> None:
        """Keeps a small value under a name."""
        statement = "INSERT OR REPLACE INTO notes VALUES (?, ?)"
        self._change([(statement, (name, json.dumps(content)))])

    def noted(self, name: str) -> Any:
        """The value under a name, or None."""
        rows = self._read("SELECT content FROM notes WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def propose(
        self,
        method: str,
        phase: str,
        stage: str,
        encodings: Sequence[str],
        predicted: Sequence[float | None] | None = None,
    ) -> None:
        """Adds a method's next proposals, all or none.

        Args:
            method: Who asks.
            phase: "sample" or "top".
            stage: "proxy" or "full": how long they are to be trained.
            encodings: The networks; those trained already at that stage are not trained again.
            predicted: Their predictions, or None.
        """
        start = len(self.proposals(method))
        says = predicted if predicted is not None else [None] * len(encodings)
        statements: list[tuple[str, Sequence[Any]]] = []
        for position, (encoding, value) in enumerate(zip(encodings, says, strict=True), start):
            statements += [
                (
                    "INSERT OR IGNORE INTO trainings (stage, encoding) VALUES (?, ?)",
                    (stage, encoding),
                ),
                (
                    "INSERT INTO proposals SELECT ?, ?, ?, id, ? FROM trainings "
                    "WHERE stage = ? AND encoding = ?",
                    (method, position, phase, value, stage, encoding),
                ),
            ]
        self._change(statements)

    def proposals(self, method: str) -> list[Proposal]:
        """A method's proposals, in order."""
        rows = self._read(
            "SELECT p.method, p.position, p.phase, p.predicted, t.id, t.stage, t.encoding, "
            "t.status, t.starts, t.result, t.error FROM proposals p JOIN trainings t "
            "ON t.id = p.training WHERE p.method = ? ORDER BY p.position",
            (method,),
        )
        return [
            Proposal(method, position, phase, _training(training), predicted)
            for method, position, phase, predicted, *training in rows
        ]

    def trainings(self) -> list[Training]:
        """All trainings, in the order in which they were first asked for."""
        rows = self._read(
            "SELECT id, stage, encoding, status, starts, result, error FROM trainings ORDER BY id"
        )
        return [_training(row) for row in rows]

    def unfinished(self) -> list[Training]:
        """Trainings that are neither done nor failed."""
        return [t for t in self.trainings() if t.status in ("pending", "running")]

    def start(self, number: int) -> None:
        """A worker was given the training."""
        statement = "UPDATE trainings SET status = 'running', starts = starts + 1 WHERE id = ?"
        self._change([(statement, (number,))])

    def finish(self, number: int, result: dict[str, Any]) -> None:
        """The training is done."""
        statement = "UPDATE trainings SET status = 'done', result = ? WHERE id = ?"
        self._change([(statement, (json.dumps(result), number))])

    def fail(self, number: int, error: str) -> None:
        """The training failed for good."""
        statement = "UPDATE trainings SET status = 'failed', error = ? WHERE id = ?"
        self._change([(statement, (error, number))])


def _training(row: Sequence[Any]) -> Training:
    number, stage, encoding, status, starts, result, error = row
    decoded = None if result is None else json.loads(result)
    return Training(number, stage, encoding, status, starts, decoded, error)
