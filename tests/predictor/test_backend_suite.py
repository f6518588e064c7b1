"""The conformance suite for backends, on those that need no device."""

from nprep.testing.backends import BackendSuite


class TestNumba(BackendSuite):
    name = "numba"
    tolerance = 0.0


class TestNumpy(BackendSuite):
    name = "numpy"
