"""NT-MDT .mdt: the real file against its own bytes, synthetic frames against their truth."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError, UnsupportedVariant
from xpycro.io import rawarray
from xpycro.io.translators.ntmdt import frames


def frame(kind, variables, rest):
    size = 22 + len(variables) + len(rest)
    return struct.pack("<IHBB7H", size, kind, 7, 3, 2023, 4, 5, 11, 46, 5, len(variables)) + variables + rest


def archive(*parts):
    """A file of frames, each bytes or a function of the offset at which it begins."""
    body = b""
    for part in parts:
        body += part(33 + len(body)) if callable(part) else part
    head = b"\x01\xb0\x93\xff" + struct.pack("<III", len(body), 0, len(parts) - 1)
    return head.ljust(33, b"\0") + body


def scanned(nx=5, ny=3, *, title="1F:Height", seed=0):
    stored = np.random.default_rng(seed).integers(-30000, 30000, (ny, nx)).astype("<i2")
    variables = struct.pack("<ffhffhffh", 1.0, 10.0, -1, 2.0, 20.0, -1, 5.0, 0.5, -1)
    variables += struct.pack("<BBHH", 0, 1, nx, ny)
    variables += struct.pack("<HfHBBBBBBfffBxiiB", 1, 0, 0, 0, 0, 0, 0, 1, 0, 100.0, 2.0, 0.5, 0, 0, 0, 0)
    variables = variables.ljust(120, b"\0")
    name = title.encode()
    rest = struct.pack("<HHHH", 0, nx, ny, 0) + stored.tobytes() + struct.pack("<I", len(name)) + name
    return frame(0, variables, rest + struct.pack("<I", 0)), (5.0 + 0.5 * stored) * 1e-9, stored.nbytes


def calibration(name, unit, bias, scale, count, kind=-8):
    texts = name.encode() + unit.encode()
    body = struct.pack("<IIIQdiiddQQiI", len(name), 0, len(unit), 1, 0.0, 0, 0, bias, scale, 0, count - 1, kind, 0)
    body = body.ljust(112, b"\0")
    return struct.pack("<II", 8 + len(body) + len(texts), len(body)) + body + texts


def array(dims, values, *, title="Map", seed=0):
    """An array over dims given fastest first, of one or several values a cell."""
    sizes = [count for *_, count in dims]
    dtype = np.dtype([(f"f{k}", {-2: "<i2", -13320: "<f8"}[kind]) for k, (*_, kind) in enumerate(values)])
    rng = np.random.default_rng(seed)
    cells = np.zeros(sizes[::-1], dtype)
    for name in dtype.names:
        cells[name] = rng.integers(-3000, 3000, sizes[::-1])

    def build(at):
        xml = '<?xml version="1.0" encoding="UTF-16"?><A><Angle>30</Angle></A>'.encode("utf-16")
        description = struct.pack("<QIIII", cells.size, dtype.itemsize, len(dims), len(values), 0)
        description = struct.pack("<II", 0, len(description)) + description
        calibrations = b"".join(calibration(n, u, b, s, c) for n, u, b, s, c in dims)
        calibrations += b"".join(calibration(n, u, b, s, 1 << 10, k) for n, u, b, s, k in values)
        start = at + 22 + 76 + len(title) + len(xml) + len(description) + len(calibrations)
        head = struct.pack("<II", 76, 0) + bytes(36)
        head += struct.pack("<8I", len(title), len(xml), 0, 0, 0, 0, start, cells.nbytes)
        return frame(106, b"", head + title.encode() + xml + description + calibrations + cells.tobytes())

    return build, cells


def spectroscopy(points=2, sweeps=2, count=4, seed=0):
    """Curves that run down from start to stop, and inverted ones that run up; forward is the inverted one."""
    rng = np.random.default_rng(seed)
    curves = rng.normal(size=(2 * points * sweeps, count)).astype("<f8")
    rows = ['<Name name="BV" unit="V" bias="0" scale="1" index="0"/>', '<Name name="I" unit="nA" index="1"/>',
            f'<Axis name="0" count="{count}" start="3.0" stop="-3.0" index="0"/>']  # fmt: skip
    blocks = []
    for k in range(len(curves)):
        rows.append(f'<Meas name="1" data="{k}" axis0="0" inverse0="{k % 2}" axis1="-1" index="{k}"/>')
        rows.append(f'<Data name="data{k}.dat" offset="0" count="{count}" type="float64" index="{k}"/>')
        blocks.append((f"data{k}.dat", curves[k].tobytes()))
    for p in range(points):
        own = range(2 * sweeps * p, 2 * sweeps * (p + 1))
        numbers = [k for k in own if k % 2] + [k for k in own if not k % 2]
        blocks.append((f"point{p}.dat", struct.pack(f"<{len(numbers)}i", *numbers)))
        rows.append(
            f'<Point name="point{p}.dat" offset="0" meas="1" exec="{sweeps}" x="{p}.5" y="2" unit="um" index="{p}"/>'
        )
    xml = '<?xml version="1.0" encoding="UTF-8"?><Comment><Info>' + "".join(rows) + "</Info></Comment>"
    blocks.append(("index.xml", xml.encode()))
    body = struct.pack("<I", len(blocks)) + b"".join(struct.pack("<II", len(n), len(c)) for n, c in blocks)
    body += b"".join(n.encode() for n, _ in blocks) + b"".join(c for _, c in blocks)
    return frame(190, b"", body), curves


def old_curves(places=(), *, nx=5, ny=1, unit=2, kind=1, seed=0):
    """A frame of older software: one curve (or ny of them), or two of given lengths at each place; the numbers."""
    count = sum(a + b for *_, a, b in places) if places else nx * ny
    stored = np.random.default_rng(seed).integers(-30000, 30000, count).astype("<i2")
    variables = struct.pack("<ffhffhffh", -1.0, 0.5, unit, 0, 0, 3, 2.0, 0.25, 1).ljust(107, b"\0")
    dots = struct.pack("<iiih", 10, 16, 1, -2) if places else b""
    dots += b"".join(struct.pack("<ffii", *place) for place in places)
    rest = struct.pack("<HHHH", 0, 0 if places else nx, 0 if places else ny, len(places)) + dots
    rest += stored.tobytes() + struct.pack("<I", 7) + b"Current"
    return frame(kind, variables, rest), (2.0 + 0.25 * stored) * 1e-9


def write(tmp_path, content):
    path = tmp_path / "test.mdt"
    path.write_bytes(content)
    return str(path)


def test_real_file_agrees_with_its_bytes(data_file):
    path = data_file("ntmdt_mdt/test_mdt.mdt")
    content = path.read_bytes()
    groups = frames(str(path))
    image = groups["image"]
    assert image.iprobe.dims == ("y", "x") and image.iprobe.shape == (256, 256)
    assert image.iprobe.attrs == {"units": "A", "long_name": "Iprobe", "direction": "forward"}
    stored = np.frombuffer(content, "<f8", 256 * 256, offset=45429).reshape(256, 256)
    np.testing.assert_allclose(image.iprobe.values, stored * 1e-9, rtol=1e-12)
    assert image.x[1].item() == pytest.approx(0.011767974683082529e-6)
    assert image.attrs["offset_x"] == pytest.approx(52.59741801320808e-6)
    assert image.attrs["acquired"] == "2022-12-26T16:55:45"
    spectra = groups["spectra"]
    assert spectra.iprobe.dims == ("position", "direction", "sweep", "bias")
    assert dict(spectra.sizes) == {"position": 25, "direction": 2, "sweep": 3, "bias": 587}
    assert spectra.x.values[0] == pytest.approx(53.4435176967192e-6)
    assert spectra.y.values[-1] == pytest.approx(63.0266278020837e-6)
    assert spectra.bias.values[[0, -1]] == pytest.approx([-2.99985697, 2.99987324])
    # the sample conducts: the current has the sign of the voltage in both directions
    ends = spectra.iprobe.isel(position=0, bias=[0, -1]).values
    assert (ends[..., 0] < 0).all() and (ends[..., 1] > 0).all()
    # the points lie in the image
    inside = image.attrs["offset_x"] + image.x.values[[0, -1]]
    assert (spectra.x.values > inside[0]).all() and (spectra.x.values < inside[1]).all()
    assert [schema.problems(ds) for ds in groups.values()] == [[], []]


def test_orientation_and_scale_of_a_non_square_image(tmp_path):
    content, truth, _ = scanned(5, 3)
    ds = frames(write(tmp_path, archive(content)))[""]
    np.testing.assert_allclose(ds.height.values, truth, rtol=1e-6)
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 10e-9)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 20e-9)
    assert ds.attrs["bias"] == 0.5 and ds.attrs["setpoint"] == pytest.approx(2e-9)
    assert ds.attrs["acquired"] == "2023-04-05T11:46:05" and ds.height.attrs["direction"] == "forward"


def test_forward_and_backward_frames_join(tmp_path):
    (forward, a, _), (backward, b, _) = scanned(seed=0), scanned(title="1B:Height", seed=1)
    ds = frames(write(tmp_path, archive(forward, backward)))[""]
    assert ds.height.dims == ("direction", "y", "x")
    np.testing.assert_allclose(ds.height.values, np.stack([a, b]), rtol=1e-6)


def test_frames_on_other_grids_are_groups_and_others_are_named(tmp_path):
    groups = frames(write(tmp_path, archive(scanned()[0], scanned(4, 4)[0], frame(107, b"", bytes(8)))))
    assert list(groups) == ["image", "image_2"]
    assert groups["image"].attrs["frames_not_read"] == "frame 2 of type 107"
    with pytest.raises(UnsupportedVariant):
        frames(write(tmp_path, archive(frame(107, b"", bytes(8)))))


def test_arrays_of_several_axes_and_values(tmp_path):
    build, cells = array(
        [("Raman", "1/cm", 100.0, 2.0, 4), ("X", "um", 1.0, 0.5, 3), ("Y", "um", 2.0, -0.25, 2)],
        [("Intensity", "counts", 0.0, 2.0, -2), ("Height", "nm", 1.0, 1.0, -13320)],
    )
    ds = frames(write(tmp_path, archive(build)))[""]
    intensity, height = list(ds.data_vars)
    assert ds[intensity].dims == ("y", "x", "wavenumber")
    np.testing.assert_allclose(ds[intensity].values, cells["f0"][::-1] * 2.0)  # y was stored descending
    np.testing.assert_allclose(ds[height].values, (cells["f1"][::-1] + 1.0) * 1e-9)
    np.testing.assert_allclose(ds.wavenumber.values, [100, 102, 104, 106])
    np.testing.assert_allclose(ds.y.values, [0, 0.25e-6])
    assert ds.attrs["scan_angle"] == pytest.approx(np.pi / 6)


def test_curves_at_points(tmp_path):
    content, curves = spectroscopy(points=3, sweeps=2, count=4)
    ds = frames(write(tmp_path, archive(content)))[""]
    assert ds.i.dims == ("position", "direction", "sweep", "bias")
    for k, curve in enumerate(curves):
        point, sweep = k // 4, k % 4 // 2
        found = ds.i.values[point, 0 if k % 2 else 1, sweep]
        np.testing.assert_allclose(found, (curve if k % 2 else curve[::-1]) * 1e-9, rtol=1e-12)
    np.testing.assert_allclose(ds.bias.values, [-3, -1, 1, 3])
    np.testing.assert_allclose(ds.x.values, [0.5e-6, 1.5e-6, 2.5e-6])


def test_a_curve_of_older_software(tmp_path):
    part, truth = old_curves()
    ds = frames(write(tmp_path, archive(part)))[""]
    assert ds.current.dims == ("bias",) and ds.current.attrs["units"] == "A"
    np.testing.assert_allclose(ds.current.values, truth, rtol=1e-12)
    np.testing.assert_allclose(ds.bias.values, [-1, -0.5, 0, 0.5, 1])
    part, truth = old_curves(ny=3, unit=-1)
    ds = frames(write(tmp_path, archive(part)))[""]
    assert ds.current.dims == ("sweep", "z") and ds.z.values[1] == pytest.approx(-0.5e-9)
    np.testing.assert_allclose(ds.current.values.ravel(), truth, rtol=1e-12)


def test_curves_of_older_software_at_points(tmp_path):
    part, truth = old_curves([(1.0, 2.0, 4, 3), (3.0, 5.0, 4, 0)], kind=201)
    ds = frames(write(tmp_path, archive(part)))[""]
    assert ds.current.dims == ("position", "direction", "bias") and schema.problems(ds) == []
    np.testing.assert_allclose(ds.current.values[0, 0], truth[:4], rtol=1e-12)
    np.testing.assert_allclose(ds.current.values[0, 1], [*truth[4:7], np.nan], rtol=1e-12)
    np.testing.assert_allclose(ds.current[1, 0, 1:3].values, truth[8:10], rtol=1e-12)
    assert np.isnan(ds.current.values[1, 1]).all()
    np.testing.assert_allclose(ds.x.values, [1e-6, 3e-6])
    np.testing.assert_allclose(ds.y.values, [2e-6, 5e-6])


def test_mutants_of_old_curves_are_refused_or_read_right(tmp_path):
    part, truth = old_curves([(1.0, 2.0, 9, 8), (3.0, 5.0, 9, 7)])
    content = archive(part)
    stop = len(content) - 11
    counts = fuzzing.run(frames, content, (stop - 2 * truth.size, stop), tmp_path, "fuzz.mdt")
    assert counts["refused"] > 30


def test_opening_reads_no_numbers(data_file, monkeypatch):
    read = []
    original = rawarray.read_block
    monkeypatch.setattr(rawarray, "read_block", lambda handle, offset, buffer: (
        read.append(len(buffer)) or original(handle, offset, buffer)))  # fmt: skip
    groups = frames(str(data_file("ntmdt_mdt/test_mdt.mdt")))
    assert read == []
    groups["spectra"].iprobe.isel(position=3, direction=1, sweep=2).load()
    assert sum(read) == 587 * 8


def test_damaged_ones_are_refused(tmp_path):
    with pytest.raises(NotThisFormat):
        frames(write(tmp_path, b"something else" * 10))
    content = archive(scanned()[0], array([("X", "um", 0.0, 1.0, 3)], [("Z", "nm", 0.0, 1.0, -2)])[0])
    for length in range(0, len(content), 3):
        with pytest.raises(TranslationError):
            frames(write(tmp_path, content[:length]))
    evil = archive(spectroscopy()[0]).replace(b"<Comment><Info>", b"<!DOCTYPE a><I>")
    with pytest.raises(CorruptFile):
        frames(write(tmp_path, evil))


def test_mutants_of_images_are_refused_or_read_right(tmp_path):
    content, _, nbytes = scanned(7, 6)
    content = archive(content)
    start = 33 + 22 + 120 + 8
    block = (start, start + nbytes)
    assert fuzzing.run(frames, content, block, tmp_path, "fuzz.mdt")["refused"] > 30


def test_mutants_of_arrays_are_refused_or_read_right(tmp_path):
    build, cells = array([("X", "um", 1.0, 0.5, 7), ("Y", "um", 2.0, 0.25, 6)], [("Z", "nm", 1.0, 1.0, -13320)])
    content = archive(build)
    assert fuzzing.run(frames, content, len(content) - cells.nbytes, tmp_path, "fuzz.mdt")["refused"] > 30


def test_mutants_of_curves_are_refused_or_read_right(tmp_path):
    content, curves = spectroscopy()
    content = archive(content)
    start = content.index(curves[0].tobytes())
    block = (start, start + curves.nbytes)
    assert fuzzing.run(frames, content, block, tmp_path, "fuzz.mdt")["refused"] > 30
