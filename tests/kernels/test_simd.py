"""The choice of vector instructions, and what the kernels become on ARM64."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from llvmlite import binding, ir

from nprep.errors import SettingsError
from nprep.kernels import simd
from nprep.kernels.graphs import gather, infer
from nprep.kernels.numeric import adam, gemm
from nprep.kernels.numeric.vector import Emitter

AVX512 = {"avx2": True, "fma": True, "avx512f": True}
AVX2 = {"avx2": True, "fma": True}
X86, ARM, APPLE = "x86_64-unknown-linux-gnu", "aarch64-linux-gnu", "arm64-apple-darwin22.1.0"
FLOATS, INTS = ir.FloatType().as_pointer(), ir.IntType(32).as_pointer()
INDEX, REAL = ir.IntType(64), ir.FloatType()


@pytest.mark.parametrize(
    ("triple", "features", "best"),
    [
        (X86, AVX512, "avx512"),
        (X86, AVX2, "avx2"),
        (X86, {"avx2": True}, "plain"),
        (X86, {}, "plain"),
        (ARM, {"neon": True}, "neon"),
        (APPLE, {}, "neon"),
        ("riscv64-unknown-linux-gnu", {}, "plain"),
    ],
)
def test_the_best_set_is_taken(triple: str, features: dict[str, bool], best: str) -> None:
    assert simd.choose("", triple, features) == (best, None)
    assert simd.choose(best, triple, features) == (best, None)


def test_a_narrower_set_has_a_processor_of_its_own() -> None:
    names = [simd.choose(name, X86, AVX512)[1] for name in simd.SETS]
    assert names == [None, "x86-64-v3", "x86-64-v2", "x86-64"]
    assert simd.choose("plain", ARM, {}) == ("plain", "generic")


@pytest.mark.parametrize(
    ("wanted", "triple", "features"),
    [("avx512", X86, AVX2), ("avx2", ARM, {}), ("avx2", X86, {}), ("sse", X86, AVX512)],
)
def test_a_set_that_is_not_there_is_refused(
    wanted: str, triple: str, features: dict[str, bool]
) -> None:
    with pytest.raises(SettingsError, match=f"NPREP_SIMD is '{wanted}'"):
        simd.choose(wanted, triple, features)


class PointerEmitter(Emitter):
    """Emits the body of a function that takes bare pointers in the place of arrays."""

    def data(self, position: int) -> Any:
        return self._arguments[position]


def tile_module(triple: str, kinds: list[Any], emit: Callable[[Any, Any], None]) -> ir.Module:
    """A module with one function, for a platform."""
    module = ir.Module("tile")
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    emit(PointerEmitter(None, builder, None, function.args), function.args)
    builder.ret_void()
    return module


def product(emitter: Any, arguments: Any) -> None:
    rows, _, _, vectors = gemm.TILES["neon"]
    gemm.emit_tile(emitter, arguments, rows, vectors)


def layer(emitter: Any, arguments: Any) -> None:
    gather.emit_layer(emitter, arguments, gather.VECTORS["neon"])


def mean(emitter: Any, arguments: Any) -> None:
    infer.emit_mean(emitter, arguments, infer.VECTORS["neon"])


def adam_step(emitter: Any, arguments: Any) -> None:
    adam.emit_pair(emitter, arguments)


LISTS = [INTS, INTS, FLOATS]
# The kinds of arguments, what emits the body, and the multiply-adds of its innermost loops.
TILES = {
    "product": (
        [FLOATS, INDEX, INDEX, INDEX, FLOATS, INDEX, INDEX, FLOATS, INDEX, INDEX, INDEX],
        product,
        gemm.TILES["neon"][0] * gemm.TILES["neon"][3] * 4,
    ),
    "layer": (
        [
            FLOATS, INDEX, INDEX, INDEX, *LISTS, *LISTS, FLOATS, INDEX, FLOATS, INDEX, FLOATS,
            INDEX,
        ],
        layer,
        2 * gather.VECTORS["neon"] * 4,
    ),
    "mean": (
        [
            FLOATS, INDEX, INDEX, *LISTS, INDEX, INDEX, FLOATS, INDEX, REAL, FLOATS, INDEX,
        ],
        mean,
        2 * infer.VECTORS["neon"] * 4,
    ),
    "adam": ([FLOATS, FLOATS, FLOATS, FLOATS, INDEX, REAL, REAL, REAL, REAL], adam_step, 10 * 4),
}  # fmt: skip


@pytest.mark.parametrize("triple", ["aarch64-apple-darwin", "aarch64-linux-gnu"])
@pytest.mark.parametrize("name", TILES)
def test_arm_code_multiplies_and_adds_vectors(triple: str, name: str) -> None:
    kinds, emit, expected = TILES[name]
    module = tile_module(triple, kinds, emit)
    text = str(module)
    assert text.count("fmul contract <16 x float>") == expected // 4
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(triple).create_target_machine(opt=3)
    parsed = binding.parse_assembly(text)
    parsed.verify()
    code = machine.emit_assembly(parsed)
    # A fused multiply-add (or -subtract) of four floats for each quarter of a vector of 16, and no
    # call at all.
    assert len(re.findall(r"\bfml[as](\.4s|\s+v\d+\.4s)", code)) == expected
    assert not re.findall(r"^\s*blr?\s", code, re.MULTILINE)


KERNEL_TESTS = [
    "tests/kernels/test_adam.py",
    "tests/kernels/test_gemm.py",
    "tests/kernels/test_gcn_gather.py",
    "tests/kernels/test_schedule.py",
    "tests/kernels/test_md5.py",
    "tests/predictor/test_plan.py",
    "tests/predictor/test_gradients.py",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", simd.SETS)
def test_the_kernels_pass_their_tests_with_every_set(name: str) -> None:
    try:
        simd.choose(name, binding.get_default_triple(), dict(binding.get_host_cpu_features()))
    except SettingsError as error:
        pytest.skip(str(error))
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *KERNEL_TESTS],
        env={**os.environ, simd.ENVIRONMENT: name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    shown = re.search(r"(\d+) passed", result.stdout)
    assert shown is not None
    assert int(shown[1]) > 20
