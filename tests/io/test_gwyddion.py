"""Gwyddion: the real field against its own bytes, a synthetic one against its truth."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.io import fuzzing, samples
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io.translators.gwyddion import simple_field
from xpycro.io.translators.gwyddion_native import container


def _write(tmp_path, content):
    path = tmp_path / "a.gsf"
    path.write_bytes(content)
    return str(path)


def test_real_field(data_file):
    path = data_file("gwyddion/GwiddionReader_chip.gsf")
    ds = simple_field(str(path))[""]
    assert ds.topography.shape == (300, 300) and ds.topography.attrs == {"units": "m", "long_name": "Topography"}
    stored = np.frombuffer(path.read_bytes()[-360000:], "<f4").reshape(300, 300)
    np.testing.assert_array_equal(ds.topography.values, stored[::-1])
    assert ds.x[1].item() == pytest.approx(8e-5 / 300) and schema.problems(ds) == []


def test_field_that_is_not_square(tmp_path):
    content, _, truth = samples.simple_field(5, 3, units="nm")
    ds = simple_field(_write(tmp_path, content))[""]
    np.testing.assert_allclose(ds.height.values, truth * 1e-9, rtol=1e-6)
    assert ds.height.attrs["long_name"] == "Height (trace)" and ds.attrs["offset_x"] == 1e-9
    np.testing.assert_allclose(ds.x.values, np.arange(5) * 1e-9)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 2e-9)


def test_without_units_pixels_are_counted_in_pixels(tmp_path):
    content = b"Gwyddion Simple Field 1.0\nXRes = 2\nYRes = 1\n".ljust(48, b"\0") + bytes(8)
    ds = simple_field(_write(tmp_path, content))[""]
    assert ds.data.attrs["units"] == "1" and ds.x.attrs["units"] == "pixel"


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"XRes = 5", b"XRes = 6"), (b"XRes = 5", b"XRes = 4"), (b"XRes = 5", b"XRes = -"), (b"XRes", b"YRes"),
     (b"XReal = 5e-9", b"XReal = nan "), (b"XRes = 5", b"XRes = 999999999999")],
)  # fmt: skip
def test_contradictions(tmp_path, old, new):
    content, _, _ = samples.simple_field()
    with pytest.raises(CorruptFile):
        simple_field(_write(tmp_path, content.replace(old, new)))


def test_other_file(tmp_path):
    with pytest.raises(NotThisFormat, match="expected"):
        simple_field(_write(tmp_path, b"Gwyddion Simple Field 2.0\n"))


# ---------------------------------------------------------------------------------------------------- native files


def test_real_container(data_file):
    path = data_file("gwyddion/test.gwy")
    ds = container(str(path))[""]
    content = path.read_bytes()
    start = content.index(b"data\0D") + 10
    stored = np.frombuffer(content[start : start + 128 * 128 * 8], "<f8").reshape(128, 128)
    np.testing.assert_array_equal(ds.test.values, stored[::-1])
    assert ds.test.attrs["long_name"] == "Test" and schema.problems(ds) == []
    assert schema.decode_metadata(ds.attrs["original_metadata"])["/0/data"]["xreal"] == 128.0


def test_real_old_container_equals_the_same_surface_in_another_file(data_file):
    ds = container(str(data_file("gwyddion/GwiddionReader_chip.gwy")))[""]
    field = simple_field(str(data_file("gwyddion/GwiddionReader_chip.gsf")))[""]
    np.testing.assert_array_equal(ds.channel_0.values.astype("f4"), field.topography.values)
    np.testing.assert_allclose(ds.x.values, field.x.values)
    assert ds.channel_0.attrs["units"] == ds.y.attrs["units"] == "m" and schema.problems(ds) == []


def old_container(nx=6, ny=4):
    """A container of Gwyddion 1: items begin with the number of their type, units carry a prefix that means nothing."""
    image = np.random.default_rng(0).normal(size=(ny, nx))
    field = samples.gwy_object(
        "GwyDataField", xres=nx, yres=ny, xreal=3e-9, yreal=4e-9, si_unit_x=samples.gwy_unit("nm"),
        si_unit_z=samples.gwy_unit("nm"), data=image[::-1],
    )  # fmt: skip
    body = struct.pack("<I", 0x40) + b"/0/base/palette\0Blue\0" + struct.pack("<I", 0x50) + b"/0/data\0" + field
    body += struct.pack("<I", 0x3C) + b"/0/base/min\0" + struct.pack("<d", 1.0)
    content = b"GWYOGwyContainer\0" + struct.pack("<I", len(body)) + body
    start = content.index(image[::-1].tobytes())
    return content, (start, start + image.nbytes), image


def test_old_container(tmp_path):
    content, _, image = old_container()
    path = tmp_path / "old.gwy"
    path.write_bytes(content)
    ds = container(str(path))[""]
    np.testing.assert_array_equal(ds.channel_0.values, image)
    np.testing.assert_allclose(ds.y.values, np.arange(4) * 1e-9)


def test_mutants_of_an_old_container_are_refused_or_read_right(tmp_path):
    content, block, _ = old_container(7, 6)
    assert fuzzing.run(container, content, block, tmp_path, "old.gwy")["refused"] > 30


def test_everything_a_container_holds(tmp_path):
    rng = np.random.default_rng(1)
    u, o = samples.gwy_unit, samples.gwy_object
    image, mask, other = rng.normal(size=(4, 6)), rng.normal(size=(4, 6)), rng.normal(size=(2, 3))
    brick, cloud = rng.normal(size=(5, 4, 6)), rng.normal(size=(7, 3))
    xy = {"si_unit_xy": u("nm"), "si_unit_z": u("pA")}
    field = dict(xres=6, yres=4, xreal=6.0, yreal=8.0, xoff=1.0, **xy)
    line = dict(real=0.6, off=-0.3, si_unit_x=u("V"), si_unit_y=u("nA"))
    curves = [o("GwyDataLine", res=3, data=np.array([1.0, 2, 3]), **line) for _ in range(2)]
    curve = [
        o("GwyGraphCurveModel", description=f"c{n}", xdata=np.arange(n) * 1.0, ydata=np.arange(n) * 2.0) for n in (2, 3)
    ]
    content = b"GWYP" + o(
        "GwyContainer",
        **{
            "/0/data": o("GwyDataField", data=image, **field),
            "/0/data/title": "Current",
            "/0/mask": o("GwyDataField", data=mask, xres=6, yres=4, xreal=1.0, yreal=1.0),
            "/7/data": o("GwyDataField", xres=3, yres=2, xreal=1.0, yreal=1.0, data=other, **xy),
            "/brick/0": o(
                "GwyBrick", xres=6, yres=4, zres=5, xreal=6.0, yreal=8.0, zreal=-5.0, zoff=2.0, si_unit_x=u("nm"),
                si_unit_y=u("nm"), si_unit_z=u("V"), si_unit_w=u("A"), data=brick,
            ),
            "/sps/0": o("GwySpectra", title="IV", si_unit_xy=u("nm"), coords=np.array([1.0, 2, 3, 4]), data=curves),
            "/xyz/0": o("GwySurface", data=cloud, **xy),
            "/0/graph/graph/1": o("GwyGraphModel", title="Profile", x_unit=u("nm"), y_unit=u("nm"), curves=curve),
        },
    )  # fmt: skip
    path = tmp_path / "a.gwy"
    path.write_bytes(content)
    groups = container(str(path))
    assert list(groups) == ["image", "image_2", "volume", "spectra", "points", "graph"]
    ds = groups["image"]
    assert list(ds) == ["current", "current_mask"] and ds.attrs["offset_x"] == 1e-9
    np.testing.assert_allclose(ds.current.values, image[::-1] * 1e-12)
    np.testing.assert_allclose(ds.current_mask.values, mask[::-1])
    np.testing.assert_allclose(ds.y.values, np.arange(4) * 2e-9)
    assert groups["image_2"].channel_7.shape == (2, 3)
    volume = groups["volume"].volume_0
    assert volume.dims == ("y", "x", "bias")
    np.testing.assert_allclose(volume.bias.values, [-2, -1, 0, 1, 2])
    np.testing.assert_array_equal(volume.values, brick.transpose(1, 2, 0)[::-1, :, ::-1])
    spectra = groups["spectra"].iv
    assert spectra.dims == ("position", "bias")
    np.testing.assert_allclose(spectra.bias.values, [-0.3, -0.1, 0.1], atol=1e-12)
    np.testing.assert_allclose(spectra.values[1], [1e-9, 2e-9, 3e-9])
    np.testing.assert_allclose(groups["spectra"].y.values, [2e-9, 4e-9])
    points = groups["points"]
    np.testing.assert_allclose(points.points_0.values, cloud[:, 2] * 1e-12)
    np.testing.assert_allclose(points.y.values, cloud[:, 1] * 1e-9)
    graph = groups["graph"]
    np.testing.assert_allclose(graph.profile.values, [[0, 2e-9, np.nan], [0, 2e-9, 4e-9]])
    assert graph.curve.values.tolist() == ["c2", "c3"]
    for name, one in groups.items():
        assert schema.problems(one) == [], name


def test_damaged_containers(tmp_path):
    content, (start, _), _ = samples.gwyddion_native()
    path = tmp_path / "a.gwy"
    cases = {
        "follow the container": content + b"x",
        "and what holds it ends": content[:-1],
        "do not fit": content[: start - 4] + b"\xff\xff\xff\x7f" + content[start:],
        "unknown type": content.replace(b"xres\0i", b"xres\0z"),
        "comes twice": content.replace(b"yres\0i", b"xres\0i"),
        "no proper 'xres'": content.replace(b"xres\0i", b"xRes\0i"),
        "numbers where 24": content.replace(b"xres\0i\x06", b"xres\0i\x05"),
        "outermost object": content.replace(b"GwyContainer", b"GwyContainor"),
    }
    for message, damaged in cases.items():
        path.write_bytes(damaged)
        with pytest.raises(CorruptFile, match=message.replace("numbers where 24", "numbers where 20")):
            container(str(path))
    nested = b""
    for _ in range(200):
        nested = samples.gwy_object("GwyContainer", **({"a": nested} if nested else {}))
    path.write_bytes(b"GWYP" + nested)
    with pytest.raises(CorruptFile, match="deep"):
        container(str(path))
