"""Samples: what is listed can be fetched and checked, offline says what to do; no test reaches a network."""

import hashlib
import shutil
from pathlib import Path

import pytest

import xpycro as xp
from tests.conftest import DATA
from xpycro.io import samples

pooch = pytest.importorskip("pooch", reason="pooch of xpycro[samples] is not installed")
PERMISSIVE = {"MIT", "Apache-2.0", "BSD-3-Clause", "BSD-2-Clause", "CC0-1.0", "CC-BY-4.0"}


@pytest.fixture
def served(monkeypatch, tmp_path):
    """Addresses that lead to files of this machine: ``served[address] = path``; all others fail as without network."""
    known: dict[str, Path] = {}
    asked = []

    def download(url, output_file, pooch):
        asked.append(url)
        if url not in known:
            raise OSError("no route to host")
        shutil.copy(known[url], output_file)

    monkeypatch.setattr("pooch.core.choose_downloader", lambda url, **kwargs: download)
    monkeypatch.setenv("XPYCRO_SAMPLES", str(tmp_path / "kept"))
    return known, asked


def made(monkeypatch, tmp_path, text=b"a measurement"):
    source = tmp_path / "source.dat"
    source.write_bytes(text)
    one = samples.Sample(
        "made", "", "MIT", "we/us", "abc", "some data", {"source.dat": hashlib.sha256(text).hexdigest()}
    )
    monkeypatch.setattr(samples, "_SAMPLES", (one,))
    return one, source


def test_a_sample_is_downloaded_once_and_kept(served, monkeypatch, tmp_path):
    known, asked = served
    _, source = made(monkeypatch, tmp_path)
    known["https://raw.githubusercontent.com/we/us/abc/some%20data/source.dat"] = source
    assert xp.sample("made").read_bytes() == b"a measurement"
    assert xp.sample("made") == tmp_path / "kept" / "source.dat" and len(asked) == 1


def test_another_file_is_refused_and_not_kept(served, monkeypatch, tmp_path):
    known, _ = served
    one, source = made(monkeypatch, tmp_path)
    known[one.address("source.dat")] = source
    source.write_bytes(b"another measurement")
    with pytest.raises(xp.errors.CorruptFile, match="SHA-256 differs"):
        xp.sample("made")
    assert not (tmp_path / "kept" / "source.dat").exists()


def test_offline_one_error_says_what_to_do(served, tmp_path):
    with pytest.raises(ConnectionError, match=r"put it at .*STS_grid_lockin\.3ds; .*xp\.simulate"):
        xp.sample("sts_grid")


def test_what_was_brought_by_other_means_is_taken(served, data_file, tmp_path):
    (tmp_path / "kept").mkdir()
    shutil.copy(data_file("nanonis_3ds/NanonisReader_STS_grid_lockin.3ds"), tmp_path / "kept")
    assert "bias" in xp.open(xp.sample("sts_grid")).dims


def test_without_pooch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(xp.errors.MissingExtra, match=r"xpycro\[samples\]"):
        xp.sample("sts_grid")


@pytest.mark.data
@pytest.mark.parametrize("one", xp.samples(), ids=lambda one: one.name)
def test_licences_commits_and_hashes_are_those_of_the_index(one, data_file):
    rows = [line.split("\t") for line in data_file("INDEX.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    index = {row[0].rpartition("/")[2]: row for row in rows}
    for file, digest in one.files.items():
        row = index[file]
        assert (row[2], row[5], f"{one.folder}/{file}", row[7], one.licence) == (
            digest,
            one.repository,
            row[6],
            one.commit,
            row[8],
        )
        assert hashlib.sha256((DATA / row[0]).read_bytes()).hexdigest() == digest
    assert one.licence in PERMISSIVE
