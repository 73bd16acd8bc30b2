"""SPEC files: scans, meshes and spectra against their truth, damaged ones refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, TranslationError
from xpycro.io.opening import open_tree
from xpycro.io.translators.spec import scans

HEAD = "#F scans.dat\n#E 1423732863\n#D Thu Feb 12 10:21:03 2015\n#C a beam line\n#O0 sx  sy  Two Theta  eta\n\n"


def scan(number, command, labels, table, mca=None, folded=False):
    lines = [f"#S {number}  {command}", "#D Thu Feb 12 11:00:00 2015", "#T 1  (Seconds)", "#P0 1.5 2.5 30 -0.25"]
    lines += [f"#N {len(labels)}", "#L " + "  ".join(labels)]
    for n, row in enumerate(table):
        if mca is not None:
            words = [f"{v:g}" for v in mca[n]]
            lines.append(
                "@A " + (" \\\n ".join([" ".join(words[:3]), " ".join(words[3:])]) if folded else " ".join(words))
            )
        lines.append(" ".join(f"{v:.9g}" for v in row))
    return "\n".join(lines) + "\n\n"


def write(folder, text, name="scans.spec"):
    (folder / name).write_text(text)
    return str(folder / name)


RNG = np.random.default_rng(0)
THETA = np.linspace(29, 31, 11)
COUNTS = RNG.integers(0, 1000, 11)
LINE = scan(
    1,
    "ascan  eta 29 31 10 1",
    ["eta", "Epoch", "mon itor", "det"],
    np.stack([THETA, THETA * 0, THETA * 0 + 5, COUNTS], 1),
)


def mesh(snake=False, n=12):
    fast, slow = np.tile(np.arange(4.0), 3), np.repeat(np.arange(3.0), 4)
    if snake:
        fast = np.where(slow % 2 == 1, 3 - fast, fast)
    table = np.stack([fast, 10 * slow, np.arange(12) * 7], 1)[:n]
    return scan(2, "mesh  sx 0 3 3  sy 0 20 2 0.1", ["sx", "sy", "det"], table, RNG.integers(0, 9, (n, 6)), folded=True)


def test_a_scan_has_its_motor_as_a_coordinate(tmp_path):
    ds = scans(write(tmp_path, HEAD + LINE))[""]
    assert ds.det.dims == ("point",) and schema.problems(ds) == []
    np.testing.assert_array_equal(ds.det, COUNTS)
    np.testing.assert_allclose(ds.eta, THETA)
    assert ds.mon_itor.attrs["long_name"] == "mon itor" and ds.attrs["acquired"] == "2015-02-12T11:00:00"
    assert '"Two Theta": 30.0' in ds.attrs["original_metadata"]


@pytest.mark.parametrize("snake", [False, True])
def test_a_mesh_is_a_map(tmp_path, snake):
    tree = open_tree(write(tmp_path, HEAD + LINE + mesh(snake)))
    ds = tree["scan_2"].to_dataset()
    assert ds.det.dims == ("y", "x") and ds.mca.dims == ("y", "x", "channel")
    np.testing.assert_allclose(ds.x, np.arange(4))
    np.testing.assert_allclose(ds.y, [0, 10, 20])
    expected = np.arange(12).reshape(3, 4) * 7
    if snake:
        expected[1] = expected[1, ::-1]
    np.testing.assert_array_equal(ds.det, expected)


def test_a_mesh_that_was_stopped_is_nan_and_flagged(tmp_path):
    ds = scans(write(tmp_path, HEAD + mesh(n=7)))[""]
    np.testing.assert_array_equal(ds.det, [[0, 7, 14, 21], [28, 35, 42, np.nan]])
    assert ds.measured.values.tolist() == [[True] * 4, [True] * 3 + [False]]
    assert ds.mca.shape == (2, 4, 6) and np.isnan(ds.mca[1, 3]).all() and np.isfinite(ds.mca[1, 2]).all()
    early = scans(write(tmp_path, HEAD + mesh(n=3)))[""]
    assert early.det.shape == (1, 3) and "measured" not in early  # the one line, as far as it came


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(NotThisFormat):
        scans(write(tmp_path, "#F but nothing of SPEC\nhello\n"))
    with pytest.raises(CorruptFile, match="columns are named"):
        scans(write(tmp_path, HEAD + LINE.replace("#N 4", "#N 5")))
    with pytest.raises(CorruptFile, match="truncated"):
        scans(write(tmp_path, (HEAD + LINE).rstrip()))


def test_mutants(tmp_path):
    content = (HEAD + LINE + mesh()).encode()
    begin = content.index(b"#L eta") + 30
    counts = fuzzing.run(scans, content, (begin, len(content)), tmp_path, "a.spec", text=True)
    assert counts["refused"] > 30


def test_truncations_within_a_line(tmp_path):
    content = HEAD + LINE
    for length in range(len(HEAD) + 200, len(content) - 2, 5):
        if content[length - 1] != "\n":
            with pytest.raises(TranslationError):
                scans(write(tmp_path, content[:length]))
