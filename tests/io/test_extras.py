"""What is missing is named with the line that installs it: every error of the package, and the real ways to them."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import xarray as xr

import xpycro as xp
from xpycro.errors import MissingExtra
from xpycro.io import formats
from xpycro.io.export import to_hyperspy
from xpycro.io.layout import filters

ROOT = Path(xp.__file__).parent
PROJECT = ROOT.parent / "pyproject.toml"
LINE = r'pip install "xpycro\[{}\]"'


def extras():
    return tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]


def block(monkeypatch, *names):
    """Make an import of these packages fail, however much of them is loaded."""
    for name in [n for n in sys.modules if n.split(".")[0] in names]:
        monkeypatch.delitem(sys.modules, name)
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def calls(name):
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == name:
                yield path.relative_to(ROOT), node


@pytest.mark.skipif(not PROJECT.exists(), reason="installed without its sources")
def test_every_error_names_an_extra_that_exists_and_brings_the_package():
    found = list(calls("MissingExtra"))
    assert len(found) > 5
    for path, node in found:
        package, extra = node.args[:2]
        if isinstance(extra, ast.Constant):
            assert extra.value in extras(), f"{path}:{node.lineno} names xpycro[{extra.value}]"
            if isinstance(package, ast.Constant):
                assert package.value in " ".join(extras()[extra.value]), f"{path}:{node.lineno}: {package.value}"


@pytest.mark.skipif(not PROJECT.exists(), reason="installed without its sources")
def test_extras_of_formats_exist():
    for found in formats.known().values():
        assert not found.extra or found.extra in extras(), found.name


def test_bridged_formats(tmp_path, monkeypatch):
    block(monkeypatch, "rsciio")
    path = tmp_path / "a.bin"
    path.write_bytes(b"anything")
    bridged = [found for found in formats.known().values() if found.extra == "em"]
    assert bridged
    for found in bridged:
        with pytest.raises(MissingExtra, match=LINE.format("em")):
            xp.open(path, format=found.name)


def test_a_filter_of_hdf5(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.arange(100.0).reshape(10, 10), chunks=(5, 5), compression="gzip")
    monkeypatch.setattr("xpycro.io.hdf5_guard._FILTERS", frozenset())
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    block(monkeypatch, "hdf5plugin")
    with pytest.raises(MissingExtra, match=LINE.format("formats")):
        xp.open(path).load()


def test_a_codec_of_tiff(tmp_path):
    pytest.importorskip("imagecodecs")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.arange(64, dtype="u2").reshape(8, 8), compression="zstd")
    # tifffile looks for its codecs when it is imported
    code = (
        "import sys; sys.modules['imagecodecs'] = None\nimport xpycro as xp\n"
        "try:\n    xp.open(sys.argv[1]).load()\nexcept xp.errors.MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert 'pip install "xpycro[formats]"' in done.stdout


def test_compressors_of_the_store(monkeypatch):
    block(monkeypatch, "hdf5plugin")
    for name in ("zstd", "blosc"):
        with pytest.raises(MissingExtra, match=LINE.format("formats")):
            filters(np.dtype("f4"), 1 << 24, name)


def test_other_libraries(monkeypatch):
    block(monkeypatch, "hyperspy")
    with pytest.raises(MissingExtra, match=LINE.format("bench")):
        to_hyperspy(xr.DataArray(np.zeros((3, 4)), dims=("x", "energy")))
