"""Expressions of the kernel's Python as LLVM: numbers, variables, arithmetic, decisions, calls; typed as they are read.

May import llvmlite and numpy. Integers and reals are of 64 bits; a division by zero gives what IEEE 754 says.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from llvmlite import ir

__all__ = [
    "INTEGER",
    "INTEGERS",
    "KINDS",
    "MATRIX",
    "REAL",
    "REALS",
    "WORD",
    "Expressions",
    "Value",
    "WidenedError",
    "emitter",
]

WORD, DOUBLE, BIT = ir.IntType(64), ir.DoubleType(), ir.IntType(1)
TRUTH, INTEGER, REAL = "truth", "integer", "real"  # each fits into the next
REALS, INTEGERS, MATRIX = "reals", "integers", "matrix"
KINDS: dict[str, Any] = {
    "void": ir.VoidType(), TRUTH: BIT, INTEGER: WORD, REAL: DOUBLE, REALS: ir.PointerType(DOUBLE),
    INTEGERS: ir.PointerType(WORD), MATRIX: ir.LiteralStructType([ir.PointerType(DOUBLE), WORD]),
}  # fmt: skip
_NUMBERS = (TRUTH, INTEGER, REAL)
_COMPARED = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


@dataclass(frozen=True)
class Value:
    """What an expression comes to."""

    kind: str
    ir: Any


_EMITTERS: dict[Any, Callable[..., Value | None]] = {}


def emitter(*functions: Any) -> Callable[..., Any]:
    """Register what is emitted for a call of these functions: from the body at work and the values of the arguments."""

    def register(emit: Callable[..., Any]) -> Callable[..., Any]:
        _EMITTERS.update(dict.fromkeys(functions, emit))
        return emit

    return register


class WidenedError(Exception):
    """A variable turned out to be wider than it was taken for."""


@dataclass
class Expressions:
    """Those of one function, at some knowledge of its variables."""

    target: ir.Function
    function: Callable[..., Any]
    known: dict[str, str]
    result: str
    flags: tuple[str, ...]
    declared: Callable[[Any], Any]
    places: dict[str, Any] = field(default_factory=dict)
    at: Any = None
    entry: Any = None  # builds where all variables get their places
    builder: Any = None  # where the code goes

    # values

    def constant(self, number: Any) -> Value:
        if isinstance(number, bool | np.bool_):
            return Value(TRUTH, ir.Constant(BIT, bool(number)))
        if isinstance(number, int):
            return Value(INTEGER, ir.Constant(WORD, int(number)))
        if isinstance(number, float):
            return Value(REAL, ir.Constant(DOUBLE, float(number)))
        raise TypeError(f"{number!r} is no number")

    def cast(self, value: Value, kind: str) -> Value:
        """Into a kind that is at least as wide."""
        if value.kind == kind:
            return value
        if value.kind not in _NUMBERS or kind not in _NUMBERS or _NUMBERS.index(value.kind) > _NUMBERS.index(kind):
            raise TypeError(f"{value.kind} where {kind} is expected")
        if value.kind == TRUTH:
            value = Value(INTEGER, self.builder.zext(value.ir, WORD))
        return value if kind == INTEGER else Value(REAL, self.builder.sitofp(value.ir, DOUBLE))

    def common(self, *values: Value) -> str:
        kinds = {value.kind for value in values}
        if len(kinds) == 1:
            return kinds.pop()
        if not kinds <= set(_NUMBERS):
            raise TypeError(f"{' and '.join(sorted(kinds))} do not mix")
        return max(kinds, key=_NUMBERS.index)

    def alike(self, *values: Value) -> tuple[str, list[Any]]:
        """Their common kind, at least integer, and all of them in it."""
        kind = self.common(*values)
        kind = INTEGER if kind == TRUTH else kind
        return kind, [self.cast(value, kind).ir for value in values]

    def truth(self, value: Value) -> Any:
        if value.kind == TRUTH:
            return value.ir
        if value.kind == INTEGER:
            return self.builder.icmp_signed("!=", value.ir, ir.Constant(WORD, 0))
        raise TypeError(f"{value.kind} is neither true nor false")

    # variables

    def store(self, name: str, value: Value) -> None:
        if name in self.known and self.known[name] != value.kind:
            kind = self.common(value, Value(self.known[name], None))
            if kind != self.known[name]:
                self.known[name] = kind
                raise WidenedError
            value = self.cast(value, kind)
        self.known[name] = value.kind
        if name not in self.places:
            self.places[name] = self.entry.alloca(KINDS[value.kind])
        self.builder.store(value.ir, self.places[name])

    def load(self, name: str) -> Value:
        return Value(self.known[name], self.builder.load(self.places[name]))

    def element(self, node: ast.Subscript) -> tuple[str, Any]:
        """The kind of an element and a pointer to it."""
        held, index = self.value(node.value), node.slice
        if held.kind == MATRIX and isinstance(index, ast.Tuple) and len(index.elts) == 2:
            i, j = (self.cast(self.value(k), INTEGER).ir for k in index.elts)
            start, width = (self.builder.extract_value(held.ir, k) for k in range(2))
            return REAL, self.builder.gep(start, [self.builder.add(self.builder.mul(i, width), j)])
        if held.kind in (REALS, INTEGERS):
            place = self.builder.gep(held.ir, [self.cast(self.value(index), INTEGER).ir])
            return REAL if held.kind == REALS else INTEGER, place
        raise TypeError(f"{held.kind} has no such element")

    def assign(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self.store(target.id, value)
        elif isinstance(target, ast.Subscript):
            kind, place = self.element(target)
            self.builder.store(self.cast(value, kind).ir, place)
        else:
            raise TypeError("this cannot be assigned to")

    # expressions

    def value(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Constant):
            return self.constant(node.value)
        if isinstance(node, ast.Name) and node.id in self.known:
            if node.id not in self.places:
                raise TypeError(f"{node.id} is used before it has a value")
            return self.load(node.id)
        if isinstance(node, ast.Name | ast.Attribute):
            return self.constant(self.meant(node))
        if isinstance(node, ast.Subscript):
            kind, place = self.element(node)
            return Value(kind, self.builder.load(place))
        if isinstance(node, ast.BinOp):
            return self.binary(node)
        if isinstance(node, ast.UnaryOp):
            return self.unary(node)
        if isinstance(node, ast.Compare):
            return self.comparison(node)
        if isinstance(node, ast.BoolOp):
            return self.both(node.values, isinstance(node.op, ast.And))
        if isinstance(node, ast.IfExp):
            return self.either(node)
        if isinstance(node, ast.Call):
            made = self.call(node)
            if made is None:
                raise TypeError("this gives no value")
            return made
        raise TypeError(f"no {type(node).__name__.lower()} here")

    def meant(self, node: ast.expr) -> Any:
        """The Python object behind a name outside of the function."""
        if isinstance(node, ast.Attribute):
            return getattr(self.meant(node.value), node.attr)
        if not isinstance(node, ast.Name):
            raise TypeError("only names can be called")
        for names in (self.function.__globals__, vars(builtins)):
            if node.id in names:
                return names[node.id]
        raise TypeError(f"{node.id} is not known")

    def binary(self, node: ast.BinOp) -> Value:
        left = self.value(node.left)
        if isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Constant) and node.right.value in (2, 3):
            square = self.operation(ast.Mult(), left, left)
            return square if node.right.value == 2 else self.operation(ast.Mult(), left, square)
        return self.operation(node.op, left, self.value(node.right))

    def operation(self, op: ast.operator, left: Value, right: Value) -> Value:
        build, flags = self.builder, self.flags
        kind, (a, b) = self.alike(left, right)
        if isinstance(op, ast.Div | ast.Pow):
            kind, a, b = REAL, self.cast(Value(kind, a), REAL).ir, self.cast(Value(kind, b), REAL).ir
        if kind == REAL:
            if isinstance(op, ast.Pow):
                return self.library("llvm.pow", Value(REAL, a), Value(REAL, b))
            made = {ast.Add: build.fadd, ast.Sub: build.fsub, ast.Mult: build.fmul, ast.Div: build.fdiv}.get(type(op))
            if made is not None:
                return Value(REAL, made(a, b, flags=flags))
        if kind == INTEGER:
            made = {ast.Add: build.add, ast.Sub: build.sub, ast.Mult: build.mul}.get(type(op))
            if made is not None:
                return Value(INTEGER, made(a, b, flags=("nsw",)))
            if isinstance(op, ast.FloorDiv | ast.Mod):
                return Value(INTEGER, self.divided(a, b, isinstance(op, ast.Mod)))
        raise TypeError(f"no {type(op).__name__.lower()} of {kind} here")

    def divided(self, a: Any, b: Any, rest: bool) -> Any:
        """Quotient rounded down, or what is left: with the sign of the divisor."""
        build, zero = self.builder, ir.Constant(WORD, 0)
        left = build.srem(a, b)
        unlike = build.icmp_signed("<", build.xor(a, b), zero)
        down = build.and_(unlike, build.icmp_signed("!=", left, zero))
        if rest:
            return build.select(down, build.add(left, b), left)
        return build.sub(build.sdiv(a, b), build.zext(down, WORD))

    def unary(self, node: ast.UnaryOp) -> Value:
        value = self.value(node.operand)
        if isinstance(node.op, ast.Not):
            return Value(TRUTH, self.builder.not_(self.truth(value)))
        if isinstance(node.op, ast.USub) and value.kind == REAL:
            if isinstance(value.ir, ir.Constant):
                return self.constant(-value.ir.constant)
            return Value(REAL, self.builder.fneg(value.ir))
        if isinstance(node.op, ast.USub) and value.kind == INTEGER:
            if isinstance(value.ir, ir.Constant):
                return self.constant(-value.ir.constant)
            return Value(INTEGER, self.builder.neg(value.ir))
        raise TypeError(f"no {type(node.op).__name__.lower()} of {value.kind} here")

    def compare(self, sign: str, left: Value, right: Value) -> Value:
        kind, (a, b) = self.alike(left, right)
        if kind == INTEGER:
            return Value(TRUTH, self.builder.icmp_signed(sign, a, b))
        if kind != REAL:
            raise TypeError(f"{kind} cannot be compared")
        make = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered  # NaN differs from itself
        return Value(TRUTH, make(sign, a, b))

    def comparison(self, node: ast.Compare) -> Value:
        left, made = self.value(node.left), None
        for op, other in zip(node.ops, node.comparators, strict=True):
            if type(op) not in _COMPARED:
                raise TypeError(f"no {type(op).__name__.lower()} here")
            right = self.value(other)
            here = self.compare(_COMPARED[type(op)], left, right)
            made, left = here.ir if made is None else self.builder.and_(made, here.ir), right
        return Value(TRUTH, made)

    def both(self, nodes: list[ast.expr], every: bool) -> Value:
        """`and`, `or`: what is decided is not looked at any more."""
        end = self.target.append_basic_block("decided")
        ways = []
        for node in nodes[:-1]:
            value = self.truth(self.value(node))
            ways.append((ir.Constant(BIT, not every), self.builder.block))
            more = self.target.append_basic_block("more")
            self.builder.cbranch(value, *((more, end) if every else (end, more)))
            self.builder.position_at_end(more)
        ways.append((self.truth(self.value(nodes[-1])), self.builder.block))
        self.builder.branch(end)
        return Value(TRUTH, self.join(end, TRUTH, ways))

    def either(self, node: ast.IfExp) -> Value:
        then, other, end = (self.target.append_basic_block(name) for name in ("then", "else", "end"))
        self.builder.cbranch(self.truth(self.value(node.test)), then, other)
        found = []
        for block, source in ((then, node.body), (other, node.orelse)):
            self.builder.position_at_end(block)
            value = self.value(source)
            found.append((value, self.builder.block))
        kind, ways = self.common(*(value for value, _ in found)), []
        for value, block in found:
            self.builder.position_at_end(block)
            ways.append((self.cast(value, kind).ir, block))
            self.builder.branch(end)
        return Value(kind, self.join(end, kind, ways))

    def join(self, end: Any, kind: str, ways: list[tuple[Any, Any]]) -> Any:
        self.builder.position_at_end(end)
        made = self.builder.phi(KINDS[kind])
        for value, block in ways:
            made.add_incoming(value, block)
        return made

    # calls

    def call(self, node: ast.expr) -> Value | None:
        if not isinstance(node, ast.Call) or node.keywords:
            raise TypeError("only calls by position here")
        function = self.meant(node.func)
        arguments = [self.value(argument) for argument in node.args]
        if function in _EMITTERS:
            return _EMITTERS[function](self, *arguments)
        found = self.declared(function)
        if found is None:
            raise TypeError(f"{ast.unparse(node.func)} cannot be called here")
        target, kinds, result = found
        if len(arguments) != len(kinds):
            raise TypeError(f"{ast.unparse(node.func)} takes {len(kinds)} arguments, not {len(arguments)}")
        made = self.builder.call(
            target, [self.cast(value, kind).ir for value, kind in zip(arguments, kinds, strict=True)]
        )
        return None if result == "void" else Value(result, made)

    def library(self, name: str, *values: Value) -> Value:
        """A function of reals that LLVM knows or the C library has."""
        arguments = [self.cast(value, REAL).ir for value in values]
        module = self.target.module
        if name.startswith("llvm."):
            function = module.declare_intrinsic(name, [DOUBLE])
        else:
            function = module.globals.get(name) or ir.Function(
                module, ir.FunctionType(DOUBLE, [DOUBLE] * len(arguments)), name
            )
        return Value(REAL, self.builder.call(function, arguments, fastmath=self.flags))


for _function, _name in ((np.sqrt, "llvm.sqrt"), (np.exp, "llvm.exp"), (np.log, "llvm.log"), (np.log1p, "log1p")):
    emitter(_function)(lambda body, x, name=_name: body.library(name, x))


@emitter(abs)
def _abs(body: Expressions, x: Value) -> Value:
    if x.kind == REAL:
        return body.library("llvm.fabs", x)
    negative = body.builder.icmp_signed("<", x.ir, ir.Constant(WORD, 0))
    return Value(INTEGER, body.builder.select(negative, body.builder.neg(x.ir), x.ir))


@emitter(min)
def _min(body: Expressions, a: Value, b: Value) -> Value:
    kind, values = body.alike(a, b)
    first = body.compare("<", Value(kind, values[1]), Value(kind, values[0]))  # as Python's: the first where not less
    return Value(kind, body.builder.select(first.ir, values[1], values[0]))


@emitter(max)
def _max(body: Expressions, a: Value, b: Value) -> Value:
    kind, values = body.alike(a, b)
    first = body.compare(">", Value(kind, values[1]), Value(kind, values[0]))
    return Value(kind, body.builder.select(first.ir, values[1], values[0]))


@emitter(np.isnan)
def _isnan(body: Expressions, x: Value) -> Value:
    return body.compare("!=", x, x)


@emitter(np.isfinite)
def _isfinite(body: Expressions, x: Value) -> Value:
    return body.compare("<", body.library("llvm.fabs", x), body.constant(np.inf))
