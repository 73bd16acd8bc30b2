"""Createc images: real files against their bytes and a conversion by others, synthetic ones against their truth."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tests.io import samples
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io import formats
from xpycro.io.translators.createc import image
from xpycro.io.translators.createc_vert import spectrum


def _write(tmp_path, content, name="A250320.191933.dat"):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def _numbers(path, planes, n):
    content = path.read_bytes()
    stream = content[content.index(b"DATAx") + 4 :]
    return np.frombuffer(zlib.decompress(stream), "<f4", planes * n * n, offset=4).reshape(planes, n, n)


def test_real_image_that_was_stopped(data_file):
    path = data_file("createc_dat/A250320.191933.dat")
    ds = image(str(path))[""]
    assert ds.topography.shape == (512, 512) and int(ds.measured.sum()) == 60 * 512
    raw = _numbers(path, 2, 512)
    np.testing.assert_allclose(ds.topography.values[-60:], raw[0, 59::-1] * (10 * 0.00038e-10), rtol=1e-6)
    assert np.isnan(ds.current.values[:-60]).all()
    # the mean of the current at feedback is the setpoint, and the bias is negative
    assert float(ds.current.median()) == pytest.approx(-1.57e-10, rel=0.1)
    assert ds.attrs["bias"] == -3.0412 and ds.attrs["acquired"] == "2025-03-20T19:19:33"
    assert ds.x[1].item() == pytest.approx(2002.0142e-10 / 512) and schema.problems(ds) == []


def test_real_image_agrees_with_its_conversion(data_file):
    ds = image(str(data_file("createc_dat/A250320.191933.dat")))[""]
    content = data_file("createc_dat/A250320.191933.sxm").read_bytes()
    other = np.frombuffer(content[content.index(b"\x1a\x04") + 2 :], ">f4").reshape(2, 2, 60, 511)
    heights = ds.topography.values[::-1][:60, :511]
    # the conversion took a cubic background from the heights; what is left of both is the same
    y, x = np.mgrid[:60, :511] / 60
    basis = np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], -1).reshape(-1, 10)
    ours, theirs = (
        v.ravel() - basis @ np.linalg.lstsq(basis, v.ravel(), rcond=None)[0]
        for v in (heights, other[0, 0].astype(float))
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max())


def test_real_image_at_ten_voltages(data_file):
    path = data_file("createc_dat/createc_scan_preview_120nm.dat")
    ds = image(str(path))[""]
    assert ds.current.dims == ("bias", "direction", "y", "x") and ds.current.shape == (10, 2, 64, 64)
    np.testing.assert_allclose(ds.bias.values[[0, 5, 6, -1]], [-0.55, -0.05, 0.15, 0.45])
    raw = _numbers(path, 40, 64)
    np.testing.assert_allclose(ds.topography[3, 1].values, raw[14, ::-1] * (10 * 0.00037e-10), rtol=1e-6)
    # the sign of the current is that of the bias, its size that of the setpoint
    median = ds.current.median(("y", "x", "direction")).values
    np.testing.assert_allclose(median, np.sign(ds.bias.values) * 1.01e-10, rtol=0.1)
    # the way back lies on the way there
    pair = ds.topography[0].values - ds.topography[0].mean("x").values[..., None]
    assert np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1] > 0.9


def test_image_that_is_not_square(tmp_path):
    content, _, truth = samples.createc_image()
    ds = image(_write(tmp_path, content))[""]
    np.testing.assert_allclose(ds.topography.values, truth[0, ::-1] * 10 * 0.0005e-10, rtol=1e-6)
    np.testing.assert_allclose(ds.current.values, truth[1, ::-1] * 20 / 2**20 * 1e-9, rtol=1e-6)
    np.testing.assert_allclose(ds.x.values, np.arange(6) * 2e-10)
    assert "measured" not in ds and ds.attrs["scan_angle"] == pytest.approx(np.pi / 2)


def test_voltages_and_directions(tmp_path):
    content, _, truth = samples.createc_image(voltages=(0.3, 0.1, -0.2), lines=3)
    ds = image(_write(tmp_path, content))[""]
    np.testing.assert_allclose(ds.bias.values, [-0.2, 0.1, 0.3])
    wanted = truth.reshape(3, 2, 2, 4, 6)[2, 1, 1, ::-1] * 20 / 2**20 * 1e-9
    np.testing.assert_allclose(ds.current.sel(bias=-0.2, direction="backward").values[1:], wanted[1:], rtol=1e-6)
    assert np.isnan(ds.current[..., 0, :]).all() and int(ds.measured.sum()) == 18


@pytest.mark.parametrize("room", [0, 3, 20])
def test_other_room_after_the_planes(tmp_path, room):
    content, start, truth = samples.createc_image(9, 8)
    numbers = np.concatenate([[0], truth.ravel(), np.zeros(room)]).astype("<f4")
    ds = image(_write(tmp_path, content[:start] + zlib.compress(numbers.tobytes())))[""]
    np.testing.assert_allclose(ds.topography.values, truth[0, ::-1] * 10 * 0.0005e-10, rtol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b"Num.X=6", b"Num.X=7", r"Num\.X"),
        (b"Channels=2", b"Channels=4", "data"),
        (b"Num.Y=20\r", b"Num.Y=99999\r", r"Num\.Y"),
        (b"Channels=2", b"Channels=60000", r"Num\.X, Num\.Y"),
        (b"GainPre 10^=9", b"GainPre 10^=999", "GainPre"),
        (b"DATAx", b"DATBx", "DATA"),
    ],
)
def test_contradictions_are_named(tmp_path, old, new, field):
    content, _, _ = samples.createc_image(6, 20)
    assert old in content
    with pytest.raises(CorruptFile, match=field):
        image(_write(tmp_path, content.replace(old, new)))


@pytest.mark.parametrize("kind", ["Paramet32", "Parameter"])
def test_images_that_are_not_compressed(tmp_path, kind):
    content, start, truth = samples.createc_image(kind=kind)
    path = _write(tmp_path, content)
    assert formats.identify(path).name == "createc_dat"
    ds = image(path)[""]
    np.testing.assert_allclose(ds.topography.values, truth[0, ::-1] * (10 * 0.0005e-10), rtol=1e-6)
    np.testing.assert_allclose(ds.current.values, truth[1, ::-1] * (20 / 2**20 * 1e-9), rtol=1e-6)
    assert ds.attrs["bias"] == pytest.approx(-0.55) and schema.problems(ds) == []
    for damaged in (content[:-1], content[: start + 3], content + b"more"):
        with pytest.raises(CorruptFile):
            image(_write(tmp_path, damaged))


@pytest.mark.parametrize("comma", [False, True])
def test_spectrum_over_bias(tmp_path, comma):
    content, start, table = samples.createc_spectrum()
    if comma:
        content = content[:start] + content[start:].replace(b".", b",")
    path = _write(tmp_path, content, "A250320.191933.L0001.VERT")
    assert formats.identify(path).name == "createc_vert"
    ds = spectrum(path)[""]
    np.testing.assert_allclose(ds.bias.values, table[::-1, 1] * 1e-3)
    np.testing.assert_allclose(ds.current.values, table[::-1, 3] * (20 / 2**20 * 1e-9))
    np.testing.assert_allclose(ds.di_dv.values, table[::-1, 4])
    np.testing.assert_allclose([ds.x.item(), ds.y.item()], [300 * 10 * 0.002e-10, -200 * 10 * 0.002e-10])
    assert ds.attrs["acquired"] == "2025-03-20T19:19:33" and schema.problems(ds) == []


def test_spectrum_that_turns_back_keeps_its_order(tmp_path):
    content, _, table = samples.createc_spectrum(turns=True)
    ds = spectrum(_write(tmp_path, content, "a.VERT"))[""]
    assert ds.current.dims == ("step",)
    np.testing.assert_allclose(ds.bias.values, table[:, 1] * 1e-3)


def test_spectrum_of_newer_software(tmp_path):
    """Nine counts, of which the last two are the place in nm; a lateral column; channels beyond the known ones."""
    n, code = 5, (1 << 0) | (1 << 3) | (1 << 20)
    table = np.random.default_rng(0).normal(size=(n, 7)) * 1e3
    table[:, 0], table[:, 1] = np.arange(n), np.linspace(2500, 9000, n)
    head = "[ParVERT32]\nDAC-Type=20bit\nGainX / GainX=10\nGainY / GainY=10\nGainpreamp / GainPre 10^=9\n"
    head += "Dacto[A]xy=0.002\nDrift_X / Drift_X[Å/sec]=0.0\n  /  = \nMEMO_STMAFM=\n\nDATA\n"
    head += f"    {n}   -700     300          {code}     4   3  3    71.5  -271.25\n"
    rows = "".join(f"{int(row[0])}\t" + "\t".join(f"{v:.5E}" for v in row[1:]) + "\t\n" for row in table)
    ds = spectrum(_write(tmp_path, (head + rows).encode("latin-1"), "a.VERT"))[""]
    assert list(ds) == ["z", "x_2", "current", "adc0", "channel_20"]
    np.testing.assert_allclose(ds.current.values, table[:, 4] * (20 / 2**20 * 1e-9), rtol=1e-5)
    np.testing.assert_allclose(ds.channel_20.values, table[:, 6], rtol=1e-5)
    np.testing.assert_allclose([ds.x.item(), ds.y.item()], [71.5e-9, -271.25e-9])
    assert ds.bias.values[-1] == 9.0 and schema.problems(ds) == []


def test_the_place_of_a_spectrum_counts_from_the_offset_of_the_scan(tmp_path):
    content, _, _ = samples.createc_spectrum()
    head = content.replace(b"GainX / GainX=10", b"GainX / GainX=10\r\nScanrotoffx / OffsetX=-4000.5", 1)
    ds = spectrum(_write(tmp_path, head, "a.VERT"))[""]
    np.testing.assert_allclose(ds.x.item(), (300 + 4000.5) * 10 * 0.002e-10)


def test_contradictions_of_spectra_are_named(tmp_path):
    content, _, _ = samples.createc_spectrum()
    for old, new, said in (
        (b" 3\r\n", b" 7\r\n", "columns"), (b"    7 ", b"    8 ", "lines"), (b"DATA", b"DOTO", "DATA"),
        (b"\r\n2.000", b"\r\n1.000", "counted"), (b"    7 300 -200 3", b"    7", "counts"),
    ):  # fmt: skip
        assert old in content
        with pytest.raises((CorruptFile, UnsupportedVariant), match=said):
            spectrum(_write(tmp_path, content.replace(old, new), "a.VERT"))


def test_other_files(tmp_path):
    content, _, _ = samples.createc_image()
    with pytest.raises(UnsupportedVariant, match="Channels"):
        image(_write(tmp_path, content.replace(b"Channelselectval=3", b"Channelselectval=7")))
    with pytest.raises(UnsupportedVariant, match="Channels"):
        image(_write(tmp_path, content.replace(b"Channelselectval=3", b"Channelselectval=0")))
    with pytest.raises(NotThisFormat):
        image(_write(tmp_path, b"whatever this is"))
