"""What numba compiles: options, the disk cache that expires with any of the solver's files, and a vectorisable exp.

May import numba and numpy; it is imported lazily (never at ``import xpycro``). Must not know any model.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import float64, int64, njit, types
from numba.core import sigutils
from numba.core.ccallback import CFunc
from numba.core.registry import cpu_target
from numba.extending import intrinsic

__all__ = [
    "OPTIONS",
    "SHAPE",
    "address",
    "apart",
    "channel_helper",
    "compiled",
    "exp",
    "expiring",
    "helper",
    "kernel",
    "wide",
]

# Sums may be re-associated so that they vectorise; NaN and infinity keep their meaning (no nnan, no ninf).
OPTIONS: dict[str, Any] = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "error_model": "numpy"}

# What every shape looks like from the kernel: x, number of channels, its parameters, its rows, how far apart they are.
SHAPE = types.void(types.CPointer(float64), int64, types.CPointer(float64), types.CPointer(float64), int64)


@cache
def _stamp() -> tuple[float, int]:
    """When the solver's sources were last changed, and their size."""
    files = [path.stat() for path in Path(__file__).parent.rglob("*.py")]
    return max(f.st_mtime for f in files), sum(f.st_size for f in files)


@cache
def _target(options: frozenset[str]) -> Any:
    """numba's target, with helpers of numba's own (an integer power, a complex quotient) for these options only.

    numba compiles each of them once, with the options of whoever asks first: the last bits of a function would depend
    on what was compiled before it, which is another thing in each process.
    """
    context = cpu_target.target_context.subtarget()
    context.cached_internal_func = {}
    return SimpleNamespace(typing_context=cpu_target.typing_context, target_context=context, options=cpu_target.options)


def reproducible(compiled: Any) -> Any:
    """Let the code of a function depend on nothing but the function and its options."""
    options = compiled._compiler.targetoptions.get("fastmath") or ()
    compiled._compiler.targetdescr = _target(frozenset(options))
    return compiled


def expiring(cache: Any) -> Any:
    """Let a disk cache of numba's expire when any of the solver's files changes.

    numba looks at the function's own file only, and would go on using what it compiled from an older helper.
    """
    file: Any = getattr(cache, "_cache_file", None)
    if hasattr(file, "_source_stamp"):
        file._source_stamp = _stamp()
    return cache


def _depending(compiled: Any) -> Any:
    """The same for a compiled function, whose code depends on nothing else either."""
    expiring(getattr(compiled, "_cache", None))
    return reproducible(compiled)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first use, keep on disk, release the GIL."""
    return _depending(njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})(function))


def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """To be compiled into shapes and kernels, without the door to Python, which would be most of its code.

    Sums keep their order, for vectorising loops over a few parameters costs more to compile than it ever gains.
    """
    options: dict[str, Any] = {
        **OPTIONS,
        "fastmath": {"contract"},
        "no_cpython_wrapper": True,
        "no_cfunc_wrapper": True,
    }
    return _depending(njit(cache=True, nogil=True, **options)(function))


def channel_helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """A `helper` whose loops run over channels, so that its sums are worth vectorising.

    Inlined by order: a helper compiled on its own may vectorise otherwise than the copy of it in a kernel's cached
    code, and the linker takes whichever it has seen first. The first session would then differ from the next in the
    last bit.
    """
    options: dict[str, Any] = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True}
    return _depending(njit(cache=True, nogil=True, **options)(function))


@cache
def address(shape: str | Callable[..., Any]) -> int:
    """Where a compiled shape lies in this process (addresses never travel): ``module:function``, or a function."""
    if callable(shape):
        return compiled(shape, False).address
    module, _, name = shape.partition(":")
    return compiled(getattr(importlib.import_module(module), name), True).address


def apart(signature: str, *, sums: bool = False) -> Callable[..., Any]:
    """Compile a function by itself and let others call it by name, as a library's.

    numba would compile a helper once more within each of its callers, and within theirs. Loops over channels may ask
    that their `sums` be re-associated, which is what makes them vectorise; for those over a few parameters it costs
    more to compile than it ever gains.

    Parameters
    ----------
    signature : str
        Of plain numbers and pointers, ``"float64(int64, CPointer(float64))"``.
    sums : bool
    """

    def decorate(function: Callable[..., Any]) -> Any:
        options = OPTIONS if sums else {**OPTIONS, "fastmath": {"contract"}}
        callback = _callback(function, signature, options)
        name = f"{function.__module__}.{function.__name__}"
        _APART[name] = callback
        llvm.add_symbol(name, callback.address)
        return types.ExternalFunction(name, callback._sig)

    return decorate


_APART: dict[str, Any] = {}  # kept, so that code is never freed while its address is in use


@cache
def compiled(function: Callable[..., Any], on_disk: bool) -> Any:
    """The C callback of a shape; kept here, so that its code is never freed while an address is in use."""
    return _callback(function, SHAPE, OPTIONS, on_disk)


def _callback(function: Callable[..., Any], signature: Any, options: dict[str, Any], on_disk: bool = True) -> Any:
    """What numba's decorator does, with a chance to stamp."""
    callback = CFunc(function, sigutils.normalize_signature(signature), locals={}, options=options)
    if on_disk:
        callback.enable_caching()
    _depending(callback)
    callback.compile()
    return callback


def _wide(typingctx):  # type: ignore[no-untyped-def]
    """Let the loops of the function that says so use the widest vectors of the processor.

    LLVM holds back where the compiler's authors feared for the clock; sums over many channels gain far more than that.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        # llvmlite's set takes attributes without values only; another kind of set is left alone: slower, not wrong
        if isinstance(builder.function.attributes, set):
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


wide: Any = intrinsic(_wide)  # called in compiled code only, without the typing context


@intrinsic
def _as_integer(typingctx, value):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def _as_float(typingctx, value):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), codegen


# Adding this number leaves the nearest integer in the low bits: the one float-to-integer step AVX2 can vectorise.
_MAGIC = 6755399441055744.0
_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.693147180369123816490
_LN2_LOW = 1.90821492927058770002e-10


# No re-association in here: (t + magic) - magic must stay two operations. Said aloud: callers' options are inherited.
@kernel
def exp(x: float) -> float:
    """Exponential without branches or library calls (so that loops over channels vectorise), to 2 ulp.

    Arguments are held within +-700; beyond, the result is that of the nearest end.
    """
    x = min(max(x, -700.0), 700.0)
    shifted = x * _LOG2_E + _MAGIC
    n = shifted - _MAGIC
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    # (e^r - 1 - r) / r^2 on |r| <= ln(2)/2 as the Chebyshev interpolant of degree 9, to 2e-17 of e^r; summed in pairs,
    # so that the processor need not wait for each term
    r2 = r * r
    r4 = r2 * r2
    low = (0.5000000000000001 + 0.16666666666666669 * r) + r2 * (0.04166666666662399 + 0.008333333333330051 * r)
    high = (0.0013888888917281794 + 0.00019841269863105968 * r) + r2 * (
        2.480152119021773e-05 + 2.7557268378684192e-06 * r
    )
    top = 2.7620138719733994e-07 + 2.5100424157005067e-08 * r
    s = 1.0 + (r + r2 * (low + r4 * (high + r4 * top)))
    return _as_float((_as_integer(shifted) << 52) + _as_integer(s))  # type: ignore[call-arg]
