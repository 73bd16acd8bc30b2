"""JPK force data and images: real files against INDEX.tsv and their bytes, synthetic ones against their truth."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError, UnsupportedVariant
from xpycro.io.translators import jpk, jpk_image


def write(tmp_path, content, name="test.jpk"):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


# ----------------------------------------------------------------------------------------------------- real curves


def test_real_curve_agrees_with_its_index_row_and_bytes(data_file):
    path = data_file("jpk/fmt-jpk-fd_spot3-0192.jpk-force")
    ds = jpk.force(str(path))[""]
    assert ds.force.dims == ("segment", "point") and ds.segment.values.tolist() == ["approach", "retract"]
    assert ds.force.values[0, 0] == pytest.approx(-5.145579192349918e-10, rel=1e-12)
    assert ds.height.values[0, 0] == pytest.approx(2.878322343068329e-05, rel=1e-12)
    assert ds.z.values[0, 0] == pytest.approx(2.2815672438768612e-05, rel=1e-12)
    assert np.ptp(ds.height.values) == pytest.approx(4.280850000996709e-06, rel=1e-3)
    assert ds.attrs["spring_constant"] == 0.043493666407368466
    # the deflection is the force over the spring constant: the calibration is applied once
    np.testing.assert_allclose(ds.force.values, ds.deflection.values * 0.043493666407368466, rtol=1e-12)
    with zipfile.ZipFile(path) as archive:
        stored = np.frombuffer(archive.read("segments/1/channels/vDeflection.dat"), ">i2")
    volts = stored * 3.0921021713588157e-4 - 0.00728873489143207
    np.testing.assert_allclose(ds.force.values[1], volts * 7.000143623002982e-8 * 0.043493666407368466, rtol=1e-9)
    assert schema.problems(ds) == []


def test_real_map_agrees_with_its_index_row(data_file):
    ds = jpk.force(str(data_file("jpk/fmt-jpk-fd_map2x2_extracted.jpk-force-map")))[""]
    assert ds.force.dims == ("y", "x", "segment", "point") and ds.force.shape == (10, 10, 2, 12030)
    assert int(ds.measured.sum()) == 4
    rows, columns = np.nonzero(ds.measured.values)
    # the index counts the curves in the order of the scan, back and forth: the corners, x of 0, 9, 9, 0
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (0, 9), (9, 0), (9, 9)]
    curve = ds.isel(y=9, x=9)
    assert curve.force.values[0, 0] == pytest.approx(-5.8540192943834714e-10, rel=1e-12)
    assert curve.z.values[0, 0] == pytest.approx(0.0001001727719556085, rel=1e-12)
    assert ds.isel(y=0, x=0).force.values[0, 0] == pytest.approx(-4.742686262385487e-10, rel=1e-12)
    assert curve.length.values.tolist() == [6508 // 4, 6396 // 4]
    assert np.isnan(curve.force.values[0, 1627:]).all() and np.isfinite(curve.force.values[0, :1627]).all()
    assert ds.x[1].item() == pytest.approx(6e-5) and ds.attrs["scan_center_x"] == pytest.approx(3.0197265625e-4)
    assert schema.problems(ds) == []


# ------------------------------------------------------------------------------------------------- synthetic curves


def segment_header(style, channels):
    lines = [f"force-segment-header.settings.style={style}", "force-segment-header.duration=0.5",
             "force-segment-header.time-stamp=2016-03-31 17\\:51\\:14.543 +0200",
             "channels.list=" + " ".join(channels)]  # fmt: skip
    for name, kind, base, chain in channels.values():
        c = f"channel.{name}."
        lines += [f"{c}data.file.name=channels/{name}.dat", f"{c}data.type=short", f"{c}data.encoder.type={kind}",
                  f"{c}data.encoder.scaling.type=linear", f"{c}data.encoder.scaling.style=offsetmultiplier",
                  f"{c}data.encoder.scaling.offset=0.5", f"{c}data.encoder.scaling.multiplier=0.001",
                  f"{c}data.encoder.scaling.unit.unit={base}", f"{c}conversion-set.conversions.base=volts",
                  f"{c}conversion-set.conversions.list=" + " ".join(slot for slot, *_ in chain),
                  f"{c}conversion-set.conversions.default={chain[-1][0] if chain else 'volts'}"]  # fmt: skip
        for slot, below, factor, unit in chain:
            s = f"{c}conversion-set.conversion.{slot}."
            lines += [f"{s}defined=true", f"{s}base-calibration-slot={below}", f"{s}scaling.type=linear",
                      f"{s}scaling.style=offsetmultiplier", f"{s}scaling.offset=0.0",
                      f"{s}scaling.multiplier={factor}", f"{s}scaling.unit.unit={unit}"]  # fmt: skip
    return "\n".join(lines)


CHANNELS = {
    "height": ("height", "signedshort", "V", (("nominal", "volts", -1e-6, "m"),)),
    "vDeflection": (
        "vDeflection",
        "signedshort",
        "V",
        (("distance", "volts", 2e-8, "m"), ("force", "distance", 0.05, "N")),
    ),
}


def build(nx=3, ny=2, *, single=False, turning=True, reflected=False, drop=(), channels=CHANNELS, method=8, seed=0):
    """An archive, and its numbers by (folder, segment, channel), each curve of another length."""
    rng = np.random.default_rng(seed)
    lines = ["type=force-scan-series", "force-scan-series.header.position.x=1e-6"]
    if not single:
        p = "force-scan-map.position-pattern."
        lines = ["type=force-scan-map", f"{p}back-and-forth={str(turning).lower()}", f"{p}grid.ilength={nx}",
                 f"{p}grid.jlength={ny}", f"{p}grid.ulength=3e-6", f"{p}grid.vlength=4e-6", f"{p}grid.xcenter=1e-5",
                 f"{p}grid.ycenter=2e-5", f"{p}grid.theta=0.25",
                 f"{p}grid.reflect={str(reflected).lower()}"]  # fmt: skip
    truth, buffer = {}, io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("header.properties", "\n".join(lines))
        for index in [-1] if single else [k for k in range(nx * ny) if k not in drop]:
            base = "" if single else f"index/{index}/"
            if not single:
                archive.writestr(base + "header.properties", f"force-scan-series.header.position-index={index}")
            for number, style in enumerate(("extend", "retract")):
                n = int(rng.integers(3, 8))
                archive.writestr(f"{base}segments/{number}/segment-header.properties", segment_header(style, channels))
                for name in channels:
                    stored = rng.integers(-30000, 30000, n).astype(">i2")
                    archive.writestr(f"{base}segments/{number}/channels/{name}.dat", stored.tobytes())
                    truth[index, number, name] = stored.astype(float)
    return buffer.getvalue(), truth


def place(index, nx, ny, turning, reflected):
    row, column = divmod(index, nx)
    return ny - 1 - row if reflected else row, nx - 1 - column if turning and row % 2 else column


@pytest.mark.parametrize("turning", [True, False])
@pytest.mark.parametrize("reflected", [True, False])
def test_curves_of_a_non_square_map_lie_where_they_were_measured(tmp_path, turning, reflected):
    content, truth = build(3, 2, turning=turning, reflected=reflected)
    ds = jpk.force(write(tmp_path, content))[""]
    assert ds.force.shape[:3] == (2, 3, 2) and "measured" not in ds
    for (index, number, name), stored in truth.items():
        row, column = place(index, 3, 2, turning, reflected)
        variable, factor = {"height": ("z", -1e-6), "vDeflection": ("force", 1e-9)}[name]
        found = ds[variable].values[row, column, number]
        np.testing.assert_allclose(found[: stored.size], (stored * 0.001 + 0.5) * factor, rtol=1e-12)
        assert np.isnan(found[stored.size :]).all() and ds.length.values[row, column, number] == stored.size
    np.testing.assert_allclose(ds.x.values, [0, 1e-6, 2e-6])
    np.testing.assert_allclose(ds.y.values, [0, 2e-6])
    assert ds.attrs["scan_angle"] == 0.25 and ds.attrs["deflection_sensitivity"] == 2e-8


def test_missing_curves_are_flagged(tmp_path):
    ds = jpk.force(write(tmp_path, build(3, 2, turning=False, drop=(1, 5))[0]))[""]
    assert ds.measured.values.tolist() == [[True, False, True], [True, True, False]]
    assert np.isnan(ds.force.values[0, 1]).all() and ds.length.values[1, 2].tolist() == [0, 0]


def test_a_single_curve_has_durations_and_a_position(tmp_path):
    ds = jpk.force(write(tmp_path, build(single=True)[0]))[""]
    assert ds.force.dims == ("segment", "point") and ds.duration.values.tolist() == [0.5, 0.5]
    assert ds.attrs["position_x"] == 1e-6 and ds.attrs["acquired"] == "2016-03-31T17:51:14"


def test_without_calibration_the_deflection_is_in_volts(tmp_path):
    channels = {"vDeflection": ("vDeflection", "signedshort", "V", ())}
    ds = jpk.force(write(tmp_path, build(single=True, channels=channels)[0]))[""]
    assert set(ds.data_vars) == {"deflection", "length"} and ds.deflection.attrs["units"] == "V"
    assert "spring_constant" not in ds.attrs


def test_only_the_curves_that_are_used_are_inflated(tmp_path, monkeypatch):
    ds = jpk.force(write(tmp_path, build(3, 2)[0]))[""]
    used = []
    original = jpk._zip.contents
    monkeypatch.setattr(
        jpk._zip, "contents", lambda cursor, member: used.append(member.name) or original(cursor, member)
    )
    whole = ds.force.values
    assert len(used) == 12
    used.clear()
    np.testing.assert_array_equal(ds.force.isel(y=1, x=0, segment=1).values, whole[1, 0, 1])
    assert used == ["index/5/segments/1/channels/vDeflection.dat"]
    np.testing.assert_array_equal(ds.force[:, ::-1, 0, 2:0:-1].values, whole[:, ::-1, 0, 2:0:-1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds)).force.values, whole)


def test_opening_a_map_reads_headers_only(data_file, bytes_read):
    path = str(data_file("jpk/fmt-jpk-fd_map2x2_extracted.jpk-force-map"))
    jpk.force(path)
    counter = bytes_read()
    jpk.force(path)
    assert counter.total < 160_000  # of 953,060


def test_archives_of_others_and_damaged_ones_are_refused(tmp_path):
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(NotThisFormat):
        jpk.force(write(tmp_path, other.getvalue()))
    content = build(single=True)[0]
    with pytest.raises(UnsupportedVariant):
        bad = {"height": ("height", "ternary", "V", ())}
        jpk.force(write(tmp_path, build(single=True, channels=bad)[0]))
    for length in range(0, len(content), 13):
        with pytest.raises(TranslationError):
            jpk.force(write(tmp_path, content[:length]))


def test_computed_channels_and_a_pause_that_recorded_less(tmp_path):
    """Three segments; the pause has no height; of the pause and the rest a constant and a raster are stated only."""
    stated = (
        "\nchannel.laser.data.type=constant-data\nchannel.laser.data.value=1.5\nchannel.laser.data.unit.unit=V"
        "\nchannel.seriesTime.data.type=raster-data\nchannel.seriesTime.data.start=2.0"
        "\nchannel.seriesTime.data.step=0.25\nchannel.seriesTime.data.unit.unit=s"
    )
    buffer, rng, truth = io.BytesIO(), np.random.default_rng(0), {}
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("header.properties", "type=force-scan-series\nforce-scan-series.header.position.x=1e-6")
        archive.writestr("segments/", "")
        for number, (style, n) in enumerate((("extend", 4), ("pause", 2), ("retract", 6))):
            names = [name for name in CHANNELS if not (style == "pause" and name == "height")]
            header = segment_header(style, {name: CHANNELS[name] for name in names}) + stated
            listed = " ".join(names)
            header = header.replace(f"channels.list={listed}", f"channels.list={listed} laser seriesTime")
            archive.writestr(f"segments/{number}/segment-header.properties", header)
            for name in names:
                truth[number, name] = rng.integers(-30000, 30000, n).astype(">i2")
                archive.writestr(f"segments/{number}/channels/{name}.dat", truth[number, name].tobytes())
    ds = jpk.force(write(tmp_path, buffer.getvalue()))[""]
    assert ds.segment.values.tolist() == ["approach", "pause", "retract"] and ds.length.values.tolist() == [4, 2, 6]
    np.testing.assert_allclose(ds.z.values[2], (truth[2, "height"] * 0.001 + 0.5) * -1e-6)
    np.testing.assert_allclose(ds.force.values[1, :2], (truth[1, "vDeflection"] * 0.001 + 0.5) * 1e-9)
    assert np.isnan(ds.z.values[1]).all() and np.isnan(ds.force.values[0, 4:]).all()
    np.testing.assert_array_equal(ds.laser.values, np.full((3, 6), 1.5))
    np.testing.assert_allclose(ds.series_time.values[0], 2 + 0.25 * np.arange(6))
    assert (ds.laser.attrs["units"], ds.series_time.attrs["units"]) == ("V", "s")
    assert schema.problems(ds) == []


def test_a_bomb_is_not_inflated(tmp_path):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", 8) as archive:
        archive.writestr("header.properties", b"a=" + b"0" * (1 << 25))
    with pytest.raises(CorruptFile):
        jpk.force(write(tmp_path, bomb.getvalue()))
    lie = bytearray(bomb.getvalue())
    at = lie.rindex(b"PK\1\2")
    lie[at + 24 : at + 28] = struct.pack("<I", 0x7FFFFFFF)
    with pytest.raises(CorruptFile):
        jpk.force(write(tmp_path, bytes(lie)))


@pytest.mark.parametrize("method", [0, 8])
def test_mutants_of_curves_are_refused_or_read_right(tmp_path, method):
    content = build(2, 2, method=method)[0]
    assert fuzzing.run(jpk.force, content, len(content), tmp_path, "fuzz.jpk-force-map")["refused"] > 30


# ----------------------------------------------------------------------------------------------------------- images


def test_real_image_agrees_with_its_index_row(data_file):
    ds = jpk_image.image(str(data_file("jpk/sample_0.jpk-qi-image")))[""]
    assert dict(ds.sizes) == {"y": 100, "x": 100} and ds.x[1].item() == pytest.approx(5e-9)
    assert ds.height.sum().item() == pytest.approx(31593146.16051172e-9, rel=1e-12)
    assert ds.slope.sum().item() == pytest.approx(626.3810326940231, rel=1e-12)
    assert ds.adhesion.sum().item() == pytest.approx(1.579363986493833e-06, rel=1e-12)
    assert ds.measured_height_2.sum().item() == pytest.approx(32181137.138706185e-9, rel=1e-12)
    assert ds.vdeflection.sum().item() == pytest.approx(-1.3615033224242345e-05, rel=1e-12)
    assert ds.measured_height_2.attrs["algorithm"] == "Ref. Force Height at 40%"
    assert ds.attrs["acquired"] == "2025-05-20T17:48:42"
    assert schema.problems(ds) == []


def pages_tiff(pages):
    """A TIFF file of several directories of (code, type, count, bytes); pixels, code 273, come last."""
    sizes = [2 + 12 * len(tags) + 4 for tags in pages]
    at, blob, tables = 8 + sum(sizes), b"", []
    far = [(page, tag) for page, tags in enumerate(pages) for tag in tags if len(tag[3]) > 4 or tag[0] == 273]
    where = {}
    for page, tag in sorted(far, key=lambda item: item[1][0] == 273):
        where[page, tag[0]] = at + len(blob)
        blob += tag[3]
    position = 8
    for page, tags in enumerate(pages):
        position += sizes[page]
        table = struct.pack("<H", len(tags))
        for code, kind, count, value in sorted(tags):
            inline = struct.pack("<I", where[page, code]) if (page, code) in where else value.ljust(4, b"\0")
            table += struct.pack("<HHI", code, kind, count) + inline
        tables.append(table + struct.pack("<I", position if page + 1 < len(pages) else 0))
    return b"II*\0" + struct.pack("<I", 8) + b"".join(tables) + blob


def text(code, value):
    return (code, 2, len(value) + 1, value.encode() + b"\0")


def number(code, value, kind=4):
    return (code, kind, 1, struct.pack({4: "<I", 3: "<H", 12: "<d"}[kind], value))


def build_image(nx=5, ny=3, *, reflected=0, retrace=(0, 1), seed=0):
    stored = np.random.default_rng(seed).integers(-30000, 30000, (len(retrace), ny, nx)).astype("<i4")
    pages = [
        [number(256, 1), number(257, 1), text(32768, "8.0.194"), text(32771, "2025-05-20 17:48:42.479 CEST"),
         number(32832, 1e-5, 12), number(32833, 2e-5, 12), number(32834, 5e-7, 12), number(32835, 6e-7, 12),
         number(32836, 0.5, 12), number(32837, reflected), number(32838, nx), number(32839, ny)]
    ]  # fmt: skip
    for image, back in zip(stored, retrace, strict=True):
        pages.append(
            [number(256, nx), number(257, ny), number(258, 32, 3), number(259, 1, 3), number(277, 1, 3),
             (273, 4, 1, image.tobytes()), number(279, image.nbytes), number(339, 2, 3), text(32848, "height"),
             number(32849, back), text(32850, "Height"), number(32896, 2), text(32897, "nominal"), text(32912, "raw"),
             text(32960, "nominal"), text(32978, "m"), text(32979, "LinearScaling"), number(32980, 1e-12, 12),
             number(32981, 2e-6, 12)]
        )  # fmt: skip
    content = pages_tiff(pages)
    truth = stored * 1e-12 + 2e-6
    return content, len(content) - stored.nbytes, truth[:, ::-1] if reflected else truth


@pytest.mark.parametrize("reflected", [0, 1])
def test_orientation_and_scale_of_a_non_square_image(tmp_path, reflected):
    content, _, truth = build_image(5, 3, reflected=reflected)
    ds = jpk_image.image(write(tmp_path, content))[""]
    assert ds.height.dims == ("direction", "y", "x")
    np.testing.assert_allclose(ds.height.values, truth, rtol=1e-12)
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 1e-7)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 2e-7)
    assert ds.attrs["scan_angle"] == 0.5 and ds.height.attrs["long_name"] == "Height"


def test_channels_that_come_more_than_once(tmp_path):
    """The way back first, and a third page of the same channel: a variable of its own."""
    content, _, truth = build_image(5, 3, retrace=(1, 0, 0))
    ds = jpk_image.image(write(tmp_path, content))[""]
    np.testing.assert_allclose(ds.height.values, truth[[1, 0]], rtol=1e-12)
    np.testing.assert_allclose(ds.height_2.values, truth[2], rtol=1e-12)
    assert ds.height_2.attrs["direction"] == "forward"


def test_mutants_of_images_are_refused_or_read_right(tmp_path):
    content, header, _ = build_image(7, 6)
    assert fuzzing.run(jpk_image.image, content, header, tmp_path, "fuzz.jpk")["refused"] > 30
