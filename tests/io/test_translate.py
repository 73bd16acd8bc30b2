"""Translating: the same numbers, whole provenance, nothing left behind, the source never written, bounded memory."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest
import xarray as xr

from tests.io.samples import nanonis_grid
from xpycro import provenance
from xpycro.errors import StoreError
from xpycro.io import opening, store
from xpycro.io.store import disk
from xpycro.io.translate import file_sha256, translate


@pytest.fixture
def grid(tmp_path):
    body, _, truth = nanonis_grid(12, 10, 64)
    path = tmp_path / "source" / "grid.3ds"
    path.parent.mkdir()
    path.write_bytes(body)
    return path, truth


def left(folder):
    return sorted(p.name for p in folder.iterdir() if p.is_file())


def test_the_same_numbers_by_every_door(grid, tmp_path):
    path, truth = grid
    ds = translate(path, tmp_path / "grid.h5")
    expected = truth["data"][:, :, 0, :].astype("f4")
    np.testing.assert_array_equal(ds.current.transpose("y", "x", ...).values, expected)
    xr.testing.assert_equal(ds.compute(), opening.open(path).compute())
    with xr.open_dataset(tmp_path / "grid.h5", engine="h5netcdf") as plain:
        xr.testing.assert_equal(plain, ds)
        assert plain.current.attrs["units"] == ds.current.attrs["units"] == "A"
    xr.testing.assert_equal(xr.open_dataset(tmp_path / "grid.h5", engine="pycro"), ds)
    with h5py.File(tmp_path / "grid.h5") as hdf5:
        np.testing.assert_array_equal(hdf5["current"][()].reshape(expected.shape), expected)
        header = json.loads(hdf5.attrs["original_metadata"])
    assert "grid" in str(header).lower()


def test_the_history_names_source_hash_and_translator(grid, tmp_path):
    path, _ = grid
    history = provenance.history(translate(path, tmp_path / "grid.h5", chunking="image"))
    assert history.source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert history.source["size"] == path.stat().st_size and history.source["name"] == "grid.3ds"
    assert history.source["translator"].startswith("xpycro.io.translators.nanonis")
    assert history.steps[0]["operation"] == "translate" and history.steps[0]["parameters"]["chunking"] == "image"
    assert history.location["path"] == str(tmp_path / "grid.h5")


def test_the_hash_of_a_folder_sees_names_and_content(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_bytes(b"x")
    first = file_sha256(tmp_path)
    (tmp_path / "a" / "1").rename(tmp_path / "a" / "2")
    assert file_sha256(tmp_path) != first


def test_an_existing_target_is_kept(grid, tmp_path):
    path, _ = grid
    target = tmp_path / "grid.h5"
    target.write_bytes(b"precious")
    with pytest.raises(StoreError, match="overwrite=True") as error:
        translate(path, target)
    assert isinstance(error.value, FileExistsError)
    assert target.read_bytes() == b"precious"
    translate(path, target, overwrite=True)
    assert store.is_measurement(opening.open(target))
    with pytest.raises(StoreError, match="same file"):
        translate(target, target, overwrite=True)
    with pytest.raises(StoreError, match="make it first"):
        translate(path, tmp_path / "nowhere" / "grid.h5")
    with pytest.raises(FileNotFoundError):
        translate(tmp_path / "absent.3ds", tmp_path / "b.h5")
    with pytest.raises(ValueError, match="chunking names"):
        translate(path, tmp_path / "b.h5", chunking={"nodim": 3})
    assert left(tmp_path) == ["grid.h5"]


@pytest.mark.parametrize("failing", ["write_at", "flush", "rename", "open_hdf5"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_translate_leaves_nothing(grid, tmp_path, monkeypatch, failing, error):
    path, _ = grid
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise error

    target = tmp_path / "grid.h5"
    target.write_bytes(b"precious")
    monkeypatch.setattr(disk, failing, fail)
    with pytest.raises(type(error)):
        translate(path, target, overwrite=True)
    assert left(tmp_path) == ["grid.h5"] and target.read_bytes() == b"precious"
    assert path.read_bytes() == before


def test_a_source_that_breaks_off_leaves_nothing(grid, tmp_path, monkeypatch):
    path, _ = grid
    from xpycro.io import rawarray

    def short(handle, offset, buffer):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(rawarray, "read_block", short)
    with pytest.raises(OSError, match="Input/output error"):
        translate(path, tmp_path / "grid.h5")
    assert left(tmp_path) == []


def test_the_source_is_opened_for_reading_only(grid, tmp_path):
    """An audit hook sees every open of this process; flags of the source's are read only."""
    path, _ = grid
    program = """
        import os, sys
        source, target = sys.argv[1:]
        seen = []
        def hook(event, args):
            if event == "open" and isinstance(args[0], str) and os.path.realpath(args[0]) == source:
                seen.append((args[1], args[2]))
            if event in ("os.rename", "os.remove", "os.truncate") and source in map(str, args):
                seen.append(("w", os.O_RDWR))
        sys.addaudithook(hook)
        from xpycro.io.translate import translate
        translate(source, target)
        assert seen, "the hook saw nothing"
        for mode, flags in seen:
            assert not set(str(mode or "")) & set("wa+x"), mode
            assert not flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_CREAT), flags
    """
    os.chmod(path, 0o444)
    run(program, os.path.realpath(path), tmp_path / "grid.h5")


def run(program, *args, **kwargs):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=200,
        **kwargs,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from Linux's /proc")
def test_memory_is_a_few_blocks_not_the_file(tmp_path):
    """600 MB (sparse) through less than 300 MB over the baseline of the imports."""
    body, header, _ = nanonis_grid(1, 1, 1000, channels=("Current (A)",))
    head = body[:header].replace(b'dim="1 x 1"', b'dim="400 x 370"')
    path = tmp_path / "big.3ds"
    path.write_bytes(head)
    os.truncate(path, len(head) + 400 * 370 * (1000 + 6) * 4)
    program = """
        import sys
        import dask.array, h5netcdf, h5py, xarray
        from xpycro.io import store, translators
        from xpycro.io.translate import translate
        def peak(name):
            return int(next(l for l in open("/proc/self/status") if l.startswith(name)).split()[1]) / 1e3
        before = peak("VmRSS")
        translate(sys.argv[1], sys.argv[2])
        print(peak("VmHWM") - before)
    """
    used = float(run(program, path, tmp_path / "big.h5"))
    assert os.path.getsize(tmp_path / "big.h5") > 590e6
    assert used < 300, f"{used:.0f} MB over the imports"


def test_no_bar_unless_asked(grid, tmp_path, capfd):
    path, _ = grid
    translate(path, tmp_path / "a.h5")
    assert capfd.readouterr() == ("", "")
    translate(path, tmp_path / "b.h5", progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "100%" in err


@pytest.mark.parametrize(
    "name, variable",
    [
        ("nanonis_3ds/NanonisReader_STS_grid_lockin.3ds", None),
        ("nanonis_sxm/Image_445.sxm", None),
        ("igor_ibw/IgorIBWReader_ImageStack_BTFO_DSO.ibw", None),
    ],
)
def test_real_files(data_file, tmp_path, name, variable):
    ds = translate(data_file(name), tmp_path / "real.h5")
    xr.testing.assert_equal(ds.compute(), opening.open(data_file(name)).compute())
    assert ds.attrs["original_metadata"] == opening.open(data_file(name)).attrs["original_metadata"]


def test_no_room_is_found_before_anything_is_written(grid, tmp_path, monkeypatch):
    """Too few bytes free, then a limit of the size of files as FAT and quotas have: one sentence, nothing left."""
    import resource
    import shutil
    from types import SimpleNamespace

    path, _ = grid
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
        with pytest.raises(StoreError, match=r"grid\.h5 cannot be written: No space .* and 0\.0 MB are free"):
            translate(path, tmp_path / "grid.h5")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(StoreError, match=r"grid\.h5 cannot be written: File too large"):
            translate(path, tmp_path / "grid.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left(tmp_path) == []


def test_an_interrupted_translation_does_not_wait_for_the_hash(grid, tmp_path, monkeypatch):
    from xpycro.io.store import fill

    waited = []

    def hashing(path, stop):
        waited.append(stop.wait(60))
        return ""

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["xpycro.io.translate"], "file_sha256", hashing)
    monkeypatch.setattr(fill, "write_all", interrupt)
    with pytest.raises(KeyboardInterrupt):
        translate(grid[0], tmp_path / "grid.h5")
    assert waited == [True] and left(tmp_path) == []
