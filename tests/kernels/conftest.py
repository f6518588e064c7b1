"""Loads the settings of property tests."""

from __future__ import annotations

from tests import strategies

__all__ = ["strategies"]
