"""USID: real files, and every layout the format allows, made here: compound, sparse, unfinished, turning, dependent."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io.translators import usid

X, Y = ("X", "m"), ("Y", "m")


def write(
    path, data, positions, spectra, *, name="Raw_Data", quantity="Current", units="nA", slow_first=False, file=None
):
    """One main dataset; `positions` and `spectra` are (label, units, indices, values) with the fastest first."""

    def ancillary(group, kind, dims):
        indices, values = (np.array([d[k] for d in dims]) for k in (2, 3))
        if slow_first:
            indices, values, dims = indices[::-1], values[::-1], dims[::-1]
        if kind == "Position":
            indices, values = indices.T, values.T
        for what, table, dtype in (("Indices", indices, "u4"), ("Values", values, "f4")):
            made = group.create_dataset(f"{kind}_{what}", data=table.astype(dtype))
            made.attrs["labels"] = np.array([d[0].encode() for d in dims])
            made.attrs["units"] = np.array([d[1].encode() for d in dims])
            yield f"{kind}_{what}", made.ref

    def fill(file):
        group = file.require_group("Measurement_000/Channel_000")
        main = group.create_dataset(name, data=data, chunks=True)
        if quantity:
            main.attrs["quantity"], main.attrs["units"] = quantity, units
        for kind, dims in (("Position", positions), ("Spectroscopic", spectra)):
            for link, reference in ancillary(group, kind, dims):
                main.attrs[link] = reference

    with h5py.File(path, "w") as file:
        fill(file)
    return str(path)


def raster(nx, ny):
    i, j = np.arange(nx * ny) % nx, np.arange(nx * ny) // nx
    return [(*X, i, i * 1e-9), (*Y, j, j * 2e-9)]


def product(*dims):
    """(label, units, values) of each, fastest first, as indices and values of their product."""
    sizes = [len(d[2]) for d in dims]
    grids = np.unravel_index(np.arange(np.prod(sizes)), sizes[::-1])[::-1]
    return [(label, units, g, np.asarray(values)[g]) for (label, units, values), g in zip(dims, grids, strict=True)]


@pytest.mark.parametrize("slow_first", [False, True])
def test_a_band_excitation_grid(tmp_path, slow_first):
    nx, ny, frequency, bias, cycle = 3, 2, np.linspace(3e5, 4e5, 5), [-2.0, 0.0, 2.0, 1.0], [0, 1]
    rng = np.random.default_rng(0)
    cube = (rng.normal(size=(ny, nx, 2, 4, 5)) + 1j * rng.normal(size=(ny, nx, 2, 4, 5))).astype("c8")
    spectra = product(("Frequency", "Hz", frequency), ("DC_Offset", "V", bias), ("Cycle", "", cycle))
    path = write(tmp_path / "be.h5", cube.reshape(6, 40), raster(nx, ny), spectra, quantity=None, slow_first=slow_first)
    ds = usid.read(path)[""]
    (name,) = ds.data_vars
    da = ds[name]
    assert da.dims == ("y", "x", "cycle", "step", "frequency")
    np.testing.assert_array_equal(da.values, cube)
    np.testing.assert_allclose(ds.bias, bias)  # a sweep that turns back keeps its order
    assert ds.bias.dims == ("step",) and ds.bias.units == "V"
    np.testing.assert_allclose(ds.frequency, frequency)
    np.testing.assert_allclose(ds.y, [0, 2e-9], rtol=1e-6)
    assert schema.problems(ds) == []


def test_band_excitation_has_the_names_of_its_raw_folder(tmp_path):
    """Field, direction and FORC as the old translators wrote them; 0 is in field, 1 out of field."""
    frequency, low = np.linspace(3e5, 4e5, 5), np.array([-1.0, -2.0])
    spectra = product(
        ("Frequency", "Hz", frequency), ("DC_Offset", "V", np.arange(4)), ("Field", "", [0, 1]), ("FORC", "", [0, 1])
    )
    label, units, index, _ = spectra[1]
    forc = spectra[3][2]
    spectra[1] = (
        label,
        units,
        index,
        np.array([0.0, 1.0, 0.0, 0.0])[index] + np.array([0, 0, 0, 1])[index] * low[forc],
    )
    cube = (np.arange(6 * 80) * (1 + 1j)).astype("c8").reshape(6, 80)
    path = write(tmp_path / "be.h5", cube, raster(3, 2), spectra, quantity="Piezoresponse", units="V")
    with h5py.File(path, "a") as file:
        file.attrs["data_type"] = "BEPSData"
    ds = usid.read(path)[""]
    assert ds.response.dims == ("y", "x", "forc", "field", "step", "frequency")
    assert list(ds.field.values) == ["in", "out"] and ds.bias.dims == ("forc", "step")
    np.testing.assert_allclose(ds.bias, [[0, 1, 0, -1], [0, 1, 0, -2]])
    np.testing.assert_array_equal(ds.response.values.reshape(6, 80), cube)
    assert schema.problems(ds) == []


def test_an_earlier_oscillator_fit_can_be_projected(tmp_path):
    import xpycro as xp

    fields = ["Amplitude [V]", "Frequency [Hz]", "Quality Factor", "Phase [rad]", "R2 Criterion"]
    record = np.ones((6, 8), [(name, "f4") for name in fields])
    record["Phase [rad]"] = np.where(np.arange(8) < 4, 0.3, 0.3 - np.pi)
    bias = product(("DC_Offset", "V", [0.0, 1.0, 2.0, 1.0, 0.0, -1.0, -2.0, -1.0]))
    path = write(tmp_path / "fit.h5", record, raster(3, 2), bias, name="Fit")
    with h5py.File(path, "a") as file:
        file.attrs["data_type"] = "BEPSData"
    ds = usid.read(path)[""]
    assert "resonance_frequency" in ds and ds.amplitude.dims == ("y", "x", "step")
    np.testing.assert_allclose(xp.loops.project(ds).response[0, 0], [1] * 4 + [-1] * 4, atol=1e-6)


def test_compound_data_become_variables(tmp_path):
    record = np.zeros((6, 2), [("Amplitude [V]", "f4"), ("Frequency [Hz]", "f4"), ("R2", "f4")])
    record["R2"] = np.arange(12).reshape(6, 2)
    path = write(tmp_path / "fit.h5", record, raster(3, 2), product(("Cycle", "", [0, 1])), name="Fit")
    ds = usid.read(path)[""]
    assert list(ds.data_vars) == ["amplitude", "frequency", "r2"]
    np.testing.assert_array_equal(ds.r2.values, np.arange(12.0).reshape(2, 3, 2))
    assert [v.units for v in ds.data_vars.values()] == ["V", "Hz", "1"]


def test_units_go_to_base(tmp_path):
    data = np.arange(6.0, dtype="f4")[:, None]
    path = write(tmp_path / "a.h5", data, raster(3, 2), [("arb", "a.u.", [0], [0.0])])
    ds = usid.read(path)[""]
    assert ds.current.units == "A" and ds.current.dims == ("y", "x")
    np.testing.assert_allclose(ds.current, data.reshape(2, 3) * 1e-9, rtol=1e-6)


def test_an_unfinished_raster_is_padded_with_nan(tmp_path):
    positions = [(label, units, i[:5], v[:5]) for label, units, i, v in raster(3, 2)]
    path = write(tmp_path / "a.h5", np.arange(10, dtype="i2").reshape(5, 2), positions, product(("Bias", "V", [-1, 1])))
    da = usid.read(path)[""].current
    assert da.shape == (2, 3, 2) and da.dtype == float
    assert np.isnan(da[1, 2]).all() and int(np.isnan(da).sum()) == 2
    np.testing.assert_allclose(da[0, 1], np.array([2, 3]) * 1e-9)


def test_sparse_points_are_positions(tmp_path):
    rng = np.random.default_rng(1)
    i, j = np.unravel_index(rng.choice(64, 8, replace=False), (8, 8))
    data = rng.normal(size=(8, 3)).astype("f4")
    path = write(
        tmp_path / "a.h5", data, [(*X, i, i * 1e-9), (*Y, j, j * 1e-9)], product(("Bias", "V", [-1, 0, 1])), units="A"
    )
    ds = usid.read(path)[""]
    assert ds.current.dims == ("position", "bias") and ds.y.dims == ("position",)
    np.testing.assert_array_equal(ds.current.values, data)
    np.testing.assert_allclose(ds.x, i * 1e-9, rtol=1e-6)


def test_shuffled_positions_and_a_falling_sweep(tmp_path):
    order = np.random.default_rng(2).permutation(6)
    positions = [(label, units, i[order], v[order]) for label, units, i, v in raster(3, 2)]
    cube = np.arange(12.0, dtype="f4").reshape(6, 2)
    path = write(tmp_path / "a.h5", cube[order], positions, product(("Bias", "V", [1.0, -1.0])), units="A")
    ds = usid.read(path)[""]
    np.testing.assert_array_equal(ds.current.values, cube.reshape(2, 3, 2)[..., ::-1])
    np.testing.assert_array_equal(ds.bias, [-1, 1])


def test_a_bias_that_depends_on_the_forc_is_two_dimensional(tmp_path):
    step, forc = np.meshgrid(np.arange(4), np.arange(3))
    bias = (step - 1.5) * (forc + 1)
    spectra = [("DC_Offset", "V", step.ravel(), bias.ravel()), ("FORC", "", forc.ravel(), forc.ravel())]
    path = write(tmp_path / "a.h5", np.arange(72.0).reshape(6, 12), raster(3, 2), spectra, units="A")
    ds = usid.read(path)[""]
    assert ds.current.dims == ("y", "x", "forc", "step")
    np.testing.assert_allclose(ds.bias.transpose("forc", "step"), bias)


def test_laziness_in_bytes(tmp_path, bytes_read):
    data = np.zeros((256, 20000), "f4")
    path = tmp_path / "big.h5"
    write(path, data, raster(16, 16), product(("Time", "s", np.arange(20000.0))))
    counter = bytes_read()
    ds = usid.read(str(path))[""]
    opening = counter.total
    assert opening < 2_000_000 < data.nbytes
    assert ds.current[0, 0].values.shape == (20000,)
    assert counter.total - opening < data.nbytes / 4


def test_broken_ancillaries_are_refused(tmp_path):
    path = write(tmp_path / "a.h5", np.zeros((5, 2)), raster(3, 2), product(("Bias", "V", [-1, 1])))
    with pytest.raises(CorruptFile, match="do not describe"):
        usid.read(path)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["a"] = np.zeros(4)
    with pytest.raises(NotThisFormat):
        usid.read(str(tmp_path / "b.h5"))


def test_a_real_image(data_file):
    path = data_file("usid_h5/SingFreqPFM_0003.h5")
    ds = usid.read(str(path))[""]
    with h5py.File(path) as file:
        expected = file["Measurement_000/Channel_001/Raw_Data"][:, 0].reshape(128, 128)
    np.testing.assert_array_equal(ds.amplitude_retrace, expected)
    assert ds.sizes == {"y": 128, "x": 128} and ds.attrs.get("instrument") is None  # "cypher_west" is a placeholder
    np.testing.assert_allclose(ds.x[-1], 5e-6, rtol=1e-6)
    assert schema.problems(ds) == []


def test_a_real_force_curve(data_file):
    ds = usid.read(str(data_file("usid_h5/AFM_Force_Curve.h5")))[""]
    assert ds.sizes == {"step": 2045} and ds.z.dims == ("step",) and ds.z.units == "m"
    assert ds.deflection.units == "m"
