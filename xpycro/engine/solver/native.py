"""The general kernel's functions as one library of machine code: compiled together, kept on disk, called by address.

May import llvmlite, numba's disk cache and this folder's plain and expressions. Nothing here starts numba's own
compiler, which takes longer to get ready than a library takes to load.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
from llvmlite import ir

from xpycro.engine.solver.expressions import INTEGER, INTEGERS, KINDS, REAL, REALS, WORD, Value, emitter
from xpycro.engine.solver.plain import fill

if TYPE_CHECKING:
    from xpycro.engine.solver.memory import Table

__all__ = ["Native", "call", "call_shape", "compiled", "native", "wide"]

_KINDS = {"int": INTEGER, "float": REAL, "integers": INTEGERS, "floats": REALS, "void": "void"}


class Native:
    """A function of the kernel. Called, it runs as the Python that it is."""

    def __init__(self, python: Callable[..., Any], signature: str, sums: bool) -> None:
        result, _, arguments = signature.rstrip(")").partition("(")
        self.python = python
        self.name = f"{python.__module__}.{python.__name__}"
        self.kinds = tuple(_KINDS[kind] for kind in arguments.split(", "))
        self.result = _KINDS[result]
        self.flags = ("reassoc", "contract", "arcp", "nsz") if sums else ("contract",)
        self.__doc__ = python.__doc__

    def __call__(self, *arguments: Any) -> Any:
        return self.python(*arguments)


def native(signature: str, *, sums: bool = False) -> Callable[[Callable[..., Any]], Native]:
    """Declare a function of the kernel.

    Parameters
    ----------
    signature : str
        ``"float(int, floats)"``: of int, float, pointers to many of them (`integers`, `floats`), void.
    sums : bool
        Whether sums may be re-associated (NaN and infinity keep their meaning). Loops over channels vectorise by it;
        for those over a few parameters it costs more to compile than it ever gains.
    """
    return lambda python: Native(python, signature, sums)


def call(function: Native, table: Table) -> None:
    """Run a function on a table, without the GIL."""
    compiled(function)(table.address)


_C: dict[str, Any] = {
    INTEGER: ctypes.c_int64, REAL: ctypes.c_double, INTEGERS: ctypes.c_void_p, REALS: ctypes.c_void_p, "void": None,
}  # fmt: skip
_LOADED: dict[Native, tuple[Any, Any]] = {}  # with its engine, which must live as long as its code is in use
_LOCK = threading.Lock()  # many threads may ask at once for what is there only once


def compiled(function: Native) -> Callable[..., Any]:
    """A function as machine code, compiled with all that it calls or taken from the disk."""
    with _LOCK:
        if function not in _LOADED:
            machine = _machine()
            code = _code(function, machine)
            engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine, use_lmm=_own_memory_manager())
            engine.add_object_file(llvm.ObjectFileRef.from_data(code))
            engine.finalize_object()
            kind = ctypes.CFUNCTYPE(_C[function.result], *(_C[k] for k in function.kinds))
            _LOADED[function] = kind(engine.get_function_address(function.name)), engine
        return _LOADED[function][0]


def _code(function: Native, machine: Any) -> bytes:
    """Machine code, kept where numba keeps its own."""
    from numba.core.caching import FunctionCache

    from xpycro.engine.solver.jit import expiring

    key = (machine.triple, *_processor(), llvm.llvm_version_info)
    kept: Any = expiring(FunctionCache(function.python))
    code = kept._cache_file.load(key)
    if code is None:
        code = _compile(function, machine)
        kept._impl.locator.ensure_cache_path()
        kept._cache_file.save(key, code)
    return bytes(code)


def _processor() -> tuple[str, str]:
    """Its name and features, or what numba is told to take for them."""
    from numba import config

    name: Any = config.CPU_NAME or llvm.get_host_cpu_name()  # type: ignore[attr-defined]
    features: Any = config.CPU_FEATURES  # type: ignore[attr-defined]
    return name, llvm.get_host_cpu_features().flatten() if features is None else features


def _machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    name, features = _processor()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    reloc = "static" if target.name.startswith("x86") else "default"
    return target.create_target_machine(
        cpu=name, features=features, opt=3, reloc=reloc, codemodel="jitdefault", jit=True
    )


def _own_memory_manager() -> bool | None:
    """Whether code needs llvmlite's memory manager on this processor, as numba found out."""
    from numba import config

    return getattr(config, "USE_LLVMLITE_MEMORY_MANAGER", None)


def _compile(root: Native, machine: Any) -> bytes:
    """Machine code of a function and of all that it calls."""
    module = ir.Module(root.name)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    made: dict[Any, ir.Function] = {}
    waiting = [root]

    def declared(function: Any) -> tuple[ir.Function, tuple[str, ...], str] | None:
        if not isinstance(function, Native):
            return None
        if function not in made:
            kind = ir.FunctionType(KINDS[function.result], [KINDS[k] for k in function.kinds])
            target = made[function] = ir.Function(module, kind, function.name)
            target.attributes.add("noinline")  # and so compiled once, with its own flags
            target.attributes.add("nounwind")
            if function is not root:
                target.linkage = "internal"
                waiting.append(function)
        return made[function], function.kinds, function.result

    declared(root)
    for function in waiting:  # grows while it is gone through
        fill(made[function], function.python, function.kinds, function.result, function.flags, declared)
    compiled = llvm.parse_assembly(str(module))
    compiled.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = True
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(compiled, builder)
    return bytes(machine.emit_object(compiled))


def wide() -> None:
    """Let the loops of the function that says so use the widest vectors of the processor.

    LLVM holds back where the compiler's authors feared for the clock; sums over many channels gain far more than that.
    """


@emitter(wide)
def _wide(body: Any) -> None:
    # llvmlite's set takes attributes without values only
    set.add(body.target.attributes, '"prefer-vector-width"="512"')


_SHAPE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


def call_shape(where: int, x: int, n: int, parameters: int, rows: int, stride: int) -> None:
    """Call the shape at an address; pointers are passed as integers."""
    _SHAPE(int(where))(int(x), int(n), int(parameters), int(rows), int(stride))


@emitter(call_shape)
def _call_shape(body: Any, where: Value, x: Value, n: Value, parameters: Value, rows: Value, stride: Value) -> None:
    reals = KINDS[REALS]
    target = ir.FunctionType(ir.VoidType(), [reals, WORD, reals, reals, WORD])
    function = body.builder.inttoptr(where.ir, ir.PointerType(target))
    given = [x.ir, n.ir, parameters.ir, rows.ir, stride.ir]
    for k in (0, 2, 3):
        given[k] = body.builder.inttoptr(given[k], reals)
    body.builder.call(function, given)
