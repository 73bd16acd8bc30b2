"""One pool of threads for all compiled kernels of a process, so that threads never multiply.

Kernels release the GIL and are serial inside; slices of pixels go to one shared pool, whoever asks: the caller's
thread for an array in memory, or any of dask's threads, which then only wait. So there are never more kernels at work
than cores, a single large block still uses all of them, and no threading layer has to be re-entrant. A worker of a
distributed cluster computes in its own thread, for the cluster already counts them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

__all__ = ["each_slice", "n_threads"]


def n_threads() -> int:
    """Cores that this process may use; the environment variable NUMBA_NUM_THREADS lowers it."""
    import numba

    return max(1, int(numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


@cache
def _pool(process: int) -> ThreadPoolExecutor:  # by process: a pool does not survive a fork
    return ThreadPoolExecutor(n_threads(), thread_name_prefix="xpycro-solver")


def _in_cluster() -> bool:
    module = sys.modules.get("distributed")
    if module is None:
        return False
    try:
        module.get_worker()
    except ValueError:
        return False
    return True


def each_slice(function: Callable[[slice], None], n: int, size: int) -> None:
    """Call `function` for consecutive slices of ``range(n)``, side by side.

    Parameters
    ----------
    function : callable
        Releases the GIL for most of its time; writes its results itself.
    n : int
    size : int
        Length of a slice; some milliseconds of work.
    """
    slices = [slice(i, min(i + size, n)) for i in range(0, n, size)]
    if len(slices) < 2 or n_threads() == 1 or _in_cluster():
        for piece in slices:
            function(piece)
        return
    pool = _pool(os.getpid())
    futures = [pool.submit(function, piece) for piece in slices]
    try:
        for future in futures:
            future.result()
    finally:
        for future in futures:  # after an error or an interrupt nothing goes on in the background
            future.cancel()
