"""Numbers side by side: a compiled type that holds one number of each of several pixels in a processor's vector.

Arithmetic by the usual signs acts on all lanes alike, so a formula written for one number does the work of eight, and
no lane knows of its neighbours: a pixel's result does not depend on who travels with it, nor on how many do. May import
numba and llvmlite; must not know any model.
"""

from __future__ import annotations

import operator
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model

__all__ = ["COUNT", "any_less", "load", "number", "root", "single", "spread", "store", "turn", "where_less"]

# As many as one vector of the processor holds; where vectors are shorter still, LLVM takes several.
COUNT = 8 if llvm.get_host_cpu_features().get("avx512f") else 4


class Lanes(types.Type):
    """The type; a plain number stands for itself in every lane."""

    def __init__(self) -> None:
        super().__init__(name=f"lanes({COUNT})")

    def can_convert_from(self, typingctx: Any, other: types.Type) -> Conversion | None:
        """Real numbers are spread."""
        return Conversion.safe if isinstance(other, types.Float | types.Integer) else None


_in_compiled_code: Any = intrinsic  # called there only, without the typing context

LANES = Lanes()
_VECTOR = ir.VectorType(ir.DoubleType(), COUNT)


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: types.Type) -> None:
        super().__init__(manager, kind, _VECTOR)


def _spread(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), COUNT), [0] * COUNT)
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), places)


@lower_cast(types.Float, Lanes)
@lower_cast(types.Integer, Lanes)
def _cast(context: Any, builder: ir.IRBuilder, given: types.Type, wanted: types.Type, value: ir.Value) -> ir.Value:
    return _spread(builder, context.cast(builder, value, given, types.float64))


def _arithmetic(sign: Any, inplace: Any, instruction: str) -> None:
    for either in (sign, inplace):

        @infer_global(either)
        class Typing(AbstractTemplate):
            def generic(self, arguments: tuple[types.Type, ...], named: Any) -> Any:
                """Lanes with lanes, or with a number."""
                if LANES in arguments and all(LANES.can_convert_from(None, a) or a == LANES for a in arguments):
                    return signature(LANES, LANES, LANES)
                return None

        @lower_builtin(either, LANES, LANES)
        def lower(context: Any, builder: ir.IRBuilder, sig: Any, arguments: Any) -> ir.Value:
            return getattr(builder, instruction)(*arguments, flags=("contract", "nsz"))


for _signs in (
    (operator.add, operator.iadd, "fadd"),
    (operator.sub, operator.isub, "fsub"),
    (operator.mul, operator.imul, "fmul"),
    (operator.truediv, operator.itruediv, "fdiv"),
):
    _arithmetic(*_signs)


@_in_compiled_code
def spread(typingctx, number):  # type: ignore[no-untyped-def]
    """A number in every lane."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _spread(builder, arguments[0])

    return LANES(types.float64), codegen


def _place(builder, address, index, kind):  # type: ignore[no-untyped-def]
    return builder.gep(builder.inttoptr(address, kind.as_pointer()), [index])


@_in_compiled_code
def number(typingctx, address, index):  # type: ignore[no-untyped-def]
    """One number of an array of them, of which the address is told: a view of an array would be counted, and slow."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load(_place(builder, arguments[0], arguments[1], ir.DoubleType()))

    return types.float64(types.intp, types.intp), codegen


@_in_compiled_code
def single(typingctx, address, index):  # type: ignore[no-untyped-def]
    """The same of an array of float32."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.fpext(builder.load(_place(builder, arguments[0], arguments[1], ir.FloatType())), ir.DoubleType())

    return types.float64(types.intp, types.intp), codegen


@_in_compiled_code
def load(typingctx, address, row):  # type: ignore[no-untyped-def]
    """A row of an array (row, lane)."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load(_place(builder, arguments[0], arguments[1], _VECTOR), align=8)

    return LANES(types.intp, types.intp), codegen


@_in_compiled_code
def store(typingctx, address, row, value):  # type: ignore[no-untyped-def]
    """Write a row of an array (row, lane)."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.store(arguments[2], _place(builder, arguments[0], arguments[1], _VECTOR), align=8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, LANES), codegen


@_in_compiled_code
def turn(typingctx, source, stride, real, imaginary):  # type: ignore[no-untyped-def]
    """As many complex64 of as many rows, `stride` numbers apart, to rows of their parts (number, lane)."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source, stride, *targets = arguments
        kind, half = ir.VectorType(ir.IntType(64), COUNT), ir.VectorType(ir.IntType(32), COUNT)
        source = builder.inttoptr(source, ir.IntType(64).as_pointer())
        rows = []
        for k in range(COUNT):
            place = builder.gep(source, [builder.mul(stride, ir.Constant(stride.type, k))])
            rows.append(builder.load(builder.bitcast(place, kind.as_pointer()), align=4))
        step = 1
        while step < COUNT:  # exchanges squares of `step` beside the diagonal
            low = [k if not k & step else COUNT + k - step for k in range(COUNT)]
            high = [k + step if not k & step else COUNT + k for k in range(COUNT)]
            low, high = (ir.Constant(ir.VectorType(ir.IntType(32), COUNT), m) for m in (low, high))
            for k in range(COUNT):
                if not k & step:
                    pair = rows[k], rows[k + step]
                    rows[k], rows[k + step] = builder.shuffle_vector(*pair, low), builder.shuffle_vector(*pair, high)
            step *= 2
        for shift, target in zip((0, 32), targets, strict=True):
            for k, row in enumerate(rows):
                bits = builder.trunc(builder.lshr(row, ir.Constant(kind, [shift] * COUNT)), half)
                value = builder.fpext(builder.bitcast(bits, ir.VectorType(ir.FloatType(), COUNT)), _VECTOR)
                builder.store(value, _place(builder, target, ir.Constant(ir.IntType(64), k), _VECTOR), align=8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp), codegen


@_in_compiled_code
def root(typingctx, value):  # type: ignore[no-untyped-def]
    """Square root."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        name = f"llvm.sqrt.v{COUNT}f64"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    return LANES(LANES), codegen


@_in_compiled_code
def where_less(typingctx, low, high, there, elsewhere):  # type: ignore[no-untyped-def]
    """`there` in the lanes where low < high, `elsewhere` in the others (and where one of them is NaN)."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        low, high, there, elsewhere = arguments
        return builder.select(builder.fcmp_ordered("<", low, high), there, elsewhere)

    return LANES(LANES, LANES, LANES, LANES), codegen


@_in_compiled_code
def any_less(typingctx, low, high):  # type: ignore[no-untyped-def]
    """Whether low < high in any lane."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        mask = builder.bitcast(builder.fcmp_ordered("<", *arguments), ir.IntType(COUNT))
        return builder.icmp_unsigned("!=", mask, ir.Constant(mask.type, 0))

    return types.boolean(LANES, LANES), codegen
