"""imzML as other programs write it: the same numbers through every spelling, or one error that says what to do."""

from __future__ import annotations

import hashlib
import re
import zlib

import numpy as np
import pytest

from tests.io.test_imzml import MASSES, PLACES, PROFILES, build, peaks, term, write
from xpycro import schema
from xpycro.errors import CorruptFile, UnsupportedVariant
from xpycro.io.translators import _imzmlspectra
from xpycro.io.translators.imzml import image

SPECTRA = [peaks(n, 20 + 3 * n) for n in range(6)]
AXIS = np.linspace(100, 1000, 300)


def swapped(xml):
    """Every other spectrum has its arrays in the other order."""
    pair = re.compile(rb"(<binaryDataArray .*?</binaryDataArray>)(<binaryDataArray .*?</binaryDataArray>)", re.S)
    turn = iter([False, True] * 3)
    return pair.sub(lambda m: m[2] + m[1] if next(turn) else m[0], xml)


def prefixed(xml):
    body = re.sub(rb"<(/?)([a-zA-Z])", rb"<\1m:\2", xml)
    return body.replace(b"xmlns=", b"xmlns:m=")


def valued_first(xml):
    return re.sub(rb'<cvParam (cvRef="X" accession="IMS:\d+" name="n") (value="\d+")/>', rb"<cvParam \2 \1/>", xml)


def spaced(xml):
    """Some spectra have terms that others lack, and other white space."""
    turn = iter(range(6))

    def more(match):
        n = next(turn)
        return match[0] + term("MS:1000285", 1.5 * n).encode() * (n % 3) + b"\r\n\t" * n

    return re.sub(rb"<spectrum [^>]*>", more, xml)


def inlined(xml):
    """No groups of terms: each array says what it is."""
    groups = dict(re.findall(rb'<referenceableParamGroup id="(\w+)">(.*?)</referenceableParamGroup>', xml))
    xml = re.sub(rb"<referenceableParamGroupList.*?</referenceableParamGroupList>", b"", xml)
    return re.sub(rb'<referenceableParamGroupRef ref="(\w+)"/>', lambda m: groups[m[1]], xml)


SPELLINGS = {
    "as written": lambda xml: xml,
    "single quotes": lambda xml: xml.replace(b'"', b"'"),
    "a prefix of names": prefixed,
    "no name space": lambda xml: re.sub(rb' xmlns="[^"]*"', b"", xml),
    "an index after it": lambda xml: (
        xml.replace(b"<mzML", b"<indexedmzML><mzML", 1)
        + b'<indexList count="1"><index name="spectrum"><offset idRef="s0">12</offset></index></indexList>'
        + b"</indexedmzML>\n"
    ),
    "latin-1": lambda xml: (
        xml.replace(b"UTF-8", b"ISO-8859-1")
        .replace(b"<fileContent>", b"<fileContent>" + term("MS:1", "M\xfcnchen").encode("latin-1"))
        .replace(b'id="s3"', b'id="s\xe43"')
    ),
    "a comment among spectra": lambda xml: xml.replace(b'<spectrum id="s2"', b'<!-- <here> --><spectrum id="s2"'),
    "a comment before spectra": lambda xml: xml.replace(b'<spectrum id="s0"', b'<!-- here --><spectrum id="s0"'),
    "a comment inside": lambda xml: xml.replace(b"<scanList>", b"<!-- here --><scanList>"),
    "values first": valued_first,
    "arrays swapped": swapped,
    "terms and spaces that differ": spaced,
    "no groups of terms": inlined,
    "a greater sign in a value": lambda xml: xml.replace(b"<scanList>", term("MS:1", "a>b").encode() + b"<scanList>"),
    "chromatograms after it": lambda xml: xml.replace(
        b"</spectrumList>", b"</spectrumList><chromatogramList><chromatogram/></chromatogramList>"
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("blocks", [1 << 22, 700])
def test_every_spelling_gives_the_numbers(tmp_path, monkeypatch, name, blocks):
    monkeypatch.setattr(_imzmlspectra, "_BLOCK", blocks)  # 700 bytes: blocks of less than one spectrum
    xml, ibd = build(SPECTRA, PLACES)
    changed = SPELLINGS[name](xml)
    assert changed != xml or name == "as written"
    ds = image(write(tmp_path, changed, ibd), mass_axis=AXIS)[""]
    inner = (AXIS[1:] + AXIS[:-1]) / 2
    edges = np.concatenate([[2 * AXIS[0] - inner[0]], inner, [2 * AXIS[-1] - inner[-1]]])
    for (x, y), (masses, values) in zip(PLACES, SPECTRA, strict=True):
        np.testing.assert_allclose(ds.intensity.values[2 - y, x - 1], np.histogram(masses, edges, weights=values)[0])
    assert ds.attrs["acquired"] == "2009-08-11T15:59:44"


def test_what_is_alike_is_not_parsed_twice(tmp_path, monkeypatch):
    parsed = []
    understand = _imzmlspectra._Reader.understand
    monkeypatch.setattr(_imzmlspectra._Reader, "understand", lambda *args: (parsed.append(1), understand(*args))[1])
    spectra = [peaks(n, 3) for n in range(300)]
    xml, ibd = build(spectra, [(1 + n % 20, 1 + n // 20) for n in range(300)])
    image(write(tmp_path, spaced_by_three(xml), ibd), mass_axis=AXIS)
    assert len(parsed) == 3


def spaced_by_three(xml):
    turn = iter(range(300))
    return re.sub(rb"<spectrum [^>]*>", lambda m: m[0] + term("MS:1", "0.5").encode() * (next(turn) % 3), xml)


@pytest.mark.parametrize("mz", ["<f4", "<f8"])
@pytest.mark.parametrize("intensity", ["<f4", "<f8", "<i4", "<i8", "<i2", "i1", "<f2"])
@pytest.mark.parametrize("compressed", [False, True])
def test_kinds_of_numbers(tmp_path, mz, intensity, compressed):
    profiles = [(MASSES, np.minimum(values, 100)) for _, values in PROFILES]
    xml, ibd = build(profiles, PLACES, continuous=True, mz=mz, intensity=intensity, compressed=compressed)
    ds = image(write(tmp_path, xml, ibd))[""]
    assert ds.intensity.dtype == np.dtype(intensity).newbyteorder("=") and schema.problems(ds) == []
    np.testing.assert_array_equal(ds.mass_to_charge, MASSES.astype(mz))
    np.testing.assert_array_equal(ds.intensity.values[1, 2], profiles[2][1])


def moved(xml, dx, dy, z=None):
    def place(match):
        code, value = match[1], int(match[2])
        out = f'IMS:100005{code.decode()}" name="n" value="{value + (dx if code == b"0" else dy)}"'
        return out.encode()

    return re.sub(rb'IMS:100005([01])" name="n" value="(\d+)"', place, xml)


def test_places_that_begin_elsewhere(tmp_path):
    xml, ibd = build(PROFILES, PLACES, continuous=True)
    ds = image(write(tmp_path, moved(xml, 120, 77), ibd))[""]
    assert ds.sizes == {"y": 2, "x": 3, "mass_to_charge": 40}
    np.testing.assert_array_equal(ds.intensity.values[1, 0], PROFILES[0][1])
    np.testing.assert_allclose(ds.x, [0, 50e-6, 100e-6])


def test_layers(tmp_path):
    spectra = [PROFILES[0], *PROFILES]
    xml, ibd = build(PROFILES + PROFILES[::-1], PLACES + PLACES, continuous=True)
    turn = iter(range(12))
    xml = re.sub(rb"</scan>", lambda m: term("IMS:1000052", 1 + next(turn) // 6).encode() + m[0], xml)
    ds = image(write(tmp_path, xml, ibd))[""]
    assert ds.intensity.dims == ("z", "y", "x", "mass_to_charge") and ds.sizes["z"] == 2
    np.testing.assert_array_equal(ds.intensity.values[0, 1, 0], spectra[1][1])
    np.testing.assert_array_equal(ds.intensity.values[1, 1, 0], PROFILES[5][1])
    assert schema.problems(ds) == []


def test_several_spectra_at_each_pixel(tmp_path):
    xml, ibd = build(PROFILES + PROFILES[::-1], PLACES + PLACES, continuous=True)
    ds = image(write(tmp_path, xml, ibd))[""]
    assert ds.intensity.dims == ("frame", "y", "x", "mass_to_charge") and ds.sizes["frame"] == 2
    for n, (x, y) in enumerate(PLACES):
        np.testing.assert_array_equal(ds.intensity.values[0, 2 - y, x - 1], PROFILES[n][1])
        np.testing.assert_array_equal(ds.intensity.values[1, 2 - y, x - 1], PROFILES[5 - n][1])
    assert schema.problems(ds) == []
    xml, ibd = build(PROFILES, [*PLACES[:5], PLACES[4]], continuous=True)
    with pytest.raises(CorruptFile, match=r"2 spectra at x = 2, y = 2, z = 1 and fewer elsewhere"):
        image(write(tmp_path, xml, ibd))


def test_an_array_of_another_kind_is_left_alone(tmp_path):
    xml, ibd = build(PROFILES, PLACES, continuous=True)
    other = (
        '<binaryDataArray encodedLength="0">'
        + term("MS:1002816")
        + term("MS:1000521")
        + term("IMS:1000103", 40)
        + term("IMS:1000104", 160)
        + term("IMS:1000102", len(ibd))
        + "</binaryDataArray>"
    )
    xml = xml.replace(b"</binaryDataArrayList>", other.encode() + b"</binaryDataArrayList>")
    ds = image(write(tmp_path, xml, ibd + bytes(160)))[""]
    np.testing.assert_array_equal(ds.intensity.values[1, 2], PROFILES[2][1])


def test_what_is_refused_says_why(tmp_path):
    xml, ibd = build(PROFILES, PLACES, continuous=True)

    def refuses(changed, match, error=CorruptFile, binary=ibd, **options):
        with pytest.raises(error, match=match):
            image(write(tmp_path, changed, binary), **options)

    refuses(xml.replace(b"MS:1000576", b"MS:1002312"), "MS-Numpress: convert", UnsupportedVariant)
    one = inlined(xml).replace(b"MS:1000521", b"MS:1000523")
    refuses(one.replace(b"MS:1000523", b"MS:1000521", 1), "several kinds of numbers", UnsupportedVariant)
    refuses(xml.replace(b"IMS:1000050", b"IMS:9000050"), r"one place .*: \[0\]")
    refuses(re.sub(rb'(1000102" name="n" value=")\d+', rb"\1-5", xml), "'-5' is not a whole number")
    refuses(re.sub(rb'(1000102" name="n" value=")\d+', rb"\g<1>99999999", xml), "outside of its")
    refuses(xml[: len(xml) // 2], "truncated")
    refuses(xml.replace(b"<mzML", b'<!DOCTYPE a [<!ENTITY b "c">]><mzML'), "document type")
    refuses(xml.replace(b"</spectrum>\n", b"</spectrum><scan/>\n", 1), "an element that is no spectrum")
    refuses(xml.replace(b'count="6"', b'count="7"'), "6 spectra and the list says")
    refuses(xml, "last 8 bytes belong to no spectrum", binary=ibd + bytes(8))
    more = ibd + bytes(8)
    said = re.sub(rb'(IMS:1000091" name="n" value=")\w+', rb"\g<1>" + hashlib.sha1(more).hexdigest().encode(), xml)
    assert image(write(tmp_path, said, more), checksum=True)[""].sizes["x"] == 3  # a file of which some is listed


def test_a_bomb_is_not_inflated(tmp_path):
    xml, ibd = build(PROFILES[:1], [(1, 1)], continuous=True, compressed=True)
    length = len(ibd)
    bomb = zlib.compress(bytes(50_000_000))
    xml = re.sub(rb'1000104" name="n" value="\d+"(/><cvParam cvRef="X" accession="IMS:1000102" name="n" value=")\d+',
                 b'1000104" name="n" value="%d"\\g<1>%d' % (len(bomb), length), xml, count=1)  # fmt: skip
    with pytest.raises(CorruptFile, match="a spectrum of 321 bytes, not 320"):
        image(write(tmp_path, xml, ibd + bomb))
