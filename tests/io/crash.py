"""Every state a crash can leave: file operations recorded, replayed up to any point, and looked at by another process.

`Recorder` stands in for `xpycro.io.store.disk` (and, for comparison, for what h5netcdf opens); `states` yields the
folders that a kill or a power loss may leave; `Checker` is a separate process that compares hashes in each.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from xpycro.io.store import disk

SECTOR = 512


@dataclass
class Inode:
    """A file as the disk knows it: its bytes, and what was written since they were last flushed."""

    content: bytearray
    pending: list = field(default_factory=list)


class RecordedFile(io.RawIOBase):
    """A file object for h5py whose writes are noted."""

    def __init__(self, path: str, mode: str, recorder: Recorder) -> None:
        self.file = open(path, "w+b" if mode == "w" else "r+b")
        self.path, self.recorder, self.at = path, recorder, 0
        if mode == "w":
            recorder.note("create", path)

    def seek(self, offset, whence=0):
        self.at = self.file.seek(offset, whence)
        return self.at

    def tell(self):
        return self.at

    def readinto(self, buffer):
        self.file.seek(self.at)
        got = self.file.readinto(buffer)
        self.at += got
        return got

    def write(self, data):
        data = bytes(data)
        self.recorder.note("write", self.path, self.at, data)
        self.file.seek(self.at)
        self.file.write(data)
        self.at += len(data)
        return len(data)

    def truncate(self, size=None):
        size = self.at if size is None else size
        self.recorder.note("truncate", self.path, size)
        self.file.flush()
        os.truncate(self.path, size)
        return size

    def flush(self):
        self.file.flush()

    def readable(self):
        return True

    writable = seekable = readable


class Recorder:
    """Notes every file operation of a publish; fails the k-th of them where asked to."""

    def __init__(self, fail_at: int | None = None, error: OSError | None = None, *, go_on_failing: bool = True) -> None:
        self.log: list[tuple] = []
        self.fail_at, self.error, self.go_on_failing = fail_at, error, go_on_failing
        self.count = 0

    def note(self, *operation) -> None:
        self.count += 1
        due = self.fail_at is not None and (
            self.count >= self.fail_at if self.go_on_failing else self.count == self.fail_at
        )
        if due and operation[0] != "remove":
            raise self.error
        self.log.append(operation)

    def open_hdf5(self, path, mode):
        if mode == "r":
            return h5py.File(path, "r")
        raw = RecordedFile(path, mode, self)
        hdf5 = h5py.File(raw, "w" if mode == "w" else "r+")
        return hdf5

    def write_at(self, descriptor, data, offset):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        data = bytes(memoryview(data).cast("B"))
        self.note("write", path, offset, data)
        os.pwrite(descriptor, data, offset)

    def append(self, path, data):
        at = os.path.getsize(path) if os.path.exists(path) else 0
        if not at:
            self.note("create", path)
        self.note("write", path, at, data)
        with open(path, "ab") as handle:
            handle.write(data)

    def copy(self, source, target):
        self.note("create", target)
        body = Path(source).read_bytes()
        self.note("write", target, 0, body)
        Path(target).write_bytes(body)

    def flush(self, path):
        self.note("flush", path)

    def flush_folder(self, path):
        self.note("flush_folder", path)

    def rename(self, part, target):
        self.note("rename", part, target)
        os.replace(part, target)
        self.flush_folder(os.path.dirname(target))

    def remove(self, path):
        if os.path.exists(path):
            self.note("remove", path)
            os.unlink(path)

    @contextlib.contextmanager
    def installed(self) -> Iterator[Recorder]:
        """Replace the functions of `disk` while the block runs."""
        names = ("open_hdf5", "write_at", "append", "copy", "flush", "flush_folder", "rename", "remove")
        before = {name: getattr(disk, name) for name in names}
        for name in names:
            setattr(disk, name, getattr(self, name))
        try:
            yield self
        finally:
            for name, function in before.items():
                setattr(disk, name, function)


def _apply(content: bytearray, operation: tuple) -> None:
    if operation[0] == "truncate":
        size = operation[2]
        content[size:] = b"" if size <= len(content) else bytes(size - len(content))
        if size > len(content):
            content.extend(bytes(size - len(content)))
        return
    _, _, offset, data = operation
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _torn(operation: tuple, choose: random.Random) -> tuple:
    """A write of which only the first sectors arrived."""
    data = operation[3]
    if len(data) <= 1:
        return operation
    kept = choose.randrange(1, len(data)) if len(data) <= SECTOR else choose.randrange(0, len(data), SECTOR)
    return (*operation[:3], data[:kept])


def _run(
    initial: dict[str, bytes], log: list[tuple]
) -> tuple[dict[str, Inode], list[tuple[str, ...]], dict[str, Inode]]:
    """The name space now, what of it is not yet on the disk, and the name space that is."""
    names = {path: Inode(bytearray(body)) for path, body in initial.items()}
    durable = dict(names)
    waiting: list[tuple] = []
    for operation in log:
        kind, path = operation[:2]
        if kind == "create":
            names[path] = Inode(bytearray())
            waiting.append(("link", path, names[path]))
        elif kind in ("write", "truncate"):
            names[path].pending.append(operation)
        elif kind == "flush":
            for one in names[path].pending:
                _apply(names[path].content, one)
            names[path].pending = []
            waiting_for = [w for w in waiting if w[0] == "link" and w[1] == path]
            for one in waiting_for:  # a flushed new file is found by its first name
                durable[path] = one[2]
        elif kind == "rename":
            names[operation[2]] = names.pop(path)
            waiting.append(("move", path, operation[2], names[operation[2]]))
        elif kind == "remove":
            names.pop(path, None)
            waiting.append(("unlink", path))
        elif kind == "flush_folder":
            for one in waiting:
                _link(durable, one)
            waiting = []
    return names, waiting, durable


def _link(space: dict[str, Inode], one: tuple) -> None:
    if one[0] == "link":
        space[one[1]] = one[2]
    elif one[0] == "move":
        space.pop(one[1], None)
        space[one[2]] = one[3]
    else:
        space.pop(one[1], None)


def states(
    initial: dict[str, bytes], log: list[tuple], *, losses: int = 2, seed: int = 0
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """What a crash after each operation may leave: label and content by path.

    A kill keeps all that was written, the last write perhaps in part. A power loss keeps what was flushed, of the rest
    any subset of the writes, and of renames not yet flushed any first few.
    """
    choose = random.Random(seed)
    for k in range(len(log) + 1):
        names, waiting, durable = _run(initial, log[:k])
        yield f"killed after {k}", {path: _all(inode) for path, inode in names.items()}
        if k < len(log) and log[k][0] == "write" and log[k][1] in names:
            torn = {path: _all(inode) for path, inode in names.items()}
            body = bytearray(torn[log[k][1]])
            _apply(body, _torn(log[k], choose))
            torn[log[k][1]] = bytes(body)
            yield f"killed in {k}", torn
        for n in range(losses):
            space = dict(durable)
            for one in waiting[: choose.randrange(len(waiting) + 1)]:
                _link(space, one)
            yield f"power lost after {k} ({n})", {path: _some(inode, choose) for path, inode in space.items()}


def _all(inode: Inode) -> bytes:
    body = bytearray(inode.content)
    for one in inode.pending:
        _apply(body, one)
    return bytes(body)


def _some(inode: Inode, choose: random.Random) -> bytes:
    body = bytearray(inode.content)
    for one in inode.pending:
        fate = choose.random()
        if fate < 0.5:
            _apply(body, one)
        elif fate < 0.6 and one[0] == "write":
            _apply(body, _torn(one, choose))
    return bytes(body)


def hash_of(values: np.ndarray) -> str:
    """What a variable's values are compared by."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


_CHECKER = """
import hashlib, json, sys, warnings
import h5py, numpy as np
from xpycro.io import store
warnings.simplefilter("ignore")
def hash_of(values):
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
for line in sys.stdin:
    path, raw = json.loads(line)
    answer = {"raw": None, "tree": None, "error": ""}
    try:
        with h5py.File(path, "r") as hdf5:
            answer["raw"] = hash_of(hdf5[raw][()])
    except Exception as error:
        answer["error"] = f"raw: {error!r}"
    try:
        if path.endswith(".h5"):
            groups = store.composed(path)
            answer["tree"] = {
                name.removeprefix("results/"): {str(k): hash_of(v.values) for k, v in ds.data_vars.items()}
                for name, ds in groups.items() if name
            }
        else:  # a file of plain netCDF groups
            import xarray as xr
            answer["tree"] = {}
            with h5py.File(path, "r") as hdf5:
                names = list(hdf5["results"]) if "results" in hdf5 else []
            for name in names:
                with xr.open_dataset(path, group=f"results/{name}", engine="h5netcdf") as ds:
                    answer["tree"][name] = {str(k): hash_of(v.values) for k, v in ds.data_vars.items()}
    except Exception as error:
        answer["error"] += f" tree: {error!r}"
    print(json.dumps(answer), flush=True)
"""


class Checker:
    """Another process that says what it can read; one that dies is started anew and counts as having read nothing."""

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> Checker:
        return self

    def __exit__(self, *_) -> None:
        if self.process:
            self.process.stdin.close()
            self.process.wait(20)

    def look(self, path: Path, raw: str) -> dict:
        """Hash of the raw variable and of every result's variables."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _CHECKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        try:
            self.process.stdin.write(json.dumps([str(path), raw]) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (OSError, ValueError):
            self.process.kill()
            self.process = None
            return {"raw": None, "tree": None, "error": "the reader died"}


@dataclass
class Count:
    """How many states were looked at and what was lost in them."""

    states: int = 0
    raw_lost: int = 0
    tree_broken: int = 0
    torn: int = 0
    acknowledged_lost: int = 0
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.states} states: raw lost {self.raw_lost}, tree broken {self.tree_broken}, torn results visible "
            f"{self.torn}, acknowledged results lost {self.acknowledged_lost}"
        )

    def judge(self, label: str, seen: dict, raw: str, before: dict, after: dict, acknowledged: bool) -> None:
        """Compare what was read with what there was before and what there must be after."""
        self.states += 1
        wrong = []
        if seen["raw"] != raw:
            self.raw_lost += 1
            wrong.append("raw")
        if seen["tree"] is None:
            self.tree_broken += 1
            wrong.append("tree")
        else:
            if any(after.get(name) != values for name, values in seen["tree"].items()):
                self.torn += 1
                wrong.append("torn")
            due = after if acknowledged else before
            if any(name not in seen["tree"] for name in due):
                self.acknowledged_lost += 1
                wrong.append("lost")
        if wrong:
            self.examples.append(f"{label}: {wrong} {seen['error']}")
