"""Filling a part file: blocks read ahead from files, or computed by dask, each once, in bounded memory.

May import numpy, xarray and its neighbours in this folder; dask inside functions.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from xpycro.io.store.part import Part, Slot

__all__ = ["Bar", "beside", "write_all"]

_AHEAD = 2  # blocks being read while others are written


class Bar:
    """A progress bar on stderr with the time left, drawn at most five times a second.

    Parameters
    ----------
    total : int
        Bytes.
    label : str
    show : bool or None
        None shows it where stderr is a terminal.
    """

    def __init__(self, total: int, label: str, show: bool | None = None) -> None:
        self.total, self.label, self.done = max(1, total), label, 0
        self.show = sys.stderr.isatty() if show is None else show
        self._start = self._drawn = time.monotonic()

    def add(self, count: int) -> None:
        """Count bytes done."""
        self.done += count
        now = time.monotonic()
        if self.show and (now - self._drawn > 0.2 or self.done >= self.total):
            self._drawn = now
            part = min(1.0, self.done / self.total)
            left = (now - self._start) * (1 - part) / max(part, 1e-9)
            filled = "█" * int(24 * part)
            sys.stderr.write(f"\r{self.label} {filled:<24} {part:4.0%}  {self.done / 1e6:,.0f} MB  {left:,.0f} s left ")
            sys.stderr.flush()

    def close(self) -> None:
        """End the line."""
        if self.show and self.done:
            sys.stderr.write("\n")
            sys.stderr.flush()


Place = tuple[Slot, tuple[slice, ...]]


def write_all(
    part: Part, root_attrs: Mapping[str, Any], *, progress: bool | None = None, label: str = "writing"
) -> None:
    """Create a part file, unless it is one to go on with, and write every missing block into it."""
    if part.journal is None or not part.resume(part.journal):
        part.create(root_attrs)
    pending = part.pending
    bar = Bar(sum(_bytes(slot, region) for slot, region in pending), label, progress)
    with part:
        try:
            plain = [place for place in pending if place[0].stored.variable.chunks is None]
            lazy = [place for place in pending if place[0].stored.variable.chunks is not None]
            _write_read_ahead(part, plain, bar)
            if lazy:
                _write_computed(part, lazy, bar)
        finally:
            bar.close()


def _bytes(slot: Slot, region: tuple[slice, ...]) -> int:
    return int(np.prod([s.stop - s.start for s in region], dtype=np.int64)) * slot.stored.dtype.itemsize


def _read(slot: Slot, region: tuple[slice, ...]) -> np.ndarray:
    variable = slot.stored.variable
    return variable[region[: variable.ndim]].values


def _write_read_ahead(part: Part, places: list[Place], bar: Bar) -> None:
    """Arrays in memory or lazily indexed: the next blocks are read while one is written."""
    from collections import deque
    from concurrent.futures import Future, ThreadPoolExecutor

    if not places:
        return

    def both(slot: Slot, region: tuple[slice, ...]) -> int:
        part.write(slot, region, _read(slot, region))
        return _bytes(slot, region)

    waiting: deque[Future[int]] = deque()
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="xpycro-write") as pool:
        try:
            for slot, region in places:
                waiting.append(pool.submit(both, slot, region))
                if len(waiting) > _AHEAD:
                    bar.add(waiting.popleft().result())
            while waiting:
                bar.add(waiting.popleft().result())
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _write_computed(part: Part, pending: list[Place], bar: Bar) -> None:
    """dask arrays: one graph for all, so that what they share is computed once; each block written as it comes."""
    import dask
    from dask.array.optimization import optimize
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph

    slots = list({slot.key: slot for slot, _ in pending}.values())
    arrays = [_rechunked(slot) for slot in slots]
    keys = [[(array.name, *place) for place in np.ndindex(*array.numblocks)] for array in arrays]
    # all arrays at once: `dask.optimize` of several fuses what they share into each of them, a fit into every parameter
    merged = HighLevelGraph.merge(*[array.__dask_graph__() for array in arrays])
    graph = optimize(merged, [key for some in keys for key in some])
    tasks, places = [], []
    for slot, some in zip(slots, keys, strict=True):
        for region, key in zip(slot.regions, some, strict=True):
            if not slot.done(region):
                tasks.append(Delayed(key, graph))
                places.append((slot, region))
    client = _client()
    if client is None:
        write = dask.delayed(_store, pure=False, traverse=False)
        once = _Once(part, places, bar)
        dask.compute(*[write(once, number, block) for number, block in enumerate(tasks)])
        return
    from distributed import as_completed

    futures = client.compute(tasks)
    where = {future.key: place for future, place in zip(futures, places, strict=True)}
    waiting = as_completed(futures, with_results=True)
    del futures
    for future, values in waiting:
        slot, region = where[future.key]
        part.write(slot, region, values)
        bar.add(_bytes(slot, region))
        future.release()


class _Once:
    """What the writing tasks share; dask passes it on as it is (a dataclass it would look into, for arrays)."""

    def __init__(self, part: Part, places: list[Place], bar: Bar) -> None:
        self.part, self.places, self.bar = part, places, bar

    def __dask_tokenize__(self) -> tuple[str, int]:
        return ("xpycro-part", id(self))


def _store(once: _Once, number: int, values: Any) -> None:
    slot, region = once.places[number]
    once.part.write(slot, region, values)
    once.bar.add(_bytes(slot, region))


def _rechunked(slot: Slot) -> Any:
    """The variable's dask array in the blocks in which it is written."""
    array = slot.stored.variable.data
    lengths = slot.lengths[: array.ndim]
    wanted = tuple(
        tuple(min(length, size - start) for start in range(0, size, length)) if size else (0,)
        for length, size in zip(lengths, array.shape, strict=True)
    )
    return array if array.chunks == wanted else array.rechunk(wanted, method="tasks")  # not a shuffle


def _client() -> Any:
    """The active distributed client, if this process has one."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


@contextlib.contextmanager
def beside(function: Callable[..., Any], *args: Any) -> Iterator[Callable[[], Any]]:
    """Run a function in a thread while the block runs; calling what is given waits for its result.

    Its last argument is an event, which is set where the block fails: nobody waits for the hash of a large file then.
    """
    from concurrent.futures import ThreadPoolExecutor

    stop = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="xpycro-beside") as pool:
        try:
            yield pool.submit(function, *args, stop).result
        except BaseException:
            stop.set()
            raise
