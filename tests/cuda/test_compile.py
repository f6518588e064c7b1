"""Every CUDA source compiles to machine code, within its budget of registers."""

from __future__ import annotations

import pytest

from nprep.kernels.cuda import nvrtc as cuda_nvrtc
from nprep.kernels.cuda.nvrtc import Nvrtc, find_nvrtc, source_names, usage_table

from .host_device import kernel_signatures

# A multiprocessor has 65,536 registers: with 64 a thread, 4 blocks of 256 threads are resident.
# Shared memory, 28 kB per 128 threads, limits the hash to 7 blocks: it may take 73 registers.
MOST_REGISTERS = {"hash": 73}


@pytest.fixture(scope="module")
def nvrtc() -> Nvrtc:
    library = find_nvrtc()
    if library is None:
        pytest.skip("NVRTC was not found; pip install nvidia-cuda-nvrtc provides it")
    return Nvrtc(library)


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "newest"])
@pytest.mark.parametrize("source", source_names())
def test_compiles_without_spills(nvrtc: Nvrtc, source: str, target: str) -> None:
    architecture = nvrtc.architectures[-1] if target == "newest" else int(target[3:])
    if architecture not in nvrtc.architectures:
        pytest.skip(f"this NVRTC knows {nvrtc.architectures}, not {target}")
    cubin, usage = nvrtc.compile(source, architecture)
    assert cubin[:4] == b"\x7fELF"
    assert {kernel.name for kernel in usage} == set(kernel_signatures(source))
    print(f"\n{source}.cu, sm_{architecture}, NVRTC {'.'.join(map(str, nvrtc.version))}")
    for kernel in sorted(usage, key=lambda kernel: kernel.name):
        print(
            f"  {kernel.name:26} {kernel.registers:3} registers, {kernel.shared:6} bytes shared, "
            f"{kernel.stack} stack, {kernel.spills} spilled"
        )
        assert kernel.spills == 0
        assert kernel.stack == 0
        assert kernel.registers <= MOST_REGISTERS.get(source, 64)


def test_the_compiler_reports_errors(nvrtc: Nvrtc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_nvrtc, "COMPILE_OPTIONS", ("-std=c++17",))
    # Without the folder of the headers nothing can compile.
    with pytest.raises(RuntimeError, match=r"cells\.cuh"):
        nvrtc.compile("space", nvrtc.architectures[0])


def test_the_table_names_every_kernel(nvrtc: Nvrtc) -> None:
    table = usage_table(nvrtc, [nvrtc.architectures[0]])
    for source in source_names():
        for kernel in kernel_signatures(source):
            assert f"| {source}.{kernel} |" in table
