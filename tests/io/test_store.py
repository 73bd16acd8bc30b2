"""Saving: never overwritten, never torn, into the very file that is being read, with the history."""

from __future__ import annotations

import errno
import os
import time

import h5py
import numpy as np
import pytest
import xarray as xr

from xpycro import provenance
from xpycro.errors import CorruptFile, Incomplete, Locked, NotThisFormat, StoreError
from xpycro.io import opening, store
from xpycro.io.store import disk, locks, publish

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
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


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
