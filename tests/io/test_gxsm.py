"""GXSM .nc: real files against INDEX.tsv, synthetic ones written by SciPy against their truth."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import xarray as xr
from scipy.io import netcdf_file

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import NotThisFormat, TranslationError, UnsupportedVariant
from xpycro.io import formats, rawarray
from xpycro.io.translators.gxsm import scan


def build(path, nx=5, ny=3, *, x_down=False, y_down=True, times=1, values=1, field="f4", unit="nm", seed=0):
    stored = np.random.default_rng(seed).normal(size=(times, values, ny, nx)).astype(field)
    with netcdf_file(path, "w", version=1) as file:
        file.Creator, file.InstrumentType, file.InstrumentName = "gxsm3", "STM", "LT-STM"
        for name, size in (("time", times), ("value", values), ("dimy", ny), ("dimx", nx), ("text", 30)):
            file.createDimension(name, size)
        v = file.createVariable("FloatField", field, ("time", "value", "dimy", "dimx"))
        v[:], v.unit, v.ZLabel = stored, unit, "Z"
        for name, size, down in (("dimx", nx, x_down), ("dimy", ny, y_down)):
            file.createVariable(name, "f4", (name,))[:] = np.linspace(-50, 50, size)[:: -1 if down else 1]
        v = file.createVariable("value", "f4", ("value",))
        v[:], v.unit = np.linspace(-1, 1, values), "V"
        for name, number in (("dz", 0.2), ("alpha", 30.0), ("offsetx", 100.0), ("sranger_mk2_hwi_bias", -5.0)):
            file.createVariable(name, "f8", ()).data[...] = number
        v = file.createVariable("reftime", "c", ("text",))
        v[:] = np.frombuffer(b"Thu Dec  2 12:04:08 2021\n".ljust(30, b"\0"), "S1")
        v = file.createVariable("basename", "c", ("text",))
        v[:] = np.frombuffer(b"/data/run001-Xm-Topo.nc".ljust(30, b"\0"), "S1")
    return stored


@pytest.mark.parametrize(
    ("name", "variable", "direction", "values"),
    [
        ("chigwell009-M-Xp-Topo.nc", "topo", "forward", {(30, 55): -1104.3302e-10, (12, 9): -4565.998e-10}),
        ("chigwell009-Xm-Topo.nc", "topo", "backward", {(30, 55): -1082.6204e-10, (12, 9): -4533.6323e-10}),
        ("chigwell009-Xp-ADC2.nc", "adc2", "forward", {(8, 60): 1.1837914}),
    ],
)
def test_real_scans_agree_with_their_index_rows(data_file, name, variable, direction, values):
    ds = scan(str(data_file(f"gxsm_nc/{name}")))[""]
    image = ds[variable]
    assert image.dims == ("y", "x") and image.shape == (64, 64) and image.attrs["direction"] == direction
    for (row, column), value in values.items():  # the index counts from 1, its first row is the bottom
        assert image.values[row - 1, column - 1] == pytest.approx(value, rel=1e-6)
    assert ds.x[-1].item() == pytest.approx(10e-6) and ds.attrs["bias"] == -5.0
    assert ds.attrs["instrument"] == "GXSM LT-AFM" and ds.attrs["scan_direction"] == "down"
    assert ds.attrs["acquired"] == "2021-12-02T12:04:08"
    assert schema.problems(ds) == []


def test_forward_and_backward_show_the_same_surface(data_file):
    forward, backward = (
        scan(str(data_file(f"gxsm_nc/chigwell009-{name}-Topo.nc")))[""].topo.values for name in ("M-Xp", "Xm")
    )
    assert np.corrcoef(forward.ravel(), backward.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("x_down", [True, False])
@pytest.mark.parametrize("y_down", [True, False])
def test_orientation_of_a_non_square_image_follows_the_positions(tmp_path, x_down, y_down):
    path = str(tmp_path / "a.nc")
    stored = build(path, 5, 3, x_down=x_down, y_down=y_down)
    ds = scan(path)[""]
    truth = stored[0, 0, :: -1 if y_down else 1, :: -1 if x_down else 1] * 0.2e-10
    np.testing.assert_allclose(ds.topo.values, truth, rtol=1e-6)
    np.testing.assert_allclose(ds.x.values, np.linspace(0, 100e-10, 5), rtol=1e-6)
    np.testing.assert_allclose(ds.y.values, np.linspace(0, 100e-10, 3), rtol=1e-6)
    assert ds.topo.attrs["direction"] == "backward" and ds.attrs["scan_angle"] == pytest.approx(np.pi / 6)
    assert ds.attrs["scan_center_x"] == pytest.approx(1e-8)


def test_layers_of_bias_and_times_are_dims(tmp_path):
    path = str(tmp_path / "a.nc")
    stored = build(path, 4, 3, times=2, values=5, y_down=False, unit="V")
    ds = scan(path)[""]
    assert ds.topo.dims == ("frame", "bias", "y", "x")
    np.testing.assert_allclose(ds.topo.values, stored * 0.2, rtol=1e-6)
    np.testing.assert_allclose(ds.bias.values, np.linspace(-1, 1, 5))


def in_hdf5(classic, modern, *, chunks=None, libver=None):
    """The same variables and attributes in HDF5, as netCDF-4 keeps them."""
    with netcdf_file(classic, mmap=False) as file, h5py.File(modern, "w", libver=libver) as out:
        for name, attr in file._attributes.items():
            out.attrs[name] = attr.decode()
        for name, v in file.variables.items():
            data = v.data.astype(v.data.dtype.newbyteorder("=")) if v.data.dtype.kind != "S" else v.data
            made = out.create_dataset(name, data=data, chunks=chunks if name == "FloatField" else None)
            made.attrs.update({key: a.decode() if isinstance(a, bytes) else a for key, a in v._attributes.items()})


@pytest.mark.parametrize("times", [1, 2])
def test_scans_in_hdf5_read_as_classic_ones(tmp_path, times):
    classic, modern = str(tmp_path / "a.nc"), str(tmp_path / "b.nc")
    build(classic, 5, 3, x_down=True, times=times, values=2, unit="V")
    in_hdf5(classic, modern, chunks=(1, 1, 2, 2))
    assert formats.identify(modern).name == "gxsm_nc"
    a, b = scan(classic)[""], scan(modern)[""]
    assert a.topo.dims == b.topo.dims and a.topo.attrs == b.topo.attrs
    np.testing.assert_allclose(a.topo.values, b.topo.values, rtol=1e-6)
    xr.testing.assert_allclose(a.drop_vars("topo"), b.drop_vars("topo"))
    assert {k: v for k, v in a.attrs.items() if k != "original_metadata"} == {
        k: v for k, v in b.attrs.items() if k != "original_metadata"
    }


def test_opening_reads_no_numbers(data_file, monkeypatch):
    read = []
    original = rawarray.read_block
    monkeypatch.setattr(rawarray, "read_block", lambda handle, offset, buffer: (
        read.append(len(buffer)) or original(handle, offset, buffer)))  # fmt: skip
    ds = scan(str(data_file("gxsm_nc/chigwell009-Xp-ADC2.nc")))[""]
    assert read == []
    ds.adc2.isel(y=3).load()
    assert sum(read) == 64 * 4


def test_others_and_truncated_ones_are_refused(tmp_path):
    path = tmp_path / "a.nc"
    build(str(path), field="i2")
    content = path.read_bytes()
    with pytest.raises(NotThisFormat):
        path.write_bytes(content.replace(b"FloatField", b"FlootField"))
        scan(str(path))
    with pytest.raises(UnsupportedVariant):
        build(str(path), field="c")
        scan(str(path))
    for length in range(0, len(content), 3):
        path.write_bytes(content[:length])
        with pytest.raises(TranslationError):
            scan(str(path))


def test_mutants_are_refused_or_read_right(tmp_path):
    path = tmp_path / "a.nc"
    stored = build(str(path), 7, 6)
    content = path.read_bytes()
    start = content.index(stored.astype(">f4").tobytes())
    block = (start, start + stored.nbytes)
    assert fuzzing.run(scan, content, block, tmp_path, "fuzz.nc")["refused"] > 30


def test_mutants_in_hdf5_are_refused_or_read_right(tmp_path):
    classic = str(tmp_path / "a.nc")
    build(classic, 7, 6)
    files = []
    for libver in ("latest", None):
        source = tmp_path / f"{libver}.nc"
        in_hdf5(classic, source, libver=libver)
        files.append(source.read_bytes())
    with h5py.File(tmp_path / "latest.nc") as file:
        # the numbers of the axes are data of the file too
        stored = [file[name].id for name in file if file[name].id.get_offset() is not None]
        block = min(s.get_offset() for s in stored), max(s.get_offset() + s.get_storage_size() for s in stored)
    assert fuzzing.run_hdf5(scan, files[0], block, files[1], tmp_path, "fuzz.nc")["refused"] > 30
