"""EDF and CBF frames, written by fabio (an independent package), and damaged ones refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import xpycro as xp
from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, DimensionError, NotThisFormat, TranslationError, UnsupportedVariant
from xpycro.io import formats
from xpycro.io.translators import cbf, fabio_frames, marccd
from xpycro.io.translators.cbf import frame
from xpycro.io.translators.esrf import frames

GEOMETRY = {
    "Center_1": "2.5", "Center_2": "1.5", "PSize_1": "1e-4_m", "PSize_2": "2e-4", "SampleDistance": "0.5",
    "WaveLength": "1e-10", "Title": "sample",
}  # fmt: skip
CBF_HEADER = (
    "# Detector: PILATUS 2M, S/N 24-0107\r\n# 2011-07-22T13:46:23.850\r\n# Pixel_size 172e-6 m x 172e-6 m\r\n"
    "# Wavelength 0.9793 A\r\n# Detector_distance 0.2 m\r\n# Beam_xy (2.00, 1.00) pixels"
)


def edf(data, order="<", header=(), name="UnsignedShort", frame=1, compression=""):
    text = f"{{\nHeaderID = EH:{frame:06d}:000000:000000 ;\nImage = {frame} ;\nByteOrder = "
    text += ("LowByteFirst" if order == "<" else "HighByteFirst") + f" ;\nDataType = {name} ;\n"
    text += f"Dim_1 = {data.shape[1]} ;\nDim_2 = {data.shape[0]} ;\nSize = {data.nbytes} ;\n{compression}"
    text += "".join(f"{key} = {value} ;\n" for key, value in dict(header).items())
    head = text.ljust(1022) + "}\n"
    return head.encode() + data.tobytes(), len(head)


DATA = np.random.default_rng(0).integers(0, 60000, (3, 5))


def write(folder, content, name="a.edf"):
    (folder / name).write_bytes(content)
    return str(folder / name)


@pytest.mark.parametrize(
    ("order", "dtype", "name"), [("<", "u2", "UnsignedShort"), (">", "i4", "SignedInteger"), ("<", "f4", "FloatValue")]
)
def test_an_edf_frame(tmp_path, order, dtype, name):
    stored = DATA.astype(order + dtype)
    ds = xp.open(write(tmp_path, edf(stored, order, GEOMETRY, name)[0]))
    assert ds.intensity.dims == ("ky", "kx") and schema.problems(ds) == [] and ds.attrs["title"] == "sample"
    np.testing.assert_array_equal(ds.intensity, stored[::-1])  # the first row lies at the top
    # Center counts from the edge of the first pixel: column 2.5 is the middle of the third
    np.testing.assert_allclose(ds.kx, np.arange(-2, 3) * 1e-4 / (0.5 * 1e-10))
    np.testing.assert_allclose(ds.ky, np.arange(-1, 2) * 2e-4 / (0.5 * 1e-10))
    np.testing.assert_allclose(ds.two_theta.sel(ky=0, kx=0, method="nearest"), 0, atol=1e-12)
    np.testing.assert_allclose(ds.two_theta[0, 4], np.degrees(np.arctan(np.hypot(2e-4, 2e-4) / 0.5)))


def test_stacks_and_what_is_not_known(tmp_path):
    content = b"".join(edf((DATA + n).astype("<u2"), frame=n + 1)[0] for n in range(4))
    ds = frames(write(tmp_path, content))[""]
    assert ds.intensity.dims == ("frame", "ky", "kx") and ds.kx.attrs["units"] == "pixel"
    np.testing.assert_array_equal(ds.intensity[2], (DATA + 2)[::-1])
    with pytest.raises(UnsupportedVariant, match="compression"):
        frames(write(tmp_path, edf(DATA.astype("<u2"), compression="Compression = GzipCompression ;\n")[0]))
    with pytest.raises(CorruptFile, match="truncated"):
        frames(write(tmp_path, content[:-1]))
    with pytest.raises(NotThisFormat):
        frames(write(tmp_path, b"{a = b}"))


def test_a_folder_of_frames_is_a_scan(tmp_path):
    for n in range(6):
        write(tmp_path, edf((DATA + n).astype("<u2"), header=GEOMETRY)[0], f"f{n}.edf")
    from xpycro.io.translators.frames import folder

    ds = folder(str(tmp_path), scan_shape=(2, 3), pattern="*.edf")[""]
    assert ds.intensity.dims == ("y", "x", "ky", "kx") and ds.kx.attrs["units"] == "1/m"
    np.testing.assert_array_equal(ds.intensity[1, 2], (DATA + 2)[::-1])
    image = xp.diffraction.virtual_detector(ds.intensity, outer=float(ds.kx[-1]) * 1.01)
    inside = np.hypot(*np.meshgrid(ds.ky, ds.kx, indexing="ij")) <= float(ds.kx[-1]) * 1.01
    np.testing.assert_allclose(image[0, 1], (DATA + 4)[::-1][inside].sum())


def test_frames_that_fabio_writes(tmp_path):
    fabio = pytest.importorskip("fabio", reason="the independent writer of EDF and CBF frames")
    data = np.random.default_rng(1).integers(-1, 300, (7, 9)).astype("i4")
    data[3, 4], data[0, 0], data[6, 8] = 70_000, -2, 2_000_000
    fabio.edfimage.EdfImage(data=data).write(str(tmp_path / "f.edf"))
    np.testing.assert_array_equal(frames(str(tmp_path / "f.edf"))[""].intensity, data[::-1])
    fabio.cbfimage.CbfImage(data=data, header={"_array_data.header_contents": CBF_HEADER}).write(
        str(tmp_path / "f.cbf")
    )
    ds = frame(str(tmp_path / "f.cbf"))[""]
    np.testing.assert_array_equal(ds.intensity, data[::-1])
    assert schema.problems(ds) == [] and ds.intensity.dtype == np.int32
    np.testing.assert_allclose(ds.kx, (np.arange(9) - 2) * 172e-6 / (0.2 * 0.9793e-10))
    np.testing.assert_allclose(ds.ky, (np.arange(7)[::-1] * -1 + 1)[::1] * 172e-6 / (0.2 * 0.9793e-10))
    assert ds.attrs["wavelength"] == pytest.approx(0.9793e-10) and ds.attrs["instrument"] == "PILATUS 2M"
    assert ds.attrs["acquired"] == "2011-07-22T13:46:23"


def test_mutants_of_edf(tmp_path):
    content, begin = edf(DATA.astype("<u2"), header=GEOMETRY)
    counts = fuzzing.run(frames, content, (begin, len(content)), tmp_path, "a.edf")
    assert counts["refused"] > 30


def test_mutants_of_cbf(tmp_path):
    fabio = pytest.importorskip("fabio", reason="the independent writer of CBF frames")
    path = tmp_path / "f.cbf"
    fabio.cbfimage.CbfImage(data=DATA.astype("i4"), header={"_array_data.header_contents": CBF_HEADER}).write(str(path))
    content = path.read_bytes()
    counts = fuzzing.run(frame, content, (len(content), len(content)), tmp_path, "a.cbf")
    assert counts["refused"] > 30


# ------------------------------------------------------------------------------- scans in one file, MarCCD, fabio


def test_frames_of_one_file_are_a_scan(tmp_path):
    content = b"".join(edf((DATA + n).astype("<u2"), frame=n + 1)[0] for n in range(5))
    path = write(tmp_path, content)
    stack = np.stack([(DATA + n)[::-1] for n in range(5)])
    ds = xp.open(path, scan_shape=(2, 3))  # the last point was not reached
    assert ds.intensity.dims == ("y", "x", "ky", "kx") and schema.problems(ds) == []
    np.testing.assert_array_equal(ds.intensity[1], stack[:3])
    np.testing.assert_array_equal(ds.intensity[0, :2], stack[3:])
    assert np.isnan(ds.intensity[0, 2]).all() and ds.measured.values.tolist() == [[True, True, False], [True] * 3]
    with pytest.raises(DimensionError, match="scan_shape"):
        xp.open(path, scan_shape=(4, 4))


def test_pages_of_a_tiff_are_a_scan(tmp_path):
    import tifffile

    data = np.random.default_rng(4).integers(0, 99, (6, 3, 5)).astype("u2")
    for name, settings in (("plain", {}), ("packed", {"compression": "zlib"})):
        tifffile.imwrite(tmp_path / f"{name}.tif", data, photometric="minisblack", **settings)
        ds = xp.open(tmp_path / f"{name}.tif", scan_shape=(2, 3))
        np.testing.assert_array_equal(ds.intensity, data.reshape(2, 3, 3, 5)[::-1, :, ::-1])
    tifffile.imwrite(tmp_path / "one.tif", data[0])
    with pytest.raises(DimensionError, match="no stack"):
        xp.open(tmp_path / "one.tif", scan_shape=(2, 3))


def test_a_series_of_cbf_is_read_frame_by_frame(tmp_path, monkeypatch):
    fabio = pytest.importorskip("fabio", reason="the independent writer of CBF frames")
    data = np.random.default_rng(1).integers(-1, 300, (12, 7, 9)).astype("i4")
    for n, one in enumerate(data):
        fabio.cbfimage.CbfImage(data=one, header={"_array_data.header_contents": CBF_HEADER}).write(
            str(tmp_path / f"f_{n + 1}.cbf")
        )
    decoded = []
    original = cbf._unpacked
    monkeypatch.setattr(cbf, "_unpacked", lambda *a: decoded.append(1) or original(*a))
    ds = xp.open(tmp_path, format="frames_folder", pattern="*.cbf", scan_shape=(3, 4))
    assert decoded == [] and {"two_theta", "q"} <= set(ds.coords) and ds.kx.units == "1/m"
    np.testing.assert_array_equal(ds.intensity[2, 1], data[1, ::-1])
    assert len(decoded) <= 12
    np.testing.assert_array_equal(ds.intensity, data.reshape(3, 4, 7, 9)[::-1, :, ::-1])
    fabio.cbfimage.CbfImage(data=data[0, :3]).write(str(tmp_path / "f_5.cbf"))
    with pytest.raises(CorruptFile, match="the first is"):
        xp.open(tmp_path, format="frames_folder", pattern="*.cbf").load()


def mar(data, order="<", **fields):
    """A MarCCD frame by its public header: a TIFF of one strip, the fields at their places."""
    head = bytearray(4096)
    ny, nx = data.shape
    mark = b"II*\0" if order == "<" else b"MM\0*"
    tags = [(256, nx), (257, ny), (258, 16), (259, 1), (262, 1), (273, 4096), (277, 1), (278, ny), (279, data.nbytes)]
    head[: 8 + 2 + 12 * len(tags) + 4] = (
        mark + struct.pack(f"{order}IH", 8, len(tags))
        + b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)
    )  # fmt: skip
    values = {"28": 1234, "32": 1234, "80": nx, "84": ny, "88": 2, **fields}
    head[1028:1044] = b"MMX".ljust(16, b"\0")
    for place, value in values.items():
        head[1024 + int(place) : 1028 + int(place)] = struct.pack(f"{order}i", value)
    return bytes(head) + data.astype(f"{order}u2").tobytes()


# distance 0.2 m, beam at (2, 1), pixels of 80 um, 0.9793 A, 0.5 s; in the units of the header
MAR = {"640": 200_000, "644": 2000, "648": 1000, "772": 80_000, "776": 80_000, "908": 97_930, "656": 500}


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_marccd_frame(tmp_path, order):
    path = write(tmp_path, mar(DATA, order, **MAR), "a.mccd")
    ds = xp.open(path)
    assert ds.intensity.dims == ("ky", "kx") and schema.problems(ds) == []
    np.testing.assert_array_equal(ds.intensity, DATA[::-1])
    np.testing.assert_allclose(ds.kx, (np.arange(5) - 2) * 80e-6 / (0.2 * 0.9793e-10))
    np.testing.assert_allclose(ds.two_theta[2, 4], np.degrees(np.arctan(np.hypot(80e-6, 160e-6) / 0.2)))
    assert ds.attrs["count_time"] == 0.5 and ds.attrs["wavelength"] == pytest.approx(0.9793e-10)
    plain = xp.open(write(tmp_path, mar(DATA, order), "b.mccd"))
    assert plain.kx.units == "pixel" and "two_theta" not in plain.coords
    with pytest.raises(UnsupportedVariant, match="bytes"):
        marccd.frame(write(tmp_path, mar(DATA, order, **{"88": 3}), "c.mccd"))


def test_fabio_sees_the_same_marccd_header(tmp_path):
    fabio = pytest.importorskip("fabio", reason="the independent reader of MarCCD frames")
    path = write(tmp_path, mar(DATA, **MAR), "a.mccd")
    np.testing.assert_array_equal(fabio.open(path).data, DATA)
    image = fabio.fabioformats.factory("marccdimage")
    image.readheader(path)
    found = {
        name: int(image.header[name]) for name in ("xtal_to_detector", "beam_x", "pixelsize_y", "source_wavelength")
    }
    assert found == {"xtal_to_detector": 200_000, "beam_x": 2000, "pixelsize_y": 80_000, "source_wavelength": 97_930}


FABIO = {"adsc.img": "dtrekimage", "a.sfrm": "bruker100image", "a.esper": "esperantoimage"}


@pytest.mark.parametrize("name", FABIO)
def test_frames_through_fabio(tmp_path, name):
    fabio = pytest.importorskip("fabio", reason="the independent writer of these frames")
    data = np.random.default_rng(2).integers(0, 200, (256, 256)).astype("i4" if "esper" in name else "u2")
    image = fabio.fabioformats.factory(FABIO[name])
    image.data, image.header = data, image.check_header({})
    image.write(str(tmp_path / name))
    ds = xp.open(tmp_path / name)
    assert formats.identify(tmp_path / name).name == "fabio" and ds.intensity.dims == ("ky", "kx")
    assert schema.problems(ds) == []
    np.testing.assert_array_equal(ds.intensity[10:12, ::-3], data[::-1][10:12, ::-3])


def test_mutants_of_marccd(tmp_path):
    content = mar(DATA, **MAR)
    counts = fuzzing.run(marccd.frame, content, (4096, len(content)), tmp_path, "a.mccd")
    assert counts["refused"] > 30


def test_mutants_of_fabio_frames_raise_one_error(tmp_path):
    """What fabio makes of a damaged header is fabio's; here: no other exception, no hang, no more memory than the file
    justifies."""
    fabio = pytest.importorskip("fabio", reason="the independent writer of these frames")
    image = fabio.fabioformats.factory("dtrekimage")
    image.data, image.header = DATA.astype("u2"), image.check_header({})
    image.write(str(tmp_path / "good.img"))
    content = (tmp_path / "good.img").read_bytes()
    refused = 0
    for mutant in fuzzing.mutants(content, (512, len(content)), 150, 0):
        path = write(tmp_path, mutant.content, "a.img")
        try:
            for ds in fabio_frames.frames(path).values():
                ds.load()
        except TranslationError:
            refused += 1
    assert refused > 30
