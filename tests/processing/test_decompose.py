"""decompose.svd and decompose.pca against LAPACK and scikit-learn, in every array state, and what can go wrong."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import as_indexed, raise_if_dask_computes
from xpycro import schema
from xpycro.engine import results
from xpycro.errors import DimensionError, MissingSource
from xpycro.processing import decompose

METHODS = {"svd": decompose.svd, "pca": decompose.pca}


def spectra(
    y: int = 4, x: int = 5, p: int = 6, *, dtype: str = "f8", seed: int = 0, order: tuple[str, ...] = ("y", "x", "bias")
) -> xr.DataArray:
    """Well separated singular values, a mean, noise; labelled like a measurement."""
    rng = np.random.default_rng(seed)
    k = min(y * x, p)
    u, _ = np.linalg.qr(rng.normal(size=(y * x, k)))
    v, _ = np.linalg.qr(rng.normal(size=(p, k)))
    if np.dtype(dtype).kind == "c":
        v = np.linalg.qr(v + 1j * rng.normal(size=(p, k)))[0]
    values = ((u * 100 * 0.6 ** np.arange(k)) @ v.conj().T).reshape(y, x, p) + (7 if p > 1 else 0)
    da = xr.DataArray(
        values.astype(dtype) if np.dtype(dtype).kind != "u" else np.abs(values).astype(dtype),
        dims=("y", "x", "bias"),
        coords={
            "y": schema.coordinate("y", np.arange(y) * 1e-9),
            "bias": schema.coordinate("bias", np.linspace(-1, 1, p)),
            "temperature": ("y", np.arange(y) + 4.0, {"units": "K", "long_name": "Temperature"}),
        },
        attrs={"units": "A", "long_name": "Current (A)"},
        name="current",
    )
    return da.transpose(*order)


def matrix_of(da: xr.DataArray, signal: tuple[str, ...] = ("bias",)) -> np.ndarray:
    ordered = da.transpose(*[d for d in da.dims if d not in signal], *[d for d in da.dims if d in signal])
    width = int(np.prod([da.sizes[d] for d in signal]))
    return ordered.values.reshape(-1, width).astype(np.result_type(da.dtype, np.float64))


def check_against_lapack(result: xr.Dataset, x: np.ndarray, *, center: bool, tolerance: float = 1e-9) -> None:
    mean = x.mean(axis=0) if center else np.zeros(x.shape[1])
    u, s, vh = np.linalg.svd(x - mean, full_matrices=False)
    np.testing.assert_allclose(result["singular_values"], s, atol=1e-7 * s[0])
    big = s > 1e-5 * s[0]
    np.testing.assert_allclose(result["singular_values"].values[big], s[big], rtol=1e-6)
    np.testing.assert_allclose(result["mean"].values.reshape(-1), mean, atol=1e-12 * np.abs(x).max())
    c = result["components"].values.reshape(result.sizes["component"], -1)
    np.testing.assert_allclose(c @ c.conj().T, np.eye(len(c)), atol=1e-9)
    maps = result["maps"].values.reshape(len(c), -1)
    n = int(big[: len(c)].sum())
    phase = np.sum(c[:n] * vh[:n].conj(), axis=1)
    np.testing.assert_allclose(np.abs(phase), 1, atol=1e-9)
    np.testing.assert_allclose(maps[:n].T * phase, u[:, :n] * s[:n], atol=tolerance * s[0])
    pivot = c[np.arange(len(c)), np.abs(c).argmax(axis=1)]
    assert (pivot.real > 0).all() and np.abs(pivot.imag).max() < 1e-12


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 24)),
    chunks=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 24)),
    dtype=st.sampled_from(["f4", "f8", "i2", "u1", "c8", "c16", ">f4"]),
    order=st.permutations(["y", "x", "bias"]),
    method=st.sampled_from(["svd", "pca"]),
    refine=st.booleans(),
)
def test_any_shape_chunking_dtype_and_order_against_lapack(shape, chunks, dtype, order, method, refine):
    da = spectra(*shape, dtype=dtype, order=tuple(order))
    before = da.copy(deep=True)
    for data in (da, da.chunk(dict(zip(("y", "x", "bias"), chunks, strict=True)))):
        with raise_if_dask_computes():
            result = METHODS[method](data, refine=refine)
        x, found = matrix_of(da), result.compute()
        mean = x.mean(axis=0) * (method == "pca")
        s = np.linalg.svd(x - mean, compute_uv=False)
        np.testing.assert_allclose(found["singular_values"], s, atol=(1e-12 if refine else 2e-7) * max(s[0], 1e-9))
        np.testing.assert_allclose(found["mean"], mean, atol=1e-12 * max(np.abs(x).max(), 1e-9))
        c = found["components"].values
        np.testing.assert_allclose(c @ c.conj().T, np.eye(len(c)), atol=1e-9)
        back = results.reconstruct(found)
        assert back.dims == da.dims
        scale = float(np.abs(da.values).max()) or 1.0
        np.testing.assert_allclose(back.values, da.values, atol=2e-6 * scale if da.dtype.itemsize < 8 else 1e-9 * scale)
    xr.testing.assert_identical(da, before)


@pytest.mark.parametrize("method", ["svd", "pca"])
@pytest.mark.parametrize("dtype", ["f8", "c16"])
@pytest.mark.parametrize("shape", [(6, 7, 9), (2, 3, 40)])
def test_scores_components_and_signs_against_lapack(method, dtype, shape, tmp_path):
    da = spectra(*shape, dtype=dtype)
    indexed = as_indexed(da.to_dataset(), tmp_path / "cube.h5")["current"]
    for data in (da, da.chunk(y=2), da.chunk(x=2, bias=4), indexed):
        check_against_lapack(METHODS[method](data).compute(), matrix_of(da), center=method == "pca")


@pytest.mark.parametrize("shape", [(8, 9, 12), (2, 3, 40)])
@pytest.mark.parametrize("method", ["svd", "pca"])
def test_lazy_equals_eager(method, shape):
    da = spectra(*shape)
    eager = METHODS[method](da, 4)
    for chunks in ({"y": 1}, {"y": 2, "x": 2}, {"bias": 5}):
        lazy = METHODS[method](da.chunk(chunks), 4).compute()
        for name in ("components", "maps", "mean"):
            scale = float(np.abs(eager[name]).max()) or 1.0
            np.testing.assert_allclose(lazy[name], eager[name], atol=1e-12 * scale)
        first = float(eager["singular_values"][0])
        np.testing.assert_allclose(lazy["singular_values"], eager["singular_values"], atol=1e-12 * first)


def test_against_scikit_learn_with_a_large_mean():
    """Where subtracting the mean from the Gram matrix afterwards would lose every digit (peer: 16 % error)."""
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(5)
    x = rng.normal(size=(600, 12)) * np.linspace(1, 3, 12) + 1e6
    reference = PCA(4, svd_solver="full").fit(x)
    da = xr.DataArray(x.reshape(20, 30, 12), dims=("y", "x", "bias"))
    found = decompose.pca(da.chunk(y=3), 4).compute()
    np.testing.assert_allclose(found["explained_variance_ratio"][:4], reference.explained_variance_ratio_, rtol=1e-8)
    np.testing.assert_allclose(found["singular_values"][:4], reference.singular_values_, rtol=1e-8)
    overlap = np.abs(np.sum(found["components"].values * reference.components_, axis=1))
    np.testing.assert_allclose(overlap, 1, atol=1e-8)


def test_result_is_described(tmp_path):
    da = spectra()
    result = decompose.svd(da, 3)
    assert schema.result_kind(result) == "decomposition"
    assert {n: v.dims for n, v in result.data_vars.items()} == {
        "components": ("component", "bias"),
        "maps": ("component", "y", "x"),
        "mean": ("bias",),
        "singular_values": ("rank",),
        "explained_variance_ratio": ("rank",),
    }
    units = {n: v.attrs["units"] for n, v in result.data_vars.items()}
    assert units == {
        "components": "1",
        "maps": "A",
        "mean": "A",
        "singular_values": "A",
        "explained_variance_ratio": "1",
    }
    assert all(v.attrs.get("long_name") and "units" in v.attrs for v in result.variables.values())
    assert result.component.values.tolist() == [0, 1, 2]
    assert result.sizes["rank"] == 6
    assert result.bias.attrs["units"] == "V"
    assert result.temperature.dims == ("y",)
    result.to_netcdf(tmp_path / "r.h5", engine="h5netcdf")
    again = xr.open_dataset(tmp_path / "r.h5", engine="h5netcdf")
    np.testing.assert_allclose(results.reconstruct(again), results.reconstruct(result))


def test_two_signal_dims_and_dims_by_coordinate():
    rng = np.random.default_rng(0)
    da = xr.DataArray(rng.normal(size=(4, 8, 3, 2)), dims=("x", "y", "ky", "kx"), name="pattern")
    result = decompose.svd(da)
    assert result["components"].dims == ("component", "ky", "kx")
    assert result["maps"].dims == ("component", "x", "y")
    check_against_lapack(result, matrix_of(da, ("ky", "kx")), center=False)
    loop = xr.DataArray(rng.normal(size=(5, 4)), dims=("x", "step"), coords={"bias": ("step", [0.0, 1, 0, -1])})
    assert decompose.svd(loop, dim="bias")["components"].dims == ("component", "step")


def test_nan_observations_are_left_out_in_every_state():
    da = spectra(6, 7, 5)
    holed = da.copy(deep=True)
    holed[1, 2, 3] = np.nan
    holed[4] = np.nan
    good = np.isfinite(matrix_of(holed)).all(axis=1)
    for data in (holed, holed.chunk(y=1), holed.chunk(x=3)):
        for name, method in METHODS.items():
            result = method(data).compute()
            x = matrix_of(holed)[good]
            s = np.linalg.svd(x - x.mean(axis=0) * (name == "pca"), compute_uv=False)
            np.testing.assert_allclose(result["singular_values"], s, rtol=1e-9)
            missing = np.isnan(result["maps"].values.reshape(5, -1))
            assert (missing == ~good).all()
            back = results.reconstruct(result)
            np.testing.assert_allclose(matrix_of(back)[good], x, atol=1e-9)


@pytest.mark.parametrize("shape", [(6, 7, 9), (2, 4, 30)])
@pytest.mark.parametrize("method", ["svd", "pca"])
@pytest.mark.parametrize("chunks", [None, {"y": 1, "bias": 4}])
def test_excluded_observations_and_channels(shape, method, chunks):
    da = spectra(*shape)
    rows = xr.zeros_like(da.isel(bias=0, drop=True), dtype=bool)
    rows[0, 1] = rows[1, 3] = True
    bad = da.where(~rows, np.nan if chunks is None else 1e30)
    used = ~rows.values.reshape(-1)
    data = bad if chunks is None else bad.chunk(chunks)
    lazy_rows = rows if chunks is None else rows.chunk(x=2)
    with raise_if_dask_computes():
        result = METHODS[method](data, 3, exclude=lazy_rows)
    result = result.compute()
    x = matrix_of(da)[used]
    s = np.linalg.svd(x - x.mean(axis=0) * (method == "pca"), compute_uv=False)
    np.testing.assert_allclose(
        result["singular_values"][: s.size - 1], s[: result.sizes["rank"]][: s.size - 1], rtol=1e-8
    )
    assert (np.isnan(result["maps"].values.reshape(3, -1)) == ~used).all()

    channels = xr.DataArray(np.arange(shape[2]) % 4 == 1, dims="bias", coords={"bias": da.bias})
    spoiled = da.where(~channels)
    data = spoiled if chunks is None else spoiled.chunk(chunks)
    result = METHODS[method](data, 3, exclude=channels).compute()
    kept = ~channels.values
    x = matrix_of(da)[:, kept]
    s = np.linalg.svd(x - x.mean(axis=0) * (method == "pca"), compute_uv=False)
    np.testing.assert_allclose(result["singular_values"][:4], s[:4], rtol=1e-8)
    assert np.isfinite(result["maps"]).all()
    assert (np.isnan(result["components"].values) == channels.values).all()
    np.testing.assert_allclose(results.project(result, data), result["maps"], atol=1e-8 * s[0])


def test_a_partly_excluded_dim_broadcasts():
    da = spectra()
    line = xr.DataArray([True, False, False, False], dims="y")
    result = decompose.svd(da, exclude=line)
    assert np.isnan(result["maps"].isel(y=0)).all() and np.isfinite(result["maps"].isel(y=slice(1, None))).all()


def test_reconstruct_selects_components():
    da = spectra(dtype="f4")
    for data in (da, da.chunk(y=2)):
        result = decompose.svd(data)
        with raise_if_dask_computes():
            first = results.reconstruct(result, 2)
        assert (first.chunks is None) == (data.chunks is None)
        u, s, vh = np.linalg.svd(matrix_of(da), full_matrices=False)
        expected = (u[:, :2] * s[:2]) @ vh[:2]
        np.testing.assert_allclose(matrix_of(first), expected, atol=1e-4)
        assert first.dtype == np.float32 and first.name == "current"
        assert first.attrs["units"] == "A" and first.attrs["long_name"] == "Current (A)"
        xr.testing.assert_equal(
            first.coords.to_dataset().drop_vars("component", errors="ignore"), da.coords.to_dataset()
        )
        second = results.reconstruct(result, [1])
        third = results.reconstruct(result, slice(1, 2))
        np.testing.assert_allclose(second, third)
        np.testing.assert_allclose(matrix_of(second), s[1] * np.outer(u[:, 1], vh[1]), atol=1e-4)
        for wrong in (0, 7, [9], [], slice(9, 12)):
            with pytest.raises(ValueError, match="components="):
                results.reconstruct(result, wrong)


def test_reconstruction_of_integers_is_not_rounded():
    da = spectra(dtype="u1")
    assert results.reconstruct(decompose.svd(da), 1).dtype == np.float32


def test_residual_and_missing_source():
    da = spectra()
    result = decompose.pca(da, 2)
    left = results.residual(result, da)
    np.testing.assert_allclose(left, da - results.reconstruct(result), atol=1e-12)
    assert left.attrs["units"] == "A" and left.dims == da.dims
    with pytest.raises(MissingSource, match="data="):
        results.residual(result)
    with pytest.raises(ValueError, match="bias"):
        results.residual(result, da.isel(bias=slice(3)))


def test_project_new_data():
    da = spectra(seed=1)
    for method in METHODS.values():
        result = method(da)
        again = results.project(result, da.chunk(y=2))
        assert again.chunks is not None and again.attrs["units"] == "A"
        np.testing.assert_allclose(again, result["maps"], atol=1e-9)
    other = da.isel(y=0, drop=True)
    assert results.project(result, other).dims == ("component", "x")
    with pytest.raises(ValueError, match="bias"):
        results.project(result, da.rename(bias="energy"))
    with pytest.raises(ValueError, match="coordinates"):
        results.project(result, da.assign_coords(bias=da.bias + 1))


def test_passes_over_the_file(bytes_read, tmp_path, monkeypatch):
    """One pass for spectra and singular values, two for all of it, none at the call."""
    from xpycro.processing.decompose import prepare

    monkeypatch.setattr(prepare, "PASS_BYTES", 1 << 19)
    rng = np.random.default_rng(0)
    da = xr.DataArray(rng.normal(size=(96, 128, 128)), dims=("y", "x", "bias"), name="v")
    indexed = as_indexed(da.to_dataset(), tmp_path / "cube.h5")["v"]
    decompose.svd(indexed.isel(y=slice(2))).load()  # what is imported on first use is read from files too
    for method in METHODS.values():
        counter = bytes_read()
        with raise_if_dask_computes():
            result = method(indexed, 4)
        assert counter.total < 0.02 * da.nbytes  # metadata, no block
        counter = bytes_read()
        dask.compute(result[["components", "singular_values", "mean"]])
        assert 1.0 <= counter.total / da.nbytes < 1.1
        counter = bytes_read()
        dask.compute(result)
        assert 2.0 <= counter.total / da.nbytes < 2.2


def test_more_channels_than_observations_reads_once_for_maps_and_values_and_twice_for_all(bytes_read, tmp_path):
    da = xr.DataArray(np.random.default_rng(0).normal(size=(4, 8, 40_000)), dims=("y", "x", "bias"), name="v")
    indexed = as_indexed(da.to_dataset(), tmp_path / "cube.h5")["v"]
    decompose.svd(indexed.isel(bias=slice(50))).load()
    result = decompose.svd(indexed, 4)
    counter = bytes_read()
    values = result["singular_values"].compute()
    assert 1.0 <= counter.total / da.nbytes < 1.1
    np.testing.assert_allclose(values, np.linalg.svd(matrix_of(da), compute_uv=False), rtol=1e-10)
    counter = bytes_read()
    dask.compute(result)
    assert 2.0 <= counter.total / da.nbytes < 2.2


def test_one_observation_and_constant_data():
    one = decompose.svd(xr.DataArray([[3.0, 4.0]], dims=("x", "bias")))
    assert one["singular_values"].values == pytest.approx([5.0])
    np.testing.assert_allclose(one["components"], [[0.6, 0.8]])
    alone = decompose.svd(xr.DataArray([3.0, 4.0], dims="bias"))
    assert alone["maps"].dims == ("component",) and alone["maps"].values == pytest.approx([5.0])
    constant = decompose.pca(xr.full_like(spectra(), 7.0))
    np.testing.assert_allclose(constant["singular_values"], 0, atol=1e-12)
    np.testing.assert_allclose(results.reconstruct(constant), 7.0)


@pytest.mark.parametrize("n", [0, -1, 7, 2.5, True, "all"])
def test_number_of_components_out_of_range(n):
    with pytest.raises(ValueError, match="n_components"):
        decompose.svd(spectra(), n)


def test_bad_input_is_named():
    da = spectra()
    with pytest.raises(ValueError, match="object"):
        decompose.svd(da.astype(object))
    with pytest.raises(ValueError, match="size 0"):
        decompose.svd(da.isel(y=slice(0)))
    with pytest.raises(ValueError, match="size 0"):
        decompose.svd(da.isel(bias=slice(0)))
    with pytest.raises(DimensionError, match="energy"):
        decompose.svd(da, dim="energy")
    with pytest.raises(DimensionError, match="pass dim="):
        decompose.svd(xr.DataArray(np.zeros((2, 3)), dims=("y", "x")))
    with pytest.raises(ValueError, match="variable="):
        decompose.svd(xr.Dataset({"a": da, "b": da}))
    assert decompose.svd(xr.Dataset({"a": da, "b": da * 2}), 2, variable="b").attrs["pycro_input_name"] == "b"


@pytest.mark.parametrize("shape", [(4, 5, 6), (2, 3, 30)])
@pytest.mark.parametrize("lazy", [False, True])
def test_what_the_values_show_is_named_where_they_are_read(shape, lazy):
    def run(da):
        return decompose.svd(da.chunk(y=1) if lazy else da).compute()

    da = spectra(*shape)
    with pytest.raises(ValueError, match="no observation is left"):
        run(xr.full_like(da, np.nan))
    with pytest.raises(ValueError, match=r"no observation is left.*exclude="):
        run(da.where(da.bias != da.bias[2]))
    with pytest.raises(ValueError, match="1 infinite"):
        run(_with_inf(da))
    with pytest.raises(ValueError, match="range of float64"):
        run(da * 1e200)


def _with_inf(da: xr.DataArray) -> xr.DataArray:
    spoiled = da.copy(deep=True)
    spoiled[1, 2, 3] = np.inf
    return spoiled


def test_exclude_that_does_not_fit():
    da = spectra()
    for exclude, word in (
        (np.zeros((4, 5), bool), "boolean DataArray"),
        (xr.zeros_like(da.isel(bias=0)), "boolean DataArray"),
        (xr.DataArray([True], dims="z"), "dims"),
        (da > 3, "whole observations"),
        (xr.DataArray([True, False], dims="x"), "x=2"),
        (xr.DataArray(np.zeros(4, bool), dims="y", coords={"y": [1.0, 2, 3, 4]}), "coordinates"),
        (xr.ones_like(da.bias, dtype=bool), "every channel"),
    ):
        with pytest.raises(ValueError, match=word):
            decompose.svd(da, exclude=exclude)


def test_history_is_recorded():
    from xpycro.provenance import history

    result = decompose.svd(spectra(), 2)
    steps = history(result).steps
    assert steps[-1]["operation"] == "decompose.svd" and steps[-1]["parameters"]["n_components"] == 2


def counts(y: int = 30, x: int = 40, p: int = 24, k: int = 3, *, dose: float = 300.0) -> xr.DataArray:
    rng = np.random.default_rng(0)
    energy = np.arange(p)
    spectra_ = np.stack([np.exp(-(((energy - c) / 2) ** 2)) for c in (4, 11, 18)][:k]) + 0.02
    abundance = rng.dirichlet(np.ones(k), size=(y, x))
    return xr.DataArray(
        rng.poisson(dose * abundance @ spectra_).astype("u2"),
        dims=("y", "x", "energy"),
        attrs={"units": "counts"},
        name="counts",
    )


@pytest.mark.parametrize("chunks", [None, {"y": 7, "x": 9}])
@pytest.mark.parametrize("refine", [False, True])
def test_standard_scaling_is_the_pca_of_standardised_data(chunks, refine):
    da = spectra(10, 12, 6) * xr.DataArray([1.0, 10, 100, 0.1, 5, 1], dims="bias")
    x = matrix_of(da)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    _, s, vh = np.linalg.svd(z, full_matrices=False)
    found = decompose.pca(da if chunks is None else da.chunk(chunks), scale="std", refine=refine).compute()
    np.testing.assert_allclose(found["singular_values"] / found["singular_values"][0], s / s[0], rtol=1e-7)
    scale = found["scale"].values
    assert np.sqrt(np.mean(scale**2)) == pytest.approx(1)
    np.testing.assert_allclose(scale / scale[0], x.std(axis=0) / x.std(axis=0)[0])
    overlap = np.sum((found["components"].values / scale) * vh, axis=1)
    np.testing.assert_allclose(np.abs(overlap), 1, atol=1e-8)
    np.testing.assert_allclose(matrix_of(results.reconstruct(found)), x, atol=1e-9 * np.abs(x).max())
    np.testing.assert_allclose(results.project(found, da), found["maps"], atol=1e-9 * np.abs(x).max())


@pytest.mark.parametrize("chunks", [None, {"y": 7, "x": 9, "energy": 5}])
def test_poisson_scaling_against_explicit_weights(chunks):
    da = counts()
    da[0, 0] = 0  # an observation without any count
    da[:, :, 23] = 0  # a channel that never counts
    x = matrix_of(da, ("energy",))
    g, h = x.mean(axis=1), x.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.nan_to_num(x / np.sqrt(g)[:, None] / np.sqrt(h))
    _, s, vh = np.linalg.svd(scaled, full_matrices=False)
    found = decompose.pca(da if chunks is None else da.chunk(chunks), 3, scale="poisson", center=False).compute()
    np.testing.assert_allclose(found["singular_values"][:20] / found["singular_values"][0], s[:20] / s[0], rtol=1e-8)
    with np.errstate(divide="ignore", invalid="ignore"):
        unscaled = np.nan_to_num(found["components"].values / found["scale"].values)
    np.testing.assert_allclose(np.abs(np.sum(unscaled * vh[:3], axis=1)), 1, atol=1e-8)
    clean = results.reconstruct(found)
    assert np.sqrt(np.mean((matrix_of(clean, ("energy",)) - x) ** 2)) < np.sqrt(x.mean()) * 1.2
    centred = decompose.pca(da, scale="poisson")
    np.testing.assert_allclose(matrix_of(results.reconstruct(centred), ("energy",)), x, atol=1e-6 * x.max())


def test_known_channel_variance():
    da = spectra(10, 12, 6)
    variance = xr.DataArray([1.0, 4, 9, 1, 1, 25], dims="bias", coords={"bias": da.bias})
    x = matrix_of(da) / np.sqrt(variance.values)
    s = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    found = decompose.pca(da, variance=variance)
    np.testing.assert_allclose(found["singular_values"] / found["singular_values"][0], s / s[0], rtol=1e-8)
    for bad, word in ((variance * 0, "positive"), (variance.isel(bias=0), "over")):
        with pytest.raises(ValueError, match=word):
            decompose.pca(da, variance=bad)
    with pytest.raises(ValueError, match="not both"):
        decompose.pca(da, variance=variance, scale="std")


def test_scaling_that_cannot_be():
    with pytest.raises(ValueError, match="counts"):
        decompose.pca(spectra() - 50, scale="poisson")
    with pytest.raises(ValueError, match="complex"):
        decompose.pca(spectra(dtype="c16"), scale="poisson")
    with pytest.raises(ValueError, match="center=True"):
        decompose.pca(spectra(), scale="std", center=False)
    with pytest.raises(ValueError, match="'std'"):
        decompose.pca(spectra(), scale="variance")


@pytest.mark.parametrize("dtype", ["f8", "c16"])
@pytest.mark.parametrize("method", ["svd", "pca"])
@pytest.mark.parametrize("chunks", [None, {"y": 3, "x": 5}])
def test_randomized_against_lapack(dtype, method, chunks):
    da = spectra(12, 15, 60, dtype=dtype)
    holed = da.copy(deep=True)
    holed[1, 1, 4] = np.nan
    data = holed if chunks is None else holed.chunk(chunks)
    with raise_if_dask_computes():
        found = METHODS[method](data, 5, solver="randomized")
    found = found.compute()
    x = matrix_of(holed)
    x = x[np.isfinite(x).all(axis=1)]
    x = x - x.mean(axis=0) * (method == "pca")
    _, s, vh = np.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(found["singular_values"], s[:5], rtol=1e-8)
    np.testing.assert_allclose(np.abs(np.sum(found["components"].values * vh[:5].conj(), axis=1)), 1, atol=1e-8)
    np.testing.assert_allclose(found["explained_variance_ratio"], (s**2 / (s**2).sum())[:5], rtol=1e-8)
    assert np.isnan(found["maps"][0, 1, 1])
    assert "randomized" in found.attrs["pycro_solver"]


def test_randomized_is_chosen_by_shape_and_seeded(monkeypatch):
    from xpycro.engine import linalg

    monkeypatch.setattr(linalg, "LARGEST_SIDE", 40)
    da = spectra(8, 9, 64)
    a, b = decompose.svd(da), decompose.svd(da.chunk(y=2)).compute()
    assert a.sizes["component"] == 32 and "randomized" in a.attrs["pycro_solver"]
    np.testing.assert_allclose(a["singular_values"], b["singular_values"], atol=1e-7 * 476)
    assert "Gram" in decompose.svd(da, solver="exact").attrs["pycro_solver"]
    with pytest.raises(ValueError, match="solver="):
        decompose.svd(da, solver="arpack")
    with pytest.raises(ValueError, match="refine"):
        decompose.svd(da, refine=True)
