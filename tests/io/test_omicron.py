"""Omicron MATRIX: the real file against INDEX.tsv and its bytes, synthetic runs against their truth."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError, UnsupportedVariant
from xpycro.io import rawarray
from xpycro.io.translators.omicron import matrix


def text(value):
    return struct.pack("<I", len(value)) + value.encode("utf-16-le")


def value(v):
    if isinstance(v, bool):
        return b"LOOB" + struct.pack("<I", v)
    if isinstance(v, int):
        return b"GNOL" + struct.pack("<i", v)
    return b"BUOD" + struct.pack("<d", v) if isinstance(v, float) else b"GRTS" + text(v)


def block(tag, body, timed=True):
    return tag + struct.pack("<I", len(body)) + (bytes(8) if timed else b"") + body


def elements(settings):
    body = bytes(4) + struct.pack("<I", len(settings))
    for element, props in settings.items():
        body += text(element) + struct.pack("<I", len(props))
        for name, (v, unit) in props.items():
            body += text(name) + text(unit) + bytes(4) + value(v)
    return block(b"APEE", body)


def describe(channel, unit, transfer):
    keys = struct.pack("<I", 1) + bytes(16) + text("a") + text("b")
    keys += struct.pack("<I", 1) + bytes(4) + struct.pack("<I", 7) + bytes(8) + text(channel) + text(unit)
    function, numbers = transfer
    body = bytes(4) + struct.pack("<I", 7) + text(function) + text(unit) + struct.pack("<I", len(numbers))
    body += b"".join(text(k) + value(v) for k, v in numbers.items())
    inner = block(b"TCID", bytes(8) + keys + struct.pack("<I", 0), False) + block(b"REFX", body, False)
    return block(b"YSCC", bytes(4) + inner)


LINEAR = ("TFF_Linear1D", {"Factor": 2e9, "Offset": 100.0})


def build(
    folder, nx=5, ny=3, *, back=True, down=False, written=None, channel="Z", unit="m", extra=None, seed=0,
    transfer=LINEAR, count=None, scanner=None,
):  # fmt: skip
    """A run of one data file; `written` lines of it."""
    size = count or nx * ny * (1 + back) * (1 + down)
    stored = np.random.default_rng(seed).integers(-(10**6), 10**6, size).astype("<i4")
    there = stored if written is None else stored[: written * nx]
    describes = struct.pack("<5I", 0, 0, 0, 0, 0) + struct.pack("<ii", size, len(there))
    describes += struct.pack("<I", 4) + "SI32".encode("utf-16-le") + bytes(8)
    body = block(b"CSED", describes, False) + block(b"ATAD", there.tobytes(), False)
    data = b"ONTMATRX0101TLKB" + struct.pack("<I", len(body) + 12 - 8 + 0) + struct.pack("<QI", 1605085646, 0) + body
    name = f"run--4_1.{channel}_mtrx"
    settings = {
        "XYScanner": {
            "Points": (nx, "--"), "Lines": (ny, "--"), "Width": (1e-7, "Meter"), "Height": (6e-8, "Meter"),
            "X_Retrace": (back, "--"), "Y_Retrace": (down, "--"), "X_Offset": (1e-8, "Meter"), "Angle": (30, "Degree"),
            "Y_Offset": (2e-8, "Meter"), "Enable_Subgrid": (False, "--"), **(scanner or {}),
        },
        "GapVoltageControl": {"Voltage": (0.1, "Volt")},
        "Regulator": {"Setpoint_1": (3e-10, "Ampere")},
        **(extra or {}),
    }  # fmt: skip
    change = bytes(4) + text("GapVoltageControl") + text("Voltage") + text("Volt") + bytes(4)
    parameters = b"ONTMATRX0101" + elements(settings) + describe(channel, unit, transfer)
    parameters += block(b"DOMP", change + value(0.6)) + block(b"KRAM", text("MTRX$SAMPLE_NAME-Pt111"))
    parameters += block(b"KRAM", text("MTRX$STS_LOCATION-10,20;1.5e-8,2.5e-8%%abc-1-1-0%%"))
    parameters += block(b"FERB", bytes(4) + text(name)) + block(b"DOMP", change + value(99.0))
    (folder / name).write_bytes(data)
    (folder / "run_0001.mtrx").write_bytes(parameters)
    return str(folder / name), stored, data


def test_real_scan_agrees_with_its_index_row_and_bytes(data_file):
    path = data_file("omicron_mtrx/20201111--4_1.Z_mtrx")
    data_file("omicron_mtrx/20201111_0001.mtrx")
    ds = matrix(str(path))[""]
    assert ds.z.dims == ("direction", "y", "x") and ds.z.shape == (2, 400, 400) and ds.z.attrs["units"] == "m"
    forward = ds.z.sel(direction="forward")
    assert forward.min().item() == pytest.approx(-5.1407719125e-07, rel=1e-10)
    assert forward.max().item() == pytest.approx(-5.1135302667e-07, rel=1e-9)
    assert ds.x[1].item() == pytest.approx(1e-7 / 400) and ds.attrs["bias"] == pytest.approx(0.6)
    assert ds.attrs["setpoint"] == pytest.approx(0.3e-9) and ds.attrs["scan_angle"] == 0
    stored = np.frombuffer(path.read_bytes(), "<i4", offset=104).reshape(400, 2, 400)
    slope, constant = np.polyfit(stored[:, 0].ravel().astype(float), forward.values.ravel(), 1)
    np.testing.assert_allclose(forward.values, slope * stored[:, 0] + constant, rtol=1e-9)
    np.testing.assert_allclose(ds.z.values[1], slope * stored[:, 1, ::-1] + constant, rtol=1e-9)
    assert np.corrcoef(ds.z.values[0].ravel(), ds.z.values[1].ravel())[0, 1] > 0.9
    assert schema.problems(ds) == []


def test_the_real_scan_equals_another_reader(data_file):
    access = pytest.importorskip("access2thematrix", reason="the extra access2theMatrix is not installed")
    path = str(data_file("omicron_mtrx/20201111--4_1.Z_mtrx"))
    reader = access.MtrxData()
    traces, _ = reader.open(path)
    ds = matrix(path)[""]
    for number, name in traces.items():
        image, _ = reader.select_image(name)
        np.testing.assert_allclose(ds.z.values[number], image.data, rtol=1e-12)


@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("down", [True, False])
def test_orientation_and_scale_of_a_non_square_scan(tmp_path, back, down):
    path, stored, _ = build(tmp_path, 5, 3, back=back, down=down)
    ds = matrix(path)[""]
    physical = ((stored - 100.0) / 2e9).reshape(1 + down, 3, 1 + back, 5)
    for way, name in enumerate(["z", "z_down"][: 1 + down]):
        forward = physical[way, :, 0][:: -1 if way else 1]
        found = ds[name].values
        np.testing.assert_allclose(found[0] if back else found, forward, rtol=1e-12)
        if back:
            np.testing.assert_allclose(found[1], physical[way, :, 1, ::-1][:: -1 if way else 1], rtol=1e-12)
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 2e-8)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 2e-8)
    # the bias that held when the file was written: changed before, changed again after
    assert ds.attrs["bias"] == 0.6 and ds.attrs["sample"] == "Pt111"
    assert ds.attrs["scan_angle"] == pytest.approx(np.pi / 6) and ds.attrs["acquired"] == "2020-11-11T09:07:26"


def test_interrupted_scans_are_flagged(tmp_path):
    path, stored, _ = build(tmp_path, 5, 4, written=3)  # forward, backward, forward
    ds = matrix(path)[""]
    np.testing.assert_allclose(ds.z.values[0, 1], (stored[10:15] - 100.0) / 2e9)
    assert np.isnan(ds.z.values[1, 1]).all() and np.isnan(ds.z.values[:, 2:]).all()
    assert ds.measured.values[:, 0].tolist() == [True, False, False, False]
    path, _, _ = build(tmp_path, 5, 2, down=True, written=6)
    ds = matrix(path)[""]
    assert np.isnan(ds.z_down.values[:, 0]).all() and np.isfinite(ds.z_down.values[:, 1]).all()
    assert ds.measured_down.values[:, 0].tolist() == [False, True]


def test_the_multilinear_transfer(tmp_path):
    numbers = {"Raw_1": 3.0, "PreOffset": 1.0, "Offset": 50.0, "NeutralFactor": 4.0, "PreFactor": 1e9}
    path, stored, _ = build(tmp_path, transfer=("TFF_MultiLinear1D", numbers), back=False)
    np.testing.assert_allclose(matrix(path)[""].z.values.ravel(), (3.0 - 1.0) * (stored - 50.0) / 4e9, rtol=1e-12)


def test_spectra(tmp_path):
    extra = {
        "Spectroscopy": {
            "Device_1_Start": (1.0, "Volt"), "Device_1_End": (-1.0, "Volt"), "Device_1_Points": (5, "--"),
            "Enable_Device_1_Ramp_Reversal": (True, "--"),
        }
    }  # fmt: skip
    path, stored, _ = build(tmp_path, channel="I(V)", unit="A", extra=extra, count=10)
    ds = matrix(path)[""]
    physical = (stored - 100.0) / 2e9
    assert ds.i.dims == ("direction", "bias") and ds.i.attrs["units"] == "A"
    np.testing.assert_allclose(ds.bias.values, np.linspace(-1, 1, 5))
    np.testing.assert_allclose(ds.i.values, [physical[4::-1], physical[5:]], rtol=1e-12)
    assert ds.x.item() == 1.5e-8 and ds.y.item() == 2.5e-8


def build_volume(folder, *, back=True, down=False, both=True, mode=0, written=None, points=4):
    """Spectra on every second pixel of every third line of 7 x 5: (2, 4) spectra a scan."""
    settings = {
        "Device_1_Start": (-1.0, "Volt"), "Device_1_End": (1.0, "Volt"), "Device_1_Points": (points, "--"),
        "Enable_Device_1_Ramp_Reversal": (both, "--"),
    }  # fmt: skip
    grid = {
        "Points": (7, "--"), "Lines": (5, "--"), "Enable_Subgrid": (True, "--"), "Subgrid_X": (2, "--"),
        "Subgrid_Y": (3, "--"), "Subgrid_Match_Mode": (mode, "--"),
    }  # fmt: skip
    ways = 2 if back and mode == 0 else 1
    path, stored, _ = build(
        folder, points, written, channel="I(V)", unit="A", extra={"Spectroscopy": settings}, scanner=grid, back=back,
        down=down, count=2 * 4 * points * ways * (1 + down) * (1 + both), written=written,
    )  # fmt: skip
    return path, ((stored - 100.0) / 2e9).reshape(1 + down, 2, ways, 4, 1 + both, points)


@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("down", [True, False])
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_spectra_over_a_grid(tmp_path, back, down, both, mode):
    path, truth = build_volume(tmp_path, back=back, down=down, both=both, mode=mode)
    ds = matrix(path)[""]
    ways = [0, 1] if back and mode == 0 else [1] if back and mode == 2 else [0]
    assert len(ds.data_vars) == len(ways) * (1 + down)
    for turned in range(1 + down):
        for k, way in enumerate(ways):
            expected = truth[turned, :, k]  # (y, x, ramp forth and back, point)
            expected = expected[:, ::-1] if way else expected
            expected = expected[::-1] if turned else expected
            name = "i" + ("_backward" if way else "") + ("_down" if turned else "")
            found = ds[name].values if both else ds[name].values[None]
            np.testing.assert_allclose(found[0], expected[:, :, 0], rtol=1e-12)
            if both:
                np.testing.assert_allclose(found[1], expected[:, :, 1, ::-1], rtol=1e-12)
    np.testing.assert_allclose(ds.x.values, np.arange(4) * 2e-7 / 7)
    np.testing.assert_allclose(ds.y.values, np.arange(2) * 3 * 6e-8 / 5)
    assert schema.problems(ds) == []


@pytest.mark.parametrize("down", [True, False])
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_spectra_over_a_grid_equal_another_reader(tmp_path, mode, down):
    access = pytest.importorskip("access2thematrix", reason="the extra access2theMatrix is not installed")
    path, _ = build_volume(tmp_path, mode=mode, down=down)
    reader = access.MtrxData()
    reader.open(path)
    ds = matrix(path)[""]
    for name, traces in reader.volume_scan.items():
        way, vertical = name.split("/")
        label = "i" + "_backward" * (way == "backward") + "_down" * (vertical == "down")
        for side, key in enumerate(("trace", "retrace")):
            np.testing.assert_allclose(ds[label].values[side], traces[key], rtol=1e-12)


def test_an_interrupted_grid_ends_in_nan(tmp_path):
    path, truth = build_volume(tmp_path, back=False, written=5)
    values = matrix(path)[""].i.values
    np.testing.assert_allclose(values[0, 0, :2], truth[0, 0, 0, :2, 0], rtol=1e-12)
    assert np.isfinite(values).sum() == 5 * 4 and np.isnan(values[:, 1]).all()


def test_other_curves(tmp_path):
    """A frequency sweep, and one of a signal that the parameters do not describe."""
    sweep = {"FrequencyPhaseDetector": {
        "Start": (1e4, "Hertz"), "End": (2e4, "Hertz"), "Points": (6, "--")}}  # fmt: skip
    path, stored, _ = build(tmp_path, channel="Amplitude(f)", unit="V", extra=sweep, count=6)
    ds = matrix(path)[""]
    assert ds.amplitude.dims == ("frequency",) and ds.frequency.values[-1] == 2e4
    path, stored, _ = build(tmp_path, channel="I(t)", unit="A", count=6)
    ds = matrix(path)[""]
    assert ds.i.dims == ("point",)
    np.testing.assert_allclose(ds.i.values, (stored - 100.0) / 2e9, rtol=1e-12)


def test_what_is_missing_or_of_another_kind_is_said(tmp_path):
    path, *_ = build(tmp_path)
    with pytest.raises(UnsupportedVariant, match="parameter file"):
        matrix(str(tmp_path / "run_0001.mtrx"))
    (tmp_path / "run_0001.mtrx").rename(tmp_path / "gone.mtrx")
    with pytest.raises(CorruptFile, match=r"run_0001\.mtrx beside it"):
        matrix(path)
    (tmp_path / "other.Z_mtrx").write_bytes(b"something else")
    with pytest.raises(NotThisFormat):
        matrix(str(tmp_path / "other.Z_mtrx"))
    build(tmp_path, transfer=("TFF_Magic", {}))
    with pytest.raises(UnsupportedVariant, match="TFF_Magic"):
        matrix(path)


def test_opening_reads_no_numbers(data_file, monkeypatch):
    read = []
    original = rawarray.read_block
    monkeypatch.setattr(rawarray, "read_block", lambda handle, offset, buffer: (
        read.append(len(buffer)) or original(handle, offset, buffer)))  # fmt: skip
    ds = matrix(str(data_file("omicron_mtrx/20201111--4_1.Z_mtrx")))[""]
    assert read == []
    ds.z.isel(direction=1, y=7).load()
    assert sum(read) == 400 * 4


def test_mutants_of_spectra_over_a_grid_are_refused_or_read_right(tmp_path):
    path, truth = build_volume(tmp_path)
    name, content = path.rpartition("/")[2], (tmp_path / path.rpartition("/")[2]).read_bytes()
    assert fuzzing.run(matrix, content, len(content) - 4 * truth.size, tmp_path, name)["refused"] > 30


def test_mutants_are_refused_or_read_right(tmp_path):
    path, stored, content = build(tmp_path, 7, 6)
    name = path.rpartition("/")[2]
    assert fuzzing.run(matrix, content, len(content) - stored.nbytes, tmp_path, name)["refused"] > 30
    (tmp_path / name).write_bytes(content)
    parameters = (tmp_path / "run_0001.mtrx").read_bytes()
    for mutant in fuzzing.mutants(parameters, (0, 0), 300, 1):
        (tmp_path / "run_0001.mtrx").write_bytes(mutant.content)
        try:
            ds = matrix(path)[""].load()
        except TranslationError:
            continue
        assert sum(v.size for v in ds.data_vars.values()) == stored.size, mutant.label
