"""Promises that hold for every reader: opening reads no data, nothing is written, run or fetched."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.io import samples, test_nanosurf, test_ntmdt, test_rhk, test_wsxm, test_wsxm_stack
from xpycro import schema
from xpycro.io import formats, rawarray
from xpycro.io.opening import open as open_file

FILES = {
    "grid.3ds": lambda: samples.nanonis_grid(6, 5, 7)[0],
    "stopped.3ds": lambda: samples.nanonis_grid(6, 5, 7, written=17)[0],
    "scan.sxm": lambda: samples.nanonis_scan(7, 6)[0],
    "spectrum.dat": lambda: samples.nanonis_spectrum()[0],
    "wave.ibw": lambda: samples.igor_wave5(np.arange(30.0).reshape(6, 5))[0],
    "old.ibw": lambda: samples.igor_wave2(np.arange(9.0)),
    "field.gsf": lambda: samples.simple_field()[0],
    "channel.gwy": lambda: samples.gwyddion_native()[0],
    "image.spm": lambda: samples.nanoscope_image()[0],
    "volume.spm": lambda: samples.nanoscope_force(curves=(3, 2))[0],
    "image.dat": lambda: samples.createc_image()[0],
    "force.spm": lambda: samples.nanoscope_force()[0],
    "image.top": lambda: test_wsxm.build()[0],
    "volume.gsi": lambda: test_wsxm_stack.build_volume()[0],
    "movie.mpp": lambda: test_wsxm_stack.build_movie()[0],
    "image.nid": lambda: test_nanosurf.build()[0],
    "curves.nid": lambda: test_nanosurf.build(7, 2, frames=("Spec forward", "Spec backward"))[0],
    "image.sm4": lambda: test_rhk.build()[0],
    "image.mdt": lambda: test_ntmdt.archive(test_ntmdt.scanned()[0]),
    "curves.mdt": lambda: test_ntmdt.archive(test_ntmdt.old_curves([(1.0, 2.0, 4, 3)])[0]),
}


@pytest.fixture
def folder(tmp_path):
    for name, build in FILES.items():
        (tmp_path / name).write_bytes(build())
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_opening_reads_no_data(folder, monkeypatch, name):
    def forbidden(*args):
        raise AssertionError("data were read")

    monkeypatch.setattr(rawarray, "read_block", forbidden)
    found = formats.identify(folder / name)
    ds = open_file(folder / name, chunks=None)
    data = [v for n, v in ds.data_vars.items() if n not in ("measured", "length")]
    if found.lazy == "block":
        assert not any(v.variable._in_memory for v in data)
        with pytest.raises(AssertionError, match="data were read"):
            data[0].load()
    assert schema.problems(ds) == []


@pytest.mark.parametrize("name", FILES)
def test_lazy_equals_whole_whatever_the_blocks(folder, name):
    whole = open_file(folder / name, chunks=None).load()
    ds = open_file(folder / name)
    blocks = {dim: max(1, size // 2) for dim, size in ds.sizes.items()}
    for chunked in (ds, open_file(folder / name, chunks=blocks)):
        for variable in whole.data_vars:
            np.testing.assert_array_equal(chunked[variable].values, whole[variable].values)


AUDIT = """
import json, os, sys
import numpy, xarray, dask.array, xpycro.io.opening, xpycro.provenance
from xpycro.io import formats, opening
folder = sys.argv[1]
names = sorted(os.listdir(folder))
for name in names:
    formats.identify(os.path.join(folder, name)).translator()
opening.open(os.path.join(folder, names[0])).compute(scheduler="synchronous")
OURS = ("xarray", "dask", "numpy", "xpycro", "builtins", "operator", "functools", "tlz", "toolz", "pandas", "copyreg")
OURS += ("_codecs",)
code = tuple(os.path.abspath(p) for p in (sys.prefix, sys.base_prefix, os.path.dirname(xpycro.io.opening.__file__)))
wrong = []
def hook(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        path, flags = os.path.abspath(os.fsdecode(args[0])), args[2]
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        if path.endswith(".pyc") or "__pycache__" in path:
            return  # Python's own
        if writes or not path.startswith((folder, *code)):
            wrong.append([event, path, str(flags)])
    elif event == "pickle.find_class":  # dask pickles what it was given; nothing from a file is unpickled
        if args[0].split(".")[0] not in OURS:
            wrong.append([event, str(args)])
    elif event.split(".")[0] in ("socket", "subprocess", "urllib", "shutil") or event in ("os.system", "os.remove"):
        wrong.append([event, str(args)[:80]])
sys.addaudithook(hook)
for name in names:
    opening.open(os.path.join(folder, name)).compute(scheduler="synchronous")
print(json.dumps(wrong))
"""


def test_readers_write_run_and_fetch_nothing(folder):
    done = subprocess.run([sys.executable, "-c", AUDIT, str(folder)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
