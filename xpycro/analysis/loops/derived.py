"""What a fitted loop says of switching: imprint, remanence, work, nucleation, with errors from the covariance.

May import numpy, xarray, the floors below and analysis.loops.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro import provenance, schema
from xpycro.analysis.loops.model import PARAMETERS, inverse
from xpycro.engine import chunked
from xpycro.units import combine_units

__all__ = ["derived"]

_SWITCHING = (2, 3)  # V- and V+, whose errors come from their profiles
_LABELS = {
    "switching_bias_negative": "negative switching bias V-",
    "switching_bias_positive": "positive switching bias V+",
    "coercive_bias_negative": "negative coercive bias",
    "coercive_bias_positive": "positive coercive bias",
    "imprint": "imprint",
    "remanent_response_negative": "remanent response R-",
    "remanent_response_positive": "remanent response R+",
    "switchable_polarisation": "switchable polarisation",
    "work_of_switching": "work of switching",
    "nucleation_bias_negative": "negative nucleation bias",
    "nucleation_bias_positive": "positive nucleation bias",
}


@provenance.recorded("loops.derived")
def derived(fit: xr.Dataset, threshold: float = 0.03) -> xr.Dataset:
    """Switching characteristics of fitted loops.

    Parameters
    ----------
    fit : Dataset
        Of `xpycro.loops.fit`.
    threshold : float, default 0.03
        The share of the height that counts as nucleation.

    Returns
    -------
    Dataset
        Over the dims of the fit, each with ``<name>_stderr``: ``switching_bias_negative`` (V-, a2),
        ``switching_bias_positive`` (V+, a3), ``coercive_bias_negative`` and ``coercive_bias_positive``, where the
        branches are half-way, ``imprint`` (a2 + a3) / 2, ``remanent_response_negative`` (R-, a0),
        ``remanent_response_positive`` (R+, a0 + a1), ``switchable_polarisation`` (a1), ``work_of_switching``
        abs(a3 - a2) abs(a1), in response times bias (not in joule), ``nucleation_bias_positive``, where the rising
        branch has come to `threshold` of its height, and ``nucleation_bias_negative``, where the falling one has lost
        it. NaN where the fit is.

    Raises
    ------
    ValueError
        If it is no fit of loops, or `threshold` is not between 0 and 1.

    Notes
    -----
    *Laziness*: lazy where the fit is. Errors are propagated to first order through the covariance; those of V- and V+,
    and of imprint and work with them, come from the profiles that `xpycro.loops.fit` follows. Where one of the others
    rests on a width that the data do not determine it is huge.

    The switching biases a2 and a3 are where two corners of different width meet, and a corner's width can make up for
    most of their shift: of loops with 5 % noise they are about five times less sure than the coercive biases.

    Earlier code inverts the falling branch with the width of the wrong side (b0 instead of b1), and so finds a wrong
    negative nucleation bias or none.

    References
    ----------
    S. Jesse, H. N. Lee, S. V. Kalinin, Rev. Sci. Instrum. 77, 073702 (2006).

    Examples
    --------
    >>> from xpycro.analysis.loops.fitting import fit
    >>> from xpycro.analysis.loops.model import loop
    >>> bias = 10 * np.concatenate([np.arange(16), np.arange(16, -16, -1), np.arange(-16, 0)]) / 16
    >>> rising = np.concatenate([np.ones(16), np.zeros(32), np.ones(16)]) > 0
    >>> da = xr.DataArray(loop(bias, rising, -1, 2, -3, 4, 0, 1, 2, 1.5, 0.8), {"bias": ("step", bias)}, ("step",))
    >>> found = derived(fit(da))
    >>> [round(float(found[name]), 6) for name in ("imprint", "work_of_switching", "remanent_response_positive")]
    [0.5, 14.0, 1.0]
    """
    if schema.result_kind(fit) != "loop_fit":
        raise ValueError("derived works on what xp.loops.fit returned")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold={threshold} must lie between 0 and 1: it is a share of the loop's height")
    unit, volts = (str(fit[name].attrs.get("units", "1")) for name in ("height", "switching_bias_positive"))
    units = dict.fromkeys(_LABELS, volts)
    units |= dict.fromkeys(
        ("remanent_response_negative", "remanent_response_positive", "switchable_polarisation"), unit
    )
    units["work_of_switching"] = combine_units((unit, 1), (volts, 1))
    outputs = {}
    for name, label in _LABELS.items():
        outputs[name] = chunked.Output(np.float64, attrs={"units": units[name], "long_name": label})
    for name, label in _LABELS.items():
        attrs = {"units": units[name], "long_name": f"{label} standard error"}
        outputs[f"{name}_stderr"] = chunked.Output(np.float64, attrs=attrs)
    switching = [fit[f"{PARAMETERS[j]}_stderr"] for j in _SWITCHING]
    made = chunked.apply(
        _derived, fit["covariance"].drop_vars(["parameter", "parameter_"], errors="ignore"), *switching,
        *[fit[p] for p in PARAMETERS], dims=[["parameter", "parameter_"], *([] for _ in range(2 + len(PARAMETERS)))],
        outputs=outputs, kwargs={"threshold": threshold},
    )  # fmt: skip
    coords = {str(name): c for name, c in fit.coords.items() if set(c.dims) <= set(made["imprint"].dims)}
    return schema.new_result("loop_parameters", made, coords, {"threshold": threshold})


def _quantities(a: list[np.ndarray], threshold: float) -> list[np.ndarray]:
    a0, a1, a2, a3, _, b0, b1, b2, b3 = a
    return [
        a2, a3, inverse(0.5, a2, b0, b1), inverse(0.5, a3, b2, b3), 0.5 * (a2 + a3), a0, a0 + a1, a1,
        np.abs(a3 - a2) * np.abs(a1), inverse(1 - threshold, a2, b0, b1), inverse(threshold, a3, b2, b3),
    ]  # fmt: skip


def _derived(
    covariance: np.ndarray, negative: np.ndarray, positive: np.ndarray, *parameters: np.ndarray, threshold: float
) -> tuple[np.ndarray, ...]:
    """`negative` and `positive` are the errors of V- and V+."""
    a = [np.asarray(p, dtype=np.float64) for p in parameters]
    shape = np.broadcast_shapes(*(p.shape for p in a))
    values = _quantities(a, threshold)
    gradients = np.empty((len(values), *shape, 9))
    for j in range(9):
        # central differences: all quantities are smooth in what they depend on, and exact where they are linear
        h = 1e-6 * np.maximum(np.abs(a[j]), np.abs(a[3] - a[2]) + 1e-300)
        up, down = list(a), list(a)
        up[j], down[j] = a[j] + h, a[j] - h
        high, low = _quantities(up, threshold), _quantities(down, threshold)
        for k in range(len(values)):
            gradients[k, ..., j] = (high[k] - low[k]) / (2 * h)
    # what follows from the switching biases alone has their profiles' errors; what widths enter, too, is linear again,
    # for there most of their shift cancels
    scale = np.ones((*shape, 9))
    with np.errstate(invalid="ignore", divide="ignore"):
        for j, error in zip(_SWITCHING, (negative, positive), strict=True):
            scale[..., j] = np.asarray(error) / np.sqrt(covariance[..., j, j])
    errors = []
    for g in gradients:
        g = np.where((g[..., 5:] == 0).all(-1, keepdims=True), g * scale, g)
        product = g[..., :, None] * g[..., None, :]
        with np.errstate(invalid="ignore"):
            terms = np.where(product == 0, 0.0, product * covariance)
            errors.append(np.sqrt(terms.sum((-1, -2))))
    return (*values, *errors)
