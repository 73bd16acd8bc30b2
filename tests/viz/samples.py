"""Small measurements and results made by hand, with the names that results have."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.schema import coordinate, new_result

NY, NX, NB = 6, 9, 21


def plane_coords(ny: int = NY, nx: int = NX) -> dict[str, xr.Variable]:
    return {"y": coordinate("y", np.arange(ny) * 2e-9), "x": coordinate("x", np.arange(nx) * 2e-9)}


def current() -> xr.DataArray:
    """A grid of current against bias, every value different, two pixels not measured."""
    rng = np.random.default_rng(1)
    bias = np.linspace(-1, 1, NB)
    values = 1e-11 * (np.sinh(2 * bias) * rng.uniform(1, 2, (NY, NX, 1)) + 0.05 * rng.normal(size=(NY, NX, NB)))
    values[0, :2] = np.nan
    return xr.DataArray(
        values,
        dims=("y", "x", "bias"),
        coords={**plane_coords(), "bias": coordinate("bias", bias)},
        name="current",
        attrs={"units": "A", "long_name": "Current"},
    )


def response() -> xr.DataArray:
    """A complex resonance at every pixel."""
    frequency = np.linspace(320e3, 360e3, 40)
    centre = np.linspace(332e3, 348e3, NY * NX).reshape(NY, NX, 1)
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(NY, NX, 40)) + 1j * rng.normal(size=(NY, NX, 40))
    values = 1e-12 * centre**2 / (centre**2 - frequency**2 + 1j * centre * frequency / 80) + 2e-13 * noise
    return xr.DataArray(
        values,
        dims=("y", "x", "frequency"),
        coords={**plane_coords(), "frequency": coordinate("frequency", frequency)},
        name="response",
        attrs={"units": "m", "long_name": "Response"},
    )


def line_fit() -> tuple[xr.Dataset, xr.DataArray]:
    """A fit of straight lines, made with NumPy: parameters, errors, flags; one pixel failed."""
    bias = np.linspace(-1, 1, NB)
    rng = np.random.default_rng(3)
    slope, offset = rng.uniform(1, 2, (NY, NX)) * 1e-11, rng.normal(size=(NY, NX)) * 1e-12
    values = slope[..., None] * bias + offset[..., None] + 2e-13 * rng.normal(size=(NY, NX, NB))
    data = current().copy(data=values)
    slope[2, 3] = offset[2, 3] = np.nan
    good = np.isfinite(slope)

    def over(array: np.ndarray, units: str) -> xr.DataArray:
        return xr.DataArray(array, dims=("y", "x"), coords=plane_coords(), attrs={"units": units})

    fit = new_result(
        "fit",
        {
            "slope": over(slope, "A/V"),
            "offset": over(offset, "A"),
            "slope_stderr": over(slope * 0.01, "A/V"),
            "offset_stderr": over(np.where(good, 1e-13, np.nan), "A"),
            "residual_rms": over(np.where(good, 2e-13, np.nan), "A"),
            "r2": over(np.where(good, rng.uniform(0.9, 1, (NY, NX)), np.nan), "1"),
            "converged": over(good, "1"),
            "status": over((~good).astype(int), "1"),
            "n_iterations": over(np.full((NY, NX), 3), "1"),
        },
        plane_coords(),
        {"model": "line"},
    )
    return fit, data


def line_of(fit: xr.Dataset) -> xr.DataArray:
    """The straight lines that `line_fit` stands for."""
    bias = current().bias
    return (fit["slope"] * bias + fit["offset"]).transpose(..., "bias")


def decomposition() -> tuple[xr.Dataset, xr.DataArray]:
    """NumPy's SVD of the current, as a result."""
    data = current().fillna(0.0)
    u, s, v = np.linalg.svd(data.values.reshape(-1, NB), full_matrices=False)
    result = new_result(
        "decomposition",
        {
            "components": (("component", "bias"), v[:8]),
            "maps": (("component", "y", "x"), (u[:, :8] * s[:8]).T.reshape(8, NY, NX), {"units": "A"}),
            "singular_values": ("rank", s, {"units": "A"}),
            "explained_variance_ratio": ("rank", s**2 / (s**2).sum()),
        },
        {**plane_coords(), "bias": data.bias},
    )
    return result, data


def clustering() -> tuple[xr.Dataset, xr.DataArray]:
    """Three clusters by column, means and deviations by NumPy."""
    data = current()
    values = np.broadcast_to(np.arange(NX) // 3, (NY, NX)).astype(np.int32)
    labels = xr.DataArray(values, dims=("y", "x"), coords=plane_coords(), name="labels", attrs={"long_name": "Cluster"})
    mean = np.stack([np.nanmean(data.values[values == i], axis=0) for i in range(3)])
    deviation = np.stack([np.nanstd(data.values[values == i], axis=0) for i in range(3)])
    result = new_result(
        "clustering",
        {
            "labels": labels,
            "counts": ("cluster", np.bincount(values.ravel())),
            "mean_response": (("cluster", "bias"), mean, data.attrs),
            "response_std": (("cluster", "bias"), deviation, data.attrs),
        },
        {**plane_coords(), "bias": data.bias},
    )
    return result, data


def patterns() -> xr.DataArray:
    """A 4D scan: a bright disk that moves with position, counts all different."""
    ny, nx, nk = 5, 7, 16
    k = np.linspace(-1e9, 1e9, nk)
    rng = np.random.default_rng(4)
    shift = np.linspace(-3e8, 3e8, nx)
    inside = np.hypot(k[None, :] - shift[:, None, None], k[:, None]) < 4e8
    values = rng.poisson(20, (ny, nx, nk, nk)) + 200 * inside[None]
    return xr.DataArray(
        values.astype(np.uint16),
        dims=("y", "x", "ky", "kx"),
        coords={**plane_coords(ny, nx), "ky": coordinate("ky", k), "kx": coordinate("kx", k)},
        name="counts",
        attrs={"units": "counts", "long_name": "Intensity"},
    )
