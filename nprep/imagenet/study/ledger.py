"""The ledger of a study: what each method asked for, and what the trainings gave.

One SQLite file. Every change is one transaction, so the ledger is whole whenever it is read. A
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
CREATE TABLE IF NOT EXISTS queries (
  method TEXT NOT NULL,
  position INTEGER NOT NULL,
  phase TEXT NOT NULL,
  training INTEGER NOT NULL REFERENCES trainings (id),
  PRIMARY KEY (method, position)
);
CREATE TABLE IF NOT EXISTS predictions (
  method TEXT NOT NULL,
  encoding TEXT NOT NULL,
  predicted REAL NOT NULL,
  PRIMARY KEY (method, encoding)
);
"""


@dataclass(frozen=True)
class Training:
    """A row of the trainings.

    Attributes:
        number: Its id.
        stage: "proxy" or "full".
        encoding: The network, in its space's words.
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
class Query:
    """A network that a method asked for.

    Attributes:
        method: Who asked.
        position: Its number among the method's queries.
        phase: "search"; "final" for a last candidate; "promoted" for one that the study trained in
            full since the method names no last candidates.
        training: The training of it.
        predicted: What the method's predictor said, where it has one.
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
                "else restore it from a copy, or start another study."
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
                "folder, then resume with --resume."
            ) from error

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise RunFolderError(
                f"study ledger {self.path} cannot be read ({error}): restore it from a copy, or "
                "start another study."
            ) from error

    def note(self, name: str, content: Any) -> None:
        """Keeps a small value under a name."""
        statement = "INSERT OR REPLACE INTO notes VALUES (?, ?)"
        self._change([(statement, (name, json.dumps(content)))])

    def noted(self, name: str) -> Any:
        """The value under a name, or None."""
        rows = self._read("SELECT content FROM notes WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def ask(
        self, method: str, start: int, phase: str, stage: str, encodings: Sequence[str]
    ) -> list[Training]:
        """Enters a method's next queries, all or none; those entered before must be the same.

        Args:
            method: Who asks.
            start: How many queries it made before.
            phase: See ``Query``.
            stage: "proxy" or "full": how long the networks are to be trained.
            encodings: The networks; those trained already at that stage are not trained again.

        Returns:
            Their trainings, in order.

        Raises:
            RunFolderError: If the method asked for others before it was resumed.
        """
        before = self.queries(method)[start : start + len(encodings)]
        for query, encoding in zip(before, encodings, strict=False):
            if (query.training.encoding, query.training.stage) != (encoding, stage):
                raise RunFolderError(
                    f"method {method} asks for {encoding} ({stage}) where it asked for "
                    f"{query.training.encoding} ({query.training.stage}) before this study was "
                    "resumed: resume with the program that began it, or start another study."
                )
        statements: list[tuple[str, Sequence[Any]]] = []
        first = start + len(before)
        for position, encoding in enumerate(encodings[len(before) :], first):
            statements += [
                (
                    "INSERT OR IGNORE INTO trainings (stage, encoding) VALUES (?, ?)",
                    (stage, encoding),
                ),
                (
                    "INSERT INTO queries SELECT ?, ?, ?, id FROM trainings "
                    "WHERE stage = ? AND encoding = ?",
                    (method, position, phase, stage, encoding),
                ),
            ]
        if statements:
            self._change(statements)
        return [q.training for q in self.queries(method)[start : start + len(encodings)]]

    def predict(self, method: str, encodings: Sequence[str], values: Sequence[float]) -> None:
        """Keeps what a method's predictor says of networks; the last word counts."""
        statement = "INSERT OR REPLACE INTO predictions VALUES (?, ?, ?)"
        self._change([(statement, (method, e, v)) for e, v in zip(encodings, values, strict=True)])

    def queries(self, method: str) -> list[Query]:
        """A method's queries, in order."""
        rows = self._read(
            "SELECT q.method, q.position, q.phase, p.predicted, t.id, t.stage, t.encoding, "
            "t.status, t.starts, t.result, t.error FROM queries q "
            "JOIN trainings t ON t.id = q.training "
            "LEFT JOIN predictions p ON p.method = q.method AND p.encoding = t.encoding "
            "WHERE q.method = ? ORDER BY q.position",
            (method,),
        )
        return [
            Query(method, position, phase, _training(training), predicted)
            for method, position, phase, predicted, *training in rows
        ]

    def methods(self) -> list[str]:
        """The methods that asked for something, in the order in which they began."""
        rows = self._read("SELECT method FROM queries GROUP BY method ORDER BY min(rowid)")
        return [method for (method,) in rows]

    def trainings(self) -> list[Training]:
        """All trainings, in the order in which they were first asked for."""
        rows = self._read(
            "SELECT id, stage, encoding, status, starts, result, error FROM trainings ORDER BY id"
        )
        return [_training(row) for row in rows]

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
