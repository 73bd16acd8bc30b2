"""PHI MultiPak spectra: the real file, synthetic regions, damaged ones refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io.formats import identify
from xpycro.io.translators.phi import regions

DATA = [np.random.default_rng(n).uniform(0, 100, 5 + n) for n in range(2)]


def build(data=DATA, letters="f4", kind="SPECTRUM"):
    lines = ["SOFH", "Technique: XPS", f"FileType:  {kind}", "InstrumentModel: VersaProbe 4", "AcqFileDate: 2024 1 22",
             f"NoSpectralReg: {len(data)}"]  # fmt: skip
    for n, row in enumerate(data):
        stop = 100.0 * (n + 1) - 0.5 * (len(row) - 1)
        lines.append(
            f"SpectralRegDef: {n + 1} 1 C{n + 1}s 6 {len(row)} -0.5000 {100.0 * (n + 1)} {stop} 0 0 1.0 20 AREA"
        )
    text = ("\r\n".join([*lines, "EOFH"]) + "\r\n").encode()
    head, at, body = struct.pack("<4I", 1, len(data), 96, 16), 16 + 96 * len(data), b""
    for n, row in enumerate(data):
        stored = row.astype("<" + letters).tobytes()
        region = bytearray(96)
        struct.pack_into("<7I", region, 0, n + 1, 1, 1, 0, 0, len(row), 1)
        region[32:36], region[56:60], region[72:74] = b"pnt\0", b"c/s\0", letters.encode()
        struct.pack_into("<2I", region, 76, len(stored), at)
        at, body, head = at + len(stored), body + stored, head + bytes(region)
    return text + head + body, (len(text) + len(head), len(text) + len(head) + len(body))


def write(tmp_path, content):
    path = tmp_path / "a.spe"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("letters", ["f4", "f8"])
def test_regions(tmp_path, letters):
    path = write(tmp_path, build(letters=letters)[0])
    assert identify(path).name == "phi_spe"  # not the .spe of Princeton Instruments
    parts = regions(path)
    assert list(parts) == ["c1s", "c2s"]
    for n, ds in enumerate(parts.values()):
        assert schema.problems(ds) == [] and ds.intensity.attrs["units"] == "counts/s"
        np.testing.assert_allclose(ds.intensity, DATA[n][::-1], rtol=1e-6)
        np.testing.assert_allclose(ds.energy[::-1], 100.0 * (n + 1) - 0.5 * np.arange(5 + n))
    assert parts["c1s"].attrs["acquired"] == "2024-01-22T00:00:00"


def test_the_real_file(data_file):
    path = data_file("phi_xps/SnO2_10nm.spe")
    ds = regions(str(path))[""]
    assert ds.sizes == {"energy": 1751} and schema.problems(ds) == []
    np.testing.assert_allclose([ds.energy[0], ds.energy[-1]], [0, 1400])
    stored = np.frombuffer(path.read_bytes()[-7004:], "<f4")
    np.testing.assert_array_equal(ds.intensity, stored[::-1])
    # tin dioxide: the strongest line between 480 and 500 eV is Sn 3d
    assert 480 < ds.intensity.where(ds.energy < 900).idxmax() < 505


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(NotThisFormat):
        regions(write(tmp_path, b"SOFA" + bytes(100)))
    with pytest.raises(UnsupportedVariant, match="PROFILE"):
        regions(write(tmp_path, build(kind="PROFILE")[0]))
    with pytest.raises(CorruptFile, match="truncated"):
        regions(write(tmp_path, build()[0][:-8]))


def test_mutants(tmp_path):
    content, data = build()
    counts = fuzzing.run(regions, content, data, tmp_path, "a.spe")
    assert counts["refused"] > 30
