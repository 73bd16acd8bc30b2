"""How many components are signal: the answers of several methods, and which of them can be believed here.

May import engine, schema, provenance and errors; the arithmetic is in noise.py, structure.py and permuting.py.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.engine import chunked
from xpycro.processing.decompose.advice import LABELS, judge
from xpycro.processing.decompose.noise import bulk_misfit, drawn_values, misfit_limit, thresholds
from xpycro.processing.decompose.permuting import permuted
from xpycro.processing.decompose.results import signal_dims
from xpycro.processing.decompose.structure import map_structure
from xpycro.provenance import recorded

__all__ = ["rank"]


@recorded("decompose.rank")
def rank(
    result: xr.Dataset,
    *,
    data: xr.DataArray | None = None,
    noise: float | None = None,
    n_draws: int = 20,
    seed: int = 0,
) -> xr.Dataset:
    """How many components of a decomposition are signal: five answers, which of them hold here, and the one to take.

    Thresholds from random-matrix theory presume noise that is alike in every channel and independent between them.
    Whether it is shows in the bulk of the singular values, which must then follow the Marchenko-Pastur law; where it
    does not (filtered, oversampled or unequal channels, mains hum, counts as they are), theory takes noise for signal,
    often dozens of components of it, and is marked as not believable. What holds then is the structure of the maps:
    noise that is independent between observations makes maps without likeness of neighbours, whatever its correlation
    between channels.

    Parameters
    ----------
    result : Dataset
        Of ``svd`` or ``pca``, with all its singular values.
    data : DataArray, optional
        What it was made from: the parallel analysis then permutes each channel of it, one pass for all draws, which
        allows for any distribution but lets strong components hide weak ones; without it the analysis draws Gaussian
        noise of the same size and level. With it the correlation and the inequality of the channels' noise are
        measured besides.
    noise : float, optional
        Standard deviation of the noise in the units of the singular values; None estimates it from their median.
    n_draws : int, optional
        Draws of the parallel analysis.
    seed : int, optional

    Returns
    -------
    Dataset
        - ``recommended``: the number to take, dimensionless, -1 where none can be believed; the attribute ``advice``
          of the Dataset says why;
        - ``gavish_donoho``, ``marchenko_pastur``, ``parallel_analysis``, ``map_structure``, ``elbow``: the answers,
          dimensionless, each with attributes ``believable`` (1 or 0) and ``note`` (what it presumes, and whether that
          holds);
        - ``gavish_donoho_threshold``, ``marchenko_pastur_edge``: in the units of the data;
        - ``parallel_analysis_threshold(rank)``: the 95th percentile of each singular value without correlation;
        - ``elbow_distance(rank)``: of the logarithmic scree from the line through its ends, dimensionless;
        - ``neighbour_correlation(component)``: of each map kept, along the observation dim where it stands out least;
          ``neighbour_limit(component)``: what noise stays below (95 % for all maps together);
          ``structured(component)``: whether the map is above it; dimensionless;
        - ``bulk_misfit``, ``bulk_limit``: distance of the bulk from the Marchenko-Pastur law, and what independent
          noise stays below; dimensionless;
        - ``noise``: in the units of the data;
        - ``singular_values(rank)``: for the plot;
        - with `data`, ``channel_correlation``: largest correlation of the residual's channels up to ten apart;
          ``channel_inequality``: its largest over its smallest standard deviation, of 90 % of the channels.

    Raises
    ------
    ValueError
        If the result does not hold all its singular values, or `data` has too many channels to be permuted.

    Notes
    -----
    *Laziness*: reads singular values and maps (two passes over the data where they are lazy), and `data` once where
    given. ``map_structure`` counts among the maps that the result keeps: it needs more of them than are signal. Where
    all are kept it also sees whether noise is alike in neighbouring observations, and is then marked as not believable.
    Channels of very unequal noise mix with weak signals, which may count one or two too many: give their variance to
    ``pca(variance=)``.

    References
    ----------
    M. Gavish, D. L. Donoho, The optimal hard threshold for singular values is 4/sqrt(3), IEEE Trans. Inf. Theory 60,
    5040 (2014). V. A. Marchenko, L. A. Pastur, Math. USSR Sb. 1, 457 (1967). J. L. Horn, A rationale and test for the
    number of factors in factor analysis, Psychometrika 30, 179 (1965). I. Dumitriu, A. Edelman, Matrix models for beta
    ensembles, J. Math. Phys. 43, 5830 (2002). P. A. P. Moran, Notes on continuous stochastic phenomena, Biometrika 37,
    17 (1950).

    Examples
    --------
    Noise smoothed along the bias: theory counts it, its maps give it away.

    >>> import numpy as np, xarray as xr
    >>> from xpycro.processing.decompose import svd
    >>> rng = np.random.default_rng(0)
    >>> y, x = np.mgrid[:30, :30] / 30
    >>> clean = 3 * np.sin(3 * x)[..., None] * np.ones(40) + 5 * y[..., None] * np.linspace(-1, 1, 40)
    >>> white = rng.normal(size=(30, 30, 42))
    >>> spectra = xr.DataArray(clean + white[..., :-2] + white[..., 1:-1] + white[..., 2:], dims=("y", "x", "bias"))
    >>> found = rank(svd(spectra))
    >>> int(found.gavish_donoho), found.gavish_donoho.believable, int(found.recommended)
    (15, 0, 2)
    """
    if schema.result_kind(result) != "decomposition" or "singular_values" not in result:
        raise ValueError("rank works on a decomposition with singular_values: of decompose.svd or decompose.pca")
    if "randomized" in str(result.attrs.get("pycro_solver", "")):
        raise ValueError(
            "rank needs all singular values, and the randomized solver found the leading ones only: bin the data, or "
            "decompose it with solver='exact'"
        )
    centered = bool(result.attrs.get("pycro_centered", 0))
    kept = result.sizes["component"]
    tested = map_structure(result["maps"], centered=centered, complete=kept == result.sizes["rank"])
    values, structure = chunked.compute(result["singular_values"].data, tested)
    values = np.asarray(values, float)
    found = values[values > 0]
    if found.size < 2:
        raise ValueError(f"rank: {found.size} singular values are not zero, too few to tell signal from noise")
    larger, smaller = max(structure.n_observations - centered, _n_channels(result), found.size), found.size
    theory = thresholds(found, larger, noise)
    drawn = drawn_values(larger, smaller, n_draws, seed)
    misfit, limit = bulk_misfit(found, larger), misfit_limit(drawn, larger)
    structured = structure.structured & (values[:kept] > 0)
    upper, given, channels = np.zeros(values.size), 0, None
    if data is None:
        # what is left once j components are taken off is noise of a matrix smaller by j: its first value counts
        off = np.arange(smaller)
        shrink = (np.sqrt(larger - off) + np.sqrt(smaller - off)) / (np.sqrt(larger) + np.sqrt(smaller))
        upper[:smaller] = float(np.quantile(drawn[:, 0], 0.95)) * theory.noise * shrink
    else:
        draws, channels = permuted(result, data, structured, n_draws=n_draws, seed=seed)
        draws = draws[:, : values.size]
        upper[: draws.shape[1]] = np.quantile(draws, 0.95, axis=0)
        # shuffling keeps the mean spectrum: where it was not taken off it is a component in the shuffled data too
        given = int(not centered and upper.size > 1 and upper[0] > 1.5 * upper[1])
    distance = _elbow_distance(values)
    answers = {
        "gavish_donoho": int((values > theory.hard).sum()),
        "marchenko_pastur": int((values > theory.edge).sum()),
        "parallel_analysis": _leading(values > upper, given=given),
        "map_structure": int(structured.sum()) if np.isfinite(structure.limit).any() else -1,
        "elbow": int(distance.argmax()),
    }
    units = str(result["singular_values"].attrs.get("units", "1"))
    judged = judge(
        answers, structure, structured, misfit, limit, permuted=data is not None, complete=kept >= smaller,
        channels=channels, counts=units == "counts" and "pycro_scale" not in result.attrs,
    )  # fmt: skip
    plain = {"units": "1"}
    variables: dict[str, Any] = {
        name: ((), answer, {**plain, "long_name": LABELS[name], "believable": believable, "note": note})
        for (name, answer), (believable, note) in zip(answers.items(), judged.notes, strict=True)
    }
    variables |= {
        "recommended": ((), judged.recommended, {**plain, "long_name": "Components to take"}),
        "gavish_donoho_threshold": ((), theory.hard, {"units": units, "long_name": "Optimal hard threshold"}),
        "marchenko_pastur_edge": ((), theory.edge, {"units": units, "long_name": "Largest singular value of noise"}),
        "parallel_analysis_threshold": ("rank", upper, {"units": units, "long_name": "95 % of uncorrelated data"}),
        "elbow_distance": ("rank", distance, {**plain, "long_name": "Distance from the chord of the scree"}),
        "neighbour_correlation": (
            "component", structure.correlation, {**plain, "long_name": "Correlation of neighbours in the map"},
        ),
        "neighbour_limit": (
            "component",
            structure.limit,
            {**plain, "long_name": "Correlation that noise stays below"},
        ),
        "structured": ("component", structured, {**plain, "long_name": "Map has structure"}),
        "bulk_misfit": ((), misfit, {**plain, "long_name": "Distance from the Marchenko-Pastur law"}),
        "bulk_limit": ((), limit, {**plain, "long_name": "Distance that independent noise stays below"}),
        "noise": ((), theory.noise, {"units": units, "long_name": "Noise of one value"}),
        "singular_values": ("rank", values, {"units": units, "long_name": "Singular value"}),
    }  # fmt: skip
    if channels is not None:
        variables |= {
            "channel_correlation": ((), channels.correlation, {**plain, "long_name": "Correlation between channels"}),
            "channel_inequality": ((), channels.inequality, {**plain, "long_name": "Largest noise over smallest"}),
        }
    coords = {"rank": result["rank"], "component": result["component"]}
    return xr.Dataset(variables, coords=coords, attrs={"advice": judged.advice})


def _n_channels(result: xr.Dataset) -> int:
    """Channels that were used."""
    width = int(np.prod([result.sizes[d] for d in signal_dims(result)], dtype=np.int64))
    return width - len(json.loads(result.attrs.get("pycro_excluded_channels", "[]")))


def _leading(above: np.ndarray, *, given: int = 0) -> int:
    """How many of the first are true before one is not; the first `given` are not asked."""
    rest = above[given:]
    return given + int(rest.size if rest.all() else np.argmin(rest))


def _elbow_distance(values: np.ndarray) -> np.ndarray:
    """Distance of the logarithmic scree below the chord from its first point to its last, both axes from 0 to 1."""
    positive = values > max(float(values[0]) * 1e-12, 0.0)
    height = np.log10(np.where(positive, values, values[positive].min()))
    span = height.max() - height.min()
    if span == 0:
        return np.zeros(values.size)
    across = np.linspace(0, 1, values.size)
    distance = (1 - across) - (height - height.min()) / span
    return np.maximum(distance, 0) / np.sqrt(2)
