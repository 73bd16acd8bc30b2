"""The NeXus and Dectris files beside the checkout: their grids, what INDEX.tsv states of them, translated unchanged.

``python -m tests.io.test_xray_table`` prints the table, reading and translating every file through the shell.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import DATA
from tests.io.test_probe_table import grids, row
from xpycro import schema

FOLDERS = ("arina", "nexus")
# group, variable: sizes that INDEX.tsv states, or that h5py shows
SIZES = {
    ("arina/test_00_master.h5", "/", "counts"): {"y": 4, "x": 4, "ky": 192, "kx": 192},
    ("nexus/chopper.nxs", "/data", "neutron_counts"): {"two_theta": 148, "time": 750},
    ("nexus/chopper.nxs", "/monitor1", "monitor_1_counts"): {"time": 1000},
    ("nexus/nexus_dls_example.nxs", "/nexustest", "nexustest"): {"y": 10, "x": 10, "point": 15},
    ("nexus/nexus_dls_example.nxs", "/entry1", "ic_3602_c1"): {"x": 15, "energy": 29},
}


def files() -> list[str]:
    """The files of the folders, by the name that INDEX.tsv gives them."""
    return sorted(f"{f}/{path.name}" for f in FOLDERS for path in (DATA / f).glob("*") if path.is_file())


@pytest.fixture(autouse=True)
def _present(data_file):
    data_file("nexus/chopper.nxs")


@pytest.mark.parametrize(("name", "group", "variable"), SIZES)
def test_sizes(name, group, variable):
    assert dict(grids(name)[group][variable].sizes) == SIZES[name, group, variable]


def test_every_file_is_labelled_and_translated_unchanged(tmp_path):
    wrong = {}
    for name in files():
        problems = [p for ds in grids(name).values() for p in schema.problems(ds)]
        said = row(name, tmp_path)
        if problems or "translate equal" not in said:
            wrong[name] = [*problems, said]
    assert wrong == {} and len(files()) == 4


def test_counts_of_the_arina_file_are_those_of_its_frames():
    pytest.importorskip("hdf5plugin", reason="hdf5plugin is not installed (extra formats)")
    ds = grids("arina/test_00_master.h5")["/"]
    with h5py.File(DATA / "arina/test_00_data_000001.h5") as file:
        stored = file["entry/data/data"][()]
    np.testing.assert_array_equal(ds.counts, stored.reshape(4, 4, 192, 192)[::-1, :, ::-1])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as out:
        for one in files():
            print(row(one, Path(out)), flush=True)
