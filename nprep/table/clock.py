"""What queries cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """Adds up what a search would have spent on training.

    Attributes:
        queries: Number of queries.
        epochs: Epochs trained; half of the budget for a half-way query.
        training_seconds: Training time, as far as the table knows it.
        untimed: Number of queries whose training time the table does not hold.
    """

    queries: int = 0
    epochs: int = 0
    training_seconds: float = 0.0
    untimed: int = 0

    def charge(self, epochs: int, seconds: float | None, queries: int = 1) -> None:
        """Adds queries.

        Args:
            epochs: Of all of them.
            seconds: Of all of them; None: unknown.
            queries: How many.
        """
        self.queries += queries
        self.epochs += epochs
        if seconds is None:
            self.untimed += queries
        else:
            self.training_seconds += seconds

    def reset(self) -> None:
        """Starts again from zero."""
        self.queries = self.epochs = self.untimed = 0
        self.training_seconds = 0.0
