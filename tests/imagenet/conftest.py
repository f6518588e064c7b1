"""Fixtures for tests of real training."""

from __future__ import annotations

import pytest

# It holds assertions of tests.
pytest.register_assert_rewrite("tests.imagenet.bits")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A predictor of five epochs, and an evolution whose population fits small studies."""
    # Here, since most tests need no study.
    from tests.imagenet.studies import make_quick

    make_quick(monkeypatch)
