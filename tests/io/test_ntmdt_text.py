"""Force curves exported as text by NT-MDT Nova: the real file against INDEX.tsv, synthetic ones."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import fuzzing
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io.opening import open as open_file
from xpycro.io.translators.ntmdt_text import curve

REAL = "ntmdt_txt/fmt-ntmdt-txt-fd_2015_01_17_gel4-0,1_mQ_adh_6B_Curve_DFL_Height_51.txt"


def build(n=9, *, comma=True, end="\r\n"):
    """The table: height, way in, way out, the first two lines of the way in filled up."""
    table = np.random.default_rng(0).normal(size=(n, 3)).round(4)
    table[:, 0] = np.arange(n) * 8.25 - 50
    table[:3, 1] = 1.4726
    text = end.join("\t".join(f"{v:.4f}" for v in row) for row in table) + end
    return (text.replace(".", ",") if comma else text).encode(), table


def write(tmp_path, content):
    path = tmp_path / "curve.txt"
    path.write_bytes(content)
    return str(path)


def test_real_curve_agrees_with_its_index_row(data_file):
    ds = open_file(data_file(REAL))
    assert int(ds.length.sum()) == 1644 and ds.sizes["segment"] == 2
    assert np.isfinite(ds.deflection.values).sum() == 1644
    # the last line is where the approach begins, far from the sample
    assert ds.deflection[0, 0].item() == pytest.approx(-1.1033e-9)
    assert ds.z[0, 0].item() == pytest.approx(-0.0006e-9) and ds.z[1, int(ds.length[1]) - 1] == ds.z[0, 0]
    assert ds.deflection[0, int(ds.length[0]) - 1] > 1e-9  # and ends in contact
    assert schema.problems(ds) == []


@pytest.mark.parametrize("comma", [True, False])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_branches_run_in_time_and_fillings_are_left_out(tmp_path, comma, end):
    content, table = build(comma=comma, end=end)
    ds = open_file(write(tmp_path, content))
    assert ds.length.values.tolist() == [7, 9]
    np.testing.assert_allclose(ds.deflection.values[0], [*table[:1:-1, 1] * 1e-9, np.nan, np.nan])
    np.testing.assert_allclose(ds.deflection.values[1], table[:, 2] * 1e-9)
    np.testing.assert_allclose(ds.z.values[1], table[:, 0] * 1e-9)


def test_other_tables_are_not_taken_for_curves(tmp_path):
    for text in (
        b"1.0\t2.0\n" * 9,
        b"1.0\t2.0\t3.0\n" * 9,
        b"x\ty\tz\n1.0\t2.0\t3.0\n",
        b"1 2 3\n2 3 4\n3 4 5\n4 5 6\n",
    ):
        with pytest.raises(NotThisFormat):
            open_file(write(tmp_path, text))
    content, _ = build()
    for damaged in (content[:-2], content[:-12], content + b"1,0\t2,0\r\n"):
        with pytest.raises(CorruptFile):
            curve(write(tmp_path, damaged))


def test_mutants_are_refused_or_read_right(tmp_path):
    content, _ = build(40)
    assert fuzzing.run(curve, content, (0, len(content)), tmp_path, "curve.txt", text=True)["refused"] > 30
