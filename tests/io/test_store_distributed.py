"""A two-process cluster: the same calls, the same bits; a worker killed half-way costs time, not data."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
import xarray as xr

import xpycro as xp
from xpycro.engine import chunked
from xpycro.io import store

pytest.importorskip("distributed")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills a process by a POSIX signal")
KILLS = 24 if os.environ.get("XPYCRO_CRASH") else 1  # on demand: 24 worker kills
PATIENCE = {  # a worker that dies is replaced; on a busy machine that takes a while
    "distributed.scheduler.allowed-failures": 10,
    "distributed.comm.timeouts.connect": "120s",
    "distributed.comm.timeouts.tcp": "120s",
    "distributed.deploy.lost-worker-timeout": "120s",
    "distributed.admin.tick.limit": "60s",
}


@pytest.fixture(scope="module")
def cluster():
    import dask
    from distributed import LocalCluster

    with dask.config.set(PATIENCE):
        options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
        with LocalCluster(**options, silence_logs=50) as found:
            yield found


@pytest.fixture
def client(cluster):
    from distributed import Client

    with Client(cluster, timeout=120) as found:
        found.wait_for_workers(1, timeout=120)
        yield found


@pytest.fixture
def path(tmp_path):
    ds = xp.simulate.band_excitation((16, 16), 48)
    xp.save(ds, tmp_path / "be.h5", chunking={"y": 4})
    return tmp_path / "be.h5"


def bits(ds: xr.Dataset) -> dict[str, bytes]:
    return {str(name): np.asarray(da.values).tobytes() for name, da in ds.data_vars.items()}


def operations(path):
    response = xp.open(path, chunks={"y": 4}).response
    # blocks that hold no spectrum whole: each operation rechunks, and the second pass of an SVD reads them again
    torn = xp.open(path, chunks={"y": 4, "frequency": 12}).response
    svd = xp.decompose.svd(response, dim="frequency", n_components=4)
    real = abs(response).assign_attrs(units="V")
    patterns = xr.DataArray(real.data.reshape(16, 16, 6, 8), dims=("y", "x", "ky", "kx"), attrs={"units": "counts"})
    frames = real.isel(frequency=slice(0, 4)).rename(frequency="frame").drop_vars("frame").transpose("frame", "y", "x")
    fit = xp.fit(response, "sho", dim="frequency")
    kmeans = xp.cluster.kmeans(svd, 3, data=response)
    return {
        "svd": svd,
        "svd_of_torn_blocks": xp.decompose.svd(torn, dim="frequency", n_components=4),
        "pca": xp.decompose.pca(real, dim="frequency", n_components=3),
        "nmf": xp.decompose.nmf(real, 2, dim="frequency"),
        "varimax": xp.decompose.varimax(real, 2, dim="frequency"),
        "nfindr": xp.decompose.nfindr(real, 2, dim="frequency"),
        "reconstruct": xp.reconstruct(svd, 2),
        "residual": xp.residual(svd, response),
        "project": xp.project(svd, response),
        "kmeans": kmeans,
        "gaussian_mixture": xp.cluster.gaussian_mixture(svd, 2, data=response),
        "mean_by": xp.cluster.mean_by(kmeans.labels, real),
        "fit": fit,
        "evaluate": xp.evaluate(fit),
        "gaussian": xp.fit(real, "gaussian + constant", dim="frequency"),
        "line": xp.fit(real, "linear", dim="frequency"),
        "smooth": xp.spectra.smooth(real, 2000, "frequency"),
        "derivative": xp.spectra.derivative(real, dim="frequency"),
        "fft": xp.spectra.fft(real, "frequency"),
        "despike": xp.spectra.despike(real, dim="frequency"),
        "baseline": xp.spectra.baseline(real, "frequency", width=2e4),
        "low_pass": xp.filter.apply(real, xp.filter.LowPass(3e-4), "frequency"),
        "level": xp.image.level(frames),
        "destripe": xp.image.destripe(frames),
        "rigid": xp.register.rigid(frames),
        "patterns": xp.diffraction.run(patterns, [xp.diffraction.CenterOfMass(), xp.diffraction.MeanPattern()]),
        "ions": xp.mass.ion_images(real, [310e3, 320e3], 2000.0, dim="frequency"),
    }


def test_every_operation_and_save_give_the_same_bits(path, cluster):
    from distributed import Client

    here = {name: xp.save(made, path, name) for name, made in operations(path).items()}
    expected = {name: bits(ds) for name, ds in here.items()}
    with Client(cluster, timeout=120) as client:
        client.wait_for_workers(1, timeout=120)
        there = {name: xp.save(made, path, f"{name}_there") for name, made in operations(path).items()}
        read = {name: bits(ds) for name, ds in there.items()}
    assert read == expected
    store.verify(path)


def bell(x, height, place, width, level):
    return height * np.exp(-0.5 * ((x - place) / width) ** 2) + level


def fits(da):
    """Fits by each of the solvers, with functions that travel by name, by value and as a part of another library."""
    import lmfit

    theirs = lmfit.models.PseudoVoigtModel() + lmfit.models.ConstantModel()
    begun = theirs.make_params(amplitude=100, center=325e3, sigma=5e3, c=0.0)
    start = {"height": 1e-2, "place": 325e3, "width": 5e3, "level": 0.0}
    uncompiled = lambda x, a, b: np.select([x > 0], [a + 1e-5 * b * x])  # noqa: E731 - numba does not know select
    made = {
        "robust": xp.fit(da, "lorentzian + linear", dim="frequency", loss="soft_l1", covariance=True),
        "tied": xp.fit(da, "voigt + constant", dim="frequency", fixed={"voigt_gamma": "voigt_sigma"}),
        "linear": xp.fit(da, "polynomial", dim="frequency", covariance=True),
        "by name": xp.fit(da, bell, dim="frequency", start=start),
        "by value": xp.fit(da, uncompiled, dim="frequency", start=[0.1, 0.1]),
        "lmfit": xp.fit(da, theirs, dim="frequency", start=begun),
    }
    made["curve"] = xp.evaluate(made["by name"], functions={"bell": bell}).to_dataset(name="curve")
    made["derived"] = xp.derived(made["robust"], prefix="lorentzian", width=xp.models.Lorentzian.full_width)
    return made


def test_fits_are_the_same_in_memory_threads_and_processes(path, cluster):
    from distributed import Client

    lazy = abs(xp.open(path, chunks={"y": 4}).response.isel(y=slice(0, 8), x=slice(0, 4))).assign_attrs(units="V")
    expected = {name: bits(ds) for name, ds in fits(lazy.compute()).items()}
    threads = {name: bits(ds.compute(scheduler="threads")) for name, ds in fits(lazy).items()}
    with Client(cluster, timeout=120) as client:
        client.wait_for_workers(1, timeout=120)
        processes = {name: bits(ds.compute()) for name, ds in fits(lazy).items()}
    assert threads == expected
    assert processes == expected


def test_no_second_pass_through_a_shuffle(path, client):
    """Whoever rechunks under a cluster gets dask's shuffle, whose tasks cannot be run again under other names."""
    import dask

    response = xp.open(path, chunks={"y": 4}).response
    shuffled = response.copy(data=response.data.rechunk((16, 4, 48), method="p2p"))
    assert chunked.after(shuffled, dask.delayed(sum)([1])) is shuffled
    found = xp.decompose.svd(shuffled, dim="frequency", n_components=4).compute()
    expected = xp.decompose.svd(response.compute(), dim="frequency", n_components=4)
    np.testing.assert_allclose(found.singular_values, expected.singular_values, rtol=1e-12)


def slow(block, begun):
    begun.touch()
    time.sleep(0.3)
    return np.abs(block).astype("f8")


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_killed_worker_costs_time_not_data(path, tmp_path, client, kill):
    """The lazily opened file, its graph and the save survive the death of a worker process."""
    client.wait_for_workers(2, timeout=120)
    data = xp.open(path, chunks={"y": 2}).response
    begun = tmp_path / "begun"
    blocks = data.data.map_blocks(slow, begun, dtype="f8")
    result = data.copy(data=blocks).to_dataset(name="a").assign_attrs(pycro_result="fit")
    pid = list(client.run(os.getpid).values())[kill % 2]

    def strike():
        while not begun.exists():
            time.sleep(0.01)
        time.sleep(0.1 * (1 + kill % 8))
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=strike)
    killer.start()
    saved = xp.save(result, path, "slow", chunking={"y": 2})
    killer.join()
    np.testing.assert_array_equal(saved.a.values, np.abs(xp.open(path, chunks=None).response.values).astype("f8"))
    store.verify(path)
