"""From plain Python to LLVM: the few statements that the general kernel is written in.

May import llvmlite and this folder's expressions; it knows no model. numba takes a quarter of a second for each of the
kernel's sixty functions, most of it to find out what types they may have, and the first fit waited for it. Here there
are integers, reals, truth values, pointers and matrices, and a variable is as wide as the widest that is ever put into
it. Whatever else is written is refused with its line. The functions remain Python: run as such, they are what their
compiled form is tested against.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llvmlite import ir

from xpycro.engine.solver.expressions import INTEGER, WORD, Expressions, Value, WidenedError

__all__ = ["fill"]


def fill(
    target: ir.Function, function: Callable[..., Any], kinds: tuple[str, ...], result: str, flags: tuple[str, ...],
    declared: Callable[[Any], tuple[ir.Function, tuple[str, ...], str] | None],
) -> None:  # fmt: skip
    """Define a declared function of a module.

    Parameters
    ----------
    target : ir.Function
    function : callable
        Its source is read.
    kinds, result : str
        Of the arguments and of what it returns.
    flags : tuple of str
        What LLVM may do with its floating point operations.
    declared : callable
        From an object that is called to its declaration, kinds and result; None where it has none.

    Raises
    ------
    TypeError
        At what is not of the subset; names its line.
    """
    lines, first = inspect.getsourcelines(function)
    tree: Any = ast.parse(textwrap.dedent("".join(lines))).body[0]
    known = dict(zip((a.arg for a in tree.args.args), kinds, strict=True))
    while True:
        body = _Body(target, function, known, result, flags, declared)
        try:
            body.whole(tree, kinds)
            return
        except WidenedError:
            target.blocks.clear()
            target.scope = type(target.scope)()
            for argument in target.args:
                target.scope.register(argument.name)
        except TypeError as error:
            line = first - 1 + getattr(body.at, "lineno", 1)
            raise TypeError(f"{function.__module__}.{function.__name__}, line {line}: {error}") from None


@dataclass
class _Body(Expressions):
    """One function at work."""

    loops: list[tuple[Any, Any]] = field(default_factory=list)  # where `continue` and `break` lead to

    def whole(self, tree: ast.FunctionDef, kinds: tuple[str, ...]) -> None:
        self.entry = ir.IRBuilder(self.target.append_basic_block("entry"))  # of all variables
        start = self.target.append_basic_block("start")
        self.builder = ir.IRBuilder(start)
        for argument, given, kind in zip(tree.args.args, self.target.args, kinds, strict=True):
            self.store(argument.arg, Value(kind, given))
        self.block(tree.body)
        if not self.builder.block.is_terminated:
            if self.result == "void":
                self.builder.ret_void()
            else:  # only where the end is never reached: after `while True`
                self.builder.unreachable()
        self.entry.branch(start)

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if self.builder.block.is_terminated:
                return
            self.at = statement
            method = getattr(self, f"do_{type(statement).__name__.lower()}", None)
            if method is None:
                raise TypeError(f"no {type(statement).__name__.lower()} here")
            method(statement)

    def do_expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.call(node.value)

    def do_assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        if isinstance(target, ast.Tuple):
            if len(node.targets) > 1 or not isinstance(node.value, ast.Tuple):
                raise TypeError("a tuple of names takes a tuple of values")
            values = [self.value(source) for source in node.value.elts]
            for to, value in zip(target.elts, values, strict=True):
                self.assign(to, value)
            return
        value = self.value(node.value)
        for to in node.targets:
            self.assign(to, value)

    def do_augassign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            left = self.load(node.target.id)
            self.store(node.target.id, self.operation(node.op, left, self.value(node.value)))
            return
        kind, place = self.element(node.target)  # type: ignore[arg-type]
        value = self.value(node.value)
        made = self.operation(node.op, Value(kind, self.builder.load(place)), value)
        self.builder.store(self.cast(made, kind).ir, place)

    def do_return(self, node: ast.Return) -> None:
        if node.value is None:
            self.builder.ret_void()
        else:
            self.builder.ret(self.cast(self.value(node.value), self.result).ir)

    def do_if(self, node: ast.If) -> None:
        then, other, end = (self.target.append_basic_block(name) for name in ("then", "else", "end"))
        self.builder.cbranch(self.truth(self.value(node.test)), then, other)
        for block, statements in ((then, node.body), (other, node.orelse)):
            self.builder.position_at_end(block)
            self.block(statements)
            if not self.builder.block.is_terminated:
                self.builder.branch(end)
        self.builder.position_at_end(end)

    def do_while(self, node: ast.While) -> None:
        test, body, end = (self.target.append_basic_block(name) for name in ("test", "body", "end"))
        self.builder.branch(test)
        self.builder.position_at_end(test)
        self.builder.cbranch(self.truth(self.value(node.test)), body, end)
        self.loop(node, body, test, end)
        self.builder.branch(test) if not self.builder.block.is_terminated else None
        self.builder.position_at_end(end)

    def loop(self, node: Any, body: Any, again: Any, end: Any) -> None:
        if node.orelse:
            raise TypeError("no else of a loop here")
        self.builder.position_at_end(body)
        self.loops.append((again, end))
        self.block(node.body)
        self.loops.pop()

    def do_break(self, node: ast.Break) -> None:
        self.builder.branch(self.loops[-1][1])

    def do_continue(self, node: ast.Continue) -> None:
        self.builder.branch(self.loops[-1][0])

    def do_for(self, node: ast.For) -> None:
        if isinstance(node.iter, ast.Tuple):
            choices = [self.value(choice) for choice in node.iter.elts]
            kind, listed = self.alike(*choices)
            start, stop, step = (self.constant(k).ir for k in (0, len(choices), 1))
            up = True
        else:
            start, stop, step, up = self.span(node.iter)
            listed = []
        test, body, on, end = (self.target.append_basic_block(name) for name in ("test", "body", "on", "end"))
        counter = self.entry.alloca(WORD)
        self.builder.store(start, counter)
        self.builder.branch(test)
        self.builder.position_at_end(test)
        count = self.builder.load(counter)
        self.builder.cbranch(self.builder.icmp_signed("<" if up else ">", count, stop), body, end)
        self.builder.position_at_end(body)
        chosen = listed[-1] if listed else count
        for k in range(len(listed) - 2, -1, -1):
            here = self.builder.icmp_signed("==", count, ir.Constant(WORD, k))
            chosen = self.builder.select(here, listed[k], chosen)
        self.assign(node.target, Value(kind if listed else INTEGER, chosen))
        self.loop(node, self.builder.block, on, end)
        if not self.builder.block.is_terminated:
            self.builder.branch(on)
        self.builder.position_at_end(on)
        self.builder.store(self.builder.add(self.builder.load(counter), step, flags=("nsw",)), counter)
        self.builder.branch(test)
        self.builder.position_at_end(end)

    def span(self, node: ast.expr) -> tuple[Any, Any, Any, bool]:
        """Begin, end and step of a range, and whether it counts up."""
        if not isinstance(node, ast.Call) or self.meant(node.func) is not builtins.range:
            raise TypeError("loops go over a range or a tuple")
        values = [self.cast(self.value(argument), INTEGER).ir for argument in node.args]
        if len(values) == 1:
            values.insert(0, ir.Constant(WORD, 0))
        if len(values) == 2:
            return values[0], values[1], ir.Constant(WORD, 1), True
        step = ast.literal_eval(node.args[2])
        return values[0], values[1], ir.Constant(WORD, step), step > 0
