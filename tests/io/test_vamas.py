"""VAMAS: the real file line by line, synthetic regions, profiles and maps, damaged ones refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io.translators.vamas import MAGIC, blocks


def block(data, *, region="C 1s", start=280.0, step=0.5, mode="NORM", technique="XPS", place=(), variables=(),
          abscissa="kinetic energy", scan="REGULAR", labels=(("Intensity", "d"),), units="eV"):  # fmt: skip
    """The lines of one block in the order of the standard; `data` is (points, variables)."""
    data = np.atleast_2d(np.asarray(data, float).T).T
    species, _, transition = region.partition(" ")
    lines = [
        f"{region} block",
        "sample",
        2022,
        5,
        26,
        15,
        0,
        46,
        2,
        1,
        "a comment",
        technique,
        *place,
        *variables,
        "Al",
    ]
    if mode in ("SDP", "MAPDP"):
        lines += [18, 1, 1]
    lines += [1486.6, 150, 1e37, 1e37]
    if mode.startswith("MAP"):
        lines += [300, 200]
    lines += [45, 0, "FAT", 20, 1, 4.5, 0, 0, 0, 0, 0, species, transition, -1]
    if scan == "REGULAR":
        lines += [abscissa, units, start, step]
    lines += [len(labels), *[word for pair in labels for word in pair], "pulse counting", 0.1, 3, 0]
    if mode in ("SDP", "MAPDP") and technique == "XPS":
        lines += [3000, 1, 2000, 2000, 45, 0, "sputtering"]
    lines += [0, 0, 0, 1, "extra", "V", 12.5, data.size]
    lines += [bound for column in data.T for bound in (column.min(), column.max())]
    return lines + list(data.ravel())


def build(*found, mode="NORM", scan="REGULAR", columns=0, rows=0, variables=(), inclusion=0):
    lines = [MAGIC.decode() + " 1988 May 4", "institute", "machine", "me", "exp", 1, "why", mode, scan]
    if mode in ("MAP", "MAPDP", "NORM", "SDP"):
        lines += [1]
    if mode in ("MAP", "MAPDP"):
        lines += [columns * rows, columns, rows]
    lines += [len(variables), *[word for pair in variables for word in pair], inclusion, 0, 0, 0, len(found)]
    for one in found:
        lines += one
    text = "".join(f"{line!r}\r\n" if isinstance(line, float) else f"{line}\r\n" for line in lines)
    return text.replace("np.float64(", "").replace(")\r", "\r").encode() + b"end of experiment\r\n"


def write(tmp_path, content):
    path = tmp_path / "a.vms"
    path.write_bytes(content)
    return str(path)


DATA = np.round(np.random.default_rng(0).uniform(10, 99, (6, 5)), 3)


def test_regions_are_groups(tmp_path):
    content = build(block(DATA[0]), block(DATA[1], region="O 1s", start=530.0, abscissa="binding energy", step=-0.5))
    parts = blocks(write(tmp_path, content))
    assert list(parts) == ["c_1s", "o_1s"]
    carbon, oxygen = parts["c_1s"], parts["o_1s"]
    assert schema.problems(carbon) == [] and carbon.intensity.dims == ("energy",)
    np.testing.assert_allclose(carbon.energy, 280 + 0.5 * np.arange(5))
    np.testing.assert_array_equal(carbon.intensity, DATA[0])
    np.testing.assert_allclose(oxygen.energy, 528 + 0.5 * np.arange(5))
    np.testing.assert_array_equal(oxygen.intensity, DATA[1, ::-1])
    assert oxygen.energy.attrs["long_name"] == "binding energy"
    assert carbon.attrs["acquired"] == "2022-05-26T15:00:46+02:00" and carbon.attrs["instrument"] == "machine"
    assert '"extra (V)": "12.5"' in carbon.attrs["original_metadata"]


def test_a_profile_has_its_variable_as_a_coordinate(tmp_path):
    found = [block(DATA[n], mode="SDP", variables=(60.0 * n,)) for n in range(3)]
    ds = blocks(write(tmp_path, build(*found, mode="SDP", variables=(("etch time", "s"),))))[""]
    assert ds.intensity.dims == ("frame", "energy") and ds.etch_time.attrs["units"] == "s"
    np.testing.assert_array_equal(ds.etch_time, [0, 60, 120])
    np.testing.assert_array_equal(ds.intensity, DATA[:3])


def test_a_map(tmp_path):
    found = [block(DATA[n], mode="MAP", place=(1 + n % 3, 1 + n // 3)) for n in range(6)]
    ds = blocks(write(tmp_path, build(*found, mode="MAP", columns=3, rows=2)))[""]
    assert ds.intensity.dims == ("y", "x", "energy")
    np.testing.assert_allclose(ds.x, [0, 1e-4, 2e-4])
    np.testing.assert_array_equal(ds.intensity.values, DATA.reshape(2, 3, 5))


def test_two_variables_and_irregular_axes(tmp_path):
    pairs = np.stack([DATA[0], DATA[1]], 1)
    two = blocks(write(tmp_path, build(block(pairs, labels=(("Counts", "d"), ("Transmission", "d"))))))[""]
    np.testing.assert_array_equal(two.transmission, DATA[1])
    energies = np.array([1.0, 2.0, 4.0, 8.0, 9.0])
    uneven = np.stack([energies, DATA[2]], 1)
    labels = (("kinetic energy", "eV"), ("Intensity", "c/s"))
    ds = blocks(write(tmp_path, build(block(uneven, labels=labels, scan="IRREGULAR"), scan="IRREGULAR")))[""]
    np.testing.assert_array_equal(ds.energy, energies)
    assert ds.intensity.attrs["units"] == "counts/s"


def test_the_real_file(data_file):
    path = data_file("vamas/aes_staib.vms")
    ds = blocks(str(path))[""]
    lines = path.read_text().splitlines()
    first = lines.index("1100") + 3  # the number of values, their least and largest
    np.testing.assert_array_equal(ds.intensity, [float(line) for line in lines[first : first + 1100]])
    np.testing.assert_allclose(ds.energy, 19.989319 + 1.983673 * np.arange(1100))
    assert schema.problems(ds) == [] and ds.energy.attrs["long_name"] == "Kinetic Energy"


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(NotThisFormat):
        blocks(write(tmp_path, b"VAMAS\n"))
    with pytest.raises(UnsupportedVariant, match="leave out"):
        blocks(write(tmp_path, build(block(DATA[0]), inclusion=1)))
    with pytest.raises(CorruptFile, match="after the last block"):
        blocks(write(tmp_path, build(block(DATA[0])).replace(b"end of exp", b"5.0\r\nend of exp")))


@pytest.mark.parametrize("kind", ["regions", "profile"])
def test_mutants(tmp_path, kind):
    if kind == "regions":
        content = build(block(DATA.ravel()))
    else:
        content = build(*[block(DATA[n], mode="SDP", variables=(60.0 * n,)) for n in range(3)], mode="SDP",
                        variables=(("etch time", "s"),))  # fmt: skip
    begin = content.index(b"12.5\r\n") + 6
    counts = fuzzing.run(blocks, content, (begin, len(content)), tmp_path, "a.vms", text=True)
    assert counts["refused"] > 30
