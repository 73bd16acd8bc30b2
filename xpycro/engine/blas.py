"""One BLAS thread a block while several blocks run side by side.

May import the standard library and, inside functions, threadpoolctl and scipy; knows no data.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["single_threaded_blas"]


class _Limit:
    """BLAS threads limited to one while any block is being worked on.

    OpenBLAS has one limit for the process. Of two threads that each set and restore it, the second to leave would put
    back the first one's limit for ever; and threadpoolctl lets only the thread that set a limit lift it. Hence one
    count for all, and one helper thread that sets and lifts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._helper: Any = None
        self._limiter: Any = None
        self._controller: Any = None

    def enter(self) -> None:
        with self._lock:
            if self._users == 0:
                if self._helper is None:
                    from concurrent.futures import ThreadPoolExecutor

                    self._helper = ThreadPoolExecutor(1, thread_name_prefix="xpycro-blas-limit")
                self._helper.submit(self._set).result()
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._helper.submit(self._lift).result()

    def _set(self) -> None:
        if self._controller is None:  # finding the libraries reads the process's map each time: once is enough
            import scipy.linalg  # noqa: F401  # brings a BLAS of its own, which must be there to be found
            from threadpoolctl import ThreadpoolController

            self._controller = ThreadpoolController()
        self._limiter = self._controller.limit(limits=1, user_api="blas")
        self._limiter.__enter__()

    def _lift(self) -> None:
        self._limiter.__exit__(None, None, None)
        self._limiter = None


_limit = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_limit.__init__)  # type: ignore[misc]  # the helper thread is not forked


@contextlib.contextmanager
def single_threaded_blas(active: bool = True) -> Iterator[None]:
    """One BLAS thread a block while several blocks run side by side, so that the two kinds never multiply.

    Parameters
    ----------
    active : bool
        False leaves BLAS its threads (a single block, which nothing else runs beside).
    """
    if not active:
        yield
        return
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()
