"""Conformance suites: what a space, a method, a backend or a source of one's own must hold.

Each suite is a class of plain test methods for pytest. A package derives a class whose name begins
with ``Test`` and says what is tested::

    from nprep.testing.spaces import SpaceSuite

    class TestMySpace(SpaceSuite):
        space = MySpace()
"""
