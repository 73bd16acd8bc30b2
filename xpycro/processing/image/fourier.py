"""Images in Fourier space: the transform, filters, and the spots of a lattice.

May import numpy, xarray, scipy (inside functions), engine and the base floor.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import Axis, along, floating, image_of, numbers, plane_of, real_numbers
from xpycro.engine.spots import spot_list
from xpycro.provenance import recorded
from xpycro.schema import coordinate
from xpycro.units import combine_units

__all__ = ["fft", "fourier_filter", "lattice_filter", "lattice_spots"]


def _fft2(values: np.ndarray, *, weights: np.ndarray, cell: float, reverse: tuple[bool, bool]) -> np.ndarray:
    from scipy import fft as scipy_fft

    image = values.astype(np.complex128 if values.dtype.kind == "c" else float)
    image = image - image.mean(axis=(-2, -1), keepdims=True)
    flipped = image[..., :: -1 if reverse[0] else 1, :: -1 if reverse[1] else 1]
    return scipy_fft.fftshift(scipy_fft.fft2(flipped * weights), axes=(-2, -1)) * cell


@recorded("image.fft")
def fft(data: xr.DataArray | xr.Dataset, *, variable: str | None = None, window: str | None = "hann") -> xr.DataArray:
    """Two-dimensional Fourier transform of an image about its mean.

    ``F(k) = sum f(r) w(r) exp(-2 pi i k r) dA`` with k in cycles per unit length, the phase counted from the first
    pixel; the window is normalised to a mean square of one, so that Parseval's sum holds on average.

    Parameters
    ----------
    data : DataArray or Dataset
        Over two evenly spaced spatial dims; further dims broadcast.
    variable : str, optional
        Which variable of a Dataset.
    window : str or None
        Any window of `scipy.signal.get_window`, against streaks from the frame's edges; None for none.

    Returns
    -------
    DataArray
        Complex, dims ``ky, kx`` in place of the two, ascending, in 1/m (1/pixel where uncalibrated); units of the data
        times area.

    Raises
    ------
    ValueError
        If an axis is uneven.

    Notes
    -----
    *Laziness*: lazy; each image is held whole. One NaN makes a transform NaN: fill missing lines first.

    Examples
    --------
    >>> wave = xr.DataArray(np.tile(np.cos(2 * np.pi * np.arange(8) / 4), (8, 1)), dims=("y", "x"))
    >>> spectrum = abs(fft(wave, window=None))
    >>> float(abs(spectrum.kx[spectrum.argmax(("ky", "kx"))["kx"]]))
    0.25
    """
    da = numbers(image_of(data, variable))
    plane = plane_of(da)
    axes = [along(da, dim) for dim in plane]
    steps, units = [abs(axis.step) for axis in axes], [axis.units for axis in axes]
    shape = [da.sizes[dim] for dim in plane]
    weights = np.ones(shape)
    if window is not None:
        from scipy.signal import get_window

        weights = np.multiply.outer(*(get_window(window, n) if n > 2 else np.ones(n) for n in shape))
        weights = weights / np.sqrt(np.mean(weights**2))
    descending = tuple(axis.step < 0 for axis in axes)
    reciprocal = ("ky", "kx")
    outputs = {
        "fft": chunked.Output(
            np.complex128,
            reciprocal,
            dict(zip(reciprocal, shape, strict=True)),
            {
                "units": combine_units((str(da.attrs.get("units", "1")), 1), (units[0], 1), (units[1], 1)),
                "long_name": f"Fourier transform of {da.attrs.get('long_name', da.name or 'image')}",
            },
        )
    }
    kwargs = {"weights": weights, "cell": float(np.prod(steps)), "reverse": descending}
    result = chunked.apply(_fft2, da, dims=[plane], outputs=outputs, kwargs=kwargs)["fft"]
    coords = {
        k: coordinate(k, np.fft.fftshift(np.fft.fftfreq(n, step)), units=combine_units((unit, -1)))
        for k, n, step, unit in zip(reciprocal, shape, steps, units, strict=True)
    }
    return result.assign_coords(coords).rename(f"{da.name}_fft" if da.name else "fft")


def _grid(axes: list[Axis]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ky, kx (half plane of a real transform) and their length."""
    ky = np.fft.fftfreq(axes[0].size, abs(axes[0].step))[:, None]
    kx = np.fft.rfftfreq(axes[1].size, abs(axes[1].step))[None, :]
    return ky, kx, np.hypot(ky, kx)


def _one_unit(axes: list[Axis]) -> str:
    if axes[0].units != axes[1].units:
        raise ValueError(f"{axes[0].dim} is in {axes[0].units} and {axes[1].dim} in {axes[1].units}: pass equal units")
    return axes[0].units


def _masked(values: np.ndarray, *, mask: np.ndarray, pad: tuple[int, int]) -> np.ndarray:
    """Each image times a mask over the half plane; reflected borders against the jump between opposite edges."""
    from scipy import fft as scipy_fft

    kind, shape = floating(values.dtype), values.shape[-2:]
    image = values.astype(kind, copy=False)
    if any(pad):
        widths = [(0, 0)] * (values.ndim - 2) + [(0, n) for n in pad]
        image = np.pad(image, widths, mode="symmetric")
    mean = image.mean(axis=(-2, -1), keepdims=True)
    spectrum = scipy_fft.rfft2(image - mean) * mask.astype(kind)
    filtered = scipy_fft.irfft2(spectrum, image.shape[-2:]) + mean * mask[0, 0].astype(kind)
    return filtered[..., : shape[0], : shape[1]]


@recorded("image.fourier_filter")
def fourier_filter(
    data: xr.DataArray | xr.Dataset,
    *,
    variable: str | None = None,
    low_pass: float | None = None,
    high_pass: float | None = None,
) -> xr.DataArray:
    """Smooth, or take away what is smooth, by Gaussians in Fourier space.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, over two evenly spaced spatial dims of one unit; further dims broadcast.
    variable : str, optional
        Which variable of a Dataset.
    low_pass, high_pass : float, optional
        Lengths in coordinate units: a sine of that period passes the low pass by half, and is taken away by half by
        the high pass (a Gaussian ``exp(-ln 2 (k length)^2)``, and one minus it). At least one.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the input; single precision stays single. A high pass takes the mean away.

    Raises
    ------
    ValueError
        If an axis is uneven, units differ, or no length is given.

    Notes
    -----
    *Laziness*: lazy; each image is held whole. Borders are reflected. One NaN makes its image NaN: `inpaint` first.

    Examples
    --------
    >>> flat = xr.DataArray(np.full((8, 8), 3.0), dims=("y", "x"))
    >>> bool(np.allclose(fourier_filter(flat, low_pass=3.0), 3.0))
    True
    """
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    axes = [along(da, dim) for dim in plane]
    units = _one_unit(axes)
    if low_pass is None and high_pass is None:
        raise ValueError("pass low_pass=, high_pass= or both, lengths in " + units)
    pad = (axes[0].size, axes[1].size)
    _, _, k = _grid([Axis(a.dim, a.name, np.arange(2 * a.size) * abs(a.step), a.units) for a in axes])
    mask = np.ones(k.shape)
    for length, passes_low in ((low_pass, True), (high_pass, False)):
        if length is not None:
            if not length > 0:
                raise ValueError(f"a filter length of {length} {units} must be positive")
            gaussian = np.exp(-np.log(2) * (k * length) ** 2)
            mask *= gaussian if passes_low else 1 - gaussian
    output = chunked.Output(floating(da.dtype), plane, attrs=da.attrs)
    found = chunked.apply(_masked, da, dims=[plane], outputs={"f": output}, kwargs={"mask": mask, "pad": pad})["f"]
    return found.transpose(*da.dims).rename(da.name)


@recorded("image.lattice_spots")
def lattice_spots(
    data: xr.DataArray | xr.Dataset,
    count: int = 6,
    *,
    variable: str | None = None,
    contrast: float = 6.0,
    directions: int = 2,
) -> xr.Dataset:
    """The spots of a lattice in an image's Fourier transform, to a fraction of a pixel of k; NaN where there is none.

    A spot stands out against noise (the median amplitude at its distance from the centre) and is compact: no line
    through it is a third as bright, so that the streaks of edges, steps and scan lines are none. Spots of a lattice are
    integer combinations of two of them.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, over two evenly spaced spatial dims of one unit; further dims broadcast.
    count : int
        How many at most, strongest first; of each pair k, -k the one with kx > 0.
    variable : str, optional
        Which variable of a Dataset.
    contrast : float
        How many times a spot must exceed the median amplitude at its distance from the centre.
    directions : {2, 1}
        How many independent directions spots must have: two of a lattice; with 1 all compact spots are given, those of
        gratings and of several lattices too.

    Returns
    -------
    Dataset
        Over ``spot`` and the other dims: ``ky``, ``kx`` in cycles per unit of the axes (1/m), ``amplitude`` in the
        units of the data (of the cosine; window corrected), ``period`` = 1/k in the unit of the axes, ``contrast`` of
        the spot, and ``index(spot, basis)``: its whole numbers on the lattice (NaN with one direction). NaN where
        there are fewer.

    Raises
    ------
    ValueError
        If an axis is uneven, units differ, or `count` or `directions` is out of range.

    Notes
    -----
    *Laziness*: lazy; each image is held whole. Hann window; the three bins about the centre do not count, so that a
    lattice has at least three periods in the image. One NaN leaves no spots.

    Examples
    --------
    >>> y, x = np.indices((64, 64))
    >>> wave = np.cos(2 * np.pi * (0.11 * x + 0.2 * y)) + 0.5 * np.cos(2 * np.pi * 0.15 * x)
    >>> spots = lattice_spots(xr.DataArray(wave, dims=("y", "x")), 2)
    >>> spots.ky.values.round(3) + 0.0, spots.kx.values.round(3)
    (array([0.2, 0. ]), array([0.11, 0.15]))
    """
    if directions not in (1, 2):
        raise ValueError(f"directions={directions}: 2 for a lattice, 1 for anything periodic")
    if not count >= 1:
        raise ValueError(f"count={count}: at least one spot")
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    axes = [along(da, dim) for dim in plane]
    units = _one_unit(axes)
    output = chunked.Output(float, ("spot", "_value"), {"spot": count, "_value": 6})
    kwargs = {"dy": axes[0].step, "dx": axes[1].step, "count": count, "least": contrast, "directions": directions}
    found = chunked.apply(spot_list, da, dims=[plane], outputs={"s": output}, kwargs=kwargs)["s"]
    per = combine_units((units, -1))
    ky, kx, amplitude, height = (found.isel(_value=i, drop=True) for i in range(4))
    sign = xr.where(kx < 0, -1.0, 1.0)  # an axis that falls turns the half plane round
    size = (ky**2 + kx**2) ** 0.5
    index = (found.isel(_value=slice(4, None)) * sign).rename(_value="basis")
    variables = {
        "ky": (ky * sign).assign_attrs(units=per, long_name="ky"),
        "kx": (kx * sign).assign_attrs(units=per, long_name="kx"),
        "amplitude": amplitude.assign_attrs(units=str(da.attrs.get("units", "1")), long_name="Amplitude"),
        "period": (1 / size).assign_attrs(units=units, long_name="Period"),
        "contrast": height.assign_attrs(units="1", long_name="Contrast"),
        "index": index.assign_attrs(units="1", long_name="Index on the lattice"),
    }
    return xr.Dataset(variables)


@recorded("image.lattice_filter")
def lattice_filter(
    data: xr.DataArray | xr.Dataset,
    spots: xr.Dataset | None = None,
    *,
    variable: str | None = None,
    radius: float,
    center_radius: float | None = None,
) -> xr.DataArray:
    """Keep of an image what its lattice makes: disks around the spots in Fourier space, and the centre.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, over two evenly spaced spatial dims of one unit; further dims broadcast.
    spots : Dataset, optional
        ``ky, kx`` over ``spot`` as of `lattice_spots`; None finds the six strongest of the image's lattice now.
    variable : str, optional
        Which variable of a Dataset.
    radius : float
        Of the disks, in cycles per unit of the axes (1/m), with a Gaussian edge: half at the radius.
    center_radius : float, optional
        Of the disk at the centre; None is `radius`. Zero keeps the mean only.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the input.

    Raises
    ------
    ValueError
        If there is no lattice, or the radius is not positive.

    Notes
    -----
    *Laziness*: lazy with `spots` given; without, a single image is computed to find them. One NaN makes its image NaN.

    Examples
    --------
    >>> y, x = np.indices((64, 64))
    >>> wave = xr.DataArray(np.cos(2 * np.pi * x / 8) + np.cos(2 * np.pi * y / 4), dims=("y", "x"))
    >>> noisy = wave + np.random.default_rng(0).normal(0, 0.5, wave.shape)
    >>> bool(abs(lattice_filter(noisy, radius=0.02) - wave).std() < 0.1)
    True
    """
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    axes = [along(da, dim) for dim in plane]
    per = combine_units((_one_unit(axes), -1))
    if not radius > 0:
        raise ValueError(f"radius={radius}: must be positive, in {per}")
    found = lattice_spots(da) if spots is None else spots
    places = np.stack([np.ravel(found[name].values) for name in ("ky", "kx")], axis=-1)
    places = places[np.isfinite(places).all(axis=-1)]
    if not len(places):
        raise ValueError(
            f"no lattice found in {da.name or 'the image'}: no two compact spots of independent directions stand out "
            "against noise; for a grating pass spots=lattice_spots(image, directions=1), or spots with ky and kx"
        )
    signs = np.sign([axes[0].step, axes[1].step])  # k in index space
    ky, kx, k = _grid(axes)
    center = radius if center_radius is None else center_radius
    mask = np.exp(-np.log(2) * (k / center) ** 2) if center > 0 else (k == 0).astype(float)
    for y, x in places * signs:
        for sign in (1, -1):
            distance = np.hypot(_wrapped(ky - sign * y, axes[0]), _wrapped(kx - sign * x, axes[1]))
            mask = np.maximum(mask, np.exp(-np.log(2) * (distance / radius) ** 2))
    mask[0, 0] = 1.0
    output = chunked.Output(floating(da.dtype), plane, attrs=da.attrs)
    kwargs = {"mask": mask, "pad": (0, 0)}
    filtered = chunked.apply(_masked, da, dims=[plane], outputs={"f": output}, kwargs=kwargs)["f"]
    return filtered.transpose(*da.dims).rename(da.name)


def _wrapped(k: np.ndarray, axis: Axis) -> np.ndarray:
    """Frequencies brought into the first zone: a spot at the border also lies at the opposite one."""
    rate = 1 / abs(axis.step)
    return (k + rate / 2) % rate - rate / 2
