"""LabVIEW TDMS: the real file, written ones, damaged ones refused."""

from __future__ import annotations

import numpy as np
import pytest

from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io.translators.tdms import channels

nptdms = pytest.importorskip("nptdms", reason="reading LabVIEW files needs the extra formats")


def test_channels_of_one_timing_share_a_group(tmp_path):
    path = str(tmp_path / "a.tdms")
    timing = {"wf_increment": 0.5, "wf_start_offset": 1.0}
    with nptdms.TdmsWriter(path) as writer:
        writer.write_segment(
            [
                nptdms.RootObject({"name": "run 7", "operator": "me"}),
                nptdms.ChannelObject("scan", "Tip current", np.arange(5.0), {**timing, "unit_string": "nA"}),
                nptdms.ChannelObject("scan", "Bias", -np.arange(5.0), {**timing, "unit_string": "V"}),
                nptdms.ChannelObject("log", "Temperature", np.arange(3, dtype="i4"), {"unit_string": "K"}),
                nptdms.ChannelObject("log", "Notes", ["a", "b", "c"]),
            ]
        )
    parts = channels(path)
    scan, log = parts["scan"], parts["log"]
    np.testing.assert_allclose(scan.time, 1.0 + 0.5 * np.arange(5))
    np.testing.assert_allclose(scan.tip_current, 1e-9 * np.arange(5))
    assert scan.tip_current.attrs == {"units": "A", "long_name": "Tip current"} and list(scan) == [
        "tip_current",
        "bias",
    ]
    assert log.temperature.dims == ("point",) and log.temperature.attrs["units"] == "K" and list(log) == ["temperature"]
    assert scan.attrs["title"] == "run 7" and "operator" in scan.attrs["original_metadata"]
    assert schema.problems(scan) == [] and schema.problems(log) == []


def test_the_real_file(data_file):
    path = data_file("tdms/raw1.tdms")
    ds = channels(str(path))[""]
    assert ds.sizes == {"time": 2000} and len(ds.data_vars) >= 3 and schema.problems(ds) == []
    np.testing.assert_array_equal(ds.second_chan, nptdms.TdmsFile(path)["Layer Data"]["Second Chan"][:])


def test_what_cannot_be_read_is_named(data_file, tmp_path):
    path = tmp_path / "a.tdms"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(NotThisFormat):
        channels(str(path))
    path.write_bytes(data_file("tdms/raw1.tdms").read_bytes()[:200])
    with pytest.raises(CorruptFile):
        channels(str(path))
