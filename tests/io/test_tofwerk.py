"""TOFWERK HDF5: no real file is at hand, so files are written by their published structure, with known truth."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest

import xpycro as xp
from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io import formats
from xpycro.io.translators.tofwerk import read

P1, P2, SAMPLES = 40.0, 25.0, 400


def build(path, shape=(2, 3, 4), *, kinds=("peaks", "events", "fib"), imaging=True, ticks=1, libver=None, axis=None):
    """A file as the instrument writes it; the truth by kind, the first line at the top."""
    rng = np.random.default_rng(0)
    truth = {}
    with h5py.File(path, "w", libver=libver) as file:
        file.attrs["TofDAQ Version"] = np.float32(1.99)
        file.attrs["IonMode"] = np.bytes_("positive")
        file.attrs["HDF5 File Creation Time"] = np.bytes_("01.06.2025 08:00:00")
        file["TimingData/BufTimes"] = np.arange(shape[0] * shape[1], dtype="f8").reshape(shape[:2]) * 0.5
        full = file.create_group("FullSpectra")
        full.attrs.update({"MassCalibMode": 0, "MassCalibration p1": P1, "MassCalibration p2": P2,
                           "SampleInterval": np.array([8e-10]), "ClockPeriod": np.array([8e-10 / ticks])})  # fmt: skip
        full["MassAxis"] = ((np.arange(SAMPLES) - P2) / P1) ** 2 if axis is None else axis
        full["SumSpectrum"] = np.ones(SAMPLES)
        if imaging:
            file.create_group("FIBParams").attrs["ViewField"] = np.array([0.01])  # mm
        if "peaks" in kinds:
            table = np.zeros(3, [("label", "S64"), ("mass", "f4"), ("lower integration limit", "f4"),
                                 ("upper integration limit", "f4")])  # fmt: skip
            table["label"], table["mass"] = [b"H+", b"Li+", b"Na+"], [1, 7, 23]
            table["lower integration limit"], table["upper integration limit"] = [0.5, 6.5, 22], [1.5, 7.5, 24]
            truth["peaks"] = rng.poisson(3, (*shape, 3)).astype("f4")
            file["PeakData/PeakData"], file["PeakData/PeakTable"] = truth["peaks"], table
        if "events" in kinds:
            events = full.create_dataset("EventList", shape, h5py.vlen_dtype(np.uint16))
            truth["events"] = rng.poisson(0.05, (*shape, SAMPLES))
            for place in np.ndindex(shape):
                samples = np.repeat(np.arange(SAMPLES), truth["events"][place])
                rng.shuffle(samples)
                events[place] = (samples * ticks + rng.integers(0, ticks, samples.size)).astype("u2")
        if "profiles" in kinds:
            truth["profiles"] = rng.normal(size=(*shape, SAMPLES)).astype("f4")
            full["TofData"] = truth["profiles"]
        if "fib" in kinds:
            truth["fib"] = rng.normal(size=(2, 6, 8))
            for n, picture in enumerate(truth["fib"]):
                file[f"FIBImages/Image{n:04}/Data"] = picture
            file["FIBImages/Image0002/Data"] = np.zeros((3, 8))  # the last one was not finished
    return truth


def test_peaks_single_ions_and_pictures(tmp_path):
    path = str(tmp_path / "a.h5")
    truth = build(path)
    assert formats.identify(path).name == "tofwerk" and formats.known()["tofwerk"].verified == "facts only"
    groups = read(path)
    assert list(groups) == ["", "events", "fib_images", "sum_spectrum"]
    assert [schema.problems(ds) for ds in groups.values()] == [[]] * 4
    peaks = groups[""].peaks
    assert peaks.dims == ("frame", "y", "x", "ion")
    np.testing.assert_array_equal(peaks.values, truth["peaks"][:, ::-1])
    np.testing.assert_array_equal(peaks.mass_to_charge, [1, 7, 23])
    assert list(peaks.label.values) == ["H+", "Li+", "Na+"]
    np.testing.assert_allclose(groups[""].x, np.arange(4) * 1e-5 / 4)
    np.testing.assert_allclose(groups[""].time, [0, 1.5])
    assert groups[""].attrs["acquired"] == "2025-06-01T08:00:00"
    counts = groups["events"].counts
    np.testing.assert_array_equal(counts.values, truth["events"][:, ::-1])
    np.testing.assert_array_equal(counts.values[1:, ::-2, 2, 90:20:-7], counts[1:, ::-2, 2, 90:20:-7].values)
    at = int(np.argmin(abs(counts.mass_to_charge.values - 23)))
    assert counts.mass_to_charge.values[at] == pytest.approx(((round(P1 * 23**0.5 + P2) - P2) / P1) ** 2)
    np.testing.assert_array_equal(groups["fib_images"].fib_images.values, truth["fib"][:, ::-1])
    opened = pickle.loads(pickle.dumps(xp.open(path, group="events")))
    np.testing.assert_array_equal(opened.counts.values, counts.values)


@pytest.mark.parametrize("ticks", [1, 8])
def test_single_ions_on_a_mass_axis(tmp_path, ticks):
    path = str(tmp_path / "a.h5")
    truth = build(path, kinds=("events",), ticks=ticks)["events"]
    masses = ((np.arange(SAMPLES) - P2) / P1) ** 2 * np.sign(np.arange(SAMPLES) - P2)
    centres = np.array([1.0, 7.0, 23.0, 40.0])
    ds = read(path, mass_axis=centres)[""]
    for n, (low, high) in enumerate(((-2, 4), (4, 15), (15, 31.5), (31.5, 48.5))):
        inside = (masses >= low) & (masses < high)
        np.testing.assert_array_equal(ds.counts.values[..., n], truth[:, ::-1][..., inside].sum(-1))
    whole = read(path, mass_axis=0.5)[""]
    assert int(whole.counts.sum()) == truth[..., masses > whole.mass_to_charge.values[0] - 0.25].sum()
    with pytest.raises(ValueError, match="20 ppm"):
        read(path, mass_axis="wide")


def test_profiles_without_an_image(tmp_path):
    path = str(tmp_path / "a.h5")
    truth = build(path, (3, 2, 1), kinds=("profiles",), imaging=False)
    ds = read(path)[""]
    assert ds.signal.dims == ("frame", "cycle", "mass_to_charge") and ds.signal.attrs["units"] == "V"
    np.testing.assert_allclose(ds.signal.values, truth["profiles"][:, :, 0] * 1e-3, rtol=1e-6)
    assert schema.problems(ds) == []
    with pytest.raises(ValueError, match="this file has none"):
        read(path, mass_axis=1.0)


def test_what_is_wrong_is_named(tmp_path):
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w") as file:
        file["a"] = [1]
    with pytest.raises(NotThisFormat):
        read(path)
    build(path, kinds=("events",), axis=np.cos(np.arange(SAMPLES)))
    with pytest.raises(UnsupportedVariant, match="does not rise"):
        read(path)
    build(path, kinds=("profiles",), axis=np.arange(SAMPLES - 1.0))
    with pytest.raises(CorruptFile, match="399 masses for 400 samples"):
        read(path)
    build(path)
    with h5py.File(path, "a") as file:
        del file["PeakData/PeakTable"]
    with pytest.raises(CorruptFile, match="no table of its 3 peaks"):
        read(path)


def test_mutants(tmp_path):
    build(tmp_path / "a.h5", kinds=("peaks",), libver="latest")
    build(tmp_path / "b.h5", kinds=("peaks",))
    sealed, plain = (tmp_path / "a.h5").read_bytes(), (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        data = file["PeakData/PeakData"]
        block = (data.id.get_offset(), data.id.get_offset() + data.id.get_storage_size())
    counts = fuzzing.run_hdf5(lambda p: {"": read(p)[""]}, sealed, block, plain, tmp_path, "c.h5", count=150)
    assert counts["refused"] > 20


def test_mutants_of_single_ions_raise_nothing_else(tmp_path):
    """The ions lie in a heap whose bytes nothing seals: what is read has the shape of the file, or is refused."""
    path = tmp_path / "a.h5"
    build(path, kinds=("events",))
    content, refused = path.read_bytes(), 0
    for mutant in fuzzing.mutants(content, (0, 0), 150, 2):
        path.write_bytes(mutant.content)
        try:
            ds = read(str(path))[""].compute()
        except xp.errors.TranslationError:
            refused += 1
            continue
        assert ds.counts.shape[-1] == SAMPLES
    assert refused > 20
