"""Mixtures, density and hierarchical clustering, metrics, scans and dendrograms against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.cluster.hierarchy import linkage
from sklearn import metrics as reference
from sklearn.metrics import adjusted_rand_score

from tests.processing.test_cluster import domains
from xpycro import schema
from xpycro.processing import cluster, decompose

STATES = [None, {"y": 5, "x": 4}]


def lazily(da: xr.DataArray, chunks: dict[str, int] | None) -> xr.DataArray:
    return da if chunks is None else da.chunk(chunks)


@pytest.mark.parametrize("chunks", STATES)
@pytest.mark.parametrize(
    "method",
    [
        lambda da, **k: cluster.gaussian_mixture(da, 4, covariance="spherical", **k),
        lambda da, **k: cluster.hdbscan(da, min_cluster_size=8, **k),
        lambda da, **k: cluster.agglomerative(da, 4, **k),
    ],
)
def test_each_finds_the_domains(method, chunks):
    da, truth = domains()
    found = method(lazily(da, chunks))
    labels = found["labels"].values
    assert adjusted_rand_score(truth.reshape(-1), labels.reshape(-1)) == 1
    assert schema.result_kind(found) == "clustering"
    for number in range(4):
        np.testing.assert_allclose(found["mean_response"][number], da.values[labels == number].mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(found["centers"][number], da.values[labels == number].mean(axis=0), atol=1e-6)
    exclude = xr.zeros_like(da.isel(bias=0, drop=True), dtype=bool)
    exclude[3, 4] = True
    holed = da.copy(deep=True)
    holed[0, 0, 0] = np.nan
    left = method(lazily(holed, chunks), exclude=exclude)["labels"].values
    assert np.argwhere(left == -1).tolist() == [[0, 0], [3, 4]]
    on_maps = method(decompose.pca(lazily(da, chunks), 3), data=lazily(da, chunks))
    assert adjusted_rand_score(truth.reshape(-1), on_maps["labels"].values.reshape(-1)) == 1
    with pytest.raises(ValueError, match="infinite"):
        method(xr.full_like(da, np.inf))


def test_mixture_probabilities_against_scikit_learn():
    from sklearn.mixture import GaussianMixture

    da, _ = domains(noise=1.5)
    x = da.values.reshape(-1, da.sizes["bias"])
    found = cluster.gaussian_mixture(da, 3, n_starts=5)
    np.testing.assert_allclose(found["probability"].sum("cluster"), 1)
    np.testing.assert_array_equal(found["probability"].argmax("cluster"), found["labels"])
    assert found["probability"].dims == ("cluster", "y", "x") and found["probability"].attrs["units"] == "1"
    model = GaussianMixture(3, n_init=5, random_state=0).fit((x - x.mean(axis=0)) / x.std())
    assert adjusted_rand_score(model.predict((x - x.mean(axis=0)) / x.std()), found["labels"].values.reshape(-1)) > 0.99
    tiny = cluster.gaussian_mixture(da * 1e-12, 3, n_starts=5)
    np.testing.assert_array_equal(tiny["labels"], found["labels"])
    with pytest.raises(ValueError, match="covariance="):
        cluster.gaussian_mixture(da, 3, covariance="round")


def test_noise_is_minus_one_and_bad_input_is_named():
    da, _ = domains()
    noisy = da.copy(deep=True)
    noisy[2, 2] = 500
    assert int(cluster.hdbscan(noisy, min_cluster_size=8)["labels"][2, 2]) == -1
    for wrong in (lambda: cluster.hdbscan(da, min_cluster_size=1), lambda: cluster.hdbscan(da, min_cluster_size=999)):
        with pytest.raises(ValueError, match="min_cluster_size"):
            wrong()
    with pytest.raises(ValueError, match="linkage="):
        cluster.agglomerative(da, 3, linkage="nearest")
    with pytest.raises(ValueError, match="kmeans"):
        cluster.agglomerative(xr.DataArray(np.zeros((20_001, 2)), dims=("x", "bias")), 3)


@pytest.mark.parametrize("method", ["gaussian_mixture", "agglomerative"])
def test_identical_observations_are_no_clusters(method):
    same = xr.DataArray(np.full((4, 5, 3), 2.0), dims=("y", "x", "bias"))
    with pytest.raises(ValueError, match="only 1 observations are distinct"):
        getattr(cluster, method)(same, 2)
    assert getattr(cluster, method)(same, 1).sizes["cluster"] == 1


def test_scaled_features():
    rng = np.random.default_rng(0)
    truth = np.arange(200) % 2
    values = np.stack([truth * 1e-9 + 1e-10 * rng.normal(size=200), 50 * rng.normal(size=200)], axis=1)
    da = xr.DataArray(values, dims=("x", "bias"), attrs={"units": "A"})
    plain = cluster.kmeans(da, 2)
    assert adjusted_rand_score(truth, plain["labels"]) < 0.5
    z = xr.DataArray((values - values.mean(axis=0)) / values.std(axis=0), dims=("x", "bias"))
    for data in (da, da.chunk(x=33)):
        scaled = cluster.kmeans(data, 4, scale="std")
        direct = cluster.kmeans(z, 4)
        assert adjusted_rand_score(direct["labels"], scaled["labels"]) == 1
        for number in range(4):
            members = values[scaled["labels"].values == number]
            np.testing.assert_allclose(scaled["centers"][number], members.mean(axis=0), rtol=1e-9)
    with pytest.raises(ValueError, match="'std'"):
        cluster.kmeans(da, 2, scale="minmax")


@pytest.mark.parametrize("chunks", STATES)
@pytest.mark.parametrize("complex_", [False, True])
def test_metrics_against_scikit_learn(chunks, complex_):
    da, _ = domains(noise=1.0, complex_=complex_)
    found = cluster.kmeans(da, 4)
    labels = found["labels"].values.reshape(-1)
    x = da.values.reshape(-1, da.sizes["bias"])
    x = np.concatenate([x.real, x.imag], axis=1) if complex_ else x
    for of in (found, found["labels"]):
        values = cluster.metrics(of, lazily(da, chunks))
        assert float(values.silhouette) == pytest.approx(reference.silhouette_score(x, labels))
        assert float(values.davies_bouldin) == pytest.approx(reference.davies_bouldin_score(x, labels))
        assert float(values.calinski_harabasz) == pytest.approx(reference.calinski_harabasz_score(x, labels))
    sampled = cluster.metrics(found, lazily(da, chunks), sample=90)
    assert float(sampled.silhouette) == pytest.approx(float(values.silhouette), abs=0.1)
    assert float(sampled.davies_bouldin) == pytest.approx(float(values.davies_bouldin))
    with pytest.raises(ValueError, match="at least two"):
        cluster.metrics(xr.zeros_like(found["labels"]), da)
    with pytest.raises(ValueError, match="x=3"):
        cluster.metrics(found.isel(x=slice(3)), da)


@pytest.mark.parametrize("chunks", STATES)
def test_scan_advises_the_number_of_domains(chunks):
    da, _ = domains(noise=0.5)
    found = cluster.scan(lazily(da, chunks), range(1, 8), n_references=5)
    assert int(found.best_silhouette) == int(found.best_gap) == 4
    assert (np.diff(found["inertia"]) < 0).all()
    assert np.isnan(found["silhouette"][0])
    x = da.values.reshape(-1, da.sizes["bias"])
    assert float(found["inertia"][0]) == pytest.approx(((x - x.mean(axis=0)) ** 2).sum())
    labels = cluster.kmeans(da, 4)["labels"].values.reshape(-1)
    at_four = found.sel(n_clusters=4)
    assert float(at_four["davies_bouldin"]) == pytest.approx(reference.davies_bouldin_score(x, labels))
    with pytest.raises(ValueError, match="n_clusters"):
        cluster.scan(da, [0, 1])
    with pytest.raises(ValueError, match="range"):
        cluster.scan(da, [])


def test_gap_of_one_blob_is_one():
    rng = np.random.default_rng(0)
    blob = xr.DataArray(rng.normal(size=(300, 3)), dims=("x", "bias"))
    assert int(cluster.scan(blob, range(1, 5)).best_gap) == 1


def test_dendrogram_against_scipy():
    da, _ = domains()
    found = cluster.kmeans(da.chunk(y=4), 4)
    tree = cluster.dendrogram(found)
    expected = linkage(found["mean_response"].values, "average", optimal_ordering=True)
    np.testing.assert_allclose(tree["height"], expected[:, 2])
    np.testing.assert_array_equal(tree["members"], expected[:, :2])
    assert tree["height"].attrs["units"] == "A"
    np.testing.assert_allclose(tree["level"].max("corner"), expected[:, 2])
    assert sorted(tree["leaf"].values) == [0, 1, 2, 3]
    # labels are numbered by this very order, up to its direction
    leaves = tree["leaf"].values
    assert (np.abs(np.diff(leaves)) == 1).all()
    with pytest.raises(ValueError, match="one cluster"):
        cluster.dendrogram(cluster.kmeans(da, 1))
    with pytest.raises(ValueError, match="mean_response"):
        cluster.dendrogram(decompose.svd(da, 2))
    with pytest.raises(ValueError, match="linkage="):
        cluster.dendrogram(found, linkage="nearest")
