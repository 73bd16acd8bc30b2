"""Nanonis grids and scans: real files against INDEX.tsv and their own bytes, synthetic ones against their truth."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.io import samples
from xpycro import schema
from xpycro.errors import CorruptFile, UnsupportedVariant
from xpycro.io import rawarray
from xpycro.io.opening import open as open_file
from xpycro.io.translators.nanonis import Column, column, grid, grouped
from xpycro.io.translators.nanonis_sxm import scan


def _write(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


# ---------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Current (A)", Column("Current", "A")),
        ("Current [bwd] (A)", Column("Current", "A", backward=True)),
        ("Current (A) [bwd] [filt]", Column("Current", "A", backward=True, filtered=True)),
        ("LI Demod 1 X [AVG] [bwd] (A)", Column("LI Demod 1 X", "A", backward=True, sweep=0)),
        ("Z [00003] (m)", Column("Z", "m", sweep=3)),
        ("Z-Ctrl hold", Column("Z-Ctrl hold", "")),
        ("[P1] Current (A)", Column("[P1] Current", "A")),
    ],
)
def test_column_names_are_taken_apart(text, expected):
    assert column(text) == expected


def test_columns_without_partner_stand_alone():
    groups, sweeps = grouped([column(t) for t in ("I [00001] (A)", "I [00002] (A)", "I [00001] [bwd] (A)", "V (V)")])
    assert sweeps == [1, 2]
    assert [(g.label, g.dims) for g in groups] == [
        ("i sweep 1", ()), ("i sweep 2", ()), ("i sweep 1 backward", ()), ("v", ()),
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- grids


def test_real_grid_sweeping_z_that_was_stopped(data_file):
    path = data_file("nanonis_3ds/Grid Spectroscopy006.3ds")
    ds = grid(str(path))[""]
    assert dict(ds.sizes) == {"direction": 2, "y": 32, "x": 32, "z": 256}
    assert ds.current.dims == ("direction", "y", "x", "z") and ds.current.attrs["units"] == "A"
    assert int(ds.measured.sum()) == 88
    # the bytes, decoded without the package: 20 parameters, 16 channels of 256 points, sweep from +0.2 to -0.8 nm
    raw = path.read_bytes()
    start = raw.index(b":HEADER_END:\r\n") + 14
    record = np.frombuffer(raw[start:], ">f4").reshape(88, 20 + 16 * 256)
    pixel = 37  # y = 1, x = 5
    np.testing.assert_array_equal(ds.current[0, 1, 5].values, record[pixel, 20 : 20 + 256][::-1])
    np.testing.assert_array_equal(ds.current[1, 1, 5].values, record[pixel, 20 + 8 * 256 : 20 + 9 * 256][::-1])
    np.testing.assert_allclose(ds.phase[0, 1, 5].values, np.deg2rad(record[pixel, 20 + 4 * 256 : 20 + 5 * 256][::-1]),
                               rtol=1e-6)  # fmt: skip
    np.testing.assert_allclose(ds.z.values, np.linspace(-8e-10, 2e-10, 256), atol=1e-16)
    assert ds.z.attrs["dimension_type"] == "spectral"
    assert schema.resolve_dims(ds.current) == ("z",)
    # the channel of z itself moves as the axis says
    moved = ds.z_2[0, 0, 0].values - np.float32(record[0, 4])
    good = np.isfinite(moved)
    np.testing.assert_allclose(moved[good], ds.z.values[good], atol=3e-12)
    assert np.isnan(ds.current[0, 2, 24:].values).all() and np.isnan(ds.pixel_x[3].values).all()
    assert ds.pixel_x[0, 1].item() == np.float32(record[1, 2]) and ds.scan_current.attrs["units"] == "A"
    step = ds.pixel_x[0, 1].item() - ds.pixel_x[0, 0].item()
    assert ds.x[1].item() - ds.x[0].item() == pytest.approx(step, rel=1e-3)
    assert ds.attrs["acquired"] == "2021-10-26T10:48:37" and schema.problems(ds) == []
    assert schema.decode_metadata(ds.attrs["original_metadata"])["Lock-in>Harmonic"] == "2"


def test_real_grid_turned_by_45_degrees(data_file):
    path = data_file("nanonis_3ds/NanonisReader_STS_grid_lockin.3ds")
    ds = grid(str(path))[""]
    assert list(ds.data_vars)[:4] == ["current", "lockin_x", "lockin_y", "bias_m"]
    assert ds.current.shape == (30, 30, 200) and "measured" not in ds
    raw = path.read_bytes()
    record = np.frombuffer(raw[raw.index(b":HEADER_END:\r\n") + 14 :], ">f4").reshape(30, 30, 10 + 800)
    np.testing.assert_array_equal(ds.current.values, record[:, :, 10:210])
    np.testing.assert_array_equal(ds.lockin_y[7, 11].values, record[7, 11, 410:610])
    np.testing.assert_allclose(ds.bias.values, np.linspace(-0.22, 0.22, 200))
    # the positions of the pixels: the step along x is (cos, sin) of the angle, which Nanonis counts clockwise
    step = np.array([record[0, 1, 2] - record[0, 0, 2], record[0, 1, 3] - record[0, 0, 3]])
    angle = ds.attrs["scan_angle"]
    width = float(ds.x[1] - ds.x[0])
    np.testing.assert_allclose(step, width * np.array([np.cos(angle), np.sin(angle)]), rtol=2e-3)
    assert schema.problems(ds) == []


@pytest.mark.parametrize("sweep", [(-1.0, 1.0), (0.5, -0.5)])
def test_grid_against_its_own_numbers(tmp_path, sweep):
    content, _, truth = samples.nanonis_grid(sweep=sweep, angle=30)
    ds = grid(_write(tmp_path, content, "a.3ds"))[""]
    order = slice(None, None, -1) if sweep[1] < sweep[0] else slice(None)
    np.testing.assert_array_equal(ds.current.values, truth["data"][:, :, 0, order])
    np.testing.assert_array_equal(ds.li_demod_1_x.values, truth["data"][:, :, 1, order])
    np.testing.assert_allclose(ds.bias.values, np.linspace(*sorted(sweep), 5))
    np.testing.assert_allclose(ds.phase.values, np.deg2rad(30), rtol=1e-6)
    assert ds.sizes["x"] == 4 and ds.sizes["y"] == 3
    np.testing.assert_allclose(ds.x.values, np.arange(4) * 1e-9)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 2e-9)
    # a pixel in the frame of the instrument, from the attributes alone
    centred = np.array([ds.x - ds.x.mean(), 0 * ds.x + (ds.y[2] - ds.y.mean())])
    a = ds.attrs["scan_angle"]
    lab = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ centred
    np.testing.assert_allclose(ds.pixel_x[2].values, ds.attrs["scan_center_x"] + lab[0], rtol=1e-6)
    np.testing.assert_allclose(ds.pixel_y[2].values, ds.attrs["scan_center_y"] + lab[1], rtol=1e-6)


def test_grid_with_directions_and_sweeps(tmp_path):
    names = [f"Current [{s}]{b} (A)" for b in ("", " [bwd]") for s in ("AVG", "00001", "00002")] + ["Bias (V)"]
    content, _, truth = samples.nanonis_grid(channels=names)
    ds = grid(_write(tmp_path, content, "a.3ds"))[""]
    assert ds.current.dims == ("direction", "y", "x", "bias")
    assert ds.current_sweeps.dims == ("direction", "sweep", "y", "x", "bias")
    assert ds.bias_2.dims == ("y", "x", "bias")
    np.testing.assert_array_equal(ds.current.sel(direction="backward").values, truth["data"][:, :, 3])
    np.testing.assert_array_equal(ds.current_sweeps[1, 1].values, truth["data"][:, :, 5])
    np.testing.assert_array_equal(ds.sweep.values, [1, 2])


SEGMENTS = "Segment Start (V), Segment End (V), Settling (s), Integration (s), Steps (xn), Lockin, Init. Settling (s)="


def test_multi_segment_sweep(tmp_path):
    line = SEGMENTS + "300E-3,0E+0,10E-3,100E-3,4,0E+0,0E+0;0E+0,-500E-3,10E-3,100E-3,3,0E+0,0E+0"
    content, _, truth = samples.nanonis_grid(points=6, drop=["Filetype"], extra=["Filetype=MLS", line])
    ds = grid(_write(tmp_path, content, "a.3ds"))[""]
    np.testing.assert_allclose(ds.bias.values, [-0.5, -0.25, 0, 0.1, 0.2, 0.3], atol=1e-12)
    np.testing.assert_array_equal(ds.current.values, truth["data"][:, :, 0, ::-1])


def test_sweep_that_turns_back_keeps_its_order(tmp_path):
    line = SEGMENTS + "-1,1,0,0,3,0,0;1,-1,0,0,3,0,0"
    content, _, truth = samples.nanonis_grid(points=5, drop=["Filetype"], extra=["Filetype=MLS", line])
    ds = grid(_write(tmp_path, content, "a.3ds"))[""]
    assert ds.current.dims == ("y", "x", "step") and ds.bias.dims == ("step",)
    np.testing.assert_allclose(ds.bias.values, [-1, 0, 1, 0, -1])
    np.testing.assert_array_equal(ds.current.values, truth["data"][:, :, 0])
    assert schema.resolve_dims(ds.current, "bias") == ("step",)


def test_unknown_swept_signal_is_a_coordinate(tmp_path):
    content, _, _ = samples.nanonis_grid(signal="Amplitude Setpoint (nm)")
    ds = grid(_write(tmp_path, content, "a.3ds"))[""]
    assert ds.current.dims == ("y", "x", "step")
    np.testing.assert_allclose(ds.amplitude_setpoint.values, np.linspace(-1e-9, 1e-9, 5))
    assert ds.amplitude_setpoint.attrs["units"] == "m"


def test_unfinished_grid_is_nan_and_flagged(tmp_path):
    content, _, truth = samples.nanonis_grid(written=7)
    ds = grid(_write(tmp_path, content, "a.3ds"))[""]
    flat = ds.current.values.reshape(12, 5)
    np.testing.assert_array_equal(flat[:7], truth["data"].reshape(12, 2, 5)[:7, 0])
    assert np.isnan(flat[7:]).all()
    np.testing.assert_array_equal(ds.measured.values.ravel(), np.arange(12) < 7)


def test_unfinished_grid_of_the_wrong_width_is_refused(tmp_path):
    content, _, _ = samples.nanonis_grid(written=7)
    with pytest.raises(CorruptFile, match="Grid dim"):
        grid(_write(tmp_path, content.replace(b'"4 x 3"', b'"9 x 3"'), "a.3ds"))


@pytest.mark.parametrize(
    "missing", ["Experiment size", "# Parameters", "Filetype", "Grid settings", "Start time", "Sweep Signal"]
)
def test_optional_header_lines_may_be_missing(tmp_path, missing):
    content, _, truth = samples.nanonis_grid(drop=[missing])
    ds = grid(_write(tmp_path, content, "a.3ds"))[""]
    np.testing.assert_array_equal(ds.current.values, truth["data"][:, :, 0])
    if missing == "Grid settings":
        assert ds.x.attrs["units"] == "pixel"


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b"Points=5", b"Points=6", "Experiment size"),
        (b'"4 x 3"', b'"4 x 2"', "Grid dim"),
        (b'"4 x 3"', b'"4 by 3"', "Grid dim"),
        (b'"4 x 3"', b'"1000000 x 1000000"', "Grid dim"),
        (b"Points=5", b"Points=1000000000000", "Points"),
        (b"# Parameters (4 byte)=6", b"# Parameters (4 byte)=7", "# Parameters"),
        (b'Channels="Current (A);LI Demod 1 X (A)"', b'Channels=""', "Channels"),
        (b"Grid settings=1", b"Grid settings=x", "Grid settings"),
    ],
)
def test_contradictions_are_named(tmp_path, old, new, field):
    content, _, _ = samples.nanonis_grid()
    assert old in content
    with pytest.raises(CorruptFile) as caught:
        grid(_write(tmp_path, content.replace(old, new), "a.3ds"))
    assert field in str(caught.value) and caught.value.path.endswith("a.3ds")


def test_pixels_with_other_limits_have_no_common_axis(tmp_path):
    content, header, truth = samples.nanonis_grid()
    changed = truth["parameters"].copy()
    changed[2:, :, 1] = 0.5
    record = np.concatenate([changed, truth["data"].reshape(3, 4, -1)], axis=2).astype(">f4")
    ds = grid(_write(tmp_path, content[:header] + record.tobytes(), "a.3ds"))[""]
    assert ds.current.dims == ("y", "x", "point")
    np.testing.assert_array_equal(ds.sweep_end.values, changed[..., 1])
    assert ds.sweep_end.attrs["units"] == "V"


def test_opening_twenty_gigabytes_reads_the_header_only(tmp_path, monkeypatch, bytes_read):
    content, header, _ = samples.nanonis_grid(1024, 1, 5, seed=1)
    nx, ny, points = 1000, 1000, 2500
    text = content[:header].replace(b'"1024 x 1"', b'"1000 x 1000"').replace(b"Points=5", b"Points=2500")
    text = text.replace(b"Experiment size (bytes)=40", b"Experiment size (bytes)=20000")
    record = 4 * 6 + 8 * points
    first = np.array([-1, 1, 0, 0, 0, 0], ">f4").tobytes()
    path = tmp_path / "large.3ds"
    with open(path, "wb") as handle:
        handle.write(text)
        for pixel in np.linspace(0, nx * ny - 1, 16).astype(int).tolist():
            handle.seek(len(text) + pixel * record)
            handle.write(first)
        handle.truncate(len(text) + nx * ny * record)
    assert path.stat().st_size > 20e9

    def forbidden(*args):
        raise AssertionError("data were read")

    monkeypatch.setattr(rawarray, "read_block", forbidden)
    open_file(path)  # imports
    counter = bytes_read()
    ds = open_file(path)
    assert counter.total < 500_000
    assert ds.current.shape == (ny, nx, points) and ds.current.chunks is not None
    monkeypatch.undo()
    assert ds.current[500, 500, 3].compute().item() == 0.0


# ---------------------------------------------------------------------------------------------------------- scans


def test_real_scan_that_is_not_square(data_file):
    path = data_file("nanonis_sxm/Image_445.sxm")
    ds = scan(str(path))[""]
    assert dict(ds.sizes) == {"direction": 2, "y": 192, "x": 96}
    assert [ds[n].attrs["units"] for n in ds] == ["m", "V", "V", "V", "A", "rad", "m", "Hz", "V"]
    # values that another project's tests assert (1-based row, column)
    np.testing.assert_allclose(ds.current[0, 29, 54], 7.2952433e-10, rtol=1e-6)
    np.testing.assert_allclose(ds.current[1, 29, 54], 6.729436e-10, rtol=1e-6)
    np.testing.assert_allclose(ds.current[0, 11, 89], 2.5479948e-11, rtol=1e-6)
    np.testing.assert_allclose(ds.current[1, 11, 89], 2.3916345e-11, rtol=1e-6)
    np.testing.assert_allclose(ds.frequency_shift[0, 77, 68], -2.944235, rtol=1e-6)
    np.testing.assert_allclose(ds.frequency_shift[1, 77, 48], -0.581533, rtol=1e-5)
    # the same from the bytes: planes of 192 x 96 from byte 4219, the last plane is excitation backward
    plane = np.frombuffer(path.read_bytes()[4219 + 17 * 96 * 192 * 4 :], ">f4").reshape(192, 96)
    np.testing.assert_array_equal(ds.excitation.sel(direction="backward").values, plane[:, ::-1])
    assert ds.x[-1].item() == pytest.approx(2e-9 * 95 / 96) and ds.y[-1].item() == pytest.approx(4e-9 * 191 / 192)
    assert ds.attrs["bias"] == 0.05 and ds.attrs["setpoint"] == 1e-11 and ds.attrs["setpoint_units"] == "A"
    assert ds.attrs["scan_angle"] == pytest.approx(-np.deg2rad(59))
    header = schema.decode_metadata(ds.attrs["original_metadata"])
    assert header["Oscillation Control>Reference Phase (deg)"] == "65.16E+0"
    assert schema.problems(ds) == []


@pytest.mark.parametrize(
    ("name", "shape", "channels", "order", "bias"),
    [
        ("A170315.172707-00393.sxm", (48, 48), 8, "down", -0.00114),
        ("A170315.172917-00394.sxm", (48, 48), 8, "up", -0.00115),
        ("A170315.173119-00395.sxm", (48, 48), 8, "up", -0.00115),
        ("Au_mica_2023_Y_A_diPAMY_195.sxm", (256, 256), 2, "down", -0.05),
        ("sxm_moire_10nm.sxm", (160, 160), 2, "down", 0.2688),
    ],
)
def test_real_scans(data_file, name, shape, channels, order, bias):
    path = data_file(f"nanonis_sxm/{name}")
    ds = scan(str(path))[""]
    raw = path.read_bytes()
    start = raw.index(b"\x1a\x04", raw.index(b":SCANIT_END:")) + 2
    planes = np.frombuffer(raw[start:], ">f4").reshape(channels, 2, *shape)
    rows = slice(None, None, -1) if order == "down" else slice(None)  # the top line was scanned first
    assert len(ds) == channels and ds.attrs["bias"] == pytest.approx(bias)
    for k, variable in enumerate(ds):
        factor = np.pi / 180 if ds[variable].attrs["units"] == "rad" else 1
        np.testing.assert_allclose(ds[variable][0].values, planes[k, 0, rows] * factor, rtol=1e-6)
        np.testing.assert_allclose(ds[variable][1].values, planes[k, 1, rows, ::-1] * factor, rtol=1e-6)
    assert schema.problems(ds) == []


@pytest.mark.parametrize("direction", ["up", "down"])
def test_scan_lies_as_on_the_sample(tmp_path, direction):
    content, _, truth = samples.nanonis_scan(direction=direction)
    ds = scan(_write(tmp_path, content, "a.sxm"))[""]
    np.testing.assert_array_equal(ds.z.values, truth["Z"])
    np.testing.assert_array_equal(ds.current.values, truth["Current"])
    assert ds.current.dims == ("y", "x") and ds.current.attrs["direction"] == "forward"
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 0.4e-9)
    assert ds.attrs["acquired"] == "2013-02-17T11:13:07" and ds.attrs["title"] == "Image_1.sxm"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_stopped_scan_is_nan_and_flagged(tmp_path, direction):
    content, header, truth = samples.nanonis_scan(direction=direction)
    planes = np.frombuffer(content[header:], ">f4").reshape(3, 3, 5).copy()
    planes[:, 1:] = np.nan  # one line was scanned
    ds = scan(_write(tmp_path, content[:header] + planes.tobytes(), "a.sxm"))[""]
    row = 2 if direction == "down" else 0
    np.testing.assert_array_equal(ds.z[:, row].values, truth["Z"][:, row])
    np.testing.assert_array_equal(ds.measured.values[:, 0], np.arange(3) == row)
    assert np.isnan(ds.current[1].values).all()


def test_truncated_scan_is_read_on_request_only(tmp_path):
    content, header, truth = samples.nanonis_scan(channels=[("Z", "m", "both")])
    path = _write(tmp_path, content[: header + (3 + 1) * 5 * 4 + 2], "a.sxm")
    with pytest.raises(CorruptFile, match="incomplete=True"):
        scan(path)
    ds = open_file(path, incomplete=True).compute()
    np.testing.assert_array_equal(ds.z[0].values, truth["Z"][0])
    np.testing.assert_array_equal(ds.z[1, 0].values, np.r_[truth["Z"][1, 0]])
    assert np.isnan(ds.z[1, 1:].values).all()
    np.testing.assert_array_equal(ds.measured.values.sum(axis=1), [5, 0, 0])


def test_grid_that_ends_within_a_pixel_is_read_on_request_only(tmp_path):
    content, _, truth = samples.nanonis_grid()
    path = _write(tmp_path, content[:-3], "a.3ds")
    with pytest.raises(CorruptFile, match="pixel 11 of 12"):
        grid(path)
    ds = grid(path, incomplete=True)[""]
    assert int(ds.measured.sum()) == 11
    np.testing.assert_array_equal(ds.current.values[:2], truth["data"][:2, :, 0])


def test_scan_of_integers_is_refused_by_name(tmp_path):
    content, _, _ = samples.nanonis_scan()
    with pytest.raises(UnsupportedVariant, match="SCANIT_TYPE"):
        scan(_write(tmp_path, content.replace(b"FLOAT ", b"INT   "), "a.sxm"))


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b"       5       3", b"       5       4", "data"),
        (b"       5       3", b"       5       2", "data"),
        (b"       5       3", b"1000000 1000000", "data"),
        (b"       5       3", b"       5        ", "SCAN_PIXELS"),
        (b":SCAN_DIR:\nup", b":SCAN_DIR:\nuq", "SCAN_DIR"),
        (b"\tboth\t", b"\tbath\t", "DATA_INFO"),
        (b"\tName\tUnit", b"\tNome\tUnit", "DATA_INFO"),
        (b"\x1a\x04", b"\x1a\x05", "data start"),
    ],
)
def test_scan_contradictions_are_named(tmp_path, old, new, field):
    content, _, _ = samples.nanonis_scan()
    assert old in content
    with pytest.raises(CorruptFile, match=field):
        scan(_write(tmp_path, content.replace(old, new), "a.sxm"))


def test_opens_with_plain_xarray(tmp_path):
    content, _, truth = samples.nanonis_scan()
    path = _write(tmp_path, content, "a.sxm")
    with xr.open_dataset(path) as ds:
        np.testing.assert_array_equal(ds.z.values, truth["Z"])


# ------------------------------------------------------------------------------------------- variants in the wild


def test_a_grid_without_parameters_and_of_unix_lines(tmp_path):
    data = np.random.default_rng(0).normal(size=(2, 3, 2, 4)).astype(">f4")
    header = (
        'Grid dim="3 x 2"\nGrid settings=0;0;3E-9;2E-9;0\nSweep Signal="Bias (V)"\nFixed parameters=""\n'
        'Experiment parameters=""\n# Parameters (4 byte)=0\nExperiment size (bytes)=32\nPoints=4\n'
        'Channels="Input 3;LI (V)"\nComment="\xb5 = \xfc\x85\n\nend"\n:HEADER_END:\n'
    )
    path = tmp_path / "a.3ds"
    path.write_bytes(header.encode("latin-1") + data.tobytes())
    ds = grid(str(path))[""]
    assert ds.input_3.dims == ("y", "x", "point") and ds.input_3.attrs["units"] == "1"
    np.testing.assert_array_equal(ds.li.values, data[:, :, 1])
    assert schema.decode_metadata(ds.attrs["original_metadata"])["Comment"] == "\xb5 = \xfc\x85\n\nend"


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1)])
def test_grids_of_one_line_or_point(tmp_path, shape):
    content, _, truth = samples.nanonis_grid(*shape)
    path = tmp_path / "a.3ds"
    path.write_bytes(content)
    np.testing.assert_array_equal(grid(str(path))[""].current.values, truth["data"][:, :, 0])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\n", b"\r\n"),
        (b"5.000E-2", b"NaN"),
        (b"9.000E+1", b"N/A"),
        (b":SCAN_RANGE:", b":RANGE_OF_SCAN:"),
        (b":SCAN_DIR:\nup", b":SCAN_DIR:\nUp  "),
        (b":SCAN_DIR:\nup\n", b""),
        (b":BIAS:", b":COMMENT:\nT=4\xb5K: \xfc\n\n:BIAS:"),
        (b"\tZ\tm\t", b"\tZ\t\t"),
        (b":BIAS:", b":COMMENT:\nsee\x85:BIAS:\n\n:BIAS:"),
    ],
)
def test_headers_of_scans_as_they_come(tmp_path, old, new):
    """Windows lines, numbers that are none, keys that are missing, a comment, a channel without a unit."""
    content, length, truth = samples.nanonis_scan()
    head = content[: length - 2].replace(old, new)
    path = tmp_path / "a.sxm"
    path.write_bytes(head + content[length - 2 :])
    ds = scan(str(path))[""]
    np.testing.assert_array_equal(ds.z.values, truth["Z"])
    assert schema.problems(ds) == []


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_texts_of_older_and_newer_software(tmp_path, encoding):
    """Units outside ASCII: newer software writes UTF-8."""
    micro = "\xb5m".encode(encoding)
    content, length, truth = samples.nanonis_scan()
    path = tmp_path / "a.sxm"
    path.write_bytes(content[: length - 2].replace(b"\tZ\tm\t", b"\tZ\t" + micro + b"\t") + content[length - 2 :])
    ds = scan(str(path))[""]
    np.testing.assert_allclose(ds.z.values, truth["Z"] * 1e-6, rtol=1e-6)
    assert ds.z.attrs["units"] == "m"
    path = tmp_path / "a.dat"
    path.write_bytes(b"Experiment\tbias spectroscopy\t\n\n[DATA]\nBias (V)\tZ (" + micro + b")\n1\t2\n2\t3\n")
    np.testing.assert_allclose(open_file(path).z.values, [2e-6, 3e-6])


def test_a_scan_of_one_line_and_of_the_way_back_only(tmp_path):
    content, _, truth = samples.nanonis_scan(5, 1, channels=(("Current", "A", "backward"),))
    path = tmp_path / "a.sxm"
    path.write_bytes(content)
    ds = scan(str(path))[""]
    np.testing.assert_array_equal(ds.current.values, truth["Current"])
    assert ds.current.attrs["direction"] == "backward"
