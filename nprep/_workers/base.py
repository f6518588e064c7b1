"""What all kinds of workers share: the protocol, and what becomes of a task."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from nprep.errors import NprepError

Task = TypeVar("Task")
Answer = TypeVar("Answer")
Maker = Callable[[Any], Callable[[Any], Any]]


@dataclass(frozen=True)
class Ended(Generic[Task, Answer]):
    """A task that has ended.

    Attributes:
        task: The task.
        answer: What it gave; None if its process died.
        died: How its process ended, in words; empty if it did not.
    """

    task: Task
    answer: Answer | None
    died: str = ""


class Workers(Protocol):
    """Processes that run tasks somewhere; where does not affect results.

    Attributes:
        retries: How often a task is worth giving in again after its process died.
        advice: What a user can do where processes keep dying.
        share_disk: Whether they see the files of this machine.
    """

    retries: int
    advice: str
    share_disk: bool

    @property
    def places(self) -> int:
        """The number of tasks that run at a time."""

    def run(
        self,
        maker: Maker,
        tasks: deque[Any],
        *,
        name: Callable[[Any], str] = str,
        started: Callable[[Any], object] = lambda task: None,
        notice: Callable[[str], object] = lambda text: None,
    ) -> Iterator[Ended[Any, Any]]:
        """Runs tasks and reports each as it ends, in any order.

        Args:
            maker: See the module.
            tasks: The tasks; more may be added, or given in again, while it runs.
            name: What to call a task in messages.
            started: Is called when a task is handed out.
            notice: Is told, in a sentence, what a user may want to know.

        Raises:
            NprepError: What a task raised, or that processes cannot be started.
            RuntimeError: If a task raised something else, which is a bug.
        """

    def close(self) -> None:
        """Ends all processes; what they were at is lost."""


def attempt(made: Callable[[], Callable[[Any], Any]], task: Any) -> tuple[str, Any]:
    """Runs a task: what became of it, and its answer, error or traceback."""
    try:
        return "answer", made()(task)
    except NprepError as error:
        return "refused", error
    except Exception:
        return "failed", traceback.format_exc()


def answer_of(sent: tuple[str, Any], name: str) -> Any:
    """The answer of a task.

    Raises:
        NprepError: What the task raised.
        RuntimeError: If it raised anything else.
    """
    kind, content = sent
    if kind == "refused":
        raise content
    if kind == "failed":
        raise RuntimeError(f"{name} failed:\n{content}")
    return content
