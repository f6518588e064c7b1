"""The devices that the CUDA sources are tested on."""

from __future__ import annotations

import pytest

from nprep.errors import MissingDependencyError
from nprep.kernels.cuda.device import CupyDevice, Device
from nprep.spaces.nb101.cells import CellBatch
from tests.conftest import Cells
from tests.cuda.host_device import HostDevice, find_compiler


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostDevice:
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C++ compiler was found (set CXX), and the sources are to run on the CPU")
    return HostDevice(compiler, tmp_path_factory.mktemp("cuda"))


@pytest.fixture(scope="session", params=["host", pytest.param("cupy", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Device:
    """Each test runs on the CPU through the shim, and on a GPU where there is one."""
    if request.param == "host":
        chosen: Device = request.getfixturevalue("host")
        return chosen
    try:
        return CupyDevice()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def space(all_cells: Cells) -> CellBatch:
    """All 423,624 cells."""
    return CellBatch(*all_cells[:3])
