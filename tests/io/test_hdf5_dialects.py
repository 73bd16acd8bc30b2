"""NSID, HyperSpy, EMD, NeXus, Delmic, Dectris and unknown HDF5: real files against h5py, layouts made here, damage."""

from __future__ import annotations

import time

import h5py
import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, MissingExtra, NotThisFormat, TranslationError
from xpycro.io import formats
from xpycro.io.translators import dectris, delmic, emd, hdf5_generic, hyperspy, nexus, nsid, usid


def only(groups):
    (ds,) = groups.values()
    assert schema.problems(ds) == []
    return ds


def step(ds, dim):
    return float(ds[dim][1] - ds[dim][0])


# -------------------------------------------------------------------------------------------------------- made here


def write_nsid(path, kinds=("SPATIAL", "SPATIAL", "SPECTRAL"), units="nA"):
    data = np.arange(24.0).reshape(4, 3, 2)
    scales = [("x", "nm", np.arange(4.0)), ("y", "nm", np.arange(3.0)), ("Bias", "V", np.array([1.0, -1.0]))]
    with h5py.File(path, "w") as file:
        group = file.create_group("Measurement_000/Channel_000/Current")
        main = group.create_dataset("Current", data=data)
        main.attrs.update(main_data_name="Current", quantity="Current", units=units, data_type="SPECTRAL_IMAGE",
                          modality="STS", source="Nanonis")  # fmt: skip
        for number, ((name, unit, values), kind) in enumerate(zip(scales, kinds, strict=True)):
            scale = group.create_dataset(name, data=values)
            scale.attrs.update(name=name, quantity=name, units=unit, dimension_type=kind)
            scale.make_scale(name)
            main.dims[number].label = name
            main.dims[number].attach_scale(scale)
        group.create_group("original_metadata").attrs["gain"] = 1e9
    return data


def test_nsid(tmp_path):
    data = write_nsid(tmp_path / "a.hf5")
    assert formats.identify(tmp_path / "a.hf5").name == "nsid"
    ds = only(nsid.read(str(tmp_path / "a.hf5")))
    assert ds.current.dims == ("y", "x", "bias") and ds.current.units == "A"
    np.testing.assert_allclose(ds.current, data.transpose(1, 0, 2)[..., ::-1] * 1e-9)
    np.testing.assert_allclose(ds.bias, [-1, 1])
    np.testing.assert_allclose(ds.x, np.arange(4) * 1e-9)
    assert ds.attrs["modality"] == "STS" and ds.attrs["instrument"] == "Nanonis"
    assert '"gain": 1000000000.0' in ds.attrs["original_metadata"]


def test_hyperspy_non_uniform_axis_and_navigation(tmp_path):
    data = np.arange(24).reshape(3, 4, 2)
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        file.attrs["file_format"], file.attrs["file_format_version"] = "HyperSpy", "3.1"
        group = file.create_group("Experiments/map")
        group["data"] = data
        for n, (name, unit, size, navigate) in enumerate(
            [("y", "nm", 3, True), ("x", "nm", 4, True), ("Energy", "keV", 2, False)]
        ):
            axis = group.create_group(f"axis-{n}")
            axis.attrs.update(name=name, units=unit, size=size, navigate=navigate, scale=2.0, offset=1.0)
            if name == "Energy":
                axis["axis"] = np.array([1.0, 5.0])
        group.create_group("metadata/Signal").attrs["quantity"] = "X-rays (Counts)"
    ds = only(hyperspy.read(str(tmp_path / "a.hspy")))
    (da,) = ds.data_vars.values()
    assert da.dims == ("y", "x", "energy") and da.units == "counts" and da.long_name == "X-rays"
    np.testing.assert_array_equal(da, data[::-1])  # a picture's first row is the top one
    np.testing.assert_allclose(ds.energy, [1000, 5000])
    np.testing.assert_allclose(ds.y, [1e-9, 3e-9, 5e-9])


def test_emd_with_two_points_a_dim(tmp_path):
    with h5py.File(tmp_path / "a.emd", "w") as file:
        group = file.create_group("signals/scan")
        group.attrs["emd_group_type"] = 1
        group["data"] = np.arange(6).reshape(2, 3)
        for n, (name, values) in enumerate([("y", [0.0, 2.0]), ("x", [1.0, 4.0])], 1):
            group[f"dim{n}"] = values
            group[f"dim{n}"].attrs.update(name=name, units="[n_m]")
    ds = only(emd.read(str(tmp_path / "a.emd")))
    np.testing.assert_array_equal(ds.scan, np.arange(6).reshape(2, 3)[::-1])
    np.testing.assert_allclose(ds.x, [1e-9, 4e-9, 7e-9])


@pytest.mark.parametrize("style", ["new", "old", "colons"])
def test_nexus_styles(tmp_path, style):
    data = np.arange(12.0).reshape(3, 4)
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        group = file.create_group("entry/data")
        file["entry"].attrs["NX_class"], group.attrs["NX_class"] = "NXentry", "NXdata"
        group["counts"] = data
        group["counts"].attrs["units"] = "counts"
        group["energy"] = np.arange(5.0)  # bin edges
        group["energy"].attrs["units"] = "keV"
        group["temperature"] = [1.0, 2.0, 3.0]
        group["temperature"].attrs["units"] = "K"
        if style == "new":
            group.attrs.update(signal="counts", axes=["temperature", "energy"])
            group.attrs["temperature_indices"], group.attrs["energy_indices"] = 0, [1]
            group["counts_errors"] = np.sqrt(data)
        elif style == "old":
            group["counts"].attrs["signal"] = 1
            group["temperature"].attrs["axis"], group["energy"].attrs["axis"] = 1, 2
        else:
            group["counts"].attrs.update(signal="1", axes="temperature:energy")
    (ds,) = nexus.read(str(tmp_path / "a.nxs")).values()
    da = ds.counts if "counts" in ds else ds.data
    assert da.dims == ("temperature", "energy")
    np.testing.assert_array_equal(da, data)
    np.testing.assert_allclose(ds.energy, [500, 1500, 2500, 3500])
    assert ds.temperature.units == "K"
    if style == "new":
        np.testing.assert_array_equal(ds.counts_errors, np.sqrt(data))


def test_dectris_frames_of_two_files(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 9, (6, 4, 5)).astype("u2")
    for n, part in enumerate((frames[:4], frames[4:]), 1):
        with h5py.File(tmp_path / f"a_data_{n:06d}.h5", "w") as file:
            file["entry/data/data"] = part
    with h5py.File(tmp_path / "a_master.h5", "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        data = entry.create_group("data")
        data.attrs["NX_class"] = "NXdata"
        for n in (1, 2):
            data[f"data_{n:06d}"] = h5py.ExternalLink(f"a_data_{n:06d}.h5", "/entry/data/data")
        entry.create_group("instrument/detector/detectorSpecific")["trigger_mode"] = "ints"
    path = str(tmp_path / "a_master.h5")
    assert formats.identify(path).name == "dectris"
    ds = only(dectris.master(path))
    np.testing.assert_array_equal(ds.counts, frames[:, ::-1])
    scan = only(dectris.master(path, scan_shape=(2, 3))).counts
    expected = frames.reshape(2, 3, 4, 5)[::-1, :, ::-1]
    np.testing.assert_array_equal(scan, expected)
    np.testing.assert_array_equal(scan[::-1, 1:, 2, ::2], expected[::-1, 1:, 2, ::2])
    with pytest.raises(ValueError, match="scan_shape"):
        dectris.master(path, scan_shape=(5, 5))
    (tmp_path / "a_data_000002.h5").unlink()
    with pytest.raises(CorruptFile, match="a_data_000002"):
        dectris.master(path)


def test_unknown_hdf5_is_a_view_with_a_note(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["run/image"] = np.arange(12.0).reshape(3, 4)
        file["run/gain"] = 3.0
        record = np.zeros(5, [("t", "f8"), ("v", "f4")])
        record["t"] = np.arange(5)
        file["trace"] = record
        file["names"] = ["a", "b"]
    groups = hdf5_generic.read(str(tmp_path / "a.h5"))
    assert set(groups) == {"image", "t"}
    assert "guessed" in groups["image"].attrs["note"]
    np.testing.assert_array_equal(groups["image"].image, np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(groups["t"].t, np.arange(5.0))
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(NotThisFormat):
        hdf5_generic.read(str(tmp_path / "empty.h5"))


def test_a_missing_filter_names_its_extra(tmp_path, monkeypatch):
    import importlib.util

    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.arange(100.0), chunks=(10,), compression="gzip")
    ds = hdf5_generic.read(str(path))[""]
    monkeypatch.setattr("xpycro.io.hdf5_guard._FILTERS", frozenset())
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="hdf5plugin"):
        ds.a.load()


def test_our_own_store_and_other_engines_are_left_alone(tmp_path):
    from xpycro.io.backend import PycroBackendEntrypoint

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = np.arange(3)
    assert not PycroBackendEntrypoint().guess_can_open(str(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.attrs["xpycro_store"] = 1
        file["a"] = np.arange(3)
    assert formats.identify(tmp_path / "b.h5").name == "xpycro"


# ------------------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("name", ["nsid", "generic"])
def test_damaged_files_end_in_our_errors(tmp_path, name):
    path = tmp_path / "a.h5"
    if name == "nsid":
        write_nsid(path)
        read = nsid.read
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("a", data=np.arange(200.0), chunks=(50,), compression="gzip")
            file["b"] = np.arange(12).reshape(3, 4)
        read = hdf5_generic.read
    content = path.read_bytes()
    kept = 0
    for mutant in fuzzing.mutants(content, (len(content), len(content)), 150, 0):
        path.write_bytes(mutant.content)
        started = time.process_time()
        try:
            for ds in read(str(path)).values():
                ds.load()
            kept += 1
        except TranslationError:
            pass
        assert time.process_time() - started < 2, mutant.label
    assert kept < 150


# -------------------------------------------------------------------------------------------------------- real files


def test_real_nsid(data_file):
    path = data_file("nsid_h5/PMN28Pt0000.h5")
    ds = only(nsid.read(str(path)))
    with h5py.File(path) as file:
        stored = file["Measurement_000/Channel_1/Channel_1/Channel_1"][()]
    np.testing.assert_array_equal(ds.amplitude_retrace, stored.T)  # NSID stores x first
    assert list(ds) == ["height_retrace", "amplitude_retrace", "deflection_retrace", "phase_retrace"]
    assert ds.x.units == "m" and ds.phase_retrace.units == "rad"


def test_real_hyperspy(data_file):
    ds = only(hyperspy.read(str(data_file("hspy/example1_v1.2.hdf5"))))
    assert ds.sizes == {"energy_loss": 21} and float(ds.energy_loss[0]) == pytest.approx(520.13)
    assert step(ds, "energy_loss") == pytest.approx(3.1)
    ds = only(hyperspy.read(str(data_file("hspy/example2_v3.1.hspy"))))
    assert ds.sizes == {"ky": 16, "kx": 16} and step(ds, "kx") == pytest.approx(0.17443286e9)
    assert ds.attrs["acquired"] == "2014-07-09T18:56:37"


def test_real_emd(data_file):
    path = data_file("emd_berkeley/py4DSTEM_size2x3x4x5.h5")
    ds = only(emd.read(str(path)))
    assert ds.datacube.dims == ("y", "x", "ky", "kx") and ds.datacube.shape == (2, 3, 4, 5)
    assert step(ds, "y") == pytest.approx(0.126796875e-9) and step(ds, "ky") == pytest.approx(0.044251566616087125e10)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(ds.datacube, file["datacube_root/datacube/data"][()][::-1, :, ::-1])
    ds = only(emd.read(str(data_file("emd_berkeley/Si100_4D.emd"))))
    assert set(ds.sizes.items()) == {("y", 11), ("x", 11), ("ky", 8), ("kx", 8)}
    assert step(ds, "x") == pytest.approx(0.5e-9) and step(ds, "kx") == pytest.approx(0.18416205e9)
    (ds,) = emd.read(str(data_file("emd_berkeley/emd_type1_stringDims.h5"))).values()
    assert tuple(ds.sizes.values()) == (3, 4, 5, 6)
    assert only(emd.read(str(data_file("emd_berkeley/example_signal.emd")))).sizes["frame"] == 3


def test_real_nexus(data_file):
    groups = nexus.read(str(data_file("nexus/chopper.nxs")))
    ds = groups["data"]
    assert ds.neutron_counts.shape == (148, 750) and ds.time.units == "s"
    assert step(ds, "time") == pytest.approx(2e-6, rel=1e-3)
    assert set(groups) == {"data", "monitor1", "monitor2"}
    path = data_file("nexus/nexus_dls_example.nxs")
    groups = nexus.read(str(path))
    assert groups["nexustest"].sizes == {"y": 10, "x": 10, "point": 15}
    scan = groups["entry1"]  # energies at each place of a stage, stopped six points before the end
    assert scan.ic_3602_c1.dims == ("x", "energy") and scan.sizes == {"x": 15, "energy": 29}
    with h5py.File(path) as file:
        chamber = file["entry1/instrument/ic_3602_c1/value"][()]
        energies, places = (file[f"entry1/instrument/{n}/value_set"][()] for n in ("dcm_enrg", "stage1_x"))
        reached = np.isfinite(file["entry1/instrument/stage1_x/value"][()])
    assert reached.sum() == 29 * 15 - 6
    np.testing.assert_array_equal(scan.measured, reached.T)
    np.testing.assert_array_equal(scan.ic_3602_c1, np.where(reached, chamber, np.nan).T)
    np.testing.assert_array_equal(scan.energy, energies)
    np.testing.assert_array_equal(scan.x, places)


def test_real_delmic(data_file):
    groups = delmic.read(str(data_file("delmic/sparc-hyperspectral.h5")))
    (spectra,) = (ds for ds in groups.values() if "wavelength" in ds.dims)
    assert spectra.spectrum_with_vis_nir_spectrometer.shape == (3, 2, 128)
    assert step(spectra, "x") == pytest.approx(963.86290147e-9) and schema.problems(spectra) == []
    (survey,) = (ds for ds in groups.values() if "wavelength" not in ds.dims)
    assert float(survey.x[0]) < float(spectra.x[0]) < float(survey.x[-1])  # spectra lie on the survey


def test_real_dectris(data_file):
    pytest.importorskip("hdf5plugin", reason="hdf5plugin is not installed (extra formats)")
    ds = only(dectris.master(str(data_file("arina/test_00_master.h5"))))
    assert ds.counts.shape == (4, 4, 192, 192)
    assert ds.counts[0, 0].load().dtype == np.uint32


def test_every_real_file_is_recognised(data_file):
    for name, expected in {
        "usid_h5/AFM_Force_Curve.h5": "usid",
        "nsid_h5/PMN28Pt0000.h5": "nsid",
        "hspy/example1_v1.2.hdf5": "hyperspy",
        "emd_berkeley/Si100_4D.emd": "emd",
        "nexus/chopper.nxs": "nexus",
        "delmic/sparc-hyperspectral.h5": "delmic",
        "arina/test_00_master.h5": "dectris",
        "emd_velox/fei_example_tem_stack.emd": "velox_emd",
        "ebsd/patterns.h5": "hdf5",
    }.items():
        assert formats.identify(data_file(name)).name == expected
    assert usid.read


# ------------------------------------------------------------------------------------------------- classic netCDF


def test_classic_netcdf_is_a_view_with_a_note(tmp_path):
    import pickle

    import xarray as xr

    from xpycro.io.translators import netcdf3

    values = np.random.default_rng(0).normal(size=(3, 4, 5))
    made = xr.Dataset(
        {"signal": (("time", "y", "x"), values, {"units": "nA", "long_name": "Current"})},
        {"y": ("y", np.arange(4.0)[::-1], {"units": "nm"}), "x": ("x", np.arange(5.0), {"units": "nm"})},
    )
    made.to_netcdf(tmp_path / "a.nc", engine="scipy")
    assert formats.identify(tmp_path / "a.nc").name == "netcdf"
    ds = only(netcdf3.read(str(tmp_path / "a.nc")))
    assert not ds.signal.variable._in_memory and "no known dialect" in ds.attrs["note"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds)).signal.values, values[:, ::-1])
    np.testing.assert_allclose(ds.y, np.arange(4) * 1e-9)
    content = (tmp_path / "a.nc").read_bytes()
    for length in range(3, len(content) - 8, 37):
        (tmp_path / "a.nc").write_bytes(content[:length])
        with pytest.raises(TranslationError):
            for damaged in netcdf3.read(str(tmp_path / "a.nc")).values():
                damaged.load()
