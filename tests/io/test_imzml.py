"""imzML: the real pair against its index row, written ones of both kinds against their truth, damaged ones refused."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io.opening import open as open_file
from xpycro.io.translators.imzml import image

UUID = bytes(range(16))
TYPES = {
    "<f4": "MS:1000521", "<f8": "MS:1000523", "<i4": "MS:1000519", "<i8": "MS:1000522", "<f2": "MS:1000520",
    "i1": "IMS:1100000", "<i2": "IMS:1100001",
}  # fmt: skip


def term(accession, value="", more=""):
    return f'<cvParam cvRef="X" accession="{accession}" name="n" value="{value}"{more}/>'


def build(spectra, places, *, continuous=False, compressed=False, mz="<f8", intensity="<f4", first="mz", step=50.0):
    """(xml, ibd) of ``[(masses, intensities), ...]`` at ``[(x, y), ...]``, counted from 1."""
    ibd, rows = UUID, []
    pack = zlib.compress if compressed else bytes
    shared = None
    for masses, values in spectra:
        entry = {}
        for kind, numbers, dtype in (("mz", masses, mz), ("intensity", values, intensity)):
            if kind == "mz" and continuous and shared is not None:
                entry[kind] = shared
                continue
            body = pack(np.asarray(numbers).astype(dtype).tobytes())
            entry[kind] = (len(ibd), len(numbers), len(body))
            ibd += body
        shared = entry["mz"]
        rows.append(entry)
    kind = "IMS:1000030" if continuous else "IMS:1000031"
    text = '<?xml version="1.0" encoding="UTF-8"?>\n<mzML xmlns="http://psi.hupo.org/ms/mzml" version="1.1">\n'
    text += f"<fileDescription><fileContent>{term(kind)}{term('IMS:1000080', '{' + UUID.hex() + '}')}"
    text += f"{term('IMS:1000091', hashlib.sha1(ibd).hexdigest())}</fileContent></fileDescription>\n"
    text += '<referenceableParamGroupList count="2">'
    packing = term("MS:1000574" if compressed else "MS:1000576")
    for name, accession, dtype in (("mz", "MS:1000514", mz), ("intensity", "MS:1000515", intensity)):
        unit = ' unitAccession="MS:1000131"' if name == "intensity" else ""
        text += f'<referenceableParamGroup id="{name}">{packing}{term(accession, "", unit)}{term(TYPES[dtype])}'
        text += "</referenceableParamGroup>"
    text += "</referenceableParamGroupList>\n<scanSettingsList><scanSettings>"
    text += term("IMS:1000042", max(x for x, _ in places)) + term("IMS:1000043", max(y for _, y in places))
    text += term("IMS:1000046", step, ' unitName="micrometer"') + "</scanSettings></scanSettingsList>\n"
    text += f'<run startTimeStamp="2009-08-11T15:59:44"><spectrumList count="{len(rows)}">\n'
    for number, (entry, (x, y)) in enumerate(zip(rows, places, strict=True)):
        text += f'<spectrum id="s{number}" index="{number}"><scanList><scan>{term("IMS:1000050", x)}'
        text += f'{term("IMS:1000051", y)}</scan></scanList><binaryDataArrayList count="2">'
        for kind in (first, "intensity" if first == "mz" else "mz"):
            offset, length, encoded = entry[kind]
            text += f'<binaryDataArray encodedLength="0"><referenceableParamGroupRef ref="{kind}"/>'
            text += term("IMS:1000103", length) + term("IMS:1000104", encoded) + term("IMS:1000102", offset)
            text += "<binary/></binaryDataArray>"
        text += "</binaryDataArrayList></spectrum>\n"
    return (text + "</spectrumList></run>\n</mzML>\n").encode(), ibd


def write(folder, xml, ibd):
    (folder / "a.imzML").write_bytes(xml)
    (folder / "a.ibd").write_bytes(ibd)
    return str(folder / "a.imzML")


PLACES = [(1 + n % 3, 1 + n // 3) for n in range(6)]
MASSES = np.linspace(100, 200, 40)
PROFILES = [(MASSES, np.random.default_rng(n).poisson(20, 40)) for n in range(6)]


def peaks(n, count=30):
    rng = np.random.default_rng(n)
    return np.sort(rng.uniform(100, 1000, count)), rng.integers(1, 500, count).astype(float)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("first", ["mz", "intensity"])
def test_a_continuous_image(tmp_path, compressed, first):
    path = write(tmp_path, *build(PROFILES, PLACES, continuous=True, compressed=compressed, first=first))
    ds = open_file(path)
    assert ds.intensity.dims == ("y", "x", "mass_to_charge") and ds.intensity.attrs["units"] == "counts"
    assert schema.problems(ds) == [] and ds.intensity.chunks is not None
    np.testing.assert_array_equal(ds.mass_to_charge, MASSES)
    np.testing.assert_allclose(ds.x, [0, 50e-6, 100e-6])
    for (x, y), (_, values) in zip(PLACES, PROFILES, strict=True):
        np.testing.assert_array_equal(ds.intensity.values[2 - y, x - 1], values)  # y = 1 is the top
    np.testing.assert_array_equal(ds.intensity[1, ::-1, 30:10:-3].values, ds.intensity.values[1, ::-1, 30:10:-3])
    assert ds.attrs["acquired"] == "2009-08-11T15:59:44"


@pytest.mark.parametrize("compressed", [False, True])
def test_peak_lists_are_summed_into_channels(tmp_path, compressed):
    spectra = [peaks(n, 20 + 7 * n) for n in range(5)]
    path = write(tmp_path, *build(spectra, PLACES[:5], compressed=compressed))
    for axis in ("500 ppm", 0.5, np.linspace(150, 800, 400)):
        ds = image(path, mass_axis=axis)[""]
        centres = ds.mass_to_charge.values
        inner = (centres[1:] + centres[:-1]) / 2
        edges = np.concatenate([[2 * centres[0] - inner[0]], inner, [2 * centres[-1] - inner[-1]]])
        for (x, y), (masses, values) in zip(PLACES[:5], spectra, strict=True):
            expected, _ = np.histogram(masses, edges, weights=values)
            np.testing.assert_allclose(ds.intensity.values[2 - y, x - 1], expected)
        assert np.isnan(ds.intensity.values[0, 2]).all() and not bool(ds.measured[0, 2])
        if not isinstance(axis, np.ndarray):  # nothing is lost
            np.testing.assert_allclose(ds.intensity.sum(), sum(values.sum() for _, values in spectra))
    widths = (
        np.diff(image(path, mass_axis="500 ppm")[""].mass_to_charge)
        / image(path, mass_axis="500 ppm")[""].mass_to_charge[:-1]
    )
    np.testing.assert_allclose(widths, 5e-4, rtol=1e-3)


def test_an_ion_image_reads_what_it_must(tmp_path, bytes_read):
    count, pixels = 20_000, 50
    spectra = [(np.sort(np.random.default_rng(n).uniform(100, 1000, count)), np.ones(count)) for n in range(pixels)]
    places = [(1 + n % 10, 1 + n // 10) for n in range(pixels)]
    xml, ibd = build(spectra, places)
    path = write(tmp_path, xml, ibd)
    image(path)
    counter = bytes_read()
    ds = image(path, mass_axis="20 ppm")[""]
    assert counter.total < len(xml) + 90_000 + pixels * 40  # the head is looked for by 64 kB
    chosen = int(np.searchsorted(ds.mass_to_charge.values, 500.0))
    counter = bytes_read()
    ion = ds.intensity.isel(mass_to_charge=slice(chosen, chosen + 10)).values
    assert counter.total < pixels * 2 * 512 * 12 * 1.3  # a page or two of each pixel's masses and intensities
    low, high = (float(ds.mass_to_charge[n : n + 2].mean()) for n in (chosen - 1, chosen + 9))
    for n, (masses, _) in enumerate(spectra):
        assert ion[4 - n // 10, n % 10].sum() == np.count_nonzero((masses >= low) & (masses < high))


def test_the_real_pair(data_file):
    path = data_file("imzml/Example_Continuous.imzML")
    data_file("imzml/Example_Continuous.ibd")
    ds = image(str(path), checksum=True)[""]
    assert ds.sizes == {"y": 3, "x": 3, "mass_to_charge": 8399} and ds.intensity.dtype == np.float32
    assert schema.problems(ds) == []
    assert 100 <= ds.mass_to_charge[0] and ds.mass_to_charge[-1] <= 800
    values = ds.intensity.values
    np.testing.assert_allclose(np.diff(ds.x), 100e-6)
    # the total ion current that the instrument wrote beside the spectrum of the first pixel, upper left
    assert values[2, 0].sum() == pytest.approx(121.85039, rel=1e-5)
    assert values.min() >= 0


def test_what_does_not_belong_together_is_named(tmp_path):
    xml, ibd = build(PROFILES, PLACES, continuous=True)
    with pytest.raises(NotThisFormat):
        image(write(tmp_path, b"<xml>none</xml>", ibd))
    with pytest.raises(CorruptFile, match="not its file"):
        image(write(tmp_path, xml, bytes(16) + ibd[16:]))
    with pytest.raises(CorruptFile, match="truncated"):
        image(write(tmp_path, xml, ibd[:-1]))
    changed = ibd[:-1] + bytes([ibd[-1] ^ 1])
    image(write(tmp_path, xml, changed))
    with pytest.raises(CorruptFile, match="sha1"):
        image(write(tmp_path, xml, changed), checksum=True)
    with pytest.raises(ValueError, match="its own axis"):
        image(write(tmp_path, xml, ibd), mass_axis=0.1)
    with pytest.raises(ValueError, match="20 ppm"):
        image(write(tmp_path, *build([peaks(0)], [(1, 1)])), mass_axis="20")
    (tmp_path / "a.ibd").unlink()
    with pytest.raises(CorruptFile, match=r"a\.ibd, is not beside it"):
        image(str(tmp_path / "a.imzML"))


@pytest.mark.parametrize("part", ["xml", "ibd"])
@pytest.mark.parametrize("kind", ["continuous", "processed", "compressed"])
def test_mutants(tmp_path, part, kind):
    axis = None if kind == "continuous" else np.linspace(100, 1000, 200)
    spectra = PROFILES if kind == "continuous" else [peaks(n) for n in range(6)]
    xml, ibd = build(spectra, PLACES, continuous=kind == "continuous", compressed=kind == "compressed")
    path = write(tmp_path, xml, ibd)

    def read(_):
        return image(path, mass_axis=axis)

    if part == "xml":
        counts = fuzzing.run(read, xml, (len(xml), len(xml)), tmp_path, "a.imzML", count=200)
    else:
        # a changed mass moves a peak from one channel to another, which is two numbers
        counts = fuzzing.run(read, ibd, (16, len(ibd)), tmp_path, "a.ibd", count=200, text=kind != "continuous")
    assert counts["refused"] > 30
