"""Variants of the electron microscopy formats that instruments write, built from the facts of the formats."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.io import em_samples as samples
from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, TranslationError, UnsupportedVariant
from xpycro.io import formats
from xpycro.io.translators import dm, empad, merlin, mrc, msa, princeton, ripple, tia


def put(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return str(path)


def only(groups):
    (ds,) = groups.values()
    assert schema.problems(ds) == []
    return ds


# ---------------------------------------------------------------------------------------------------------- Merlin


@pytest.mark.parametrize("quad", [False, True])
@pytest.mark.parametrize("depth", [1, 6, 12])
def test_raw_merlin_frames(tmp_path, depth, quad):
    content, _, truth = samples.merlin_raw(4, depth=depth, quad=quad)
    path = put(tmp_path, "a.mib", content)
    ds = only(merlin.frames(path))
    assert ds.counts.dims == ("frame", "ky", "kx") and ds.counts.dtype == truth.dtype
    np.testing.assert_array_equal(ds.counts, truth)
    np.testing.assert_array_equal(ds.counts[1, 2:5, ::-3].values, truth[1, 2:5, ::-3])
    scan = only(merlin.frames(path, scan_shape=(2, 2)))
    np.testing.assert_array_equal(scan.counts, truth.reshape(2, 2, *truth.shape[1:])[::-1])
    with pytest.raises(ValueError, match="asks for"):
        merlin.frames(path, scan_shape=(2, 3))


def test_raw_merlin_frames_are_read_one_by_one(tmp_path, bytes_read):
    content, _, truth = samples.merlin_raw(64)
    path = put(tmp_path, "a.mib", content)
    counter = bytes_read()
    ds = merlin.frames(path, scan_shape=(8, 8))[""]
    opened = counter.total
    one = ds.counts[7, 2, 3:5].values
    assert counter.total - opened <= len(content) // 64
    np.testing.assert_array_equal(one, truth[2, 3:5])


def test_raw_merlin_frames_that_are_not_known(tmp_path):
    content, _, _ = samples.merlin_raw(1)
    with pytest.raises(UnsupportedVariant, match="24 bits"):
        merlin.frames(put(tmp_path, "a.mib", content.replace(b"ns,6,", b"ns,24,")))
    with pytest.raises(UnsupportedVariant, match="NX1"):
        merlin.frames(put(tmp_path, "b.mib", content.replace(b"1x1", b"Nx1")))


def test_merlin_numbers_that_begin_anew(tmp_path):
    """Each trigger may count its frames from 1; the detector with a gap of two pixels has 514 of them."""
    content, _, truth = samples.merlin(4, 514, 514)
    content = content.replace(b"MQ1,000003", b"MQ1,000001").replace(b"MQ1,000004", b"MQ1,000002")
    np.testing.assert_array_equal(only(merlin.frames(put(tmp_path, "a.mib", content))).counts, truth)


def test_merlin_scan_in_the_hdr(tmp_path):
    content, _, truth = samples.merlin(6)
    path = put(tmp_path, "a.mib", content)
    put(tmp_path, "a.hdr", b"HDR,\t\nFrames in Acquisition (Number):\t6\nScanX:\t3\nScanY:\t2\nEnd\t   \0\0")
    np.testing.assert_array_equal(only(merlin.frames(path)).counts, truth.reshape(2, 3, 4, 5)[::-1])


# ----------------------------------------------------------------------------------------------------------- EMPAD


@pytest.mark.parametrize("mode", ["search", "acquire"])
def test_empad_of_later_software(tmp_path, mode):
    """Neither pix_x nor a calibration of the detector; a field of view that is given times a factor."""
    ny, nx, part = {"search": (2, 3, 0.5), "acquire": (4, 6, 0.6)}[mode]
    xml = f"""<root name="acquisition_2"><timestamp isoformat="2024-01-02T03:04:05"/>
      <software_version>1.2.2</software_version><type>scan</type><raw_file filename="scan_x{nx}_y{ny}.raw"/>
      <scan_parameters mode="search"><scan_resolution_y>2</scan_resolution_y><scan_resolution_x>3</scan_resolution_x>
      <scan_size>0.5</scan_size></scan_parameters>
      <scan_parameters mode="acquire"><scan_resolution_y>4</scan_resolution_y><scan_resolution_x>6</scan_resolution_x>
      <scan_size>0.6</scan_size></scan_parameters>
      <iom_measurements><full_scan_field_of_view><x>4e-07</x><y>4e-07</y><scale_factor>2.0</scale_factor>
      </full_scan_field_of_view></iom_measurements></root>"""
    data = np.random.default_rng(0).normal(size=(ny * nx, 130, 128)).astype("<f4")
    put(tmp_path, f"scan_x{nx}_y{ny}.raw", data.tobytes())
    path = put(tmp_path, "scan.xml", xml.encode())
    assert formats.identify(path).name == "empad"
    ds = only(empad.acquisition(path))
    np.testing.assert_array_equal(ds.counts, data[:, :128].reshape(ny, nx, 128, 128)[::-1, :, ::-1])
    np.testing.assert_allclose([ds.x[1], ds.y[1]], 4e-7 / 2 * part / max(ny, nx))
    assert ds.kx.units == "pixel"


def test_empad_frames_of_another_name(tmp_path):
    """The frames were renamed: of the two scans that the file lists, the one with as many points counts."""
    xml = """<root><raw_file filename="mine.raw"/>
      <scan_parameters mode="search"><scan_resolution_y>9</scan_resolution_y><scan_resolution_x>9</scan_resolution_x>
      </scan_parameters><scan_parameters mode="acquire"><scan_resolution_y>2</scan_resolution_y>
      <scan_resolution_x>3</scan_resolution_x></scan_parameters></root>"""
    put(tmp_path, "mine.raw", np.zeros((6, 130, 128), "<f4").tobytes())
    assert only(empad.acquisition(put(tmp_path, "a.xml", xml.encode()))).counts.shape == (2, 3, 128, 128)
    put(tmp_path, "mine.raw", np.zeros((5, 130, 128), "<f4").tobytes())
    assert only(empad.acquisition(str(tmp_path / "a.xml"))).counts.shape == (5, 128, 128)


# ------------------------------------------------------------------------------------------------------------- MRC


@pytest.mark.parametrize("order", ["<", ">"])
def test_mrc_without_its_mark(tmp_path, order):
    content, _, truth = samples.mrc(order=order, marked=False)
    path = put(tmp_path, "a.mrc", content)
    assert formats.identify(path).name == "mrc"
    np.testing.assert_array_equal(only(mrc.volume(path)).intensity, truth)
    with pytest.raises(TranslationError):
        mrc.volume(put(tmp_path, "b.mrc", content[:-1]))


def test_mrc_with_a_wrong_machine_stamp_and_a_padded_end(tmp_path):
    content, _, truth = samples.mrc(order=">", fields=[("2s", 212, b"\0\0")])
    np.testing.assert_array_equal(only(mrc.volume(put(tmp_path, "a.mrc", content + bytes(508)))).intensity, truth)
    with pytest.raises(CorruptFile, match="more than"):
        mrc.volume(put(tmp_path, "b.mrc", content + b"more"))


def test_mrc_half_precision_and_unsigned_bytes(tmp_path):
    content, _, truth = samples.mrc(mode=12)
    assert only(mrc.volume(put(tmp_path, "a.mrc", content))).intensity.dtype == np.float16 == truth.dtype
    content, (start, _), _ = samples.mrc(mode=0)
    content = content[:start] + bytes(range(200, 260 - 4)) + content[start + 56 :]
    signed = only(mrc.volume(put(tmp_path, "b.mrc", content)))
    assert int(signed.intensity[0, 0, 0]) == 200 - 256
    flagged = bytearray(content)
    struct.pack_into("<ii", flagged, 152, 1146047817, 0)  # IMOD's stamp; its first flag would say signed
    assert int(only(mrc.volume(put(tmp_path, "c.mrc", bytes(flagged)))).intensity[0, 0, 0]) == 200


def test_mrc_nibbles_and_complex_integers(tmp_path):
    values = np.random.default_rng(0).integers(0, 16, (3, 4, 5)).astype("u1")
    padded = np.concatenate([values, np.zeros((3, 4, 1), "u1")], axis=-1)
    head = samples.mrc(fields=[("i", 12, 101)])[0][:1024]
    ds = only(mrc.volume(put(tmp_path, "a.mrc", head + (padded[..., ::2] | padded[..., 1::2] << 4).tobytes())))
    np.testing.assert_array_equal(ds.intensity, values)
    np.testing.assert_array_equal(ds.intensity[1, ::2, 1:4].values, values[1, ::2, 1:4])
    pairs = np.random.default_rng(0).integers(-99, 99, (3, 4, 5, 2)).astype("<i2")
    head = samples.mrc(fields=[("i", 12, 3)])[0][:1024]
    ds = only(mrc.volume(put(tmp_path, "b.mrc", head + pairs.tobytes())))
    np.testing.assert_array_equal(ds.intensity, pairs[..., 0] + 1j * pairs[..., 1])
    with pytest.raises(UnsupportedVariant, match="mode 16"):
        mrc.volume(put(tmp_path, "c.mrc", samples.mrc(fields=[("i", 12, 16)])[0]))


def test_mrc_axes_in_another_order(tmp_path):
    """Columns along z, rows along x, sections along y, as density maps have them; cella and m stay x, y, z."""
    content, _, truth = samples.mrc(axes=(3, 1, 2))
    content = bytearray(content)
    struct.pack_into("<3i3f", content, 28, 4, 3, 5, 4 * 10.0, 3 * 20.0, 5 * 30.0)
    ds = only(mrc.volume(put(tmp_path, "a.map", bytes(content))))
    assert dict(ds.intensity.sizes) == {"z": 5, "y": 3, "x": 4}
    np.testing.assert_array_equal(ds.intensity, truth.transpose(2, 0, 1))
    np.testing.assert_allclose([ds.x[1], ds.y[1], ds.z[1]], [1e-9, 2e-9, 3e-9], rtol=1e-6)


def test_mrc_stack_of_volumes(tmp_path):
    content, _, truth = samples.mrc(6, fields=[("i", 88, 401), ("i", 36, 3), ("f", 48, 90.0)])
    ds = only(mrc.volume(put(tmp_path, "a.mrc", content)))
    assert ds.intensity.dims == ("frame", "z", "y", "x")
    np.testing.assert_array_equal(ds.intensity, truth.reshape(2, 3, 4, 5))
    np.testing.assert_allclose(ds.z[1], 3e-9, rtol=1e-6)


def test_mrc_tilts_of_serialem_and_of_older_fei_software(tmp_path):
    serial = b"".join(struct.pack("<hhhh", int(t * 100), 25, -50, 640) for t in (-60, 0, 61.5))
    content, _, truth = samples.mrc(
        volume=False, extended=serial, fields=[("4s", 104, b"SERI"), ("h", 128, 8), ("h", 130, 1 | 4 | 8)]
    )
    ds = only(mrc.volume(put(tmp_path, "a.st", content)))
    np.testing.assert_allclose(ds.tilt, [-60, 0, 61.5])
    np.testing.assert_array_equal(ds.intensity, truth)
    noted = schema.decode_metadata(ds.attrs["original_metadata"])["sections"][0]
    assert (noted["stage_x"], noted["magnification"]) == (pytest.approx(1e-6), 64000)
    older = b"".join(np.array([t, *[0.0] * 10, 5e-10, *[0.0] * 20], "<f4").tobytes() for t in (-1, 0, 1))
    content, _, _ = samples.mrc(volume=False, extended=older.ljust(128 * 1024, b"\0"), fields=[("h", 130, 32)])
    ds = only(mrc.volume(put(tmp_path, "b.mrc", content)))
    np.testing.assert_allclose(ds.tilt, [-1, 0, 1])
    np.testing.assert_allclose([ds.x[1], ds.y[1]], 5e-10, rtol=1e-6)


def _fei2(area, field, pixel):
    section = bytearray(888)
    struct.pack_into("<ii", section, 0, 888, 2)
    section[20:27] = b"Spectra"
    struct.pack_into("<2d", section, 156, pixel, pixel)
    struct.pack_into("<dd4i2d", section, 571, 0.01, 1.0, *area, *field)
    return bytes(section)


def test_mrc_diffraction_of_a_scan(tmp_path):
    extended = _fei2((0, 0, 3, 2), (6e-9, 4e-9), 2e8) * 6
    content, _, truth = samples.mrc(6, volume=False, extended=extended, fields=[("4s", 104, b"FEI2")])
    ds = only(mrc.volume(put(tmp_path, "a.mrc", content)))
    assert ds.intensity.dims == ("y", "x", "ky", "kx")
    np.testing.assert_array_equal(ds.intensity, truth.reshape(2, 3, 4, 5)[::-1])
    np.testing.assert_allclose([ds.x[1], ds.y[1], ds.kx[3], ds.ky[2]], [2e-9, 2e-9, 2e8, 0])
    content, _, truth = samples.mrc(6, volume=False)
    ds = only(mrc.volume(put(tmp_path, "b.mrc", content), scan_shape=(3, 2)))
    np.testing.assert_array_equal(ds.intensity, truth.reshape(3, 2, 4, 5)[::-1])
    assert only(mrc.volume(str(tmp_path / "b.mrc"))).intensity.dims == ("frame", "y", "x")
    with pytest.raises(ValueError, match="asks for"):
        mrc.volume(str(tmp_path / "b.mrc"), scan_shape=(4, 2))


# ------------------------------------------------------------------------------------------------ DigitalMicrograph


def _dm(folder, data, axes=(), **options):
    content, _, _ = samples.digital_micrograph(data, version=4, dimensions=axes, **options)
    return only(dm.images(put(folder, "a.dm4", content)))


@pytest.mark.parametrize(
    ("units", "step"),
    [("1/nm", 1e9), ("1/Å", 1e10), ("1/µm", 1e6), ("nm^-1", 1e9), ("mrad", 1e-3), ("1/A", 1e10)],
)
def test_dm_reciprocal_units_have_their_zero_at_the_origin(tmp_path, units, step):
    data = np.arange(30, dtype="f4").reshape(5, 6)
    ds = _dm(tmp_path, data, [(0.5, 3.0, units), (0.5, 2.0, units)])
    assert ds.picture.dims == ("ky", "kx") and ds.kx.units == ("rad" if units == "mrad" else "1/m")
    np.testing.assert_allclose(ds.kx, (np.arange(6) - 3) * 0.5 * step)
    np.testing.assert_allclose(float(ds.picture.sel(kx=0, ky=0)), data[2, 3])
    np.testing.assert_allclose(float(ds.picture.sel(kx=0, ky=0.5 * step, method="nearest")), data[1, 3])  # rows go down


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("units", [("nm", "1/nm"), ("nm", ""), ("", "mrad"), ("", "")])
def test_dm_diffraction_of_a_scan(tmp_path, swapped, units):
    """Scan fastest, or patterns fastest: units say which, else the tag on the order."""
    scan = np.random.default_rng(0).integers(0, 99, (2, 3, 4, 5)).astype("u2")  # y, x, ky, kx
    stored = scan if swapped else scan.transpose(2, 3, 0, 1)
    places, patterns = [(2.0, 0.0, units[0])] * 2, [(1.0, 0.0, units[1])] * 2
    axes = [*patterns, *places] if swapped else [*places, *patterns]
    meta = [("Format", "Diffraction image"), ("Data Order Swapped", int(swapped))]
    ds = _dm(tmp_path, np.ascontiguousarray(stored), axes, code=10, meta=meta)
    assert ds.picture.dims == ("y", "x", "ky", "kx")
    np.testing.assert_array_equal(ds.picture, scan[::-1, :, ::-1])


def test_dm_spectra_without_units_and_along_a_wavelength(tmp_path):
    cube = np.random.default_rng(0).normal(size=(6, 2, 3)).astype("f4")
    place, format_ = (1.0, 0.0, "nm"), [("Format", "Spectrum image")]
    ds = _dm(tmp_path, cube, [place, place, (1.0, 0.0, "")], signal="X-ray", meta=format_)
    assert ds.picture.dims == ("y", "x", "point")
    np.testing.assert_array_equal(ds.picture, cube.transpose(1, 2, 0)[::-1])
    ds = _dm(tmp_path, cube, [place, place, (0.5, -600.0, "nm")], signal="CL", meta=format_)
    assert ds.picture.dims == ("y", "x", "wavelength") and ds.wavelength.units == "m"
    np.testing.assert_allclose(ds.wavelength[:2], [300e-9, 300.5e-9])
    line = _dm(tmp_path, cube[:, 0], [(0.5, -600.0, "eV"), place], signal="EELS", meta=format_)
    assert line.picture.dims in (("x", "energy_loss"), ("y", "energy_loss"))
    np.testing.assert_array_equal(np.sort(line.picture, axis=None), np.sort(cube[:, 0], axis=None))


@pytest.mark.parametrize(("units", "dim", "step"), [("s", "time", 0.5), ("nm", "z", 0.5e-9), ("", "frame", 0.5)])
def test_dm_stacks(tmp_path, units, dim, step):
    data = np.arange(24, dtype="i2").reshape(2, 3, 4)
    ds = _dm(tmp_path, data, [(1.0, 0.0, "nm"), (1.0, 0.0, "nm"), (0.5, 0.0, units)], code=1)
    assert ds.picture.dims == (dim, "y", "x")
    np.testing.assert_array_equal(ds.picture, data[:, ::-1])
    np.testing.assert_allclose(float(ds[dim][1]), step)


@pytest.mark.parametrize("code", [8, 23])
def test_dm_colour(tmp_path, code):
    blue, green, red = 1, 2, 3
    pixel = np.uint32(blue | green << 8 | red << 16)
    ds = _dm(tmp_path, np.full((2, 3), pixel, "u4") + np.arange(6, dtype="u4").reshape(2, 3), code=code)
    assert ds.picture.dims == ("y", "x", "channel") and list(ds.channel.values) == ["red", "green", "blue"]
    np.testing.assert_array_equal(ds.picture[-1, 2], [red, green, blue + 2])


def test_dm_intensity_calibration(tmp_path):
    """Brightness: (number - origin) * scale in its units; counts are handed out as they were counted."""
    data = np.arange(20, dtype="f4").reshape(4, 5)
    ds = _dm(tmp_path, data, brightness=(2.0, 3.0, "nA"))
    np.testing.assert_allclose(ds.picture[::-1], (data - 3) * 2e-9, rtol=1e-6)
    assert ds.picture.units == "A"
    ds = _dm(tmp_path, data, brightness=(0.25, 0.0, "e-"))
    np.testing.assert_array_equal(ds.picture[::-1], data)


def test_dm_of_a_writer_that_counts_its_length_otherwise(tmp_path):
    data = np.arange(20, dtype="f4").reshape(4, 5)
    content, _, _ = samples.digital_micrograph(data)
    content = content[:4] + struct.pack(">I", 0) + content[8:] + bytes(100)
    np.testing.assert_array_equal(only(dm.images(put(tmp_path, "a.dm3", content))).picture[::-1], data)


# ------------------------------------------------------------------------------------------- TIA, Princeton, text


def test_series_without_tags_and_over_time(tmp_path):
    content, _, truth = samples.series()
    table = struct.unpack("<I", content[22:26])[0]
    content = content[: table + 24] + bytes(24) + content[table + 48 :]
    np.testing.assert_array_equal(only(tia.series(put(tmp_path, "a_1.ser", content + b"xx"))).counts, truth[::-1])


SPE3 = """<SpeFormat version="3.0" xmlns="http://www.princetoninstruments.com/spe/2009"><DataFormat>
<DataBlock type="Frame" count="2" pixelFormat="MonochromeUnsigned16" size="{size}" stride="{stride}">
<DataBlock type="Region" count="1" width="5" height="4" size="40" stride="40"/>
<DataBlock type="Region" count="1" width="3" height="2" size="12" stride="12"/></DataBlock></DataFormat></SpeFormat>"""


def test_lightfield_regions_and_notes_after_each_frame(tmp_path):
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 999, (2, 4, 5)).astype("<u2"), rng.integers(0, 999, (2, 2, 3)).astype("<u2")
    head = bytearray(samples.princeton(1, 4, 5)[0][:4100])
    notes = struct.pack("<q", 123456)  # a time stamp
    body = b"".join(first[n].tobytes() + second[n].tobytes() + notes for n in range(2))
    struct.pack_into("<i", head, 1446, 2)
    struct.pack_into("<q", head, 678, 4100 + len(body))
    content = bytes(head) + body + SPE3.format(size=52, stride=60).encode()
    path = put(tmp_path, "a.spe", content)
    assert formats.identify(path).name == "princeton_spe"
    groups = princeton.frames(path)
    np.testing.assert_array_equal(groups["region_1"].counts, first[:, ::-1])
    np.testing.assert_array_equal(groups["region_2"].counts, second[:, ::-1])
    with pytest.raises(CorruptFile, match="do not fit"):
        princeton.frames(put(tmp_path, "b.spe", content.replace(b'stride="60"', b'stride="99"')))


@pytest.mark.parametrize(
    ("old", "new", "dim"),
    [
        (b"eV\r\n", b"Energy Loss (eV)\r\n", "energy_loss"), (b": ELS", b": EELS", "energy_loss"),
        (b": ELS", b": EDS", "energy"), (b"#YUNITS ", b"\r\n#YUNITS ", "energy_loss"),
        (b"#XPERCHAN    :", b"#XPERCHAN-eV :", "energy_loss"), (b"#FORMAT      :", b"#format:", "energy_loss"),
    ],
)  # fmt: skip
def test_msa_spellings(tmp_path, old, new, dim):
    content, _, truth = samples.msa()
    assert content.count(old) == 1
    path = put(tmp_path, "a.msa", content.replace(old, new))
    assert formats.identify(path).name == "msa"
    ds = only(msa.spectrum(path))
    np.testing.assert_array_equal(ds.counts, truth)
    np.testing.assert_allclose(ds[dim], 360 + 0.5 * np.arange(12))


@pytest.mark.parametrize("separator", ["\t", " ", "\t\t"])
@pytest.mark.parametrize(
    ("kind", "dtype"), [("signed", "<i2"), ("unsigned", ">u2"), ("float", "<f4"), ("float", ">f8")]
)
def test_ripple_numbers_and_separators(tmp_path, separator, kind, dtype):
    cube = np.random.default_rng(0).integers(0, 1000, (3, 4, 5)).astype(dtype)
    put(tmp_path, "a.raw", b"head" + cube.tobytes())
    order = "big-endian" if dtype[0] == ">" else "little-endian"
    pairs = {"key": "value", "width": 4, "height": 3, "depth": 5, "offset": 4, "data-type": kind,
             "data-Length": cube.itemsize, "byte-order": order, "record-by": "vector", "signal": "EELS",
             "depth-units": "eV", "depth-origin": -10, "depth-scale": 0.5}  # fmt: skip
    text = "".join(f"{name}{separator}{value}\r\n" for name, value in pairs.items())
    ds = only(ripple.cube(put(tmp_path, "a.rpl", text.encode())))
    assert ds.counts.dims == ("y", "x", "energy_loss")
    np.testing.assert_array_equal(ds.counts, cube[::-1])
    np.testing.assert_allclose(ds.energy_loss[:2], [-10, -9.5])


# ------------------------------------------------------------------------------------------------------------ fuzz

CASES = {
    "raw.mib": (merlin.frames, lambda: samples.merlin_raw(1)[:2]),
    "tilts.mrc": (
        mrc.volume,
        lambda: samples.mrc(
            volume=False, extended=bytes(range(1, 7)), fields=[("4s", 104, b"SERI"), ("h", 128, 2), ("h", 130, 1)]
        )[:2],
    ),
    "unmarked.mrc": (mrc.volume, lambda: samples.mrc(marked=False)[:2]),
    "scan.mrc": (
        mrc.volume,
        lambda: samples.mrc(
            6, volume=False, extended=_fei2((0, 0, 3, 2), (6e-9, 4e-9), 2e8) * 6, fields=[("4s", 104, b"FEI2")]
        )[:2],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_mutants_are_refused_or_read_right(tmp_path, name):
    translate, build = CASES[name]
    content, block = build()
    assert fuzzing.run(translate, content, block, tmp_path, name, count=250)["refused"] > 30
