"""decompose.rank: where theory holds, where it does not, and what is advised then, on noise of known truth."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import uniform_filter1d

from tests.conftest import as_indexed
from xpycro.processing import decompose
from xpycro.processing.decompose.noise import bulk_misfit, drawn_values

SHAPE = (30, 30, 80)


def noisy(k: int, n: int = 900, p: int = 60, *, strength: float = 4.0, seed: int = 0) -> xr.DataArray:
    """k components whose singular values lie `strength` times beyond the edge of unit noise."""
    rng = np.random.default_rng(seed)
    u, _ = np.linalg.qr(rng.normal(size=(n, max(k, 1))))
    v, _ = np.linalg.qr(rng.normal(size=(p, max(k, 1))))
    edge = np.sqrt(n) + np.sqrt(p)
    signal = (u * edge * np.linspace(strength, 1.6, max(k, 1))) @ v.T if k else 0
    return xr.DataArray(
        (signal + rng.normal(size=(n, p))).reshape(30, n // 30, p), dims=("y", "x", "energy"), attrs={"units": "A"}
    )


@pytest.mark.parametrize("k", [0, 1, 3, 7])
@pytest.mark.parametrize("method", ["svd", "pca"])
def test_rank_where_theory_can_tell(k, method):
    da = noisy(k)
    result = getattr(decompose, method)(da)
    for given in (None, da)[: 2 if k < 7 else 1]:  # permuted data keeps the variance of strong components as noise
        found = decompose.rank(result, data=given)
        assert int(found.gavish_donoho) == int(found.marchenko_pastur) == int(found.parallel_analysis) == k
    assert float(found.noise) == pytest.approx(1.0, rel=0.05)
    known = decompose.rank(result, noise=1.0)
    assert int(known.gavish_donoho) == k
    assert found.noise.attrs["units"] == "A" and found.gavish_donoho.attrs["units"] == "1"
    assert found.parallel_analysis_threshold.sizes["rank"] == result.sizes["rank"]


def test_threshold_against_the_published_value_and_drawn_noise():
    from xpycro.processing.decompose.noise import drawn_values

    square = decompose.rank(decompose.svd(noisy(0, 420, 420)))
    values = square.singular_values.values
    assert float(square.gavish_donoho_threshold) / np.median(values) == pytest.approx(2.858, abs=0.003)
    draws = drawn_values(200, 30, 300, 0)
    rng = np.random.default_rng(1)
    direct = np.stack([np.linalg.svd(rng.normal(size=(200, 30)), compute_uv=False) for _ in range(300)])
    np.testing.assert_allclose(draws.mean(axis=0), direct.mean(axis=0), rtol=0.01)
    np.testing.assert_allclose(draws.std(axis=0), direct.std(axis=0), rtol=0.25)


def test_elbow_and_poisson_rank():
    rng = np.random.default_rng(0)
    energy = np.arange(60)
    spectra = np.stack([np.exp(-(((energy - c) / 3) ** 2)) for c in (8, 20, 32, 44, 54)]) + 0.05
    share = rng.dirichlet(np.ones(5), size=(50, 60))
    da = xr.DataArray(
        rng.poisson(40 * share @ spectra).astype("u2"), dims=("y", "x", "energy"), attrs={"units": "counts"}
    )
    found = decompose.rank(decompose.pca(da, scale="poisson", center=False), data=da)
    assert int(found.gavish_donoho) == int(found.marchenko_pastur) == 5
    assert int(found.parallel_analysis) == 5
    assert 3 <= int(found.elbow) <= 7


def test_rank_refuses():
    da = noisy(2)
    with pytest.raises(ValueError, match="solver='exact'"):
        decompose.rank(decompose.svd(da, 4, solver="randomized"))
    with pytest.raises(ValueError, match="singular_values"):
        decompose.rank(decompose.nmf(abs(da), 2, max_iterations=2))
    with pytest.raises(ValueError, match="too few"):
        decompose.rank(decompose.pca(xr.full_like(da, 2.0)))


@pytest.mark.slow
def test_poisson_case_of_rank_five():
    """16384 sparse spectra of 1024 channels: plain SVD sees hundreds of components, scaled for Poisson noise five."""
    rng = np.random.default_rng(0)
    energy = np.arange(1024)
    peaks = ((100, 20), (300, 40), (500, 15), (700, 60), (900, 30))
    spectra = np.stack([np.exp(-(((energy - c) / w) ** 2)) for c, w in peaks]) + 0.01
    share = rng.dirichlet(np.ones(5), size=(128, 128))
    da = xr.DataArray(
        rng.poisson(5 * share @ spectra).astype("u2"), dims=("y", "x", "energy"), attrs={"units": "counts"}
    )
    found = decompose.rank(decompose.pca(da, 16, scale="poisson", center=False))
    assert int(found.gavish_donoho) == int(found.elbow) == 5
    assert int(decompose.rank(decompose.svd(da, 16)).gavish_donoho) > 100
    assert float(found.noise) == pytest.approx(np.sqrt(da.values.mean()), rel=0.05)


# -------------------------------------------------------------------------------- noise that theory does not know


def smooth_signal(k: int) -> np.ndarray:
    """k spectra whose maps vary slowly."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] / SHAPE[0]
    maps = [np.cos(2 * x + y), np.sin(3 * y - 1), np.cos(4 * x) * np.cos(3 * y), (x > 0.5) * 1.0]
    spectra = uniform_filter1d(np.random.default_rng(9).normal(size=(4, SHAPE[2])), 7, axis=1) * 7
    return np.tensordot(np.stack(maps[:k]), spectra[:k], (0, 0)) if k else np.zeros(SHAPE)


def coloured(kind: str, seed: int) -> np.ndarray:
    """Noise of about unit variance that breaks one presumption of the theory each."""
    rng = np.random.default_rng(seed)
    white = rng.normal(size=SHAPE)
    if kind == "smoothed":  # an oversampled or filtered sweep
        return uniform_filter1d(white, 5, axis=-1) * np.sqrt(5)
    if kind == "unequal":  # channels of different gain
        return white * np.exp(0.5 * rng.normal(size=SHAPE[-1]))
    if kind == "rows":  # pixels of different noise
        return white * np.exp(0.6 * rng.normal(size=SHAPE[:2]))[..., None]
    if kind == "lines":  # smoothed, and drifting along each scan line
        return uniform_filter1d(uniform_filter1d(white, 5, axis=-1), 4, axis=1) * np.sqrt(20)
    smooth = uniform_filter1d(uniform_filter1d(white, 3, axis=0), 3, axis=1) * 3
    return uniform_filter1d(smooth, 5, axis=-1) * np.sqrt(5)  # "everywhere": alike in neighbouring pixels too


def measured(kind: str, k: int, seed: int = 1) -> xr.DataArray:
    return xr.DataArray(smooth_signal(k) + coloured(kind, seed), dims=("y", "x", "bias"), attrs={"units": "A"})


@pytest.mark.parametrize(
    ("kind", "k"),
    [(kind, k) for kind in ("smoothed", "rows", "lines", "unequal") for k in (0, 2, 4) if (kind, k) != ("unequal", 4)],
)
def test_advice_is_right_where_theory_counts_noise(kind, k):
    da = measured(kind, k)
    found = decompose.rank(decompose.pca(da, 24))
    theory = [int(found[name]) for name in ("gavish_donoho", "marchenko_pastur", "parallel_analysis")]
    assert max(theory) >= k + (5 if kind == "rows" else 12)
    for name in ("gavish_donoho", "marchenko_pastur", "parallel_analysis"):
        assert found[name].believable == 0 and "does not follow" in found[name].note
    assert found.map_structure.believable == 1
    assert int(found.recommended) == int(found.map_structure) == int(found.structured.sum()) == k
    assert found.structured.values[:k].all()
    assert f"{k} (map_structure)" in found.advice


def test_nothing_is_advised_where_noise_is_alike_in_neighbouring_pixels_or_all_maps_kept_are():
    da = measured("everywhere", 2)
    found = decompose.rank(decompose.pca(da))
    assert int(found.gavish_donoho) > 15 and found.map_structure.believable == 0
    assert int(found.recommended) == -1 and "noise is alike in neighbouring observations too" in found.advice
    few = decompose.rank(decompose.pca(measured("smoothed", 4), 3))
    assert int(few.map_structure) == 3 and int(few.recommended) == -1 and "keep more" in few.advice


def test_chance_of_taking_noise_for_structure():
    """At most one in twenty sets of maps of noise holds one beyond the limit; 3 sigma of a binomial."""
    n_sets = 150
    rng = np.random.default_rng(3)
    from xpycro.processing.decompose.structure import map_structure

    wrong = 0
    for _ in range(n_sets):
        maps = xr.DataArray(rng.standard_t(5, size=(12, 15, 20)), dims=("component", "y", "x"))
        wrong += bool(map_structure(maps, centered=True, complete=False).structured.any())
    assert wrong <= 0.05 * n_sets + 3 * np.sqrt(0.05 * 0.95 * n_sets)


def test_correlation_of_neighbours_against_its_definition():
    rng = np.random.default_rng(0)
    da = xr.DataArray(rng.normal(size=(9, 11, 5)) + rng.normal(size=(9, 1, 5)), dims=("y", "x", "bias"))
    da[2, 3] = np.nan
    for chunks in (None, {"y": 9, "x": 11}):
        result = decompose.pca(da if chunks is None else da.chunk(chunks))
        found = decompose.rank(result)
        for number, m in enumerate(result["maps"].values):
            z = m - np.nanmean(m)
            along = [np.nanmean(z[:, :-1] * z[:, 1:]), np.nanmean(z[:-1] * z[1:])] / np.nanmean(z**2)
            one = float(found.neighbour_correlation[number])
            assert np.abs(along - one).min() < 1e-9 and one < min(along) + 0.2


def test_hum_is_named_where_theory_holds():
    """A sine of random phase in every pixel is two components beyond doubt, and none of the sample."""
    rng = np.random.default_rng(2)
    phase = rng.uniform(0, 2 * np.pi, SHAPE[:2])[..., None]
    values = smooth_signal(2) + rng.normal(size=SHAPE) + 6 * np.cos(phase + np.pi / 4 * np.arange(SHAPE[2]))
    found = decompose.rank(decompose.svd(xr.DataArray(values, dims=("y", "x", "bias")), 12))
    assert int(found.recommended) == int(found.gavish_donoho) == 4 and found.gavish_donoho.believable == 1
    assert int(found.map_structure) == 2
    hum = np.flatnonzero(~found.structured.values[:4])
    assert f"maps {hum[0] + 1} to {hum[1] + 1} (counted from 1)" in found.advice and "hum" in found.advice


def test_an_even_map_is_a_component_of_uncentred_data():
    rng = np.random.default_rng(0)
    noise = uniform_filter1d(rng.normal(size=SHAPE), 5, axis=-1)
    found = decompose.rank(decompose.svd(xr.DataArray(noise + np.hanning(80), dims=("y", "x", "bias")), 12))
    assert int(found.recommended) == 1 and bool(found.structured[0])


def test_without_neighbours_no_answer_is_believed():
    noise = coloured("smoothed", 0)[0, :6]
    found = decompose.rank(decompose.pca(xr.DataArray(noise, dims=("x", "bias"))))
    if found.gavish_donoho.believable == 0:
        assert int(found.recommended) == -1 and "No answer" in found.advice
    assert int(found.map_structure) == -1 and found.map_structure.believable == 0


@pytest.mark.parametrize("chunks", [None, {"y": 7}])
def test_the_channels_noise_is_described(chunks):
    da = measured("smoothed", 2)
    da = da if chunks is None else da.chunk(chunks)
    found = decompose.rank(decompose.pca(da, 24), data=da)
    assert float(found.channel_correlation) == pytest.approx(0.8, abs=0.06)  # of a running mean of five
    assert float(found.channel_inequality) < 1.3
    assert f"neighbouring channels are correlated by {float(found.channel_correlation):.2f}" in found.advice
    unequal = measured("unequal", 0)
    spread = unequal.std(("y", "x")).values
    low, high = np.quantile(spread, [0.05, 0.95])
    assert float(decompose.rank(decompose.pca(unequal, 8), data=unequal).channel_inequality) == pytest.approx(
        high / low, rel=0.02
    )
    by_variance = decompose.pca(unequal, 8, variance=xr.DataArray(spread**2, dims="bias"))
    told = decompose.rank(by_variance)
    assert told.gavish_donoho.believable == 1 and int(told.recommended) == 0


def test_what_is_left_out_is_left_out_of_the_advice():
    da = noisy(3)
    bad = xr.DataArray(np.arange(60) % 10 == 3, dims="energy")
    holed = da.where(~bad)  # whole channels of NaN
    holed[:10] = np.nan
    found = decompose.rank(decompose.pca(holed, exclude=bad), data=holed)
    small = da[10:, :, ~bad.values]
    plain = decompose.rank(decompose.pca(small))
    assert float(found.noise) == pytest.approx(float(plain.noise), rel=1e-9)
    assert int(found.gavish_donoho) == int(found.parallel_analysis) == 3


@pytest.mark.parametrize("n", [900, 60])
def test_misfit_of_the_law(n):
    """Near zero for independent noise of any distribution, whatever stands above it; not for correlated noise."""
    rng = np.random.default_rng(0)

    def misfit(x: np.ndarray) -> float:
        return bulk_misfit(np.linalg.svd(x, compute_uv=False), max(x.shape))

    for noise in (rng.normal(size=(n, 60)), rng.uniform(-1, 1, size=(n, 60)), rng.poisson(5, size=(n, 60)) - 5.0):
        spiked = noise + 20 * np.outer(rng.normal(size=n), rng.normal(size=60))
        assert misfit(noise) < 0.06 and misfit(spiked) < 0.06
        assert misfit(uniform_filter1d(noise, 5, axis=1)) > 0.09
    exact = drawn_values(4000, 2000, 1, 0)[0]
    assert bulk_misfit(exact, 4000) < 0.005


def test_advice_from_a_stored_result(tmp_path):
    result = decompose.pca(measured("smoothed", 2), 24)
    again = as_indexed(result, tmp_path / "r.h5")
    assert int(decompose.rank(again).recommended) == 2


def test_counts_are_sent_to_poisson_scaling():
    rng = np.random.default_rng(0)
    spectra = np.stack([np.exp(-(((np.arange(60) - c) / 3) ** 2)) for c in (10, 40)]) + 0.05
    y, x = np.mgrid[:40, :40] / 40
    mean = 200 * np.stack([x, 1 - x], axis=-1) @ spectra * (0.2 + y[..., None])
    da = xr.DataArray(rng.poisson(mean), dims=("y", "x", "energy"), attrs={"units": "counts"})
    plain = decompose.rank(decompose.svd(da, 12))
    assert plain.gavish_donoho.believable == 0 and "scale='poisson'" in plain.advice
    scaled = decompose.rank(decompose.pca(da, 12, scale="poisson", center=False))
    assert "scale='poisson'" not in scaled.advice and int(scaled.recommended) == 2
