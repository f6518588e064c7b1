"""The conformance suite for methods, on every method that ships, on the toy space."""

from __future__ import annotations

from nprep.search.registry import make_method, method_names
from nprep.testing.methods import MethodSuite
from tests.toy_space.table import toy_view

VIEW = toy_view()


def suite_of(name: str) -> type[MethodSuite]:
    return type(name, (MethodSuite,), {"method": make_method(name, 12), "view": VIEW})


# A class for each, as a package with a method of its own writes by hand.
for _name in method_names():
    _class = "Test" + _name.title().replace("-", "")
    globals()[_class] = suite_of(_name)
