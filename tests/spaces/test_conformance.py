"""The conformance suite, on the spaces that ship."""

from nprep.spaces.nb101.space import NB101
from nprep.spaces.nb201.space import NB201
from nprep.spaces.proxyless.chains import PROXYLESS, ProxylessSpace
from nprep.spaces.proxyless.space import MobileSpace
from nprep.testing.spaces import SpaceSuite


class TestNb101(SpaceSuite):
    space = NB101


class TestNb201(SpaceSuite):
    space = NB201


class TestProxyless(SpaceSuite):
    space = PROXYLESS


class TestSmallProxyless(SpaceSuite):
    space = ProxylessSpace(MobileSpace(depth=1, width=0.5))
