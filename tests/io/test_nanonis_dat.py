"""Nanonis spectra: real files against INDEX.tsv and NumPy's own text reader, a synthetic one against its truth."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import samples
from xpycro import schema
from xpycro.errors import CorruptFile
from xpycro.io.opening import open as open_file
from xpycro.io.translators.nanonis_dat import spectrum


def _columns(path):
    """Names and numbers below [DATA], read by NumPy."""
    lines = path.read_bytes().split(b"\n")
    start = lines.index(b"[DATA]") + 1
    return lines[start].decode().split("\t"), np.genfromtxt(lines[start + 1 :], delimiter=b"\t")


def test_real_bias_spectrum(data_file):
    path = data_file("nanonis_dat/Bias-Spectroscopy003.dat")
    ds = spectrum(str(path))[""]
    names, numbers = _columns(path)
    assert len(names) == 7 and ds.current.dims == ("bias",) and ds.sizes["bias"] == 128
    order = np.argsort(numbers[:, 0])
    np.testing.assert_array_equal(ds.bias.values, numbers[order, 0])
    np.testing.assert_array_equal(ds.current.values, numbers[order, 1])
    np.testing.assert_allclose(ds.phase.values, np.deg2rad(numbers[order, 3]))
    assert (ds.x.item(), ds.y.item(), ds.attrs["position_z"]) == (1.1009e-8, -2.08172e-7, -9.98825e-9)
    units = {n: ds[n].attrs["units"] for n in ds}
    assert list(units.values()) == ["A", "V", "rad", "m", "Hz", "V"]
    assert schema.decode_metadata(ds.attrs["original_metadata"])["Oscillation Control>Cut off frq (Hz)"] == "389"
    assert ds.attrs["acquired"] == "2020-10-17T22:38:54" and schema.problems(ds) == []


def test_real_spectrum_with_filtered_copies(data_file):
    path = data_file("nanonis_dat/NanonisReader_BiasSpectroscopy.dat")
    ds = spectrum(str(path))[""]
    names, numbers = _columns(path)
    assert sum(v.sizes.get("direction", 1) for v in ds.data_vars.values()) == 24 and ds.sizes["bias"] == 256
    np.testing.assert_array_equal(ds.current[1].values, numbers[:, names.index("Current [bwd] (A)")])
    filtered = numbers[:, names.index("Vert. Deflection (V) [bwd] [filt]")]
    np.testing.assert_array_equal(ds.vert_deflection_filtered[1].values, filtered)
    assert schema.problems(ds) == []


def test_real_distance_spectrum(data_file):
    ds = spectrum(str(data_file("nanonis_dat/Z-Spectroscopy__012.dat")))[""]
    assert ds.current.dims == ("direction", "z") and ds.z.attrs["dimension_type"] == "spectral"
    # the recorded z follows the axis in both directions: backward columns need no mirroring
    for moved in ds.z_2.values - ds.z_2.values[0, 0]:
        np.testing.assert_allclose(moved, ds.z.values, atol=1e-12)
    assert (ds.x.item(), ds.y.item(), ds.attrs["position_z"]) == (-1.99469e-8, -1.72054e-7, -1.88797e-8)


def test_real_sweep_of_another_signal(data_file):
    path = data_file("nanonis_dat/a.dat")
    ds = spectrum(str(path))[""]
    assert ds.current.dims == ("step",) and ds.amplitude_setpoint.dims == ("step",)
    assert schema.resolve_dims(ds.current, "amplitude_setpoint") == ("step",)
    np.testing.assert_array_equal(ds.current.values, _columns(path)[1][:, 3])
    assert ds.timestamp.attrs["units"] == "s" and len(ds) == 8


def test_real_sweeps_and_their_average(data_file):
    path = data_file("nanonis_dat/z.dat")
    ds = spectrum(str(path))[""]
    names, numbers = _columns(path)
    assert dict(ds.sizes) == {"direction": 2, "sweep": 3, "z": 200}
    assert ds.current_sweeps.dims == ("direction", "sweep", "z")
    wanted = numbers[:, names.index("Current [00002] [bwd] (A)")]
    np.testing.assert_array_equal(ds.current_sweeps.sel(sweep=2, direction="backward").values, wanted)
    np.testing.assert_allclose(ds.current_sweeps.mean("sweep").values, ds.current.values, rtol=1e-4, atol=1e-17)
    assert schema.problems(ds) == []


def _write(tmp_path, content):
    path = tmp_path / "a.dat"
    path.write_bytes(content)
    return str(path)


def test_synthetic_spectrum(tmp_path):
    content, _, truth = samples.nanonis_spectrum()
    truth = np.round(truth, 12)[::-1]
    ds = spectrum(_write(tmp_path, content))[""]
    np.testing.assert_allclose(ds.bias.values, truth[:, 0])
    np.testing.assert_allclose(ds.current.values, truth[:, [1, 4]].T * 1e-12)
    np.testing.assert_allclose(ds.current_sweeps.values, truth[:, [[2, 3], [5, 6]]].transpose(1, 2, 0) * 1e-12)
    np.testing.assert_allclose(ds.phase_filtered.values, np.deg2rad(truth[:, 8]))
    np.testing.assert_allclose(ds.current_2.values, truth[:, 9] * 1e-12)  # a name that comes twice
    assert ds.attrs["setpoint"] == pytest.approx(1e-11) and ds.attrs["bias"] == 0.1


def test_history_of_signals_has_a_time_axis(tmp_path):
    text = "Experiment\tHistory Data\t\nSample Period (ms)\t20\t\n\n[DATA]\nCurrent (A)\tZ (m)\n1\tNaN\n2\t5\n"
    ds = spectrum(_write(tmp_path, text.encode()))[""]
    assert ds.current.dims == ("time",)
    np.testing.assert_allclose(ds.time.values, [0, 0.02])
    np.testing.assert_array_equal(ds.z.values, [np.nan, 5])


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b"[DATA]", b"[DATB]", "header"),
        (b"1.000000000E+00\t", b"1.000000000E+00 ", "line 1"),
        (b"1.000000000E+00\t", b"1.0_0000000E+00\t", "line 1"),
        (b"1.000000000E+00\t", b"one\t", "line 1"),
        (b"\tPhase (deg)\t", b"\t\t", "column names"),
    ],
)
def test_damage_is_named(tmp_path, old, new, field):
    content, _header, _ = samples.nanonis_spectrum()
    assert old in content
    with pytest.raises(CorruptFile, match=field):
        spectrum(_write(tmp_path, content.replace(old, new)))


def test_a_cut_file_is_noticed(tmp_path):
    content, header, _ = samples.nanonis_spectrum()
    for length in (len(content) - 1, header):
        with pytest.raises(CorruptFile, match="the last line is cut"):
            spectrum(_write(tmp_path, content[:length]))


HEAD = "Saved Date\t17.10.2020 22:38:54\t\r\nUser\tM\xfcller\t\r\n" + "".join(
    f"Key {k}\tvalue\t\r\n" for k in range(600)
)


@pytest.mark.parametrize(
    ("table", "current"),
    [
        ("Bias (V)\tCurrent (A)\r\n1E+0\t2.5E-9\r\n2E+0\tNaN\r\n", [2.5e-9, np.nan]),
        ("Bias (V)\tCurrent (pA)\tX (m)\t\r\n1,0E+0\t2,5E+3\t1\t\r\n2,0E+0\t\t1\t\r\n", [2.5e-9, np.nan]),
        ("Bias (V)\tCurrent (A)\r\n1E+0\t2.5E-9\r\n", [2.5e-9]),
    ],
)
def test_tables_as_other_systems_write_them(tmp_path, table, current):
    """A header longer than what is looked at to recognise it, decimal commas, empty cells, one line, Windows ends."""
    path = tmp_path / "a.dat"
    path.write_bytes((HEAD + "\r\n[DATA]\r\n" + table).encode("latin-1"))
    ds = open_file(path)
    np.testing.assert_allclose(ds.current.values, current)
    assert ds.current.dims == ("bias",) and ds.attrs["acquired"] == "2020-10-17T22:38:54"
    assert schema.decode_metadata(ds.attrs["original_metadata"])["User"] == "M\xfcller"
