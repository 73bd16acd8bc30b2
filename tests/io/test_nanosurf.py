"""Nanosurf .nid: real files against INDEX.tsv and their own bytes, synthetic ones against their truth."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, TranslationError, UnsupportedVariant
from xpycro.io.translators.nanosurf import scan


def build(nx=5, ny=3, *, bits=16, frames=("Scan forward", "Scan backward"), encoding="utf-8", change=(), seed=0):
    """A file of two channels a frame; the truth is raw[frame, channel, y, x], bottom line first."""
    raw = np.random.default_rng(seed).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (len(frames), 2, ny, nx))
    lines = ["[DataSet]", "Version=2", f"GroupCount={len(frames)}"]
    lines += [f"Gr{g}-Name={name}" for g, name in enumerate(frames)]
    lines += [f"Gr{g}-Ch{c + 1}=DataSet-{g}:{c + 1}" for g in range(len(frames)) for c in range(2)]
    lines += ["", "[DataSet-Info]", "Scan direction=Up", "Rotation=-45 °", "X-Pos=-213nm", "Y-Pos=1.5µm",
              "Date=14-06-2023", "Time=11:56:19", "Setpoint=1nA", "Tip voltage=600mV", "Op. mode=STM"]  # fmt: skip
    for g, name in enumerate(frames):
        for c, (channel, unit, span, low) in enumerate((("Tip Current", "A", 2e-7, -1e-7), ("Z-Axis", "m", 1e-6, 0))):
            lines += ["", f"[DataSet-{g}:{c + 1}]", f"Points={nx}", f"Lines={ny}", f"Frame={name}", "Dim0Unit=m",
                      "Dim0Range=5e-08", "Dim0Min=0", "Dim1Unit=m", "Dim1Range=6e-08", "Dim1Min=0",
                      f"Dim2Name={channel}", f"Dim2Unit={unit}", f"Dim2Range={span}", f"Dim2Min={low}",
                      "SaveMode=Binary", f"SaveBits={bits}", "SaveSign=Signed", "SaveOrder=Intel"]  # fmt: skip
    header = ("\r\n".join(lines) + "\r\n\r\n").encode(encoding) + b"#!"
    for old, new in change:
        header = header.replace(old, new, 1)
    return header + raw.astype(f"<i{bits // 8}").tobytes(), len(header), raw


def write(tmp_path, content):
    path = tmp_path / "test.nid"
    path.write_bytes(content)
    return str(path)


def test_real_image_agrees_with_its_index_row(data_file):
    ds = scan(str(data_file("nanosurf_nid/NanoSurf_20160301.nid")))[""]
    assert ds.z_axis.dims == ("direction", "y", "x") and ds.z_axis.shape == (2, 128, 128)
    forward = ds.z_axis.sel(direction="forward")
    assert forward.min().item() == pytest.approx(-294.2e-9, abs=0.05e-9)
    assert forward.max().item() == pytest.approx(-88.5e-9, abs=0.05e-9)
    assert ds.x.attrs["units"] == "m" and ds.x[1].item() == pytest.approx(10e-6 / 128)
    assert ds.attrs["acquired"] == "2016-03-01T18:36:58"


@pytest.mark.parametrize("name", ["NanoSurf_20160301.nid", "circles.nid", "stm-nanosurf-nid.nid"])
def test_real_files_agree_with_their_bytes(data_file, name):
    path = data_file(f"nanosurf_nid/{name}")
    content = path.read_bytes()
    groups = scan(str(path))
    ds = groups[""]
    n = ds.sizes["x"]
    stored = np.frombuffer(content, "<i2", offset=content.index(b"#!") + 2).reshape(2, 2, n, n)
    spans = {"z_axis": (2e-5, -1e-5), "topography": (2.032e-5, -1.016e-5), "tip_current": (2e-7, -1e-7)}
    spans |= {"amplitude": (5.0, -2.5)} if name.startswith("Nano") else {"amplitude": (20.0, -10.0)}
    spans |= {"z_axis": (2e-7, -1e-7)} if name.startswith("stm") else {}
    for channel, variable in enumerate(ds.data_vars):
        span, low = spans[variable]
        expected = low + span * (stored[:, channel].astype(float) + 2**15) / 2**16
        np.testing.assert_allclose(ds[variable].values, expected, rtol=1e-12, atol=1e-20)
    assert schema.problems(ds) == []


def test_backward_lines_lie_in_place(data_file):
    z = scan(str(data_file("nanosurf_nid/circles.nid")))[""].topography.values
    forward, backward = z - z.mean(axis=-1, keepdims=True)
    assert np.corrcoef(forward.ravel(), backward.ravel())[0, 1] > 0.7
    assert abs(np.corrcoef(forward.ravel(), backward[:, ::-1].ravel())[0, 1]) < 0.3


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_orientation_and_scale_on_a_non_square_image(tmp_path, bits):
    content, _, raw = build(5, 3, bits=bits)
    ds = scan(write(tmp_path, content))[""]
    assert ds.tip_current.shape == (2, 3, 5)
    expected = -1e-7 + 2e-7 * (raw[:, 0].astype(float) + 2 ** (bits - 1)) / 2**bits
    np.testing.assert_allclose(ds.tip_current.values, expected, rtol=1e-12, atol=1e-22)
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 1e-8)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 2e-8)
    assert ds.attrs["bias"] == 0.6 and ds.attrs["setpoint"] == 1e-9 and ds.attrs["setpoint_units"] == "A"
    assert ds.attrs["scan_angle"] == pytest.approx(-np.pi / 4) and ds.attrs["scan_center_y"] == pytest.approx(1.5e-6)
    assert schema.decode_metadata(ds.attrs["original_metadata"])["DataSet-Info"]["Scan direction"] == "Up"


def test_older_files_are_latin_1(tmp_path):
    content, _, _ = build(encoding="latin-1")
    assert scan(write(tmp_path, content))[""].attrs["scan_center_y"] == pytest.approx(1.5e-6)


def test_one_direction_has_no_direction_dim(tmp_path):
    ds = scan(write(tmp_path, build(frames=("Scan forward",))[0]))[""]
    assert ds.z_axis.dims == ("y", "x") and ds.z_axis.attrs["direction"] == "forward"


def test_force_curves_are_segments(tmp_path):
    content, _, raw = build(7, 1, frames=("Spec forward", "Spec backward"))
    ds = scan(write(tmp_path, content))[""]
    assert ds.z_axis.dims == ("position", "segment", "point") and ds.z_axis.shape == (1, 2, 7)
    assert ds.segment.values.tolist() == ["approach", "retract"]
    np.testing.assert_allclose(ds.z_axis.values[0], 1e-6 * (raw[:, 1, 0] + 2.0**15) / 2**16, rtol=1e-12)


def test_segments_of_unequal_length(tmp_path):
    """The way back has five points a line where the way forth has seven; nothing is read on opening."""
    content, header, raw = build(7, 2, frames=("Spec forward", "Spec backward"))
    shorter = raw[1, :, :, :5].astype("<i2").tobytes()
    at = content.index(b"[DataSet-1:1]")
    head = content[:at] + content[at:header].replace(b"Points=7", b"Points=5")
    body = head + raw[0].astype("<i2").tobytes() + shorter
    ds = scan(write(tmp_path, body))[""]
    assert not ds.z_axis.variable._in_memory and ds.length.values.tolist() == [7, 5]
    np.testing.assert_allclose(ds.z_axis.values[:, 1, :5], 1e-6 * (raw[1, 1, :, :5] + 2.0**15) / 2**16, rtol=1e-12)
    np.testing.assert_allclose(ds.z_axis[1, 0].values, 1e-6 * (raw[0, 1, 1] + 2.0**15) / 2**16, rtol=1e-12)
    assert np.isnan(ds.z_axis.values[:, 1, 5:]).all() and schema.problems(ds) == []


def test_second_passes_are_a_group(tmp_path):
    frames = ("Scan forward", "Scan backward", "2nd scan forward", "2nd scan backward")
    content, _, raw = build(5, 3, frames=frames)
    groups = scan(write(tmp_path, content))
    assert list(groups) == ["image", "image_2"]
    expected = 1e-6 * (raw[2:, 1] + 2.0**15) / 2**16
    np.testing.assert_allclose(groups["image_2"].z_axis.values, expected, rtol=1e-12)


def test_a_comment_of_several_lines(tmp_path):
    content, _, _ = build(change=[(b"Op. mode=STM", b"Op. mode=STM\r\nComment=first\r\nsecond = of two\r\nthird")])
    ds = scan(write(tmp_path, content))[""]
    info = schema.decode_metadata(ds.attrs["original_metadata"])["DataSet-Info"]
    assert info["Comment"] == "first\nthird" and info["second "] == "of two"


def test_opening_reads_the_header_only(data_file, bytes_read):
    path = str(data_file("nanosurf_nid/circles.nid"))
    scan(path)
    counter = bytes_read()
    scan(path)
    assert counter.total < 150_000  # of 529,185; one look ahead of 65,536 bytes included


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b"Points=5", b"Points=6", CorruptFile),
        (b"SaveMode=Binary", b"SaveMode=ASCII", UnsupportedVariant),
        (b"Dim2Range=2e-07", b"Dim2Range=nan", CorruptFile),
        (b"Gr0-Ch2=DataSet-0:2", b"Gr0-Ch2=DataSet-0:1", CorruptFile),
        (b"GroupCount=2", b"GroupCount=1", CorruptFile),
        (b"Points=5", b"Points=1000000000000", CorruptFile),
        (b"Frame=Scan backward", b"Frame=Scan backwarb", CorruptFile),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(tmp_path, old, new, error):
    with pytest.raises(error):
        scan(write(tmp_path, build(change=[(old, new)])[0]))


def test_mutants_are_refused_or_read_right(tmp_path):
    content, header, _ = build(7, 6)
    assert fuzzing.run(scan, content, header, tmp_path, "fuzz.nid")["refused"] > 30


def test_truncation_at_every_header_length(tmp_path):
    content, header, _ = build()
    for length in range(0, header, 7):
        with pytest.raises(TranslationError):
            scan(write(tmp_path, content[:length]))
