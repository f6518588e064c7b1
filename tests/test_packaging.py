"""What pyproject.toml says must be true of the folders."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_every_package_is_named() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = set()
    for folder, prefix in (("nprep", ""), ("kernels", "nprep."), ("data", "nprep.")):
        for path in (ROOT / folder).rglob("*.py"):
            found.add(prefix + ".".join(path.parent.relative_to(ROOT).parts))
    # What fits the models runs in a checkout alone.
    assert sorted(found - {"nprep.data.fit"}) == sorted(named)


def test_every_package_has_an_init() -> None:
    """Without one, some tools find the modules and others do not."""
    for folder in ("nprep", "kernels", "data", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path
