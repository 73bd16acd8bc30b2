"""Restoring images: outliers and dead lines found, gaps filled, blur taken back.

May import numpy, xarray, scipy and scikit-image (inside functions), engine and the base floor.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, floating, image_of, left_out, plane_of, real_numbers
from xpycro.errors import MissingExtra
from xpycro.provenance import recorded

__all__ = ["inpaint", "outliers", "repair", "richardson_lucy"]


def _outlying(values: np.ndarray, *, threshold: float, lines: bool) -> np.ndarray:
    from scipy.ndimage import median_filter, rank_filter

    around = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])

    images = values.reshape(-1, *values.shape[-2:]).astype(float)
    out = np.zeros(images.shape, bool)
    for image, mask in zip(images, out, strict=True):
        good = np.isfinite(image)
        if not good.any():
            continue
        filled = np.where(good, image, np.median(image[good]))
        residual = filled - median_filter(filled, 3 if min(image.shape) > 2 else 1, mode="nearest")
        size = np.abs(residual[good])
        noise = 1.4826 * np.median(size) or 1.2533 * size.mean()
        if not noise > 0:
            continue
        # on a sharp edge pixels differ from the median as well, but at least two neighbours are like them
        gap = threshold * noise / 2
        above = filled > rank_filter(filled, -2, footprint=around, mode="mirror") + gap
        below = filled < rank_filter(filled, 1, footprint=around, mode="mirror") - gap
        mask[...] = good & (np.abs(residual) > threshold * noise) & (above | below)
        if lines and len(image) > 2:
            mask |= _dead_lines(filled, good, threshold)[:, None] & good
    return out.reshape(values.shape)


def _dead_lines(image: np.ndarray, good: np.ndarray, threshold: float) -> np.ndarray:
    """Lines that are constant, or far from the mean of the two beside them by the standard of the others."""
    between = image.copy()
    between[1:-1] = (image[2:] + image[:-2]) / 2
    distance = np.median(np.abs(image - between), axis=1)
    distance[[0, -1]] = np.median(distance[1:-1])
    noise = 1.4826 * np.median(np.abs(distance - np.median(distance)))
    far = distance - np.median(distance) > max(threshold * noise, np.median(distance))
    # the lines beside a dead one look far as well: only the farthest of neighbours counts
    padded = np.pad(distance, 1)
    peak = (distance >= padded[:-2]) & (distance >= padded[2:])
    varied = np.array([np.ptp(line[g]) > 0 if g.sum() > 1 else True for line, g in zip(image, good, strict=True)])
    constant = ~varied if varied.mean() > 0.5 else np.zeros(len(image), bool)
    return (far & peak) | constant


@recorded("image.outliers")
def outliers(
    data: xr.DataArray | xr.Dataset, *, variable: str | None = None, threshold: float = 6.0, lines: bool = True
) -> xr.DataArray:
    """Single pixels and scan lines that do not belong to an image.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, over two spatial dims, lines along the second; further dims broadcast.
    variable : str, optional
        Which variable of a Dataset.
    threshold : float
        A pixel counts where it differs from the median of its 3 x 3 neighbourhood by more than this times the noise
        (1.4826 times the median of that difference over the image) and by half of that from all but one of its
        neighbours, so that edges do not count; a line by its median distance from the mean of the lines beside it.
    lines : bool
        Also whole lines, constant ones among them.

    Returns
    -------
    DataArray
        Boolean, over the dims of the data; use it as ``exclude=``, or in `repair`.

    Notes
    -----
    *Laziness*: lazy; each image is held whole. NaN are no outliers.

    Examples
    --------
    >>> image = np.random.default_rng(0).normal(size=(20, 20))
    >>> image[3, 4] = 50
    >>> found = outliers(xr.DataArray(image, dims=("y", "x")))
    >>> bool(found[3, 4]), int(found.sum())
    (True, 1)
    """
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    if not threshold > 0:
        raise ValueError(f"threshold={threshold}: a positive number of standard deviations")
    output = chunked.Output(bool, plane, attrs={"units": "1", "long_name": "Outliers"})
    kwargs = {"threshold": threshold, "lines": lines}
    return chunked.apply(_outlying, da, dims=[plane], outputs={"outliers": output}, kwargs=kwargs)[
        "outliers"
    ].transpose(*da.dims)


def _harmonic(image: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Laplace's equation in the gaps, the image around as boundary."""
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    number = np.full(gap.shape, -1)
    number[gap] = np.arange(gap.sum())
    rows, columns, entries = [], [], []
    right = np.zeros(int(gap.sum()))
    diagonal = np.zeros(right.size)
    y, x = np.nonzero(gap)
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        ny, nx = y + dy, x + dx
        inside = (ny >= 0) & (ny < gap.shape[0]) & (nx >= 0) & (nx < gap.shape[1])
        here = number[y[inside], x[inside]]
        there = number[ny[inside], nx[inside]]
        diagonal[here] += 1  # beyond the border the slope is zero: no term
        known = there < 0
        np.add.at(right, here[known], image[ny[inside][known], nx[inside][known]])
        rows.append(here[~known])
        columns.append(there[~known])
        entries.append(np.full(int((~known).sum()), -1.0))
    rows.append(np.arange(right.size))
    columns.append(np.arange(right.size))
    entries.append(diagonal)
    matrix = sparse.csc_matrix((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))))
    filled = image.copy()
    filled[gap] = spsolve(matrix, right)
    return filled


def _inpainted(values: np.ndarray, mask: np.ndarray | None = None, *, method: str) -> np.ndarray:
    images = values.reshape(-1, *values.shape[-2:]).astype(float)
    masks = np.zeros(images.shape, bool) if mask is None else np.broadcast_to(mask, values.shape).reshape(images.shape)
    out = np.empty(images.shape)
    for index, (image, asked) in enumerate(zip(images, masks, strict=True)):
        gap = asked | ~np.isfinite(image)
        if gap.all() or not gap.any():
            out[index] = np.where(gap, np.nan, image)
        elif method == "harmonic":
            out[index] = _harmonic(np.where(gap, 0.0, image), gap)
        else:
            from skimage.restoration import inpaint_biharmonic

            known = image[~gap]
            low, span = known.min(), np.ptp(known) or 1.0  # scaled: heights in metres are lost in its tolerances
            out[index] = inpaint_biharmonic(np.where(gap, 0.0, (image - low) / span), gap) * span + low
    return out.reshape(values.shape)


@recorded("image.inpaint")
def inpaint(
    data: xr.DataArray | xr.Dataset,
    mask: xr.DataArray | None = None,
    *,
    variable: str | None = None,
    method: str = "harmonic",
) -> xr.DataArray:
    """Fill the gaps of an image smoothly from what is around them.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, over two spatial dims; further dims broadcast.
    mask : DataArray of bool, optional
        What to replace; NaN are filled in any case.
    variable : str, optional
        Which variable of a Dataset.
    method : {"harmonic", "biharmonic"}
        Laplace's equation (no overshoot), or scikit-image's biharmonic one (continues slopes; extra ``image``).

    Returns
    -------
    DataArray
        Dims, coordinates and units of the input, float64; an image without any value stays NaN.

    Raises
    ------
    ValueError
        For an unknown method.
    MissingExtra
        If scikit-image is needed and not installed.

    Notes
    -----
    *Laziness*: lazy; each image is held whole.

    Examples
    --------
    >>> plane = np.add.outer(np.arange(5.0), np.arange(6.0))
    >>> holed = np.where(np.isin(plane, [4, 5]) & (np.indices((5, 6))[0] == 2), np.nan, plane)
    >>> bool(np.allclose(inpaint(xr.DataArray(holed, dims=("y", "x"))), plane))
    True
    """
    if method not in ("harmonic", "biharmonic"):
        raise ValueError(f"method={method!r}: choose 'harmonic' or 'biharmonic'")
    if method == "biharmonic":
        try:
            import skimage  # noqa: F401
        except ImportError:
            raise MissingExtra("scikit-image", "image", "inpaint with method='biharmonic'") from None
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    arrays, core = [da], [plane]
    if mask is not None:
        arrays.append(left_out(mask, da, plane, "mask"))
        core.append(plane)
    output = chunked.Output(float, plane, attrs=da.attrs)
    found = chunked.apply(_inpainted, *arrays, dims=core, outputs={"i": output}, kwargs={"method": method})["i"]
    return found.transpose(*da.dims).rename(da.name)


@recorded("image.repair")
def repair(
    data: xr.DataArray | xr.Dataset, *, variable: str | None = None, threshold: float = 6.0, lines: bool = True
) -> xr.DataArray:
    """Replace outlying pixels and dead scan lines (`outliers`), and NaN, from what is around them (`inpaint`).

    Parameters
    ----------
    data, variable, threshold, lines
        As in `outliers`.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the input, float64; all other pixels are as they were.

    Notes
    -----
    *Laziness*: lazy; each image is held whole.

    Examples
    --------
    >>> image = np.random.default_rng(0).normal(size=(20, 20))
    >>> image[7] = 100
    >>> bool(abs(repair(xr.DataArray(image, dims=("y", "x")))).max() < 5)
    True
    """
    da = real_numbers(image_of(data, variable))
    return inpaint(da, outliers(da, threshold=threshold, lines=lines))


def _deconvolved(values: np.ndarray, *, kernel: np.ndarray, iterations: int) -> np.ndarray:
    from scipy.signal import fftconvolve

    kind = floating(values.dtype)
    images = values.reshape(-1, *values.shape[-2:]).astype(kind)
    psf = kernel.astype(kind)
    pad = tuple(n // 2 for n in psf.shape)
    inside = tuple(slice(n, -n or None) for n in pad)
    out = np.empty_like(images)
    for index, image in enumerate(images):
        if not np.isfinite(image).all():
            out[index] = np.nan
            continue
        padded = np.pad(np.maximum(image, 0), [(n, n) for n in pad], mode="symmetric")
        estimate = np.full_like(padded, max(padded.mean(), np.finfo(kind).tiny))
        for _ in range(iterations):
            blurred = np.maximum(fftconvolve(estimate, psf, mode="same"), 1e-12 * padded.max() + np.finfo(kind).tiny)
            estimate *= np.maximum(fftconvolve(padded / blurred, psf[::-1, ::-1], mode="same"), 0)
        out[index] = estimate[inside]
    return out.reshape(values.shape)


@recorded("image.richardson_lucy")
def richardson_lucy(
    data: xr.DataArray | xr.Dataset,
    blur: float | np.ndarray | xr.DataArray,
    *,
    variable: str | None = None,
    iterations: int = 30,
) -> xr.DataArray:
    """Take the blur out of an image of counts, by Richardson's and Lucy's iteration.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, not negative (what is, counts as zero), over two spatial dims; further dims broadcast.
    blur : float or array
        Full width at half maximum of a Gaussian in coordinate units, or the point spread function on the pixels of
        the image, both sides odd; it is normalised.
    variable : str, optional
        Which variable of a Dataset.
    iterations : int
        More sharpen more, and raise noise.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the input; single precision stays single. Borders are reflected.

    Raises
    ------
    ValueError
        For a bad point spread function.

    Notes
    -----
    *Laziness*: lazy; each image is held whole. One NaN makes its image NaN: `inpaint` first.

    References
    ----------
    W. H. Richardson, J. Opt. Soc. Am. 62, 55 (1972); L. B. Lucy, Astron. J. 79, 745 (1974).

    Examples
    --------
    >>> y, x = np.indices((33, 33)) - 16
    >>> blurred = xr.DataArray(np.exp(-(x**2 + y**2) / 18), dims=("y", "x"))
    >>> bool(richardson_lucy(blurred, 5.0).max() > 1.5)
    True
    """
    da = real_numbers(image_of(data, variable))
    plane = plane_of(da)
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: at least 1")
    if np.ndim(blur) == 0:
        width = float(blur)  # type: ignore[arg-type]
        if not width > 0:
            raise ValueError(f"blur={width}: a positive width in {along(da, plane[0]).units}")
        lines = []
        for dim in plane:
            sigma = width / 2.3548200450309493 / abs(along(da, dim).step)
            reach = max(1, int(np.ceil(4 * sigma)))
            lines.append(np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2))
        kernel = np.multiply.outer(*lines)
    else:
        kernel = np.asarray(blur, dtype=float)
        if kernel.ndim != 2 or any(n % 2 == 0 for n in kernel.shape) or not kernel.sum() > 0 or (kernel < 0).any():
            raise ValueError(f"blur: a point spread function of shape {kernel.shape} must be 2-D, odd, not negative")
    output = chunked.Output(floating(da.dtype), plane, attrs=da.attrs)
    kwargs = {"kernel": kernel / kernel.sum(), "iterations": int(iterations)}
    found = chunked.apply(_deconvolved, da, dims=[plane], outputs={"r": output}, kwargs=kwargs)["r"]
    return found.transpose(*da.dims).rename(da.name)
