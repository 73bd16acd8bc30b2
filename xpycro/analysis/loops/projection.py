"""From oscillator parameters at each bias step to real loops: the projection on the axis along which they switch.

May import numpy, xarray, the floors below and analysis.loops.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.analysis.loops._axis import bias_of, cut_like, loop_dim
from xpycro.engine import chunked
from xpycro.units import combine_units

__all__ = ["project"]


@provenance.recorded("loops.project")
def project(fit: xr.Dataset, *, dim: str = "step", field: str | None = None) -> xr.Dataset:
    """Turn amplitude and phase at each bias step into one real loop a pixel.

    The points ``amplitude exp(i phase)`` of a loop lie about a line in the complex plane. Its direction is their
    principal axis (orthogonal regression), of whose two senses that is taken in which the response rises with the bias;
    the part along it is the loop, the distance of the line from the origin is kept beside it.

    Parameters
    ----------
    fit : Dataset
        With ``amplitude`` and ``phase``, as ``fit("sho")`` makes them; steps whose fit failed (NaN) are left out.
    dim : str, default "step"
        What one loop spans; it needs the coordinate ``bias``, which may differ between FORC loops.
    field : str, optional
        Take the loops of this ``field`` only (``"in"`` or ``"out"``); None keeps both along their dim.

    Returns
    -------
    Dataset
        ``pycro_result`` "loops", over the other dims of the fit (``cycle`` and ``forc`` too): ``response(..., step)``,
        in the unit of the amplitude; ``rotation_angle`` of the direction from the real axis, rad, -pi to pi: of two
        domains of opposite polarity it differs by pi; ``offset``, signed distance of the line from the origin;
        ``area``, signed, in response times bias, positive where the loop is run counterclockwise as the response of
        a ferroelectric lags; ``orientation``, its sign (1, -1; 0 where nothing encloses an area); ``centroid_bias`` and
        ``centroid_response`` of the polygon (NaN where its area is zero).

    Raises
    ------
    ValueError
        If amplitude or phase are missing, or there is no such field.
    DimensionError
        If there is no bias along `dim`.

    Notes
    -----
    *Laziness*: lazy for a lazy fit, one pass.

    Earlier code took ``tan`` of the fitted slope for the angle where ``-arctan`` belongs, which makes loops lower by up
    to a third, and turned every loop until its area was positive, which hides what tells ferroelectric switching
    from electrostatic or ionic loops.

    References
    ----------
    S. Jesse, H. N. Lee, S. V. Kalinin, Rev. Sci. Instrum. 77, 073702 (2006).

    Examples
    --------
    >>> bias = 4 * np.array([0, 1, 2, 1, 0, -1, -2, -1]) / 2
    >>> state = np.array([-1, 1, 1, 1, 1, -1, -1, -1])
    >>> response = xr.DataArray(state * np.exp(0.7j), {"bias": ("step", bias)}, ("step",))
    >>> sho = xr.Dataset({"amplitude": abs(response), "phase": xr.apply_ufunc(np.angle, response)})
    >>> loops = project(sho)
    >>> loops.response.values.round(9).tolist()
    [-1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0]
    >>> round(float(loops.rotation_angle), 9), float(loops.orientation)
    (0.7, 1.0)
    """
    missing = [name for name in ("amplitude", "phase") if name not in fit.data_vars]
    if missing:
        raise ValueError(
            f"project needs amplitude and phase of an oscillator fit; {missing} are not among its variables"
        )
    if field is not None:
        fit = _of_field(fit, field)
    amplitude, phase = fit["amplitude"], fit["phase"]
    dim = loop_dim(amplitude, dim)
    bias = bias_of(amplitude, dim)
    unit, volts = str(amplitude.attrs.get("units", "1")), str(bias.attrs.get("units", "V"))
    described = {
        "rotation_angle": ("rad", "rotation angle"),
        "offset": (unit, "offset of the loop's line"),
        "area": (combine_units((unit, 1), (volts, 1)), "loop area"),
        "orientation": ("1", "orientation of the loop"),
        "centroid_bias": (volts, "centroid bias"),
        "centroid_response": (unit, "centroid response"),
    }
    outputs = {"response": chunked.Output(np.float64, (dim,), attrs={"units": unit, "long_name": "projected response"})}
    outputs |= {
        name: chunked.Output(np.float64, attrs={"units": u, "long_name": label})
        for name, (u, label) in described.items()
    }
    made = chunked.apply(
        _project, amplitude, phase, cut_like(bias, amplitude), dims=[[dim], [dim], [dim]], outputs=outputs
    )
    return schema.new_result("loops", made, attrs={"loop_dim": dim})


def _of_field(fit: xr.Dataset, field: str) -> xr.Dataset:
    if "field" not in fit.dims or "field" not in fit.coords:
        raise ValueError(f"field={field!r}: this fit has no dim 'field'; leave field= out")
    names = [str(v) for v in fit["field"].values]
    if field not in names:
        raise ValueError(f"field={field!r} must be one of {names}")
    return fit.isel(field=names.index(field))


def _project(amplitude: np.ndarray, phase: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, ...]:
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.asarray(amplitude, dtype=np.float64) * np.exp(1j * np.asarray(phase, dtype=np.float64))
        bias = np.broadcast_to(bias, z.shape)
        good = np.isfinite(z)
        count = good.sum(-1)
        few = count < 3
        mean = _mean(z, good, count)
        centred = np.where(good, z - mean[..., None], 0)
        # the principal axis: half the angle of the mean square, whose components are the covariances
        angle = 0.5 * np.angle((centred**2).sum(-1))
        along = (centred * np.exp(-1j * angle)[..., None]).real
        rise = (along * np.where(good, bias - _mean(bias, good, count)[..., None], 0)).sum(-1)
        angle = np.where(rise < 0, angle + np.pi, angle)
        angle = np.where(angle > np.pi, angle - 2 * np.pi, angle)
        turned = z * np.exp(-1j * angle)[..., None]
        response = np.where(good, turned.real, np.nan)
        offset = (mean * np.exp(-1j * angle)).imag
        area, centroid_bias, centroid_response = _polygon(bias, response, good)
        results = [angle, offset, area, np.sign(area), centroid_bias, centroid_response]
    return (np.where(few[..., None], np.nan, response), *[np.where(few, np.nan, r) for r in results])


def _mean(values: np.ndarray, good: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.where(good, values, 0).sum(-1) / np.maximum(count, 1)


def _polygon(bias: np.ndarray, response: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signed area and centroid; missing points stand where the last good one does, which changes neither."""
    n = bias.shape[-1]
    last = np.maximum.accumulate(np.where(good, np.arange(n), -1), axis=-1)
    last = np.where(last < 0, n - 1 - np.argmax(good[..., ::-1], axis=-1)[..., None], last)
    x, y = np.take_along_axis(bias, last, -1), np.take_along_axis(response, last, -1)
    cx, cy = x.mean(-1, keepdims=True), y.mean(-1, keepdims=True)  # about the middle, lest digits go
    x, y = x - cx, y - cy
    x1, y1 = np.roll(x, -1, -1), np.roll(y, -1, -1)
    cross = x * y1 - x1 * y
    area = 0.5 * cross.sum(-1)
    area = np.where(np.abs(area) < 1e-12 * np.abs(cross).sum(-1), 0.0, area)
    six = np.where(area == 0, np.nan, 6 * area)
    return area, ((x + x1) * cross).sum(-1) / six + cx[..., 0], ((y + y1) * cross).sum(-1) / six + cy[..., 0]
