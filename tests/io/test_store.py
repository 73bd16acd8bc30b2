"""Saving: never overwritten, never torn, into the very file that is being read, with the history."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from xpycro import provenance
from xpycro.engine import chunked
from xpycro.errors import CorruptFile, Incomplete, Locked, NotThisFormat, StoreError
from xpycro.io import opening, store
from xpycro.io.store import disk, locks, publish, reader
from xpycro.io.store.index import Index, index_path

RNG = np.random.default_rng(3)


def measurement(ny=16, nx=20, n=50):
    response = (RNG.normal(size=(ny, nx, n)) + 1j * RNG.normal(size=(ny, nx, n))).astype("c8")
    return xr.Dataset(
        {"response": (("y", "x", "frequency"), response, {"units": "V"})},
        coords={"y": np.arange(ny) * 1e-9, "x": np.arange(nx) * 1e-9, "frequency": np.linspace(3e5, 4e5, n)},
        attrs={"original_metadata": "{}"},
    )


@provenance.recorded("average")
def average(data: xr.DataArray, power: int = 1) -> xr.Dataset:
    mean = abs(data**power).mean("frequency", keep_attrs=True)
    return xr.Dataset({"average": mean}, attrs={"pycro_result": "fit"})


@pytest.fixture
def path(tmp_path):
    store.save(measurement(), tmp_path / "raw.h5")
    return tmp_path / "raw.h5"


@pytest.fixture(params=["small", "large"])
def any_size(request, monkeypatch):
    """Both ways of publishing: the file replaced whole, and a sidecar."""
    if request.param == "large":
        monkeypatch.setattr(publish, "SMALL_BYTES", 0)
    return request.param


def left(folder):
    """What lies there, but for the index, which nothing rests on."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != ".index")


def test_a_measurement_becomes_the_root(tmp_path):
    ds = measurement()
    stored = store.save(ds, tmp_path / "raw.h5")
    xr.testing.assert_equal(stored.compute(), ds)
    assert stored.response.chunks is not None
    xr.testing.assert_equal(opening.open(tmp_path / "raw.h5").compute(), ds)
    with pytest.raises(StoreError, match="overwrite=True"):
        store.save(ds, tmp_path / "raw.h5")
    assert left(tmp_path) == ["raw.h5"]


def test_a_result_joins_the_file_it_is_computed_from(path, any_size):
    ds = opening.open(path)
    lazy = ds.response * 2
    saved = average(ds.response).pipe(store.save, path)
    again = average(ds.response).pipe(store.save, path)
    expected = abs(measurement_of(path)).mean("frequency")
    np.testing.assert_array_equal(saved.average.values, expected.values)
    assert store.results(path) == ["average", "average_001"]
    assert provenance.history(again).location["group"] == "results/average_001"
    # what was open before still gives the right numbers, and so does what was derived from it
    np.testing.assert_array_equal(lazy.values, measurement_of(path).values * 2)
    xr.testing.assert_equal(ds, opening.open(path))
    names = left(path.parent)
    beside = [] if any_size == "small" else [f"raw.h5.results/{n}.h5" for n in store.results(path)]
    assert names == ["raw.h5", *sorted(beside)]


def measurement_of(path):
    with h5py.File(path) as hdf5:
        return xr.DataArray(hdf5["response"][()], dims=("y", "x", "frequency"))


def test_open_still_gives_the_raw_measurement_and_the_tree_everything(path, any_size):
    before = opening.open(path)
    store.save(average(before.response), path)
    xr.testing.assert_equal(opening.open(path), before)
    tree = opening.open_tree(path)
    assert set(tree["results"].children) == {"average"}
    np.testing.assert_array_equal(
        tree["results/average"].average.values, store.open_result(path, "average").average.values
    )
    reopened = xr.open_dataset(path, engine="pycro", group="results/average")
    xr.testing.assert_equal(reopened, store.open_result(path, "average"))


def test_plain_readers_find_small_results(path):
    saved = store.save(average(opening.open(path).response), path)
    with xr.open_dataset(path, engine="h5netcdf", group="results/average") as plain:
        xr.testing.assert_equal(plain, saved)
    with h5py.File(path) as hdf5:
        np.testing.assert_array_equal(hdf5["results/average/average"][()], saved.average.values)


PLAIN = """
import json, sys
sys.modules["xpycro"] = None  # importing it fails from here on
import h5py, numpy as np, xarray as xr
found = {}
for label, path, group in json.loads(sys.argv[1]):
    with h5py.File(path) as hdf5:
        node = hdf5[group] if group else hdf5
        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                found[f"{label}:{name}"] = [str(item.dtype), list(item.shape), [d.label or "" for d in item.dims]]
                item[()]
        node.visititems(visit)
    with xr.open_dataset(path, group=group or None, engine="h5netcdf") as ds:
        found[label] = {n: [list(v.dims), v.dtype.kind, v.attrs.get("units")] for n, v in ds.variables.items()}
        history = json.loads(ds.attrs.get("pycro_history", "{}"))
        found[f"{label}:steps"] = [step["operation"] for step in history.get("steps", ())]
        ds.load()
assert not any(name.startswith("xpycro.") for name in sys.modules)
print(json.dumps(found))
"""


def test_without_xpycro_it_is_plain_hdf5(path, any_size):
    """A process that cannot import xpycro reads names, dims, units and numbers with h5py and with xarray."""
    ds = opening.open(path)
    store.save(average(ds.response), path)
    files = [["raw", str(path), ""], ["result", *store.place_of(path, "results/average")]]
    call = [sys.executable, "-c", PLAIN, json.dumps(files)]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["raw"]["response"] == [list(ds.response.dims), ds.response.dtype.kind, ds.response.attrs.get("units")]
    assert found["result"]["average"] == [["y", "x"], "f", "V"]
    assert found["result:steps"] and "raw:response" in found


def test_the_history_survives(path, any_size):
    store.save(average(opening.open(path).response, power=2), path)
    history = provenance.history(store.open_result(path, "average"))
    assert [s["operation"] for s in history.steps] == ["average"] and history.steps[0]["parameters"] == {"power": 2}
    assert history.gaps == []
    data = provenance.source_data(store.open_result(path, "average"))
    np.testing.assert_array_equal(data.values, measurement_of(path).values)


def test_names(path):
    ds = opening.open(path)
    assert store.default_name(xr.Dataset(attrs={"pycro_result": "clustering"})) == "clustering"
    fitted = provenance.record(xr.Dataset({"a": 1.0}), "fit", {"da": ds.response, "model": "sho"})
    assert store.default_name(fitted) == "fit_sho"
    svd = provenance.record(xr.Dataset({"a": 1.0}), "decompose.svd", {"da": ds.response, "n_components": 3})
    assert store.default_name(svd) == "svd"
    for bad in ("a/b", "", ".hidden", "../x", "a b", "x" * 101):
        with pytest.raises(ValueError, match="letters"):
            store.save(fitted, path, bad)
    store.save(ds.response.mean("frequency"), path, "mean.v2")
    assert store.results(path) == ["mean.v2"]


def test_a_data_array_keeps_name_and_history(path):
    clean = provenance.record(opening.open(path).response * 2, "reconstruct", {"result": opening.open(path)})
    saved = store.save(clean, path)
    assert store.results(path) == ["reconstruct"] and list(saved.data_vars) == ["response"]
    assert provenance.history(saved).steps[-1]["operation"] == "reconstruct"


def test_a_result_without_a_file_makes_one(tmp_path):
    result = xr.Dataset({"labels": ("x", [0, 1])}, attrs={"pycro_result": "clustering"})
    store.save(result, tmp_path / "new.h5")
    assert store.results(tmp_path / "new.h5") == ["clustering"]


def test_wrong_targets(tmp_path, path):
    result = average(opening.open(path).response)
    (tmp_path / "vendor.h5").write_bytes(b"not ours")
    with pytest.raises(StoreError, match="not an xpycro store"):
        store.save(result, tmp_path / "vendor.h5")
    assert (tmp_path / "vendor.h5").read_bytes() == b"not ours"
    with pytest.raises(StoreError, match="make it first"):
        store.save(result, tmp_path / "nowhere" / "a.h5")
    with pytest.raises(TypeError, match="DataTree"):
        store.save(opening.open_tree(path), path)
    with pytest.raises(StoreError, match="no finished result 'nothing'"):
        store.open_result(path, "nothing")
    with pytest.raises(NotThisFormat):
        store.read(str(tmp_path / "vendor.h5"))


def _boom(block, block_info=None):
    where = block_info[0]["array-location"] if block_info else [(0, 0)]
    if where[0][0] > 0:
        raise RuntimeError("boom")
    return block


def test_a_failing_block_leaves_no_torn_result(path, any_size):
    ds = opening.open(path)
    data = ds.response.chunk(y=4)
    bad = data.copy(data=data.data.map_blocks(_boom, dtype=data.dtype)).to_dataset(name="bad")
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="boom"):
        store.save(bad.assign_attrs(pycro_result="fit"), path)
    assert path.read_bytes() == before and store.results(path) == [] and left(path.parent) == ["raw.h5"]


@pytest.mark.parametrize("failing", ["write_at", "flush", "rename", "copy", "open_hdf5"])
def test_a_full_disk_leaves_everything_as_it_was(path, monkeypatch, failing):
    result = average(opening.open(path).response).compute()
    result = result.assign(big=("z", np.arange(600_000.0)))
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(disk, failing, fail)
        with pytest.raises(OSError, match="No space"):
            store.save(result, path)
    assert path.read_bytes() == before and left(path.parent) == ["raw.h5"]


def test_everything_is_computed_once_in_one_graph(path):
    from tests.conftest import raise_if_dask_computes

    result = average(opening.open(path).response)
    result["twice"] = result.average * 2
    with raise_if_dask_computes(max_computes=1):
        store.save(result, path)


CALLS = []


def several(block):
    CALLS.append(block.shape)
    return tuple(block.real.sum(-1) * n for n in range(4))


def test_what_the_variables_share_is_computed_once(path):
    """A fit makes all its parameters at once: saving them must not fit anew for each."""
    response = xr.open_dataset(path, engine="pycro").response.chunk({"y": 4})
    outputs = {f"p{n}": chunked.Output(np.float32) for n in range(4)}
    made = xr.Dataset(chunked.apply(several, response, dims=[["frequency"]], outputs=outputs))
    CALLS.clear()
    saved = store.save(made, path, "made", chunking={"y": 3, "x": 7})
    assert len([shape for shape in CALLS if all(shape)]) == 4
    np.testing.assert_allclose(saved.p2, 2 * response.real.sum("frequency"), rtol=1e-5)


def test_any_chunks_give_the_same_file_content(path):
    ds = opening.open(path)
    for chunks in ({"y": 3, "x": 7, "frequency": 11}, {"y": (1, 4, 11)}, {}):
        saved = store.save(ds.response.chunk(chunks), path, "copy", chunking={"y": 5, "x": 6, "frequency": 20})
        np.testing.assert_array_equal(saved.response.values, measurement_of(path).values)


def test_what_is_unfinished_is_not_listed(path):
    store.save(average(opening.open(path).response), path)
    with h5py.File(path, "r+") as hdf5:
        del hdf5["results/average"].attrs["xpycro_complete"]
    assert store.results(path) == []
    with pytest.raises(Incomplete), store.reader.open_store(str(path)) as netcdf:
        store.reader.read_group(netcdf, str(path), "results/average")
    # its name stays taken: nothing is overwritten
    store.save(average(opening.open(path).response), path)
    assert store.results(path) == ["average_001"]


def test_a_replaced_file_is_noticed(path):
    ds = opening.open(path)
    store.save(measurement(), path, overwrite=True)
    with pytest.raises(StoreError, match="was replaced"):
        ds.response.compute()


def test_a_broken_sidecar_is_a_warning(path, monkeypatch):
    monkeypatch.setattr(publish, "SMALL_BYTES", 0)
    ds = opening.open(path)
    store.save(average(ds.response), path)
    store.save(average(ds.response), path)
    with open(publish.sidecars(str(path))["average"], "r+b") as handle:
        handle.truncate(100)
    with pytest.warns(UserWarning, match="'average' of raw.h5 is left out"):
        tree = opening.open_tree(path)
    assert set(tree["results"].children) == {"average_001"}


class TestIndex:
    """It only saves time: stale, torn, forged or missing, it neither hides a result nor invents one."""

    @pytest.fixture
    def beside(self, path, monkeypatch):
        monkeypatch.setattr(publish, "SMALL_BYTES", 0)
        for number in range(4):
            ds = xr.Dataset(
                {"a": ("x", np.arange(3.0) + number), "n": ("k", ["ä", "b"])},
                {"x": [1.0, 2.5, np.nan], "t": ("k", np.array(["2024", "NaT"], "M8[ns]")), "flag": ("x", [True] * 3)},
                {"pycro_result": "fit", "nested": {"a": (1, None)}},
            )
            store.save(ds, path, "r")
        return index_path(publish.sidecar_folder(str(path)))

    def seen(self, path):
        groups = {name: ds.compute() for name, ds in store.composed(path).items()}
        assert [f"results/{name}" for name in store.results(path)] == [name for name in groups if name]
        return groups

    def same(self, found, expected):
        assert list(found) == list(expected)
        for name, ds in expected.items():
            xr.testing.assert_identical(found[name], ds)

    def test_with_it_no_sidecar_is_opened_and_all_is_the_same(self, path, beside, monkeypatch):
        lines = Path(beside).read_bytes()
        os.unlink(beside)
        without = self.seen(path)
        Path(beside).write_bytes(lines)
        opened = []
        before = reader.open_checked
        monkeypatch.setattr(reader, "open_checked", lambda file: opened.append(file) or before(file))
        found = store.composed(path)
        assert opened == [str(path)]
        self.same({name: ds.compute() for name, ds in found.items()}, without)

    @pytest.mark.parametrize("damage", ["missing", "empty", "torn", "noise", "unreadable", "changed"])
    def test_damage_changes_nothing(self, path, beside, damage):
        expected, content = self.seen(path), Path(beside).read_bytes()
        os.unlink(beside)
        if damage == "unreadable":
            os.mkdir(beside)
        elif damage != "missing":
            changed = content.replace(b"xpycro_parent", b"xpycro_orphan")
            noise = bytes(np.random.default_rng(0).integers(0, 256, len(content), np.uint8))
            Path(beside).write_bytes(
                {"empty": b"", "torn": content[: len(content) // 2], "noise": noise, "changed": changed}[damage]
            )
        self.same(self.seen(path), expected)
        store.save(xr.Dataset({"a": ("x", [7.0])}, attrs={"pycro_result": "fit"}), path, "later")
        if damage != "unreadable":
            known = Index(publish.sidecar_folder(str(path)))
            assert all(known.facts(name, file) for name, file in publish.sidecars(str(path)).items())
        assert store.results(path) == ["later", "r", "r_001", "r_002", "r_003"]

    def test_every_torn_end(self, path, beside):
        """Cut anywhere, an entry is whole or none."""
        content, files = Path(beside).read_bytes(), publish.sidecars(str(path))
        whole = {name: Index(os.path.dirname(beside)).facts(name, file) for name, file in files.items()}
        for cut in range(0, len(content), 97):
            Path(beside).write_bytes(content[:cut])
            known = Index(os.path.dirname(beside))
            for name, file in files.items():
                facts = known.facts(name, file)
                assert facts is None or repr(facts) == repr(whole[name])

    def test_a_replaced_copied_or_vanished_sidecar(self, path, beside, tmp_path):
        files = publish.sidecars(str(path))
        os.replace(files["r_001"], files["r_002"])  # r_002 now holds r_001's values, r_001 is gone
        groups = self.seen(path)
        assert list(groups) == ["", "results/r", "results/r_002", "results/r_003"]
        assert groups["results/r_002"].a.values.tolist() == [1.0, 2.0, 3.0]
        shutil.copyfile(files["r"], files["r_001"])
        assert self.seen(path)["results/r_001"].a.values.tolist() == [0.0, 1.0, 2.0]

    def test_forged_it_leads_nowhere_else(self, path, beside, tmp_path):
        """An entry cannot make a read leave the sidecar, nor take one array for another."""
        with h5py.File(tmp_path / "secret.h5", "w") as hdf5:
            hdf5["a"] = np.arange(3.0)
        sidecar = publish.sidecars(str(path))["r"]
        with h5py.File(sidecar, "r+") as hdf5:
            checksum = hdf5["a"].attrs["xpycro_checksum"]
            del hdf5["a"]
            hdf5["a"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "a")
        with h5py.File(tmp_path / "secret.h5", "r+") as hdf5:
            hdf5["a"].attrs["xpycro_checksum"] = checksum
        status = os.stat(sidecar)
        lines = Path(beside).read_text().splitlines()
        text = next(line.split("\t") for line in lines if line.startswith("r\t"))
        Path(beside).write_text(f"r\t{status.st_size}-{status.st_mtime_ns}\t{text[2]}\t{text[3]}\n")
        with pytest.raises(CorruptFile, match="another file"):
            store.composed(path)["results/r"].compute()


def test_a_second_writer_waits_or_is_told_who_writes(path, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.2)
    result = average(opening.open(path).response).compute()
    with locks.locked(str(path)):
        start = time.monotonic()
        with pytest.raises(Locked, match=f"process {os.getpid()}"):
            store.save(result, path)
        assert time.monotonic() - start >= 0.2
        opening.open(path).load()  # readers never wait
    store.save(result, path)
    assert left(path.parent) == ["raw.h5"]


def test_the_name_in_dask_is_that_of_the_content(path, tmp_path):
    first = opening.open(path).response.data.name
    store.save(average(opening.open(path).response), path)
    assert opening.open(path).response.data.name == first
    path.rename(tmp_path / "moved.h5")
    assert opening.open(tmp_path / "moved.h5").response.data.name == first


class TestHostile:
    def write(self, path, fill):
        with h5py.File(path, "w") as hdf5:
            hdf5.attrs["xpycro_store"] = 1
            hdf5.attrs["xpycro_complete"] = 1
            fill(hdf5)

    @pytest.mark.parametrize(
        "case", ["external link", "soft link", "external storage", "virtual", "cycle", "bomb", "deep"]
    )
    def test_files_that_reach_out_or_never_end(self, tmp_path, case):
        secret = tmp_path / "secret"
        secret.write_bytes(b"x" * 64)

        def fill(hdf5):
            if case == "external link":
                hdf5["a"] = h5py.ExternalLink(str(secret), "/")
            elif case == "soft link":
                hdf5["a"] = h5py.SoftLink("/b")
            elif case == "external storage":
                hdf5.create_dataset("a", (64,), "u1", external=[(str(secret), 0, 64)])
            elif case == "virtual":
                virtual = h5py.VirtualLayout((4,), "f8")
                virtual[:] = h5py.VirtualSource(str(secret), "d", (4,))
                hdf5.create_virtual_dataset("a", virtual)
            elif case == "cycle":
                group = hdf5.create_group("a")
                group.create_group("b")["c"] = group
            elif case == "bomb":
                hdf5.create_dataset("a", (10**12,), "f8", chunks=(1024,))
            else:
                hdf5.create_group("/".join("a" * 100))

        self.write(tmp_path / "bad.h5", fill)
        with pytest.raises(CorruptFile):
            store.read(str(tmp_path / "bad.h5"))

    def test_a_newer_layout_is_refused(self, tmp_path):
        self.write(tmp_path / "new.h5", lambda hdf5: hdf5.attrs.__setitem__("xpycro_store", 99))
        with pytest.raises(StoreError, match="update it"):
            store.read(str(tmp_path / "new.h5"))


def test_a_label_named_as_a_dim_of_the_raw_data_is_read_by_plain_xarray(tmp_path):
    ds = xr.Dataset({"z": (("direction", "x"), [[1.0, 2.0], [3.0, 4.0]])}, {"direction": ["forward", "backward"]})
    path = tmp_path / "scan.h5"
    raw = store.save(ds, path)
    stored = store.save(raw.isel(direction=1), path, name="backward")
    for found in (stored, xr.open_dataset(path, group="results/backward", engine="h5netcdf")):
        assert found.direction.item() == "backward"
        np.testing.assert_array_equal(found.z, [3.0, 4.0])


class TestMaintenance:
    def with_results(self, path, monkeypatch, small):
        monkeypatch.setattr(publish, "SMALL_BYTES", 1 << 40 if small else 0)
        ds = opening.open(path)
        store.save(average(ds.response), path)
        store.save(ds.response.chunk(y=4), path, "copy", chunking={"y": 4})
        store.save(xr.Dataset({"name": ("x", ["a", "é"]), "n": ("z", np.arange(4_000_000) % 7)}), path, "more")
        return {name: store.open_result(path, name).compute() for name in store.results(path)}

    @pytest.mark.parametrize("small", [True, False])
    def test_pack_and_unpack_change_nothing_but_the_place(self, path, monkeypatch, small):
        before = self.with_results(path, monkeypatch, small)
        raw = opening.open(path).compute()
        for call, beside in ((store.pack, 0), (store.unpack, 3), (store.pack, 0), (store.pack, 0)):
            call(path)
            assert len(publish.sidecars(str(path))) == beside
            assert set(store.results(path)) == {"average", "copy", "more"}
            for name, ds in before.items():
                found = store.open_result(path, name)
                xr.testing.assert_equal(found.compute(), ds)
                assert provenance.history(found).steps == provenance.history(ds).steps
            xr.testing.assert_equal(opening.open(path).compute(), raw)
            store.verify(path)
            with xr.open_dataset(path, engine="h5netcdf") as plain:
                xr.testing.assert_equal(plain, raw)
        assert left(path.parent) == ["raw.h5"]

    def test_unpack_gives_the_space_back(self, path, monkeypatch):
        size = path.stat().st_size
        self.with_results(path, monkeypatch, True)
        store.unpack(path)
        assert path.stat().st_size < 1.2 * size

    @pytest.mark.parametrize("small", [True, False])
    def test_verify_finds_a_flipped_bit(self, path, monkeypatch, small):
        self.with_results(path, monkeypatch, small)
        assert set(store.verify(path).checked) >= {"response", "x", "results/average/average", "results/more/name"}
        with h5py.File(path) as hdf5:
            offset = hdf5["response"].id.get_offset() or hdf5["response"].id.get_chunk_info(0).byte_offset
        with open(path, "r+b") as handle:
            handle.seek(offset + 1001)
            byte = handle.read(1)[0]
            handle.seek(offset + 1001)
            handle.write(bytes([byte ^ 1]))
        with pytest.raises(Incomplete, match=r"1 of \d+ checksums do not hold: response"):
            store.verify(path)

    def test_verify_and_pack_name_a_broken_sidecar(self, path, monkeypatch):
        self.with_results(path, monkeypatch, False)
        with open(publish.sidecars(str(path))["copy"], "r+b") as handle:
            handle.truncate(4000)
        with pytest.raises(Incomplete, match="results/copy"):
            store.verify(path)
        with pytest.raises(OSError):
            store.pack(path)
        assert "average" in store.results(path)

    def test_sidecars_of_a_replaced_measurement_are_left_out(self, path, monkeypatch):
        self.with_results(path, monkeypatch, False)
        store.save(measurement(), path, overwrite=True)
        with pytest.warns(UserWarning, match="another measurement"):
            assert set(store.composed(path)) == {""}
        assert store.results(path) == []


class TestReuseAndResume:
    def test_reuse_gives_the_earlier_result_and_computes_nothing(self, path, any_size):
        from tests.conftest import raise_if_dask_computes

        store.save(average(opening.open(path).response), path)
        with raise_if_dask_computes(0):
            again = store.save(average(opening.open(path).response), path, reuse=True)
        assert provenance.history(again).location["group"] == "results/average"
        assert store.results(path) == ["average"]

    @pytest.mark.parametrize("change", ["parameter", "data", "edit", "name"])
    def test_reuse_is_for_the_identical_only(self, path, change):
        store.save(average(opening.open(path).response), path)
        data = opening.open(path).response
        name = None
        if change == "parameter":
            result = average(data, power=2)
        elif change == "data":
            result = average(data * 2)
        elif change == "edit":
            result = average(data)
            result["average"] = result.average + 1
        else:
            result, name = average(data), "other"
        store.save(result, path, name, reuse=True)
        assert len(store.results(path)) == 2

    def lazy(self, path, log):
        """A result of 8 blocks that notes each block it computes."""

        def work(block, block_info=None):
            start = block_info[0]["array-location"][0][0] if block_info else 0
            with open(log, "a") as handle:
                handle.write(f"{start}\n")
            return np.abs(block).astype("f8") + start

        data = opening.open(path).response.chunk(y=2)
        import dask.array

        array = dask.array.map_blocks(work, data.data, meta=np.empty((0, 0, 0)), name="work-fixed")
        return xr.Dataset({"a": (data.dims, array)}, attrs={"pycro_result": "fit"})

    @pytest.mark.parametrize("damage", [None, "torn journal", "flipped bit", "lost part", "foreign journal"])
    def test_an_interrupted_job_goes_on_where_it_stopped(self, path, tmp_path, monkeypatch, damage):
        monkeypatch.setattr(store.journal, "KEEP_SECONDS", 0.0)
        log = tmp_path / "log"
        log.write_text("")
        chunking = {"y": 2}
        count = 0
        write = disk.write_at

        def stop(*args):
            nonlocal count
            count += 1
            if count > 5:
                raise KeyboardInterrupt
            write(*args)

        import dask

        with monkeypatch.context() as patch, dask.config.set(scheduler="synchronous"):
            patch.setattr(disk, "write_at", stop)
            with pytest.raises(KeyboardInterrupt):
                store.save(self.lazy(path, log), path, chunking=chunking)
        assert store.results(path) == []
        (part,) = path.parent.glob(".raw.h5.job-*.part")
        (notes,) = path.parent.glob(".raw.h5.job-*.journal")
        expected_again = 3
        if damage == "torn journal":
            notes.write_bytes(notes.read_bytes()[:-7])
            expected_again = 4
        elif damage == "flipped bit":
            body = bytearray(part.read_bytes())
            with h5py.File(part) as hdf5:
                hdf5["a"].id.chunk_iter(lambda c: body.__setitem__(c.byte_offset + 3, body[c.byte_offset + 3] ^ 1))
            part.write_bytes(body)
            expected_again = 8
        elif damage == "lost part":
            part.unlink()
            expected_again = 8
        elif damage == "foreign journal":
            notes.write_text('"something else"\n')
            expected_again = 8
        log.write_text("")
        with dask.config.set(scheduler="synchronous"):
            saved = store.save(self.lazy(path, log), path, chunking=chunking)
        assert len(log.read_text().split()) == expected_again
        truth = abs(measurement_of(path)).values.astype("f8") + (np.arange(16) // 2 * 2)[:, None, None]
        np.testing.assert_array_equal(saved.a.values, truth)
        store.verify(path)
        assert left(path.parent) == ["log", "raw.h5"]

    def test_two_at_the_same_job_do_not_meet(self, path, tmp_path):
        log = tmp_path / "log"
        result = self.lazy(path, log)
        same = store.identity(result)
        with store.journal.job(str(path), same) as (part, notes), store.journal.job(str(path), same) as (other, none):
            assert notes is not None and none is None and part != other

    def test_what_dead_processes_left_is_cleared_away(self, path):
        import socket
        import subprocess
        import sys

        dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
        junk = path.parent / f".raw.h5.tmp-{socket.gethostname()}-{int(dead.stdout)}-0a.part"
        mine = path.parent / f".raw.h5.tmp-{socket.gethostname()}-{os.getpid()}-0b.part"
        old, fresh = (path.parent / f".raw.h5.job-{n}.journal" for n in "ab")
        for file in (junk, mine, old, fresh, old.with_suffix(".part")):
            file.write_text("")
        os.utime(old, (1, 1))
        store.save(average(opening.open(path).response), path)
        assert [f.exists() for f in (junk, mine, old, fresh, old.with_suffix(".part"))] == [
            False,
            True,
            False,
            True,
            False,
        ]


def test_layout_says_what_reading_costs(tmp_path):
    values = RNG.poisson(3, (64, 48, 512)).astype("u2")
    cube = xr.Dataset({"counts": (("y", "x", "energy"), values), "height": (("y", "x"), np.zeros((64, 48)))})
    chunking = {"y": 16, "x": 16, "energy": 128}
    counts, height = store.layout_of(store.save(cube, tmp_path / "a.h5", chunking=chunking))
    assert counts.chunks == chunking and "deflate" in counts.compression
    assert counts.image[0] == 4 * 3 and counts.spectrum[0] == 4 and counts.whole[0] == 4 * 3 * 4
    with h5py.File(tmp_path / "a.h5") as hdf5:
        assert counts.whole[1] == counts.stored == hdf5["counts"].id.get_storage_size() < values.nbytes / 2
    assert height.image == height.whole == (1, 64 * 48 * 8)
    assert "a spectrum" in repr(store.layout_of(opening.open(tmp_path / "a.h5"))).splitlines()[0]
    with pytest.raises(StoreError, match="translate"):
        store.layout_of(cube)


def test_a_result_of_a_part_does_not_keep_the_tree_from_opening(tmp_path):
    path = tmp_path / "grid.h5"
    ds = xr.Dataset({"z": (("x", "bias"), np.arange(12.0).reshape(3, 4))}, {"x": [0, 1, 2], "bias": [0.0, 1, 2, 3]})
    raw = store.save(ds, path)
    store.save(raw.isel(x=slice(1, None)), path, name="part")
    store.save(raw.assign_coords(bias=raw.bias + 1), path, name="shifted")
    for tree in (opening.open_tree(path), xr.open_datatree(path, engine="pycro")):
        part = tree["results/part"]
        assert part.z.dims == ("x_part", "bias") and part.attrs["renamed_dims"] == '{"x_part": "x"}'
        assert tree["results/shifted"].z.dims == ("x", "bias_shifted")
    assert store.open_result(path, "part").z.dims == ("x", "bias")
