"""Optional packages: one way to import them, one sentence where they are missing."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from nprep._optional import need
from nprep.errors import MissingDependencyError

ROOT = Path(__file__).parents[1]
OPTIONAL = {
    "PIL", "cupy", "graphviz", "matplotlib", "onnx", "onnxscript", "pandas", "pyarrow", "ray",
    "safetensors", "tensorboard", "torch", "torchvision", "wandb", "yaml",
}  # fmt: skip
# What needs a package as a whole, or runs where it is there; all need matplotlib.
WHOLE = {
    "nprep/imagenet": {"torch", "torchvision"},
    "nprep/_workers/cluster.py": {"ray"},
    "nprep": {"matplotlib"},
}


def imported(tree: ast.Module) -> set[str]:
    """Top names of the packages that a module imports by statements."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def for_types_alone(tree: ast.Module) -> set[str]:
    """What a module imports for type checkers alone."""
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    return set().union(*(imported(ast.Module(node.body, [])) for node in blocks))


def test_optional_packages_are_imported_in_one_way() -> None:
    strange = []
    for folder in ("nprep", "kernels"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            name = path.relative_to(ROOT).as_posix()
            allowed = for_types_alone(tree).union(
                *(names for place, names in WHOLE.items() if name.startswith(place))
            )
            strange += [(name, each) for each in imported(tree) & OPTIONAL - allowed]
    assert not strange


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nothing_here", None)
    with pytest.raises(MissingDependencyError) as caught:
        need("nothing_here", "draw", "nothing-here", extra="draw", instead="do without")
    assert str(caught.value) == (
        "nothing-here is not installed, and it is needed to draw: pip install nothing-here, or "
        "pip install 'nprep[draw]', or do without."
    )


@pytest.mark.parametrize("kind", ["ImportError", "RuntimeError", "OSError"])
def test_a_broken_package_says_why_in_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"broken_{kind}.py").write_text(f"raise {kind}('no library\\nand much advice')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependencyError) as caught:
        need(f"broken_{kind}", "draw")
    assert "(no library)" in str(caught.value)
    assert "\n" not in str(caught.value)
