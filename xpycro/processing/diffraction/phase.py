"""From the centre of mass to fields and phase: centring, rotation, differential phase contrast, integration.

May import numpy, xarray, scipy (inside functions), engine and the base floor.
"""

from __future__ import annotations

import contextlib
from typing import TypeVar

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, plane_of, real_numbers
from xpycro.processing.diffraction.detector import detector_dims
from xpycro.processing.diffraction.single import mean_pattern
from xpycro.provenance import recorded
from xpycro.schema import pick
from xpycro.units import combine_units, conversion

__all__ = ["center", "dpc", "find_rotation", "integrate"]

T = TypeVar("T", xr.DataArray, xr.Dataset)
_PLANCK, _CHARGE, _MASS, _LIGHT = 6.62607015e-34, 1.602176634e-19, 9.1093837015e-31, 299792458.0


@recorded("diffraction.center")
def center(data: T, at: tuple[float, float] | None = None) -> T:
    """Put the zero of the detector's axes where the direct beam is.

    Parameters
    ----------
    data : DataArray or Dataset
    at : (ky, kx), optional
        The beam on the present axes; None finds it: the centre of mass of the bright region about the maximum of the
        mean pattern (above half way from the median).

    Returns
    -------
    DataArray or Dataset
        As the input, the two coordinates moved; no pattern is interpolated.

    Notes
    -----
    *Laziness*: only coordinates are touched; without `at` the mean pattern is computed now, in one pass.

    Examples
    --------
    >>> y, x = np.indices((9, 9))
    >>> scan = xr.DataArray(np.hypot(y - 5, x - 3) < 2, dims=("ky", "kx"), coords={"ky": y[:, 0], "kx": x[0]})
    >>> center(scan).kx.values
    array([-3., -2., -1.,  0.,  1.,  2.,  3.,  4.,  5.])
    """
    sample = data if isinstance(data, xr.DataArray) else pick(data, None, ("ky", "kx"))
    plane = detector_dims(sample)
    axes = [along(sample, dim) for dim in plane]
    if at is None:
        place = _beam(mean_pattern(sample, dims=plane).values)
        at = tuple(axis.values[0] + axis.step * i for axis, i in zip(axes, place, strict=True))
    fresh = {}
    for axis, place_ in zip(axes, at, strict=True):
        attrs = dict(data.coords[axis.dim].attrs) if axis.dim in data.coords else {"units": axis.units}
        fresh[axis.dim] = xr.Variable(axis.dim, axis.values - float(place_), attrs)
    return data.assign_coords(fresh)


def _beam(pattern: np.ndarray) -> tuple[float, float]:
    """Where the direct beam lies on the mean pattern, in pixels."""
    from scipy import ndimage

    good = np.isfinite(pattern)
    if not good.any() or np.ptp(pattern[good]) == 0:
        raise ValueError("the mean pattern has no bright beam: pass at=(ky, kx)")
    level = np.median(pattern[good])
    smooth = ndimage.gaussian_filter(np.where(good, pattern, level), 1.0)  # a hot pixel is no beam
    regions, _ = ndimage.label(smooth > (smooth.max() + level) / 2)
    inside = (regions == regions.flat[smooth.argmax()]) & good
    place = ndimage.center_of_mass(np.where(inside, pattern, 0.0))
    return float(place[0]), float(place[1])


def _components(com: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray, tuple[str, str]]:
    """The two components (slow, fast) over the scan's plane."""
    names = [str(name) for name in com.data_vars if str(name).startswith("com_")]
    if len(names) != 2:
        raise ValueError(
            f"expected a Dataset with com_ky and com_kx, as of center_of_mass; it has {list(com.data_vars)}"
        )
    first, second = real_numbers(com[names[0]]), real_numbers(com[names[1]])
    plane = plane_of(first)
    return first, second, plane


def _per_metre(part: xr.DataArray) -> xr.DataArray:
    """A component in cycles per metre; refused where the detector is not calibrated in k."""
    unit = str(part.attrs.get("units", "1"))
    try:
        return part * conversion(unit, "1/m")
    except ValueError:
        raise ValueError(
            f"{part.name} is in {unit!r}, and a phase gradient needs cycles per metre: calibrate the detector first, "
            "scan.pycro.spectra.calibrate({0: 0, 1: size_of_a_pixel}, 'ky', units='1/m') and 'kx' alike (an angle in "
            "rad over the wavelength is k)"
        ) from None


@recorded("diffraction.find_rotation")
def find_rotation(com: xr.Dataset, *, positive_divergence: bool = True) -> xr.DataArray:
    """The angle between scan and detector at which the centre of mass is free of curl, as a gradient is.

    Parameters
    ----------
    com : Dataset
        ``com_ky, com_kx`` over two evenly spaced spatial dims.
    positive_divergence : bool
        Least curl leaves 180 degrees open; of the two the angle is taken at which the divergence is skewed to positive
        values (true), as where bright spots are few and small and the phase has minima there, or to negative ones
        (false: atoms, whose phase has maxima).

    Returns
    -------
    DataArray
        In rad; pass it to `dpc`.

    Notes
    -----
    *Laziness*: lazy where the centre of mass is.

    References
    ----------
    The least-curl condition in closed form: rotated by t, the curl is ``cos(t) curl + sin(t) div``.

    Examples
    --------
    >>> y, x = np.meshgrid(np.arange(16.0), np.arange(16.0), indexing="ij")
    >>> g = {"com_ky": (("y", "x"), x), "com_kx": (("y", "x"), -y)}  # a gradient field turned by 90 degrees
    >>> round(abs(float(find_rotation(xr.Dataset(g)))), 3)
    1.571
    """
    first, second, plane = _components(com)
    steps = {f"d{'yx'[i]}": along(first, dim).step for i, dim in enumerate(plane)}
    kwargs = {**steps, "sign": 1.0 if positive_divergence else -1.0}
    output = chunked.Output(float, attrs={"units": "rad", "long_name": "Rotation of the scan"})
    return chunked.apply(_rotation, first, second, dims=[plane, plane], outputs={"rotation": output}, kwargs=kwargs)[
        "rotation"
    ]


def _rotation(gy: np.ndarray, gx: np.ndarray, *, dy: float, dx: float, sign: float) -> np.ndarray:
    curl = np.gradient(gy, dx, axis=-1) - np.gradient(gx, dy, axis=-2)
    divergence = np.gradient(gy, dy, axis=-2) + np.gradient(gx, dx, axis=-1)
    cc, dd, cd = (
        np.nansum(a * b, axis=(-2, -1)) for a, b in ((curl, curl), (divergence, divergence), (curl, divergence))
    )
    angle = 0.5 * np.arctan2(2 * cd, cc - dd) + np.pi / 2  # the other axis of the ellipse: least curl
    c, s = np.cos(angle)[..., None, None], np.sin(angle)[..., None, None]
    turned = c * divergence - s * curl
    turned = turned - np.nanmean(turned, axis=(-2, -1), keepdims=True)
    skew = np.nansum(turned**3, axis=(-2, -1))
    # a divergence without skew (a periodic field, a plain curve) decides nothing: keep the angle within 90 degrees
    decided = np.abs(skew) > 1e-6 * np.nansum(np.abs(turned) ** 3, axis=(-2, -1))
    flip = np.where(decided, sign * skew < 0, False)
    angle = np.where(flip, angle + np.pi, angle)
    return (angle + np.pi) % (2 * np.pi) - np.pi


@recorded("diffraction.dpc")
def dpc(
    com: xr.Dataset,
    rotation: float | xr.DataArray = 0.0,
    *,
    voltage: float | None = None,
    flip: bool = False,
    subtract_mean: bool = True,
) -> xr.Dataset:
    """Differential phase contrast: the phase gradient, and the projected electric field.

    Parameters
    ----------
    com : Dataset
        ``com_ky, com_kx`` in cycles per metre (or 1/nm, ...) over two spatial dims, as of `center_of_mass`.
    rotation : float or DataArray
        Angle in rad by which the vectors are turned, from the detector's axes to the scan's; as of `find_rotation`.
    voltage : float, optional
        Acceleration voltage in V; gives the field.
    flip : bool
        Whether ky runs against y: it is turned round first. (Where y was flipped to ascend, ky must be too.)
    subtract_mean : bool
        Take the mean of each component away: the beam's place, not a field.

    Returns
    -------
    Dataset
        ``gradient_y``, ``gradient_x``: 2 pi times the centre of mass, in rad/m; ``magnitude`` (rad/m) and
        ``direction`` (rad, from x towards y); with a voltage ``field_y``, ``field_x``: the field integrated along the
        beam, -(h v / e) times the centre of mass with v the electrons' speed, in V.

    Raises
    ------
    ValueError
        If the centre of mass is not in units of k (pixels, angles), components are missing, or the voltage is not
        positive.

    Notes
    -----
    *Laziness*: lazy.

    References
    ----------
    K. Mueller-Caspary et al., Ultramicroscopy 178, 62 (2017).

    Examples
    --------
    >>> k = {"units": "1/m"}
    >>> com = xr.Dataset({"com_ky": (("y", "x"), [[0.0, 0.0]], k), "com_kx": (("y", "x"), [[-1.0, 1.0]], k)})
    >>> dpc(com).gradient_x.values.round(3)
    array([[-6.283,  6.283]])
    """
    first, second, plane = _components(com)
    first, second = _per_metre(first), _per_metre(second)
    first = -first if flip else first
    cosine, sine = np.cos(rotation), np.sin(rotation)
    turned = (cosine * first + sine * second, cosine * second - sine * first)
    if subtract_mean:
        turned = (turned[0] - turned[0].mean(plane), turned[1] - turned[1].mean(plane))
    per = "rad/m"
    variables = {}
    for name, part in zip(("y", "x"), turned, strict=True):
        variables[f"gradient_{name}"] = (2 * np.pi * part).assign_attrs(units=per, long_name=f"Phase gradient {name}")
    gy, gx = variables["gradient_y"], variables["gradient_x"]
    variables["magnitude"] = ((gy**2 + gx**2) ** 0.5).assign_attrs(units=per, long_name="Phase gradient")
    angle = xr.apply_ufunc(np.arctan2, gy, gx, dask="parallelized", output_dtypes=[float], keep_attrs=False)
    variables["direction"] = angle.assign_attrs(units="rad", long_name="Direction")
    if voltage is not None:
        if not voltage > 0:
            raise ValueError(f"voltage={voltage}: must be positive, in V")
        gamma = 1 + _CHARGE * voltage / (_MASS * _LIGHT**2)
        speed = _LIGHT * np.sqrt(1 - 1 / gamma**2)
        for name, part in zip(("y", "x"), turned, strict=True):
            field = -(_PLANCK * speed / _CHARGE) * part
            variables[f"field_{name}"] = field.assign_attrs(units="V", long_name=f"Projected field {name}")
    return xr.Dataset(variables)


def _integrated(gy: np.ndarray, gx: np.ndarray, *, dy: float, dx: float, periodic: bool) -> np.ndarray:
    from scipy import fft as scipy_fft

    gy, gx = np.broadcast_arrays(gy.astype(float), gx.astype(float))
    ny, nx = gy.shape[-2:]
    if not periodic:
        # the phase continued as a mirror image: its gradient changes sign across the mirror
        gy = np.concatenate([gy, -gy[..., ::-1, :]], axis=-2)
        gy = np.concatenate([gy, gy[..., ::-1]], axis=-1)
        gx = np.concatenate([gx, gx[..., ::-1, :]], axis=-2)
        gx = np.concatenate([gx, -gx[..., ::-1]], axis=-1)
    shape = gy.shape[-2:]
    ky = np.fft.fftfreq(shape[0], dy)[:, None]
    kx = np.fft.rfftfreq(shape[1], dx)[None, :]
    square = ky**2 + kx**2
    square[0, 0] = 1.0
    spectrum = (ky * scipy_fft.rfft2(gy) + kx * scipy_fft.rfft2(gx)) / (2j * np.pi * square)
    spectrum[..., 0, 0] = 0.0  # the mean of a phase is not in its gradient
    phase = scipy_fft.irfft2(spectrum, shape)[..., :ny, :nx]
    return phase - phase.mean(axis=(-2, -1), keepdims=True)


@recorded("diffraction.integrate")
def integrate(gradient: xr.Dataset, *, periodic: bool = False) -> xr.DataArray:
    """The phase whose gradient fits best (iCoM, iDPC), by Fourier integration; its mean is zero.

    Parameters
    ----------
    gradient : Dataset
        ``gradient_y, gradient_x`` over two evenly spaced spatial dims, as of `dpc`.
    periodic : bool
        Whether the area continues periodically; if not it is mirrored at its borders.

    Returns
    -------
    DataArray
        ``phase`` over the dims of the gradient: in rad; where the scan is not calibrated (``pixel``), in the product of
        the two units.

    Raises
    ------
    ValueError
        If components are missing or an axis is uneven.

    Notes
    -----
    *Laziness*: lazy; each image is held whole. One NaN makes its image NaN.

    References
    ----------
    I. Lazic, E. G. T. Bosch and S. Lazar, Ultramicroscopy 160, 265 (2016).

    Examples
    --------
    >>> x = np.arange(32)
    >>> phase = np.tile(np.cos(2 * np.pi * x / 16), (32, 1))
    >>> slope = np.tile(-2 * np.pi / 16 * np.sin(2 * np.pi * x / 16), (32, 1))
    >>> g = xr.Dataset({"gradient_y": (("y", "x"), 0 * slope), "gradient_x": (("y", "x"), slope)})
    >>> bool(abs(integrate(g, periodic=True) - phase).max() < 1e-12)
    True
    """
    missing = [name for name in ("gradient_y", "gradient_x") if name not in gradient]
    if missing:
        raise ValueError(f"{missing} missing: pass what dpc returned; this Dataset has {list(gradient.data_vars)}")
    first, second = real_numbers(gradient["gradient_y"]), real_numbers(gradient["gradient_x"])
    plane = plane_of(first)
    axes = [along(first, dim) for dim in plane]
    if axes[0].units != axes[1].units:
        raise ValueError(f"{plane[0]} is in {axes[0].units} and {plane[1]} in {axes[1].units}: pass equal units")
    units, scale = combine_units((str(first.attrs.get("units", "1")), 1), (axes[0].units, 1)), 1.0
    with contextlib.suppress(ValueError):  # a product that is no angle keeps its own unit
        units, scale = "rad", conversion(units, "rad")
    output = chunked.Output(float, plane, attrs={"units": units, "long_name": "Phase"})
    kwargs = {"dy": axes[0].step, "dx": axes[1].step, "periodic": periodic}
    found = chunked.apply(_integrated, first, second, dims=[plane, plane], outputs={"phase": output}, kwargs=kwargs)
    phase = found["phase"].transpose(*first.dims)
    return (phase * scale).assign_attrs(phase.attrs)
