"""Anasys documents: the real file against INDEX.tsv, synthetic ones against their truth."""

from __future__ import annotations

import base64
import gzip

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError, UnsupportedVariant
from xpycro.io.translators.anasys import document


def b64(values):
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def height_map(label, image, trace, *, prefix="n", time="2024-01-12T13:37:28.2283555-05:00"):
    ny, nx = image.shape
    return (
        f'<HeightMap DataChannel="height" Label="{label}"><Position><X>4</X><Y>-2</Y><Z>0</Z></Position>'
        f"<Rotation><Yaw>-90</Yaw></Rotation><Size><X>20</X><Y>10</Y></Size><Resolution><X>{nx}</X><Y>{ny}</Y>"
        f"</Resolution><Units>m</Units><UnitPrefix>{prefix}</UnitPrefix><Tags>"
        f'<Tag Name="TraceRetrace" Value="{trace}" /><Tag Name="Setpoint" Value="-0.5 V" />'
        f'<Tag Name="System" Value="NANOIR2" /></Tags><TimeStamp>{time}</TimeStamp>'
        f"<SampleBase64>{b64(image)}</SampleBase64></HeightMap>"
    )


def spectrum(label, values, low=1000, high=1006):
    return (
        f"<IRRenderedSpectra><Label>{label}</Label><DataPoints>{values.size}</DataPoints>"
        f"<StartWavenumber>{low}</StartWavenumber><EndWavenumber>{high}</EndWavenumber>"
        f"<Location><X>6.5</X><Y>-7</Y></Location>"
        f'<DataChannels Name="IR-Amplitude"><SampleBase64>{b64(values)}</SampleBase64></DataChannels>'
        "</IRRenderedSpectra>"
    )


def build(nx=5, ny=3, *, spectra=2, seed=0, encoding="utf-16"):
    rng = np.random.default_rng(seed)
    forward, backward, other = rng.normal(size=(3, ny, nx)).astype("f4")
    curves = rng.normal(size=(spectra, 4)).astype("f4")
    maps = height_map("Height 1", forward, "PrimaryTrace") + height_map("Height 1", backward, "PrimaryRetrace")
    maps += height_map("Deflection 1", other, "PrimaryTrace", prefix="")
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?>\n<Document xmlns="www.anasysinstruments.com"><HeightMaps>{maps}'
    )
    text += "</HeightMaps><RenderedSpectra>" + "".join(spectrum(f"Spectrum {k}", c) for k, c in enumerate(curves))
    return (text + "</RenderedSpectra></Document>").encode(encoding), np.stack([forward, backward]), other, curves


def write(tmp_path, content, name="test.axz"):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def test_real_document_agrees_with_its_index_row(data_file):
    groups = document(str(data_file("anasys_axz/PEA_BDA_film.axz")))
    maps = [ds for name, ds in groups.items() if name.startswith("scan")]
    spectra = [ds for name, ds in groups.items() if name.startswith("spectra")]
    # 73 channels: 68 maps and 5 spectra
    assert sum(len(ds.data_vars) for ds in maps) == 68 and sum(ds.sizes["position"] for ds in spectra) == 5
    first = groups["scan_1"]
    assert first.height.dims == ("y", "x") and first.height.shape == (128, 128)
    assert first.height.values[::-1][14, 12] == pytest.approx(142.01393127441406e-9, rel=1e-6)
    assert first.attrs["scan_center_x"] == pytest.approx(4.1710000038146973e-6)
    assert first.x[1].item() == pytest.approx(20e-6 / 128) and first.attrs["scan_angle"] == pytest.approx(-np.pi / 2)
    assert first.attrs["acquired"] == "2024-01-12T13:37:28" and first.attrs["setpoint"] == -0.520172
    third = groups["spectra_3"].sel(position=groups["spectra_3"].label == "Spectrum 4")
    assert third.sizes["wavenumber"] == 251 and third.wavenumber.attrs["units"] == "1/cm"
    assert third.x.item() == pytest.approx(6.424e-6)
    channels = [float(v) for name in third.data_vars for v in groups["spectra_3"][name].isel(wavenumber=12).values]
    assert any(v == pytest.approx(19.734291076660156, rel=1e-6) for v in channels)
    assert all(schema.problems(ds) == [] for ds in groups.values())


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-8"])
def test_orientation_and_scale_of_a_non_square_map(tmp_path, packed, encoding):
    content, height, deflection, curves = build(5, 3, encoding=encoding)
    groups = document(write(tmp_path, gzip.compress(content) if packed else content))
    scan, spectra = groups["scan_1"], groups["spectra"]
    assert scan.height.dims == ("direction", "y", "x")
    np.testing.assert_allclose(scan.height.values, height[:, ::-1] * 1e-9, rtol=1e-6)  # the top row comes first
    np.testing.assert_allclose(scan.deflection.values, deflection[::-1], rtol=1e-6)
    np.testing.assert_allclose(scan.x.values, np.arange(5) * 4e-6)
    np.testing.assert_allclose(scan.y.values, np.arange(3) * 10e-6 / 3)
    np.testing.assert_allclose(spectra.ir_amplitude.values, curves)
    np.testing.assert_allclose(spectra.wavenumber.values, [1000, 1002, 1004, 1006])
    assert spectra.x.values.tolist() == [6.5e-6, 6.5e-6]


def test_documents_of_others_and_damaged_ones_are_refused(tmp_path):
    content = build()[0]
    with pytest.raises(NotThisFormat):
        document(write(tmp_path, b"<?xml version='1.0'?><Document/>"))
    with pytest.raises(NotThisFormat):
        document(write(tmp_path, b"something else"))
    with pytest.raises(UnsupportedVariant):
        document(write(tmp_path, b'<?xml version="1.0"?><Document xmlns="www.anasysinstruments.com"/>'))
    plain = build(encoding="utf-8")[0]
    evil = plain.replace(b"<Document", b'<!DOCTYPE a [<!ENTITY b "c">]><Document', 1)
    for wrong in (evil, plain.replace(b"<X>5</X>", b"<X>6</X>"), gzip.compress(content)[:-9]):
        with pytest.raises(CorruptFile):
            document(write(tmp_path, wrong))
    packed = gzip.compress(content)
    for length in range(0, len(packed), 5):
        with pytest.raises(TranslationError):
            document(write(tmp_path, packed[:length]))


def test_a_bomb_is_not_inflated(tmp_path, monkeypatch):
    from xpycro.io.translators import anasys

    monkeypatch.setattr(anasys, "_LIMIT", 1 << 16)
    with pytest.raises(CorruptFile, match="inflates to more"):
        document(write(tmp_path, gzip.compress(b"<?xml " + b" " * (1 << 20))))


def test_mutants_are_refused_or_read_right(tmp_path):
    content = gzip.compress(build(7, 6)[0])
    assert fuzzing.run(document, content, len(content), tmp_path, "fuzz.axz")["refused"] > 30


def test_mutants_of_plain_documents_never_lose_numbers(tmp_path):
    content = build(7, 6, encoding="utf-8")[0]
    path = write(tmp_path, content, "fuzz.axd")
    whole = sum(v.size for ds in document(path).values() for v in ds.data_vars.values())
    for mutant in fuzzing.mutants(content, (0, 0), 300, 0):
        write(tmp_path, mutant.content, "fuzz.axd")
        try:
            found = sum(v.size for ds in document(path).values() for v in ds.data_vars.values())
        except TranslationError:
            continue
        assert found == whole, mutant.label
