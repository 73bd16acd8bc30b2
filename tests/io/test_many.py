"""Several files as one Dataset: order, joins, positions, directions, conditions, errors."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import raise_if_dask_computes
from tests.io import samples
from tests.io.test_jpk import build as jpk
from tests.io.test_wsxm import build as wsxm
from xpycro import provenance, schema
from xpycro.errors import TranslationError
from xpycro.io.many import open_many


def fields(folder, *names, sizes=(5, 3)):
    truth = []
    for seed, name in enumerate(names):
        content, _, image = samples.simple_field(*sizes, seed=seed)
        (folder / name).write_bytes(content)
        truth.append(image)
    return np.array(truth)


def test_a_folder_is_read_in_natural_order_and_lazily(tmp_path):
    truth = fields(tmp_path, "a1.gsf", "a2.gsf", "a10.gsf")
    (tmp_path / "notes.txt").write_text("not a measurement")
    with raise_if_dask_computes():
        ds = open_many(tmp_path)
    assert ds.height.dims == ("file", "y", "x") and ds.source.values.tolist() == ["a1.gsf", "a2.gsf", "a10.gsf"]
    np.testing.assert_array_equal(ds.height.values, truth)
    assert ds.file.values.tolist() == [0, 1, 2] and ds.height.attrs["units"] == "m"
    assert schema.problems(ds) == [] or all("source" in problem for problem in schema.problems(ds))
    np.testing.assert_array_equal(open_many(str(tmp_path / "a?.gsf")).height.values, truth[:2])
    np.testing.assert_array_equal(open_many([tmp_path / "a10.gsf", tmp_path / "a1.gsf"]).height.values, truth[[2, 0]])


def test_the_history_names_every_file(tmp_path):
    fields(tmp_path, "a.gsf", "b.gsf")
    ds = open_many(tmp_path)
    history = provenance.History.of(ds)
    assert history.source["name"] == "2 files" and [f["name"] for f in history.source["files"]] == ["a.gsf", "b.gsf"]
    assert history.steps[0]["operation"] == "open_many"
    assert set(schema.decode_metadata(ds.attrs["original_metadata"])) == {"a.gsf", "b.gsf"}


def test_axes_that_differ_are_joined_as_asked(tmp_path):
    fields(tmp_path, "a.gsf", sizes=(5, 3))
    content, _, image = samples.simple_field(10, 3, seed=1)  # the same width, twice the pixels
    (tmp_path / "b.gsf").write_bytes(content)
    with pytest.raises(ValueError, match=r"axes differ.*a.gsf.*x of b.gsf"):
        open_many(tmp_path)
    outer = open_many(tmp_path, join="outer")
    assert outer.sizes["x"] == 10 and np.isnan(outer.height.values[0, :, 1::2]).all()
    interp = open_many(tmp_path, join="interp")
    assert interp.sizes["x"] == 5
    np.testing.assert_allclose(interp.height.values[1], image[:, ::2], rtol=1e-6)


def test_variables_and_units_must_fit(tmp_path):
    fields(tmp_path, "a.gsf")
    other = samples.simple_field(units="V")[0]
    (tmp_path / "b.gsf").write_bytes(other)
    with pytest.raises(ValueError, match=r"b.gsf: height is in 'V', not 'm'"):
        open_many(tmp_path)
    (tmp_path / "b.gsf").write_bytes(samples.simple_field()[0].replace(b"Height (trace)", b"Phases (trace)"))
    with pytest.raises(ValueError, match="not in both"):
        open_many(tmp_path)
    filled = open_many(tmp_path, join="outer")
    assert set(filled.data_vars) == {"height", "phases"} and np.isnan(filled.phases.values[0]).all()


def test_conditions_that_vary_are_coordinates(tmp_path):
    for k, bias in enumerate(("5.000E-2", "7.000E-2")):
        content = samples.nanonis_scan()[0].replace(b"5.000E-2", bias.encode())
        (tmp_path / f"s{k}.sxm").write_bytes(content)
    ds = open_many(tmp_path)
    assert ds.z.dims == ("file", "direction", "y", "x")
    assert ds.bias.dims == ("file",) and ds.bias.values.tolist() == [0.05, 0.07] and ds.bias.attrs["units"] == "V"
    assert ds.attrs["setpoint"] == 1e-11 and "bias" not in ds.attrs


def test_curves_at_positions(tmp_path):
    for k in range(3):
        content = jpk(single=True, seed=0)[0]
        (tmp_path / f"c{k}.jpk-force").write_bytes(content)
    with pytest.raises(ValueError, match="does not say where it was measured"):
        open_many(tmp_path, dim="position")  # x is stated, y is not
    ds = open_many(tmp_path)
    assert ds.force.dims == ("file", "segment", "point")


def test_real_spectra_at_their_positions(data_file):
    path = str(data_file("nanonis_dat/NanonisReader_BiasSpectroscopy.dat"))
    ds = open_many([path, path], dim="position")
    assert ds.sizes["position"] == 2 and ds.x.dims == ("position",) and ds.x.attrs["units"] == "m"
    assert ds.x.values[0] == ds.x.values[1]


def test_real_spectra_of_two_instruments_at_their_positions(data_file):
    """Other settings, other lengths: joined by their bias, each where its header says."""
    names = ("NanonisReader_BiasSpectroscopy.dat", "Bias-Spectroscopy003.dat")
    paths = [data_file(f"nanonis_dat/{name}") for name in names]
    with pytest.raises(ValueError, match="not in both"):
        open_many(paths, dim="position")
    ds = open_many([paths[1], paths[1], paths[1]], dim="position")
    assert ds.current.dims == ("position", "bias") and ds.source.values.tolist() == [str(paths[1])] * 3
    np.testing.assert_allclose(ds.x.values, 1.1009e-8)
    np.testing.assert_allclose(ds.y.values, -2.08172e-7)


def test_a_folder_of_different_measurements_says_what_to_do(data_file):
    folder = data_file("nanonis_dat/a.dat").parent
    with pytest.raises(ValueError, match=r"Open each kind of measurement by itself: pass a pattern"):
        open_many(folder)


def test_forward_and_backward_files_join(tmp_path):
    content, _, truth = wsxm(5, 3, seed=0)
    back, _, other = wsxm(5, 3, seed=1, change=[(b"direction: Forward", b"direction: Backward")])
    folder = tmp_path / "wsxm"
    folder.mkdir()
    (folder / "a.b.top").write_bytes(back)
    (folder / "a.f.top").write_bytes(content)
    ds = open_many(folder, dim="direction")
    assert ds.topography.dims == ("direction", "y", "x")
    assert ds.direction.values.tolist() == ["forward", "backward"]
    np.testing.assert_allclose(ds.topography.values[0], truth * 59.7449e-9 / np.ptp(truth), rtol=1e-9)
    np.testing.assert_allclose(ds.topography.values[1], other * 59.7449e-9 / np.ptp(other), rtol=1e-9)
    (folder / "a.g.top").write_bytes(content)
    with pytest.raises(ValueError, match="topography is forward in"):
        open_many(folder, dim="direction")


def test_real_gxsm_siblings_join(data_file):
    folder = data_file("gxsm_nc/chigwell009-M-Xp-Topo.nc").parent
    ds = open_many(folder, dim="direction")
    assert ds.topo.dims == ("direction", "y", "x") and ds.adc2.dims == ("y", "x")
    assert np.corrcoef(ds.topo.values[0].ravel(), ds.topo.values[1].ravel())[0, 1] > 0.99


def test_files_that_cannot_be_read(tmp_path):
    truth = fields(tmp_path, "a.gsf", "b.gsf", "c.gsf")
    (tmp_path / "b.gsf").write_bytes((tmp_path / "b.gsf").read_bytes()[:-3])
    with pytest.raises(TranslationError, match=r"b.gsf"):
        open_many(tmp_path)
    with pytest.warns(UserWarning, match="1 of 3 files were left out"):
        ds = open_many(tmp_path, on_error="skip")
    np.testing.assert_array_equal(ds.height.values, truth[[0, 2]])
    assert "b.gsf" in ds.attrs["skipped_files"]


def test_wrong_arguments(tmp_path):
    fields(tmp_path, "a.gsf")
    with pytest.raises(ValueError, match="join='inner'"):
        open_many(tmp_path, join="inner")
    with pytest.raises(ValueError, match="on_error='ignore'"):
        open_many(tmp_path, on_error="ignore")
    with pytest.raises(FileNotFoundError, match="nothing matches"):
        open_many(str(tmp_path / "*.dat"))
    with pytest.raises(FileNotFoundError, match="empty"):
        open_many([])
    with pytest.raises(ValueError, match="has this dim already"):
        open_many(tmp_path, dim="y")


def test_force_curves_of_unequal_length_end_in_nan(tmp_path):
    """A folder of Asylum curves taken over a line: other lengths of every segment, one place each."""
    rng, truth = np.random.default_rng(0), []
    for k, (turn, n) in enumerate(((4, 9), (5, 7), (3, 12))):
        data = rng.normal(size=(n, 2)).astype("f4")
        note = f"ImagingMode: PFM Mode\rIndexes: 0,{turn},{n - 1}\rDirection: NaN,1,-1\rSpringConstant: 2\r"
        note += f"XLVDT: {k}e-6\rYLVDT: 5e-6\r"
        content, _, _ = samples.igor_wave5(data, units=("m", "s"), step=(0.01, 1.0), note=note,
                                           labels=((), ("Raw", "Defl"), ()))  # fmt: skip
        (tmp_path / f"Line0000Point{k:04d}.ibw").write_bytes(content)
        truth.append((turn, n, data))
    with pytest.raises(ValueError, match="join='outer'"):
        open_many(tmp_path, dim="position")
    ds = open_many(tmp_path, dim="position", join="outer")
    assert ds.force.dims == ("position", "segment", "point") and ds.sizes["point"] == 9
    np.testing.assert_allclose(ds.x.values, [0, 1e-6, 2e-6])
    for k, (turn, n, data) in enumerate(truth):
        assert ds.length.values[k].tolist() == [turn, n - turn]
        for segment, part in enumerate((data[:turn, 1], data[turn:, 1])):
            found = ds.force.values[k, segment]
            np.testing.assert_allclose(found[: len(part)], 2 * part, rtol=1e-6)
            assert np.isnan(found[len(part) :]).all()
    assert ds.force.attrs["units"] == "N" and not ds.force.variable._in_memory
