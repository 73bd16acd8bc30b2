"""cluster.kmeans, estimator and mean_by against scikit-learn and plain NumPy means."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_rand_score

from tests.conftest import as_indexed, raise_if_dask_computes
from xpycro import schema
from xpycro.errors import MissingSource
from xpycro.processing import cluster, decompose


def domains(y: int = 12, x: int = 15, p: int = 8, k: int = 4, *, noise: float = 0.05, complex_: bool = False):
    """A map of k domains, each with its spectrum; returns (data, true labels)."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(k, p)) * 3
    if complex_:
        centers = centers + 3j * rng.normal(size=(k, p))
    truth = (np.add.outer(np.arange(y) // 3, np.arange(x) // 5) * 2 + np.arange(x) // 7) % k
    values = centers[truth] + noise * rng.normal(size=(y, x, p))
    da = xr.DataArray(
        values,
        dims=("y", "x", "bias"),
        coords={
            "y": schema.coordinate("y", np.arange(y) * 1e-9),
            "bias": schema.coordinate("bias", np.arange(p) * 0.1),
        },
        attrs={"units": "A", "long_name": "Current"},
        name="current",
    )
    return da, truth


@pytest.mark.parametrize("complex_", [False, True])
def test_finds_the_domains_in_every_state(complex_, tmp_path):
    da, truth = domains(complex_=complex_)
    indexed = as_indexed(da.to_dataset(), tmp_path / "cube.h5")["current"]
    reference = None
    for data in (da, da.chunk(y=5, x=4), da.chunk(bias=3), indexed):
        found = cluster.kmeans(data, 4)
        assert adjusted_rand_score(truth.reshape(-1), found["labels"].values.reshape(-1)) == 1
        reference = found if reference is None else reference
        np.testing.assert_array_equal(found["labels"], reference["labels"])
        np.testing.assert_allclose(found["mean_response"], reference["mean_response"], atol=1e-12)
        for number in range(4):
            members = da.values[found["labels"].values == number]
            assert int(found["counts"][number]) == len(members)
            np.testing.assert_allclose(found["mean_response"][number], members.mean(axis=0), atol=1e-12)
            np.testing.assert_allclose(found["centers"][number], members.mean(axis=0), atol=1e-12)
            np.testing.assert_allclose(found["response_std"][number], members.std(axis=0), atol=1e-12)


def test_inertia_is_no_worse_than_scikit_learns():
    da, _ = domains(k=7, noise=2.0)
    x = da.values.reshape(-1, da.sizes["bias"])
    reference = KMeans(6, n_init=10, random_state=0).fit(x)
    found = cluster.kmeans(da.chunk(y=3), 6)
    labels = found["labels"].values.reshape(-1)
    inertia = sum(((x[labels == i] - x[labels == i].mean(axis=0)) ** 2).sum() for i in range(6))
    assert found.attrs["pycro_inertia"] == pytest.approx(inertia, rel=1e-10)
    assert inertia <= reference.inertia_ * 1.01
    nearest = ((x[:, None] - found["centers"].values[None]) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(labels, nearest)
    assert found.attrs["pycro_converged"] == 1


def test_offset_costs_no_digits():
    da, truth = domains()
    found = cluster.kmeans(da + 1e7, 4)
    assert adjusted_rand_score(truth.reshape(-1), found["labels"].values.reshape(-1)) == 1


def test_sample_path_agrees_with_all_in_memory(monkeypatch):
    import sys

    from xpycro.processing.cluster import kmeans as module_function  # the function hides the module

    module = sys.modules["xpycro.processing.cluster.kmeans"]
    assert module_function is cluster.kmeans
    da, truth = domains(20, 30)
    monkeypatch.setattr(module, "_SAMPLE", 100)
    monkeypatch.setattr(module, "_KEPT_BYTES", 0)
    a, b = cluster.kmeans(da, 4), cluster.kmeans(da.chunk(y=3, x=7), 4)
    np.testing.assert_array_equal(a["labels"], b["labels"])
    assert adjusted_rand_score(truth.reshape(-1), a["labels"].values.reshape(-1)) == 1


def test_labels_are_ordered_by_likeness():
    steps = np.array([3.0, 0.0, 2.0, 1.0, 4.0])
    truth = np.arange(60) % 5
    values = steps[truth][:, None] * np.ones(6) + 0.01 * np.random.default_rng(0).normal(size=(60, 6))
    found = cluster.kmeans(xr.DataArray(values, dims=("x", "bias")), 5)
    assert (np.diff(found["mean_response"].mean("bias")) > 0).all()


def test_on_a_decomposition_with_data():
    da, truth = domains()
    for data in (da, da.chunk(y=4)):
        result = decompose.pca(data, 3)
        found = cluster.kmeans(result, 4, data=data)
        assert adjusted_rand_score(truth.reshape(-1), found["labels"].values.reshape(-1)) == 1
        assert found["centers"].dims == ("cluster", "component") and found["centers"].attrs["units"] == "A"
        assert found["mean_response"].dims == ("cluster", "bias") and found["mean_response"].attrs["units"] == "A"
        assert (found["mean_response"].chunks is None) == (data.chunks is None)
        members = da.values[found["labels"].values == 2]
        np.testing.assert_allclose(found["mean_response"][2], members.mean(axis=0), atol=1e-12)
    assert cluster.kmeans(result, 3, data=da, components=2)["centers"].sizes["component"] == 2
    assert cluster.kmeans(result, 3, data=da, components=[2])["centers"].sizes["component"] == 1


def test_a_decomposition_without_its_data_says_so():
    result = decompose.svd(domains()[0], 3)
    with pytest.raises(MissingSource, match="data="):
        cluster.kmeans(result, 4)


def test_nan_and_excluded_observations_are_minus_one():
    da, _ = domains()
    holed = da.copy(deep=True)
    holed[0, 3, 2] = np.nan
    exclude = xr.zeros_like(da.isel(bias=0, drop=True), dtype=bool)
    exclude[5, 6] = True
    for data, mask in ((holed, exclude), (holed.chunk(y=4), exclude.chunk(x=4))):
        found = cluster.kmeans(data, 4, exclude=mask)
        left_out = np.argwhere(found["labels"].values == -1).tolist()
        assert left_out == [[0, 3], [5, 6]]
        assert int(found["counts"].sum()) == 12 * 15 - 2
        assert np.isfinite(found["mean_response"]).all()
    assert found["labels"].attrs["flag_values"][0] == -1


def test_result_is_described_and_saves(tmp_path):
    found = cluster.kmeans(domains()[0], 4)
    assert schema.result_kind(found) == "clustering"
    assert found["labels"].dtype == np.int32 and found["labels"].attrs["units"] == "1"
    assert all("units" in v.attrs and v.attrs.get("long_name") for v in found.variables.values())
    assert found["labels"].y.attrs["units"] == "m"
    found.to_netcdf(tmp_path / "c.h5", engine="h5netcdf")
    again = xr.open_dataset(tmp_path / "c.h5", engine="h5netcdf")
    np.testing.assert_array_equal(again["labels"], found["labels"])
    assert cluster.mean_by(again, domains()[0].isel(bias=0)).sizes["cluster"] == 4


@given(
    chunks=st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 3)),
    order=st.permutations(["y", "x", "bias"]),
    dtype=st.sampled_from(["f4", "f8", "i2", "c16"]),
    with_nan=st.booleans(),
)
def test_mean_by_against_numpy(chunks, order, dtype, with_nan):
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(6, 7, 3)) * 20).astype(dtype)
    if with_nan and np.dtype(dtype).kind == "f":
        values[2, 3, 1] = np.nan
    labels = xr.DataArray(rng.integers(-1, 4, size=(6, 7)), dims=("y", "x"))
    labels = labels.where(labels != 2, 3)  # cluster 2 is empty
    other = xr.DataArray(values, dims=("y", "x", "bias"), attrs={"units": "V"}).transpose(*order)
    before = other.copy(deep=True)
    wide = values.astype(np.result_type(values.dtype, np.float64))
    for lab, data in (
        (labels, other),
        (labels.chunk(y=2), other.chunk(dict(zip(("y", "x", "bias"), chunks, strict=True)))),
    ):
        with raise_if_dask_computes():
            found = cluster.mean_by(lab, data, n_clusters=4)
        found = found.compute()  # once, not at each comparison
        assert found["mean"].attrs["units"] == found["std"].attrs["units"] == "V"
        for number in range(4):
            members = wide[labels.values == number]
            if number == 2:
                assert np.isnan(found["mean"][2]).all() and (found["counts"][2] == 0).all()
                continue
            np.testing.assert_allclose(found["mean"][number], np.nanmean(members, axis=0), rtol=1e-12)
            np.testing.assert_allclose(found["std"][number], np.nanstd(members, axis=0), rtol=1e-10)
            np.testing.assert_array_equal(found["counts"][number], (~np.isnan(members)).sum(axis=0))
    xr.testing.assert_identical(other, before)


def test_mean_by_a_channel_without_more_dims_and_bad_labels():
    labels = xr.DataArray([[0, 1], [1, -1]], dims=("y", "x"))
    current = xr.DataArray([[1.0, 2.0], [4.0, 9.0]], dims=("y", "x"), attrs={"units": "A"})
    found = cluster.mean_by(labels, current)
    assert found["mean"].dims == ("cluster",) and found["mean"].values.tolist() == [1.0, 3.0]
    with pytest.raises(ValueError, match="integers"):
        cluster.mean_by(current, current)
    with pytest.raises(ValueError, match="n_clusters="):
        cluster.mean_by(labels.chunk(), current)
    with pytest.raises(ValueError, match="x=2"):
        cluster.mean_by(labels, current.isel(x=slice(1)))
    with pytest.raises(ValueError, match="no cluster"):
        cluster.mean_by(xr.full_like(labels, -1), current)


def test_any_scikit_learn_clusterer():
    da, truth = domains()
    model = AgglomerativeClustering(4)
    for data in (da, da.chunk(y=4)):
        found = cluster.estimator(data, model)
        assert adjusted_rand_score(truth.reshape(-1), found["labels"].values.reshape(-1)) == 1
    assert not hasattr(model, "labels_")
    noisy = da.copy(deep=True)
    noisy[0, 0] = 1e3
    found = cluster.estimator(noisy, DBSCAN(eps=2.0, min_samples=3))
    assert int(found["labels"][0, 0]) == -1 and found.sizes["cluster"] == 4
    with pytest.raises(TypeError, match="fit_predict"):
        cluster.estimator(da, object())
    with pytest.raises(ValueError, match="noise"):
        cluster.estimator(da, DBSCAN(eps=1e-9))


def test_bad_input_is_named():
    da, _ = domains()
    for n in (0, -1, 12 * 15 + 1, 2.5, True):
        with pytest.raises(ValueError, match="n_clusters"):
            cluster.kmeans(da, n)
    with pytest.raises(ValueError, match="distinct"):
        cluster.kmeans(xr.full_like(da, 3.0), 2)
    with pytest.raises(ValueError, match="left"):
        cluster.kmeans(xr.full_like(da, np.nan), 2)
    with pytest.raises(ValueError, match="infinite"):
        cluster.kmeans(xr.full_like(da, np.inf), 2)
    with pytest.raises(ValueError, match="object"):
        cluster.kmeans(da.astype(object), 2)
    with pytest.raises(ValueError, match="size 0"):
        cluster.kmeans(da.isel(y=slice(0)), 2)
    with pytest.raises(ValueError, match="components="):
        cluster.kmeans(da, 2, components=2)
    with pytest.raises(ValueError, match="clustering"):
        cluster.kmeans(cluster.kmeans(da, 2), 2)
    result = decompose.svd(da, 3)
    with pytest.raises(ValueError, match="y=11"):
        cluster.kmeans(result, 2, data=da.isel(y=slice(11)))
    with pytest.raises(ValueError, match="lacks"):
        cluster.kmeans(result, 2, data=da.isel(y=0))


def test_one_cluster_and_one_observation():
    da, _ = domains()
    assert (cluster.kmeans(da, 1)["labels"] == 0).all()
    assert cluster.kmeans(da.isel(y=0, x=0), 1)["labels"].ndim == 0
