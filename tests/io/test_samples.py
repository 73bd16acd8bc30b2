"""Samples: what is listed can be fetched and checked, offline says what to do; no test reaches beyond this machine."""

import hashlib
import re
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

import xpycro as xp
from tests.conftest import DATA
from xpycro.io import samples

pooch = pytest.importorskip("pooch", reason="pooch of xpycro[samples] is not installed")
PERMISSIVE = {"MIT", "Apache-2.0", "BSD-3-Clause", "BSD-2-Clause", "CC0-1.0", "CC-BY-4.0"}


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A web server on this machine in the place of GitHub's: ``files[path] = bytes``, and what it was asked for."""
    files: dict[str, bytes] = {}
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = files.get(self.path)
            self.send_response(404 if body is None else 200)
            if body is not None:
                self.send_header("Content-Length", str(max(self.server.promised, len(body))))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.files, running.asked, running.promised = files, asked, 0
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("XPYCRO_SAMPLES", str(tmp_path / "kept"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(samples, "_RAW", f"http://127.0.0.1:{running.server_port}")
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


ONE = b"a measurement"
PATH = "/we/us/abc/some%20data/source.dat"


@pytest.fixture
def made(monkeypatch, tmp_path):
    """A sample of one file, named ``made``; the path where it is kept."""
    hashed = {"source.dat": hashlib.sha256(ONE).hexdigest()}
    monkeypatch.setattr(samples, "_SAMPLES", (samples.Sample("made", "", "MIT", "we/us", "abc", "some data", hashed),))
    return tmp_path / "kept" / "source.dat"


def test_a_sample_is_downloaded_once_and_kept(server, made):
    server.files[PATH] = ONE
    assert xp.sample("made") == made and made.read_bytes() == ONE
    assert xp.sample("made") == made and server.asked == [PATH]


def test_what_was_damaged_on_this_machine_is_downloaded_again(server, made):
    server.files[PATH] = ONE
    xp.sample("made").write_bytes(b"a measure")
    assert xp.sample("made").read_bytes() == ONE and len(server.asked) == 2


def test_another_file_is_refused_and_not_kept(server, made):
    server.files[PATH] = b"another measurement"
    with pytest.raises(xp.errors.CorruptFile, match="SHA-256 differs"):
        xp.sample("made")
    assert not made.exists()


@pytest.mark.parametrize("promised", [0, 1000], ids=["ends as if whole", "ends too soon"])
def test_of_a_part_nothing_is_kept_and_the_next_call_gets_it_all(server, made, promised):
    server.files[PATH], server.promised = ONE[:5], promised
    with pytest.raises(ConnectionError if promised else xp.errors.CorruptFile, match=r"source\.dat"):
        xp.sample("made")
    assert [p for p in made.parent.iterdir() if p.stat().st_size] == []
    server.files[PATH], server.promised = ONE, 0
    assert xp.sample("made").read_bytes() == ONE


def test_a_file_that_is_gone_or_a_server_that_is_down_says_what_to_do(server, monkeypatch, tmp_path):
    helps = r"'sts_grid' .* could not be downloaded \(%s\).* put it at .*STS_grid_lockin\.3ds; .*xp\.simulate"
    with pytest.raises(ConnectionError, match=helps % "HTTPError"):
        xp.sample("sts_grid")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # nobody listens there
        monkeypatch.setattr(samples, "_RAW", f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(ConnectionError, match=helps % "ConnectionError"):
            xp.sample("sts_grid")
    assert len(server.asked) == 1


def test_the_addresses_name_a_commit_and_the_table_the_licences():
    for one in xp.samples():
        for file in one.files:
            found = re.fullmatch(
                r"https://raw\.githubusercontent\.com/([\w.-]+/[\w.-]+)/([0-9a-f]{40})/([\w./%-]+)", one.address(file)
            )
            assert (found[1], found[2], unquote(found[3])) == (one.repository, one.commit, f"{one.folder}/{file}")
        assert re.search(
            rf"^{one.name} .* {re.escape(one.licence)} +{one.repository}$", repr(xp.samples()), re.MULTILINE
        )


def test_what_was_brought_by_other_means_is_taken(server, data_file, tmp_path):
    (tmp_path / "kept").mkdir()
    shutil.copy(data_file("nanonis_3ds/NanonisReader_STS_grid_lockin.3ds"), tmp_path / "kept")
    assert "bias" in xp.open(xp.sample("sts_grid")).dims and not server.asked


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
