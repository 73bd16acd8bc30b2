"""What ``import xpycro`` costs and changes, in a fresh process."""

import json
import subprocess
import sys

HEAVY = (
    "dask.array", "scipy.optimize", "sklearn", "numba", "h5py", "holoviews", "hvplot", "panel", "bokeh", "matplotlib",
    "distributed", "netCDF4", "tifffile", "rsciio",
)  # fmt: skip


def run(code: str):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout.splitlines()[-1])


def test_import_loads_nothing_heavy():
    loaded = run(f"import sys, json, xpycro; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))")
    assert loaded == []


def test_import_changes_nothing_global():
    code = """
import json, os, sys, warnings, locale
import numpy, xarray
before = (dict(xarray.get_options()), list(warnings.filters), numpy.geterr(), dict(os.environ), sys.path[:])
import xpycro
after = (dict(xarray.get_options()), list(warnings.filters), numpy.geterr(), dict(os.environ), sys.path[:])
print(json.dumps([a == b for a, b in zip(before, after)]))
"""
    assert run(code) == [True] * 5
