"""LLVM IR with 16-wide float32 vectors, for the few inner loops that a compiler does not find.

The compiler maps a vector to whatever the processor has: one AVX-512 register, two AVX2 registers,
four NEON registers. The kernels differ only in how many vectors they hold in registers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

LANES = 16

_INTEGER, _LANE, _REAL = ir.IntType(64), ir.IntType(32), ir.FloatType()
VECTOR = ir.VectorType(_REAL, LANES)
ZEROS = ir.Constant(VECTOR, [0.0] * LANES)


def floats(value: float) -> Any:
    """A constant vector of one number."""
    # LLVM takes a constant of its float type only if it is exactly one.
    return ir.Constant(VECTOR, [float(np.float32(value))] * LANES)


class Emitter:
    """Emits the body of an intrinsic whose arguments are 1-D arrays and scalars.

    Attributes:
        builder: The LLVM IR builder.
    """

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        """Takes what numba hands to an intrinsic."""
        self.builder = builder
        self._context = context
        self._signature = signature
        self._arguments = arguments

    def data(self, position: int) -> Any:
        """Pointer to the first element of the array that is argument number ``position``."""
        array = self._context.make_array(self._signature.args[position])
        return array(self._context, self.builder, self._arguments[position]).data

    def integer(self, value: int) -> Any:
        """A 64-bit constant."""
        return ir.Constant(_INTEGER, value)

    def at(self, pointer: Any, *offsets: Any) -> Any:
        """The pointer moved by offsets in elements."""
        for offset in offsets:
            pointer = self.builder.gep(pointer, [offset])
        return pointer

    def load(self, pointer: Any) -> Any:
        """16 floats from an address that need not be aligned."""
        value = self.builder.load(self.builder.bitcast(pointer, VECTOR.as_pointer()))
        value.align = 4
        return value

    def load_index(self, pointer: Any) -> Any:
        """An int32 as a 64-bit integer."""
        return self.builder.sext(self.builder.load(pointer), _INTEGER)

    def store(self, value: Any, pointer: Any) -> None:
        """Stores 16 floats."""
        stored = self.builder.store(value, self.builder.bitcast(pointer, VECTOR.as_pointer()))
        stored.align = 4

    def spread(self, scalar: Any) -> Any:
        """A vector of one float 16 times."""
        undefined = ir.Constant(VECTOR, ir.Undefined)
        lane = self.builder.insert_element(undefined, scalar, ir.Constant(_LANE, 0))
        places = ir.Constant(ir.VectorType(_LANE, LANES), [0] * LANES)
        return self.builder.shuffle_vector(lane, undefined, places)

    def multiply_add(self, one: Any, two: Any, total: Any) -> Any:
        """``one * two + total``, fused where the processor can."""
        product = self.builder.fmul(one, two, flags=("contract",))
        return self.builder.fadd(product, total, flags=("contract",))

    def root(self, value: Any) -> Any:
        """The square roots of a vector."""
        name, module = f"llvm.sqrt.v{LANES}f32", self.builder.module
        function = module.globals.get(name)
        if function is None:
            function = ir.Function(module, ir.FunctionType(VECTOR, [VECTOR]), name)
        return self.builder.call(function, [value])

    def rectify(self, value: Any) -> Any:
        """``max(value, 0)``."""
        return self.builder.select(self.builder.fcmp_ordered(">", value, ZEROS), value, ZEROS)

    def loop(
        self,
        begin: Any,
        end: Any,
        start: list[Any],
        body: Callable[[Any, list[Any]], list[Any]],
    ) -> list[Any]:
        """Runs ``body(index, values)`` for begin <= index < end, at least once.

        Args:
            begin: First index.
            end: End of the indices.
            start: Vectors that the loop carries.
            body: Emits an iteration; returns the vectors after it.

        Returns:
            The vectors after the last iteration.
        """
        builder = self.builder
        entry = builder.block
        head, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(_INTEGER)
        index.add_incoming(begin, entry)
        carried = [builder.phi(value.type) for value in start]
        results = body(index, carried)
        following = builder.add(index, self.integer(1))
        # The body may have loops of its own: the jump back comes from where it ended.
        index.add_incoming(following, builder.block)
        for phi, first, result in zip(carried, start, results, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(result, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, end), head, after)
        builder.position_at_end(after)
        return results
