"""The table of formats: identification by content then suffix, errors that help, third parties, the engine."""

from __future__ import annotations

import contextlib
import pickle
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import xarray as xr

from tests.conftest import raise_if_dask_computes
from tests.io import samples
from xpycro import provenance, schema
from xpycro.errors import MissingExtra, NotThisFormat, SeveralGroups, TranslationError
from xpycro.io import formats
from xpycro.io.formats import Format, identify, register
from xpycro.io.opening import open as open_file
from xpycro.io.opening import open_tree


@pytest.fixture
def scan_path(tmp_path):
    path = tmp_path / "image.sxm"
    path.write_bytes(samples.nanonis_scan()[0])
    return path


@pytest.fixture
def extra_format():
    """Registers formats and takes them away again."""
    added = []

    def add(*args, **kwargs):
        added.append(register(Format(*args, **kwargs)))
        return added[-1]

    formats.known()
    yield add
    for one in added:
        formats._FORMATS.pop(one.name)


# ---------------------------------------------------------------------------------------------------------- table


def test_table_prints_its_columns():
    table = formats.formats()
    text = repr(table)
    for word in (
        "format",
        "suffixes",
        "instruments",
        "lazy",
        "options",
        "extra needed",
        "verified",
        ".3ds",
        "real file",
    ):
        assert word in text
    assert max(map(len, text.splitlines())) < 160
    assert table._repr_html_().count("<tr>") == len(table) + 1


def test_every_format_is_complete():
    for one in formats.formats():
        if one.name != "xpycro":
            assert callable(one.translator()), one.name
        assert one.description and one.instruments
        assert one.sniff(b"", "a") is False and one.sniff(bytes(4096), "a") is False, one.name


def test_importing_the_table_loads_no_parser():
    import subprocess
    import sys

    code = (
        "import sys, xpycro.io.formats as f; f.formats(); "
        "heavy = ['h5py', 'tifffile', 'rsciio', 'hyperspy', 'dask.array', 'igor2']; "
        "parsers = [f'xpycro.io.translators.{n}' for n in ('nanonis', 'igor', 'gwyddion', 'nanoscope')]; "
        "print([m for m in heavy + parsers if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------------- identify


def test_content_first_suffix_second(tmp_path, scan_path):
    renamed = tmp_path / "image.ibw"
    renamed.write_bytes(scan_path.read_bytes())
    assert identify(renamed).name == "nanonis_sxm"
    other = tmp_path / "other.sxm"
    other.write_bytes(b"?")
    assert identify(other).name == "nanonis_sxm"
    with pytest.raises(TranslationError, match=r"other\.sxm"):
        open_file(other)


def test_an_empty_file_is_said_to_be_empty_and_no_file_lies_beside_itself(tmp_path):
    (tmp_path / "empty.sxm").touch()
    (tmp_path / "notes.txt").write_text("hello")
    for path in (tmp_path / "empty.sxm", "empty.sxm"):
        with contextlib.chdir(tmp_path), pytest.raises(NotThisFormat, match=r"empty\.sxm: the file is empty"):
            open_file(path)
    with pytest.raises(NotThisFormat) as refused:
        identify(tmp_path / "notes.txt")
    assert "beside" not in str(refused.value)


def test_unknown_content_is_shown(tmp_path):
    path = tmp_path / "a.sxn"
    path.write_bytes(b"whatever this is")
    with pytest.raises(NotThisFormat) as caught:
        open_file(path)
    for word in ("a.sxn", "whatever this is", "did you mean '.sxm'", "xp.formats()", "format="):
        assert word in str(caught.value)


def test_what_was_probably_meant_is_said(tmp_path):
    for name in ("map.ibd", "map.imzML", "other.ibd"):
        (tmp_path / name).write_bytes(b"\xff not a header")
    with pytest.raises(NotThisFormat, match=r"beside it lies 'map\.imzML'"):
        open_file(tmp_path / "map.ibd")
    with pytest.raises(NotThisFormat) as caught:
        open_file(tmp_path / "other.ibd")
    assert "beside it" not in str(caught.value)
    (tmp_path / "scan.gz").write_bytes(b"\x1f\x8b\x08\x08")
    with pytest.raises(NotThisFormat, match="unpack it first"):
        open_file(tmp_path / "scan.gz")


def test_forced_format(tmp_path, scan_path):
    renamed = tmp_path / "image.bin"
    renamed.write_bytes(scan_path.read_bytes())
    assert open_file(renamed, format="nanonis_sxm").sizes["x"] == 5
    with pytest.raises(ValueError, match="did you mean 'nanonis_sxm'"):
        open_file(renamed, format="nanonis_sxmm")
    with pytest.raises(NotThisFormat):
        open_file(renamed, format="igor_ibw")


def test_paths_that_are_no_files(tmp_path, scan_path):
    with pytest.raises(FileNotFoundError, match=r"near it: image\.sxm"):
        open_file(tmp_path / "Imege.sxm")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_file(tmp_path / "nowhere" / "image.sxm")
    with pytest.raises(IsADirectoryError, match="open_many"):
        open_file(tmp_path)


def test_undeclared_options(scan_path):
    with pytest.raises(TypeError, match=r"no reader option \['layer'\]; its options are incomplete"):
        open_file(scan_path, layer=2)


# ----------------------------------------------------------------------------------------------------------- open


def test_open_is_lazy_and_chunked(scan_path):
    truth = samples.nanonis_scan()[2]["Z"]
    with raise_if_dask_computes():
        ds = open_file(scan_path)
    assert ds.z.chunks is not None
    np.testing.assert_array_equal(ds.z.values, truth)
    assert open_file(scan_path, chunks={"x": 2}).z.chunksizes["x"] == (2, 2, 1)
    plain = open_file(scan_path, chunks=None)
    assert plain.z.chunks is None and not plain.z.variable._in_memory
    np.testing.assert_array_equal(plain.z.values, truth)
    with pytest.raises(TypeError, match="chunks"):
        open_file(scan_path, chunks=5)
    with pytest.raises(ValueError, match="names"):
        open_file(scan_path, chunks={"energy": 5})


def test_equal_files_give_equal_graphs(scan_path):
    assert open_file(scan_path).z.data.name == open_file(scan_path).z.data.name
    reopened = pickle.loads(pickle.dumps(open_file(scan_path)))
    xr.testing.assert_identical(reopened, open_file(scan_path))


def test_the_source_is_recorded(scan_path):
    history = provenance.history(open_file(scan_path))
    assert history.source["name"] == "image.sxm" and history.source["format"] == "nanonis_sxm"
    assert history.source["size"] == scan_path.stat().st_size


def test_the_source_is_never_written(scan_path):
    before = scan_path.read_bytes(), scan_path.stat().st_mtime_ns
    scan_path.chmod(0o444)
    open_file(scan_path).compute()
    assert (scan_path.read_bytes(), scan_path.stat().st_mtime_ns) == before


def test_a_closed_file_can_be_removed_and_is_not_held(scan_path):
    import os

    ds = open_file(scan_path)
    held = [
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    ]
    assert str(scan_path) not in held and ds.sizes["x"] == 5


# --------------------------------------------------------------------------------------------------- third parties


def _several(path, *, scale=1.0):
    values = xr.Variable(("y", "x"), np.full((2, 3), scale), {"units": "m", "long_name": "Height"})
    return {"first": xr.Dataset({"height": values}), "second": xr.Dataset({"height": values[:, :2]})}


def _mine(head, path):
    return head.startswith(b"MINE")


@pytest.fixture
def several(tmp_path, extra_format):
    extra_format("mine", (".mine",), _mine, _several, options={"scale": "multiplies the heights"})
    path = tmp_path / "a.mine"
    path.write_bytes(b"MINE")
    return path


def test_a_third_party_format(several):
    assert open_file(several, group="second").sizes["x"] == 2
    assert open_file(several, group="first", scale=3).height[0, 0].item() == 3
    with pytest.raises(SeveralGroups) as caught:
        open_file(several)
    assert "group='first'" in str(caught.value) and "x: 3" in str(caught.value) and "open_tree" in str(caught.value)
    with pytest.raises(ValueError, match=r"\['first', 'second'\]"):
        open_file(several, group="third")
    tree = open_tree(several)
    assert set(tree.children) == {"first", "second"} and tree["second/height"].shape == (2, 2)
    assert xr.open_datatree(several, engine="pycro")["first/height"].shape == (2, 3)


def test_registering_twice_or_wrong(extra_format):
    one = extra_format("mine", (".mine",), _mine, _several)
    with pytest.raises(ValueError, match="replace=True"):
        register(one)
    register(one, replace=True)
    for wrong in ({"lazy": "maybe"}, {"verified": "yes"}, {"suffixes": ("mine",)}):
        with pytest.raises(ValueError, match="expected"):
            register(Format(**{"name": "other", "suffixes": (), "sniff": _mine, "function": _several, **wrong}))


def test_translators_that_return_nonsense_or_need_an_extra(tmp_path, extra_format):
    path = tmp_path / "a.mine"
    path.write_bytes(b"MINE")
    extra_format("bad", (".mine",), _mine, lambda path: None)
    with pytest.raises(TranslationError, match="must return a dict"):
        open_file(path)
    extra_format("missing", (".miss",), lambda h, p: False, "nowhere_to_be_found:read", extra="formats")
    with pytest.raises(MissingExtra, match=r'pip install "xpycro\[formats\]"'):
        open_file(path, format="missing")


def test_entry_points_are_loaded_and_a_broken_one_is_only_reported(monkeypatch):
    entries = [
        EntryPoint("ours", "tests.io.test_formats:PLUGIN", "xpycro.formats"),
        EntryPoint("broken", "tests.io.test_formats:NOTHING", "xpycro.formats"),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries)
    formats._load_all.cache_clear()
    try:
        with pytest.warns(UserWarning, match="NOTHING"):
            assert "plugged" in formats.known()
    finally:
        formats._FORMATS.pop("plugged", None)


PLUGIN = Format("plugged", (".plugged",), _mine, _several)


# --------------------------------------------------------------------------------------------------------- engine


def test_engine(scan_path):
    ds = xr.open_dataset(scan_path, engine="pycro", drop_variables="current")
    assert list(ds) == ["z"] and not ds.z.variable._in_memory
    assert schema.problems(ds) == []
    assert xr.open_dataset(scan_path, engine="pycro", chunks={}).z.chunks is not None
    assert list(xr.open_dataset(scan_path)) == ["z", "current"]
    with pytest.raises(TypeError, match="path"):
        xr.open_dataset(b"bytes", engine="pycro")


def test_engine_leaves_other_files_to_others(tmp_path):
    from xpycro.io.backend import PycroBackendEntrypoint

    path = tmp_path / "plain.nc"
    xr.Dataset({"a": ("x", [1.0, 2.0])}).to_netcdf(path, engine="h5netcdf")
    engine = PycroBackendEntrypoint()
    assert not engine.guess_can_open(path) and not engine.guess_can_open(tmp_path)
    assert not engine.guess_can_open(tmp_path / "missing.sxm") and not engine.guess_can_open(3)
    assert list(xr.open_dataset(path)) == ["a"]
