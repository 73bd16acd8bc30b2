"""Nothing is lost: every crash state of a publish, kills, failing writes, two writers, a state machine."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.io.crash import Checker, Count, RecordedFile, Recorder, hash_of, states
from xpycro.errors import Locked, StoreError
from xpycro.io import opening, store
from xpycro.io.store import disk, locks, publish
from xpycro.io.translate import translate

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names open files through Linux's /proc")
MANY = int(os.environ.get("XPYCRO_CRASH", "1"))  # on demand: XPYCRO_CRASH=25 for 1,000 kills
RNG = np.random.default_rng(11)


def raw_dataset():
    return xr.Dataset({"raw": (("y", "x"), RNG.normal(size=(40, 60)), {"units": "V"})}, coords={"y": np.arange(40.0)})


def result(number: int, size: int = 500) -> xr.Dataset:
    values = np.random.default_rng(number).normal(size=(4, size))
    coords = {"x": np.arange(float(size)), "name": ("k", ["a", "b", "c", "d"])}
    return xr.Dataset({"a": (("k", "x"), values), "n": ("k", np.arange(4) + number)}, coords, {"pycro_result": "fit"})


def hashes(ds: xr.Dataset) -> dict[str, str]:
    return {str(name): hash_of(da.values) for name, da in ds.data_vars.items()}


def content(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def put(folder: Path, files: dict[str, bytes], old: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for path, body in files.items():
        target = folder / Path(path).relative_to(old)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "work").mkdir()
    store.save(raw_dataset(), tmp_path / "work" / "raw.h5")
    store.save(result(1), tmp_path / "work" / "raw.h5", "one")
    return tmp_path / "work"


def enumerate_states(folder, scratch, log, initial, before, after, main="raw.h5", losses=MANY, at_most=None) -> Count:
    """Look at every state (or `at_most` so many of them); acknowledged is the result only after the last operation."""
    count = Count()
    with h5py.File(folder / main) as hdf5:
        raw = hash_of(hdf5["raw"][()])
    found = states(initial, log, losses=losses, seed=MANY)
    if at_most is not None:
        found = list(found)
        found = random.Random(1).sample(found, min(len(found), at_most * MANY))
    with Checker() as checker:
        for label, files in found:
            put(scratch, files, folder)
            done = label.endswith((f"after {len(log)}", f"after {len(log)} (0)"))
            count.judge(label, checker.look(scratch / main, "raw"), raw, before, after, done)
    return count


@pytest.mark.parametrize("way", ["at once", "replaced whole", "sidecar"])
def test_every_crash_state_of_a_save(folder, tmp_path, monkeypatch, way, record_property):
    if way == "sidecar":
        monkeypatch.setattr(publish, "SMALL_BYTES", 0)
    path = folder / "raw.h5"
    initial = content(folder)
    before = {"one": hashes(result(1))}
    new = result(2, 3000)
    with Recorder().installed() as recorder:
        store.save(new if way == "at once" else new.chunk(), path, "two")
    after = {**before, "two": hashes(new)}
    count = enumerate_states(folder, tmp_path / "state", recorder.log, initial, before, after)
    record_property("crash states", str(count))
    print(f"\n{way}: {count}")
    assert count.states > 60
    assert count.examples == []


def test_every_crash_state_of_pack_and_unpack(folder, tmp_path):
    path = folder / "raw.h5"
    store.save(result(3), path, "three")
    expected = {"one": hashes(result(1)), "three": hashes(result(3))}
    for call in (store.unpack, store.pack):
        initial = content(folder)
        with Recorder().installed() as recorder:
            call(path)
        count = enumerate_states(folder, tmp_path / "state", recorder.log, initial, expected, expected, at_most=80)
        assert count.examples == [], call


def test_every_crash_state_of_overwriting_a_measurement(folder, tmp_path):
    """Either the old file, whole, or the new one, whole."""
    path = folder / "raw.h5"
    initial = content(folder)
    old = hash_of(opening.open(path).raw.values)
    fresh = raw_dataset()
    with Recorder().installed() as recorder:
        store.save(fresh, path, overwrite=True)
    with Checker() as checker:
        for label, files in states(initial, recorder.log, losses=MANY):
            put(tmp_path / "state", files, folder)
            seen = checker.look(tmp_path / "state" / "raw.h5", "raw")
            assert seen["raw"] in (old, hash_of(fresh.raw.values)), label
            assert seen["tree"] == ({"one": hashes(result(1))} if seen["raw"] == old else {}), label


@contextlib.contextmanager
def plain_writes(recorder: Recorder):
    """What h5netcdf opens for writing, recorded."""
    import h5netcdf.core as core

    original = core._open_h5py

    def recorded(path, mode, **kwargs):
        if mode == "r" or not isinstance(path, str):
            return original(path, mode, **kwargs)
        return h5py.File(RecordedFile(path, "r+", recorder), "r+"), True, True

    core._open_h5py = recorded
    try:
        yield
    finally:
        core._open_h5py = original


def test_the_harness_finds_what_plain_appending_loses(tmp_path):
    """The same enumeration over ``to_netcdf(mode="a")``: an enumerator that finds nothing there would prove nothing."""
    folder = tmp_path / "plain"
    folder.mkdir()
    path = folder / "raw.nc"
    raw_dataset().to_netcdf(path, engine="h5netcdf")
    result(1).to_netcdf(path, mode="a", group="results/one", engine="h5netcdf")
    initial = content(folder)
    before = {"one": hashes(result(1))}
    new = result(2, 3000)
    recorder = Recorder()
    with plain_writes(recorder):
        new.to_netcdf(path, mode="a", group="results/two", engine="h5netcdf")
    after = {**before, "two": hashes(new)}
    log = [*recorder.log, ("flush", str(path))]
    count = enumerate_states(folder, tmp_path / "state", log, initial, before, after, "raw.nc", losses=2 * MANY)
    print(f"\nto_netcdf(mode='a'): {count}")
    assert len(count.examples) > 10


# --------------------------------------------------------------------------------------------------- failing writes


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("way", ["replaced whole", "sidecar"])
def test_a_failure_at_every_single_operation(folder, monkeypatch, code, way):
    """The k-th operation fails, for every k (and with a full disk all that follow): as before, or wholly done."""
    if way == "sidecar":
        monkeypatch.setattr(publish, "SMALL_BYTES", 0)
    path = folder / "raw.h5"
    new = result(2, 1200)
    with h5py.File(path) as hdf5:
        raw = hdf5["raw"][()]
    k, done = 0, False
    while not done:
        k += 1
        assert k < 500
        initial = content(folder)
        error = OSError(code, os.strerror(code))
        with Recorder(k, error, go_on_failing=code == errno.ENOSPC).installed() as recorder:
            try:
                store.save(new, path, "two")
                done = recorder.count < k
            except OSError:
                pass
        names = store.results(path)
        assert names in (["one"], ["one", "two"]), k
        if done:
            assert names == ["one", "two"]
        if names == ["one"]:
            assert content(folder) == initial, k  # nothing left behind either
        else:  # the very last step, telling the folder, failed: the result is there, and whole
            xr.testing.assert_equal(store.open_result(path, "two").compute(), new)
            for file, body in initial.items():
                Path(file).write_bytes(body)
            for file in set(content(folder)) - set(initial):
                os.unlink(file)
        np.testing.assert_array_equal(opening.open(path).raw.values, raw)
    assert k > 20


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_translate_that_fails_at_every_operation_leaves_nothing(tmp_path, code):
    from tests.io.samples import nanonis_grid

    source = tmp_path / "source" / "grid.3ds"
    source.parent.mkdir()
    source.write_bytes(nanonis_grid(9, 8, 130)[0])
    folder = tmp_path / "out"
    folder.mkdir()
    for k in range(1, 500):
        with Recorder(k, OSError(code, os.strerror(code)), go_on_failing=code == errno.ENOSPC).installed() as recorder:
            try:
                translate(source, folder / "grid.h5", chunking={"point": 10} if k < 0 else "balanced")
                if recorder.count < k:
                    break
            except OSError:
                pass
        left = [p.name for p in folder.iterdir()]
        if left:  # published; only telling the folder failed
            assert left == ["grid.h5"]
            store.verify(folder / "grid.h5")
            os.unlink(folder / "grid.h5")
    assert 10 < k < 499
    store.verify(folder / "grid.h5")


# ------------------------------------------------------------------------------------------------------------ kills

_WRITER = """
    import os, sys, warnings
    import dask.array, h5py, h5netcdf, numpy as np, xarray as xr
    from xpycro.io import opening, store
    from xpycro.io.store import publish
    from tests.io.test_store_crash import result
    path, limit, workers, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    publish.SMALL_BYTES = limit
    def work(number):
        for n in range(rounds):
            ds = result(1000 * number + n, 4000)
            ds["raw"] = opening.open(path).raw.rename(x="u", y="v") * 2  # computed from the very file
            store.save(ds, path, f"w{number}")
            os.write(1, f"{number} {n}\\n".encode())
        os._exit(0)
    for line in sys.stdin:  # one line a run: forked, so that the imports are paid once
        for number in range(workers):
            if os.fork() == 0:
                os.setpgid(0, 0)
                os.write(1, f"pid {os.getpid()}\\n".encode())
                work(number)
        for _ in range(workers):
            os.wait()
        os.write(1, b"end\\n")
"""


@contextlib.contextmanager
def writers(path, limit, workers, rounds):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_WRITER), str(path), str(limit), str(workers), str(rounds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    try:
        yield process
    finally:
        process.stdin.close()
        process.kill()
        process.wait()


def line_of(process) -> str:
    line = process.stdout.readline()
    assert line, "the writing process ended"
    return line


def lines_of(process) -> list[str]:
    """What is said until the run's end."""
    lines = []
    while (line := line_of(process)) != "end\n":
        lines.append(line)
    return lines


@pytest.mark.parametrize("limit", [1 << 40, 0], ids=["replaced whole", "sidecar"])
def test_killed_at_random(tmp_path, limit):
    """kill -9 while results are being saved: raw whole, acknowledged results there, nothing torn."""
    path = tmp_path / "raw.h5"
    choose = random.Random(limit)
    kills, count = 20 * MANY, Count()
    with writers(path, limit, 1, 10**6) as process, Checker() as checker:
        for run in range(kills):
            for file in tmp_path.iterdir():
                shutil.rmtree(file) if file.is_dir() else file.unlink()
            store.save(raw_dataset(), path)
            raw = opening.open(path).raw.values
            process.stdin.write("go\n")
            pid = int(line_of(process).split()[1])
            acknowledged = [line_of(process)]  # from the first result on
            time.sleep(choose.uniform(0, 0.25))
            os.kill(pid, signal.SIGKILL)
            acknowledged += lines_of(process)
            whole = {}
            for n in range(len(acknowledged) + 1):
                name = "w0" if n == 0 else f"w0_{n:03d}"
                whole[name] = {**hashes(result(n, 4000)), "raw": hash_of(raw * 2)}
            due = dict(list(whole.items())[: len(acknowledged)])
            count.judge(f"kill {run}", checker.look(path, "raw"), hash_of(raw), due, whole, False)
            store.save(result(9), path, "next")  # the dead writer's lock does not hold
    print(f"\nkilled, {'whole' if limit else 'sidecar'}: {count}")
    assert count.states == kills and count.examples == []


@pytest.mark.parametrize("limit", [1 << 40, 0], ids=["replaced whole", "sidecar"])
def test_two_writers_lose_nothing(tmp_path, limit, monkeypatch):
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "FALSE")
    path = tmp_path / "raw.h5"
    store.save(raw_dataset(), path)
    rounds = 6 * MANY
    with writers(path, limit, 2, rounds) as process:
        process.stdin.write("go\n")
        lines = lines_of(process)
    assert sum(not line.startswith("pid") for line in lines) == 2 * rounds
    assert len(store.results(path)) == 2 * rounds
    for number in range(2):
        for n in range(rounds):
            name = f"w{number}" if n == 0 else f"w{number}_{n:03d}"
            np.testing.assert_array_equal(store.open_result(path, name).a, result(1000 * number + n, 4000).a)
    store.verify(path)


# ---------------------------------------------------------------------------------------------------- state machine


class StoreMachine(RuleBasedStateMachine):
    """Save, reopen, fail, crash, lock, pack and unpack in any order, against a dict."""

    @initialize()
    def start(self):
        import tempfile

        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "raw.h5"
        self.raw = raw_dataset()
        store.save(self.raw, self.path)
        self.model: dict[str, xr.Dataset] = {}
        self.opened = [opening.open(self.path)]
        self.number = 0

    def next(self, name):
        if name not in self.model:
            return name
        return next(f"{name}_{n:03d}" for n in range(1, 100) if f"{name}_{n:03d}" not in self.model)

    @rule(name=st.sampled_from("ab"), small=st.booleans(), lazy=st.booleans())
    def save(self, name, small, lazy):
        self.number += 1
        ds = result(self.number, 50)
        if lazy:
            ds["twice"] = self.opened[-1].raw.rename(x="u", y="v") * 2
        with limit(small):
            saved = store.save(ds, self.path, name)
        self.model[self.next(name)] = ds.compute()
        xr.testing.assert_equal(saved.compute(), ds.compute())

    @rule(k=st.integers(1, 60), small=st.booleans(), code=st.sampled_from([errno.ENOSPC, errno.EIO]))
    def fail(self, k, small, code):
        self.number += 1
        ds = result(self.number, 50)
        recorder = Recorder(k, OSError(code, ""), go_on_failing=code == errno.ENOSPC)
        with limit(small), recorder.installed():
            try:
                store.save(ds, self.path, "a")
                self.model[self.next("a")] = ds
            except OSError:
                if len(store.results(self.path)) > len(self.model):  # published; telling the folder failed
                    self.model[self.next("a")] = ds

    @rule(k=st.integers(0, 60), seed=st.integers(0, 9))
    @precondition(lambda self: len(self.model) < 6)
    def crash(self, k, seed):
        """The machine stops at operation k of a save; what then is on the disk is what there is."""
        self.number += 1
        ds, initial = result(self.number, 50), content(self.folder)
        with Recorder().installed() as recorder:
            store.save(ds, self.path, "b")
        log = recorder.log[: min(k, len(recorder.log))]
        files = random.Random(seed).choice([f for _, f in states(initial, log, seed=seed)][-3:])
        put(self.folder, files, self.folder)
        if len(store.results(self.path)) > len(self.model):
            self.model[self.next("b")] = ds

    @rule()
    def reopen(self):
        self.opened.append(opening.open(self.path))

    @rule()
    def locked(self):
        with locks.locked(str(self.path)), pytest.MonkeyPatch.context() as patch:
            patch.setattr(locks, "LOCK_SECONDS", 0.0)
            with pytest.raises(Locked):
                store.save(result(0, 5), self.path, "a")

    @rule()
    def pack(self):
        store.pack(self.path)
        assert publish.sidecars(str(self.path)) == {}

    @rule()
    def unpack(self):
        store.unpack(self.path)

    @rule()
    def refused(self):
        with pytest.raises(StoreError):
            store.save(result(0, 5).assign_attrs(bad=object()), self.path)

    @invariant()
    def everything_is_there(self):
        if not hasattr(self, "model"):
            return
        assert sorted(store.results(self.path)) == sorted(self.model)
        groups = store.composed(self.path)
        xr.testing.assert_equal(groups.pop(""), self.raw)
        for name, ds in self.model.items():
            xr.testing.assert_equal(groups[f"results/{name}"].compute(), ds)
        for ds in self.opened[-3:]:
            np.testing.assert_array_equal(ds.raw.values, self.raw.raw.values)

    def teardown(self):
        if hasattr(self, "folder"):
            store.verify(self.path)
            shutil.rmtree(self.folder)


@contextlib.contextmanager
def limit(small: bool):
    before = publish.SMALL_BYTES
    publish.SMALL_BYTES = 1 << 40 if small else 0
    try:
        yield
    finally:
        publish.SMALL_BYTES = before


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=8 * MANY, stateful_step_count=10, deadline=None, derandomize=True)
assert disk  # the module whose functions the recorder replaces
