"""Messages of errors have one style: what the project raises itself ends with a full stop."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("nprep", "kernels") for path in (ROOT / folder).rglob("*.py"))
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in FILES}
# Drop-ins for other packages, whose words they speak.
FOREIGN = ("nprep/nasbench/", "nprep/nats_bench/")


def own_errors() -> set[str]:
    """Names of ``NprepError`` and of all that derive from it, wherever they are."""
    names, before = {"NprepError"}, 0
    while len(names) > before:
        before = len(names)
        for tree in TREES.values():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and any(
                    ast.unparse(base).split(".")[-1] in names for base in node.bases
                ):
                    names.add(node.name)
    return names


def messages(names: set[str]) -> Iterator[tuple[str, ast.expr]]:
    """Where an error of these names is made, and its message."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            if ast.unparse(node.func).split(".")[-1] in names:
                yield f"{name}:{node.lineno}", node.args[0]


def ending(message: ast.expr) -> str | None:
    """The last part of a message, "{name}" for a placeholder; None if it is no text at all."""
    if isinstance(message, ast.Constant) and isinstance(message.value, str):
        return message.value
    if isinstance(message, ast.JoinedStr):
        last = message.values[-1]
        return ending(last) or f"{{{ast.unparse(getattr(last, 'value', last))}}}"
    if isinstance(message, ast.BinOp):
        return ending(message.right)
    if isinstance(message, ast.IfExp):
        # The worse of the two.
        ends = [ending(message.body), ending(message.orelse)]
        return min(ends, key=lambda end: (end or "").endswith("."))
    return None


def test_own_messages_end_with_a_full_stop() -> None:
    names = own_errors()
    assert {"TableError", "SettingsError", "MissingDependencyError"} <= names
    found = dict(messages(names))
    assert len(found) > 400
    wrong = []
    for place, message in found.items():
        end = ending(message)
        # A message of this project within another one brings its full stop.
        if end is None or not (end.endswith(".") or end == "{error}"):
            wrong.append((place, end))
    assert not wrong


def test_messages_of_built_in_errors_have_none() -> None:
    names = {
        name
        for name, kind in vars(builtins).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    wrong = []
    for place, message in messages(names):
        if (ending(message) or "").endswith(".") and not place.startswith(FOREIGN):
            wrong.append((place, ending(message)))
    assert not wrong
