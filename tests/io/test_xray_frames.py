"""EDF and CBF frames, written by fabio (an independent package), and damaged ones refused."""

from __future__ import annotations

import numpy as np
import pytest

import xpycro as xp
from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
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
