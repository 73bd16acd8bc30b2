"""nmf, ica, varimax, nfindr, estimator, rank, stability, stack_channels: against scikit-learn, SciPy, known truth."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import linear_sum_assignment, nnls

from tests.conftest import as_indexed, raise_if_dask_computes
from tests.processing.test_decompose_rank import noisy
from xpycro import schema
from xpycro.engine import results
from xpycro.processing import cluster, decompose
from xpycro.processing.decompose.constrained import abundances, onto_simplex


def mixture(
    y: int = 20, x: int = 25, p: int = 40, k: int = 3, *, snr: float = 20.0, seed: int = 0, pure: bool = True
) -> tuple[xr.DataArray, np.ndarray, np.ndarray]:
    """Spectra mixed in known shares, with Gaussian noise: (data, endmembers, shares)."""
    rng = np.random.default_rng(seed)
    energy = np.linspace(0, 10, p)
    peaks = np.stack([np.exp(-(((energy - c) / w) ** 2)) for c, w in ((2, 1.0), (5, 1.5), (8, 0.8), (6.5, 0.5))][:k])
    share = rng.dirichlet(np.full(k, 0.8), size=(y, x))
    if pure:
        share[0, :k] = np.eye(k)
    values = share @ peaks + rng.normal(size=(y, x, p)) / snr
    da = xr.DataArray(
        values,
        dims=("y", "x", "energy"),
        coords={
            "y": schema.coordinate("y", np.arange(y) * 1e-9),
            "energy": schema.coordinate("energy", energy),
        },
        attrs={"units": "A", "long_name": "Current"},
        name="signal",
    )
    return da, peaks, share


def flat(da: xr.DataArray) -> np.ndarray:
    return da.transpose(..., "energy").values.reshape(-1, da.sizes["energy"])


def matched(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """For each true row the found one most like it."""
    unit = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in (found, true)]
    return linear_sum_assignment(-np.abs(unit[1] @ unit[0].conj().T))[1]


# ------------------------------------------------------------------------------------------------------------- nmf


@pytest.mark.parametrize(("loss", "solver"), [("frobenius", "cd"), ("kullback-leibler", "mu")])
@pytest.mark.parametrize("chunks", [None, {"y": 6, "x": 9}])
def test_nmf_reaches_the_loss_of_scikit_learn(loss, solver, chunks):
    from sklearn.decomposition import NMF

    da, _, _ = mixture(snr=50)
    da = abs(da)
    x = flat(da)
    reference = NMF(3, init="nndsvda", solver=solver, beta_loss=loss, max_iter=1000, tol=1e-5).fit(x)
    found = decompose.nmf(da if chunks is None else da.chunk(chunks), 3, loss=loss, tolerance=1e-7)
    model = flat(results.reconstruct(found))
    value = 0.5 * ((x - model) ** 2).sum() if loss == "frobenius" else (x * np.log(x / model) - x + model).sum()
    goal = reference.reconstruction_err_**2 / 2
    assert value <= goal * 1.01
    assert found.attrs["pycro_loss"] == pytest.approx(value, rel=1e-3)
    assert (found["components"] >= 0).all() and (found["maps"] >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(found["components"], axis=1), 1)
    assert found["maps"].attrs["units"] == "A" and found["components"].attrs["units"] == "1"
    energy = (found["maps"] ** 2).sum(("y", "x"))
    assert (np.diff(energy) <= 0).all()


def test_nmf_out_of_core_gives_the_same(monkeypatch, tmp_path):
    import sys

    module = sys.modules["xpycro.processing.decompose.nonnegative"]
    da, peaks, _ = mixture(snr=100)
    da = abs(da)
    kept = decompose.nmf(da, 3, max_iterations=40)
    monkeypatch.setattr(module, "_KEPT_BYTES", 0)
    indexed = as_indexed(da.to_dataset(), tmp_path / "c.h5")["signal"]
    for data in (da.chunk(y=7), indexed):
        streamed = decompose.nmf(data, 3, max_iterations=40)
        np.testing.assert_allclose(streamed["components"], kept["components"], atol=1e-8)
        np.testing.assert_allclose(streamed["maps"], kept["maps"], atol=1e-8 * float(kept["maps"].max()))
    order = matched(kept["components"].values, peaks)
    unit = peaks / np.linalg.norm(peaks, axis=1, keepdims=True)
    assert (np.sum(kept["components"].values[order] * unit, axis=1) > 0.98).all()


def test_nmf_leaves_out_and_refuses():
    da = abs(mixture()[0])
    holed = da.copy(deep=True)
    holed[2, 3, 1] = np.nan
    channels = xr.DataArray(np.arange(40) == 7, dims="energy", coords={"energy": da.energy})
    found = decompose.nmf(holed, 3, exclude=channels, max_iterations=20)
    assert np.isnan(found["maps"][:, 2, 3]).all() and np.isfinite(found["maps"][:, 0, 0]).all()
    assert np.isnan(found["components"][:, 7]).all()
    with pytest.raises(ValueError, match="nonnegative data and 'signal' goes down to"):
        decompose.nmf(da - 1, 3)
    with pytest.raises(ValueError, match="complex"):
        decompose.nmf(da + 0j, 3)
    with pytest.raises(ValueError, match="loss="):
        decompose.nmf(da, 3, loss="l1")
    with pytest.raises(ValueError, match="n_components"):
        decompose.nmf(da, 41)
    with pytest.raises(ValueError, match="infinite"):
        decompose.nmf(da.where(da.x != 3, np.inf) if "x" in da.coords else _with(da, np.inf), 2)


def _with(da: xr.DataArray, value: float) -> xr.DataArray:
    spoiled = da.copy(deep=True)
    spoiled[0, 1, 2] = value
    return spoiled


def test_nmf_project_is_nonnegative_least_squares():
    da = abs(mixture(snr=30)[0])
    found = decompose.nmf(da, 3)
    maps = results.project(found, da.isel(y=slice(2)))
    components = found["components"].values
    for i, j in ((0, 0), (1, 7)):
        expected, _ = nnls(components.T, da.values[i, j])
        np.testing.assert_allclose(maps[:, i, j], expected, atol=1e-7)


# ------------------------------------------------------------------------------------------------- turned components


@pytest.mark.parametrize("chunks", [None, {"y": 6}])
def test_ica_unmixes_independent_sources(chunks):
    rng = np.random.default_rng(0)
    sources = rng.uniform(-1, 1, size=(30, 40, 2))
    spectra = rng.normal(size=(2, 12))
    da = xr.DataArray(
        sources @ spectra + 3 + 1e-3 * rng.normal(size=(30, 40, 12)),
        dims=("y", "x", "energy"),
        attrs={"units": "A"},
        coords={"y": np.arange(30.0)},
    )
    found = decompose.ica(da if chunks is None else da.chunk(chunks), 2)
    order = matched(found["components"].values, spectra)
    unit = spectra / np.linalg.norm(spectra, axis=1, keepdims=True)
    assert (np.abs(np.sum(found["components"].values[order] * unit, axis=1)) > 0.998).all()
    np.testing.assert_allclose(results.reconstruct(found), da, atol=0.02)
    np.testing.assert_allclose(results.project(found, da), found["maps"], atol=0.02)
    again = decompose.ica(da, 2)
    np.testing.assert_allclose(again["components"], found["components"], atol=1e-6)
    with pytest.raises(ValueError, match="rank"):
        decompose.ica(da.isel(energy=[0, 0, 0]), 3)


def test_complex_is_refused_or_stacked():
    rng = np.random.default_rng(0)
    da = xr.DataArray(
        rng.uniform(-1, 1, size=(40, 10, 2)) @ (rng.normal(size=(2, 6)) + 1j * rng.normal(size=(2, 6))),
        dims=("y", "x", "energy"),
        attrs={"units": "m"},
    )
    from sklearn.decomposition import PCA

    for run in (
        lambda **k: decompose.ica(da, 2, **k),
        lambda **k: decompose.varimax(da, 2, center=False, **k),
        lambda **k: decompose.estimator(da, PCA(2), **k),
    ):
        with pytest.raises(ValueError, match="complex='stack'"):
            run()
        found = run(complex="stack")
        assert found["maps"].dtype.kind == "f" and found["components"].dtype.kind == "c"
        np.testing.assert_allclose(results.reconstruct(found), da, atol=1e-6)
        np.testing.assert_allclose(results.project(found, da), found["maps"], atol=1e-6)
    with pytest.raises(ValueError, match="'refuse' or 'stack'"):
        decompose.ica(da, 2, complex="abs")


@pytest.mark.parametrize("simplify", ["components", "maps"])
def test_varimax_finds_simple_spectra_or_maps(simplify):
    rng = np.random.default_rng(0)
    if simplify == "components":
        spectra = np.kron(np.eye(3), np.ones(4)) / 2
        scores = rng.normal(size=(200, 3)) * [3, 2.5, 2]
    else:
        spectra = np.linalg.qr(rng.normal(size=(12, 3)))[0].T
        scores = np.kron(np.eye(3), np.ones((70, 1)))[:200] * [3, 2.5, 2]
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    assert turn.shape == (3, 3)
    da = xr.DataArray((scores @ spectra).reshape(20, 10, 12), dims=("y", "x", "energy"), attrs={"units": "A"})
    for data in (da, da.chunk(y=7)):
        found = decompose.varimax(data, 3, simplify=simplify, center=False)
        order = matched(found["components"].values, spectra)
        overlap = np.abs(np.sum(found["components"].values[order] * spectra, axis=1))
        assert (overlap > 0.98).all()
        np.testing.assert_allclose(results.reconstruct(found), da, atol=1e-8)
    with pytest.raises(ValueError, match="simplify="):
        decompose.varimax(da, 2, simplify="both")


# -------------------------------------------------------------------------------------------------------- endmembers


def test_fully_constrained_abundances_against_a_quadratic_programme():
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    e = rng.normal(size=(4, 9))
    rows = rng.dirichlet(np.ones(4), size=30) @ e + 0.5 * rng.normal(size=(30, 9))
    found = abundances(rows, e)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
    assert (found >= 0).all()
    for i in range(0, 30, 3):
        best = minimize(
            lambda a, row=rows[i]: ((row - a @ e) ** 2).sum(),
            np.full(4, 0.25),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        np.testing.assert_allclose(found[i], best.x, atol=1e-5)


def test_nearest_point_of_the_simplex():
    np.testing.assert_allclose(
        onto_simplex(np.array([[0.2, 0.8], [2.0, 0.0], [0.5, 0.9]])), [[0.2, 0.8], [1, 0], [0.3, 0.7]]
    )


@pytest.mark.parametrize("chunks", [None, {"y": 6, "x": 9}])
def test_nfindr_abundances_within_three_percent_at_a_peak_signal_to_noise_of_twenty(chunks):
    da, peaks, share = mixture(60, 60, 80, snr=20)
    found = decompose.nfindr(da if chunks is None else da.chunk(chunks), 3)
    order = matched(found["endmembers"].values, peaks)
    error = found["abundances"].values[order] - np.moveaxis(share, -1, 0)
    assert np.sqrt(np.mean(error**2)) < 0.03
    np.testing.assert_allclose(found["abundances"].sum("component"), 1, atol=1e-9)
    assert (found["abundances"] >= 0).all()
    assert found["endmembers"].attrs["units"] == "A" and found["abundances"].attrs["units"] == "1"
    np.testing.assert_allclose(
        (found["maps"] * found["components"]).sum("component").transpose(*da.dims), da, atol=0.35
    )
    again = results.project(found, da) / found.attrs["pycro_endmember_scale"]
    assert float(np.sqrt(((again - found["abundances"]) ** 2).mean())) < 0.05


def test_nfindr_refuses():
    da, _, _ = mixture()
    with pytest.raises(ValueError, match="at least 2"):
        decompose.nfindr(da, 1)
    with pytest.raises(ValueError, match="complex"):
        decompose.nfindr(da + 0j, 3)
    with pytest.raises(ValueError, match="span"):
        decompose.nfindr(xr.ones_like(da), 3)


# ---------------------------------------------------------------------------------------------------------- general


@pytest.mark.parametrize("chunks", [None, {"y": 6}])
def test_any_scikit_learn_transformer(chunks):
    from sklearn.decomposition import NMF, FactorAnalysis, FastICA, IncrementalPCA, TruncatedSVD

    da, _, _ = mixture(snr=1000)
    data = abs(da) if chunks is None else abs(da).chunk(chunks)
    for model in (
        NMF(3, max_iter=2000, tol=1e-6),
        FactorAnalysis(3),
        FastICA(3, whiten="unit-variance", random_state=0, tol=1e-3, max_iter=1000),
        IncrementalPCA(3),
        TruncatedSVD(3),
    ):
        found = decompose.estimator(data, model)
        assert not hasattr(model, "components_")
        assert (found["maps"].chunks is None) == (chunks is None)
        np.testing.assert_allclose(results.reconstruct(found), data, atol=0.05)
    holed = _with(abs(da), np.nan)
    assert np.isnan(decompose.estimator(holed, TruncatedSVD(2))["maps"][:, 0, 1]).all()
    with pytest.raises(TypeError, match="transform"):
        decompose.estimator(da, object())


# -------------------------------------------------------------------------------------------------------- stability


@pytest.mark.parametrize("resampling", ["bootstrap", "split_half"])
def test_stability_against_the_spread_over_new_data(resampling):
    """The standard error that one measurement gives is about the spread over many measurements."""

    def measured(seed: int) -> xr.DataArray:
        rng = np.random.default_rng(seed)
        spectra = np.stack([np.ones(10), np.r_[np.ones(5), -np.ones(5)]]) / np.sqrt(10)
        values = rng.normal(size=(400, 2)) * [6, 3] @ spectra + rng.normal(size=(400, 10))
        return xr.DataArray(values.reshape(20, 20, 10), dims=("y", "x", "energy"), attrs={"units": "A"})

    many = np.stack([decompose.pca(measured(s), 2)["components"].values for s in range(60)])
    many *= np.sign(np.sum(many * many[:1], axis=2, keepdims=True))
    spread = np.sqrt(many.var(axis=0).mean(axis=1))
    da = measured(1000)
    for data in (da, da.chunk(y=3)):
        found = decompose.stability(data, 2, resampling=resampling, n_resamples=100)
        estimate = np.sqrt((found["components_stderr"].values ** 2).mean(axis=1))
        np.testing.assert_allclose(estimate, spread, rtol=0.6)
        assert (found["similarity"] > 0.97).all()
        assert found["maps_stderr"].dims == ("component", "y", "x") and found["maps_stderr"].attrs["units"] == "A"
    assert found["maps"].chunks is not None
    reference = decompose.pca(da, 2)
    np.testing.assert_allclose(found["components"], reference["components"], atol=1e-10)
    np.testing.assert_allclose(found["maps"], reference["maps"], atol=1e-9)
    np.testing.assert_allclose(found["singular_values"], reference["singular_values"][:2], rtol=1e-10)


def test_stability_tells_noise_and_refuses():
    found = decompose.stability(noisy(2), 4)
    assert (found["similarity"][:2] > 0.95).all() and (found["similarity"][2:] < 0.8).all()
    for wrong in ({"method": "nmf"}, {"resampling": "jackknife"}, {"n_groups": 2}):
        with pytest.raises(ValueError, match="stability"):
            decompose.stability(noisy(2), 2, **wrong)


# --------------------------------------------------------------------------------------------------------- stacking


def test_channels_stack_and_come_back():
    a, _, _ = mixture(seed=1)
    b = (a * 1e-9 + 4e-9).rename("other").assign_attrs(units="m")
    topography = xr.DataArray(np.random.default_rng(0).normal(size=(20, 25)), dims=("y", "x"), attrs={"units": "m"})
    ds = xr.Dataset({"a": a, "b": b, "topography": topography})
    for data in (ds, ds.chunk(y=7)):
        joined = decompose.stack_channels(data, ["a", "b", "topography"])
        assert joined.dims == ("y", "x", "point") and joined.sizes["point"] == 81 and joined.attrs["units"] == "1"
        assert (joined.chunks is None) == (data is ds)
        part = joined.where(joined.channel == "b", drop=True)
        np.testing.assert_allclose((part * part.channel_scale).values, b.values, rtol=1e-12)
        assert float(joined.where(joined.channel == "a", drop=True).std()) == pytest.approx(1)
        assert decompose.svd(joined, 3)["components"].dims == ("component", "point")
    plain = decompose.stack_channels(ds, ["a", "b"], scale=None)
    np.testing.assert_array_equal(plain.isel(point=slice(40)), a)


def test_samples_stack_along_observations():
    a, peaks, _ = mixture(seed=1)
    b = mixture(8, 25, seed=2)[0].rename(y="row", x="column").rename("b")
    joined = decompose.stack_channels(
        xr.Dataset({"a": a.drop_vars("y"), "b": b.drop_vars("row")}), ["a", "b"], along="observations", scale=None
    )
    assert joined.dims == ("position", "energy") and joined.sizes["position"] == 20 * 25 + 8 * 25
    assert joined.attrs["units"] == "A"
    np.testing.assert_array_equal(joined[: 20 * 25], flat(a))
    found = decompose.svd(joined, 3)
    assert found["maps"].coords["channel"].dims == ("position",)
    assert peaks.shape[0] == 3


def test_stacking_refuses():
    a, _, _ = mixture()
    ds = xr.Dataset({"a": a, "flat": xr.ones_like(a), "far": a.isel(energy=0, drop=True).rename(x="column")})
    for channels, word in ((["a"], "two or more"), (["a", "zz"], "two or more"), (["a", "flat"], "leave it out")):
        with pytest.raises(ValueError, match=word):
            decompose.stack_channels(ds, channels)
    with pytest.raises(ValueError, match="different dims"):
        decompose.stack_channels(ds, ["a", "far"])


def test_chain_on_simulated_endmembers():
    """The whole of it: rank finds three, the maps of a decomposition cluster into the pure regions."""
    da, _, share = mixture(40, 40, 60, snr=30)
    result = decompose.pca(da.chunk(y=10))
    found = decompose.rank(result)
    assert int(found.gavish_donoho) == 2  # three spectra whose shares sum to one span two dimensions about the mean
    pure = share.max(axis=-1) > 0.9
    seg = cluster.kmeans(decompose.pca(da, 2), 3, data=da)
    from sklearn.metrics import adjusted_rand_score

    assert adjusted_rand_score(share.argmax(axis=-1)[pure], seg["labels"].values[pure]) > 0.9


def test_iterative_methods_say_what_they_read(bytes_read, tmp_path):
    da = abs(mixture(60, 60, 100)[0])
    indexed = as_indexed(da.to_dataset(), tmp_path / "c.h5")["signal"]
    decompose.nmf(indexed.isel(y=slice(3)), 2, max_iterations=2)
    counter = bytes_read()
    decompose.nmf(indexed, 3, max_iterations=10)
    assert 3.0 <= counter.total / da.nbytes < 3.2  # two for the start, one to keep
    with raise_if_dask_computes():
        decompose.svd(indexed)
