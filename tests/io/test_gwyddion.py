"""Gwyddion: the real field against its own bytes, a synthetic one against its truth."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import samples
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io.translators.gwyddion import simple_field


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
