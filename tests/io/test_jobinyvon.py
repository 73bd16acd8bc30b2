"""Horiba LabSpec XML: real files against an independent reader, synthetic ones, damaged ones refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError
from xpycro.io.translators.jobinyvon import spectra


def numbers(values, element="LSX", attribute='ID="0x7D6CD4DB"'):
    flat = np.ravel(values)
    return f'<{element} Format="6" {attribute} Size="{flat.size}">\n{" ".join(f"{v:g}" for v in flat)}\n</{element}>'


def axis(kind, unit, values):
    named = f'<LSX Format="7" ID="0x6D707974">{kind}</LSX><LSX Format="7" ID="0x7C696E75">{unit}</LSX>'
    return f'<LSX Format="9" ID="0x1" Size="4">{numbers(values)}{named}</LSX>'


def said(name, value, kind="7"):
    value = f'<LSX Format="{kind}" ID="0x7D6C61DB">{value}</LSX>'
    return f'<LSX Format="9" ID="0x2" Size="2">{value}<LSX Format="7" ID="0x6D6D616E">{name}</LSX></LSX>'


def build(data, axes, unit="1/cm"):
    """Axes from the fastest on, as LabSpec lists them."""
    rows = np.asarray(data, float).reshape(-1, np.shape(data)[-1])
    spectral, *others = axes
    body = '<LSX Format="9" ID="0x0" Size="4"><LSX Format="7" ID="0x6D707974">Intens</LSX>'
    body += '<LSX Format="7" ID="0x7C696E75">Cnt</LSX></LSX>' + axis("Spectr", unit, spectral)
    body += "".join(axis(name, "µm" if name in "XYZ" else "s", values) for name, values in others)
    body += said("Title", "sample") + said("Acquired", "19.08.2022 09:30:34") + said("Exposure (s)", 2.5, "5")
    matrix = "".join(numbers(row, "LSX_Row", f'Index="{n}"') for n, row in enumerate(rows))
    text = '<?xml version="1.0" encoding="UTF-8"?>\n<LSX_Data>\n<LSX_Tree Format="9" ID="0x6D746164" Size="12">\n'
    text += f'{body}\n</LSX_Tree>\n<LSX_Matrix Format="6" ID="0x7D6CD4DB" Size="{rows.size}">{matrix}</LSX_Matrix>\n'
    text += "</LSX_Data>\n"
    return text.encode()


def write(tmp_path, content):
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    return str(path)


def test_maps_lines_and_spectra(tmp_path):
    data = np.arange(24.0).reshape(2, 3, 4)
    shift = [1600, 1500, 1400, 1300]
    ds = spectra(write(tmp_path, build(data, [shift, ("X", [-2, 0, 2]), ("Y", [-1, 1])])))[""]
    assert ds.intensity.dims == ("y", "x", "wavenumber") and schema.problems(ds) == []
    np.testing.assert_allclose(ds.wavenumber, shift[::-1])
    np.testing.assert_allclose(ds.x, [-2e-6, 0, 2e-6])
    np.testing.assert_array_equal(ds.intensity, data[..., ::-1])
    assert ds.intensity.attrs["units"] == "counts" and ds.attrs["acquired"] == "2022-08-19T09:30:34"
    assert ds.attrs["title"] == "sample" and '"Exposure (s)": 2.5' in ds.attrs["original_metadata"]
    series = spectra(write(tmp_path, build(data[0], [[500, 510, 520, 530], ("Time", [0, 1, 2])], unit="nm")))[""]
    assert series.intensity.dims == ("time", "wavelength")
    np.testing.assert_allclose(series.wavelength[0], 500e-9)
    down = spectra(write(tmp_path, build(data, [shift, ("X", [-2, 0, 2]), ("Y", [1, -1])])))[""]
    np.testing.assert_array_equal(down.intensity, data[::-1, :, ::-1])


@pytest.mark.parametrize("name", ["jobinyvon_test_map_x3-y2.xml", "jobinyvon_test_spec.xml"])
def test_real_files(data_file, name):
    reader = pytest.importorskip("rsciio.jobinyvon")
    path = data_file(f"jobinyvon/{name}")
    entry = reader.file_reader(str(path))[0]
    ds = spectra(str(path))[""]
    assert schema.problems(ds) == [] and ds.intensity.attrs["units"] == "counts/s"
    theirs = np.asarray(entry["data"])
    wavelength = np.asarray(next(a["axis"] for a in entry["axes"] if a["name"] == "Wavelength"))
    np.testing.assert_array_equal(ds.intensity, theirs if wavelength[0] < wavelength[-1] else theirs[..., ::-1])
    np.testing.assert_allclose(ds.wavelength * 1e9, np.sort(wavelength))
    assert ds.attrs["laser_wavelength"] == pytest.approx(632.817e-9)
    if "map" in name:
        assert dict(ds.sizes) == {"y": 2, "x": 3, "wavelength": 34}
        np.testing.assert_allclose(np.diff(ds.x), 2e-6)


def test_what_cannot_be_read_is_named(tmp_path):
    good = build(np.zeros((2, 3)), [[1, 2, 3], ("X", [0, 1])])
    with pytest.raises(NotThisFormat):
        spectra(write(tmp_path, b"<xml>nothing</xml>"))
    with pytest.raises(CorruptFile, match="xml is damaged"):
        spectra(write(tmp_path, good[:-40]))
    with pytest.raises(CorruptFile, match="document type"):
        spectra(write(tmp_path, good.replace(b"<LSX_Data>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><LSX_Data>", 1)))


def test_mutants(tmp_path):
    content = build(np.arange(40.0).reshape(2, 4, 5) + 100, [[1, 2, 3, 4, 5], ("X", [0, 1, 2, 3]), ("Y", [0, 1])])
    begin = content.index(b"<LSX_Matrix")
    counts = fuzzing.run(spectra, content, (begin, len(content)), tmp_path, "a.xml", text=True)
    assert counts["refused"] > 30


def test_every_truncation(tmp_path):
    content = build(np.zeros((2, 3)), [[1, 2, 3], ("X", [0, 1])]).rstrip()
    for length in range(0, len(content), 7):
        with pytest.raises(TranslationError):
            spectra(write(tmp_path, content[:length]))
