"""The chains of the demo: what is done with spectra, with images, with single curves, and what the report shows of it.

Each prints one line a step and adds sections to the page. May import everything below the top floor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xpycro.analysis import models
from xpycro.analysis.fit import fit as fit_model
from xpycro.cli.text import table
from xpycro.io import store
from xpycro.processing import cluster, decompose, image
from xpycro.processing import spectra as spectra_tools
from xpycro.provenance import history
from xpycro.schema import plane_dims, resolve_dims
from xpycro.units import display_unit, engineering
from xpycro.viz import plot, report

__all__ = ["Page", "curves", "images", "spectra"]

MANY_CHANNELS = 12  # a report of more pictures is no report


@dataclass
class Page:
    """What the report will say, collected while the chain runs."""

    title: str
    target: Path
    lead: str = ""
    summary: list[tuple[str, Any]] = field(default_factory=list)
    sections: list[Any] = field(default_factory=list)

    def add(self, title: str, text: str, *content: Any) -> None:
        """One section more."""
        self.sections.append(report.Section(title, text, *content))

    def facts(self, ds: xr.Dataset) -> None:
        """What the instrument says of the measurement, for the head of the page."""
        wanted = {
            "title": "Title",
            "instrument": "Instrument",
            "modality": "Modality",
            "acquired": "Acquired",
            "bias": "Bias (V)",
        }
        self.summary += [(label, ds.attrs[key]) for key, label in wanted.items() if ds.attrs.get(key) not in (None, "")]
        plane = plane_dims(ds)
        if plane:
            self.summary.append(("Pixels", " × ".join(str(ds.sizes[d]) for d in reversed(plane))))
            if all(d in ds.coords and ds[d].attrs.get("units") == "m" and ds.sizes[d] > 1 for d in plane):
                sides = [
                    float(abs(ds[d].values[-1] - ds[d].values[0])) * ds.sizes[d] / (ds.sizes[d] - 1) for d in plane
                ]
                factor, unit = engineering(max(sides), "m")
                self.summary.append(("Frame", f"{sides[1] * factor:.4g} × {sides[0] * factor:.4g} {unit}"))
        if ds.attrs.get("scan_angle"):
            angle = f"{np.degrees(float(ds.attrs['scan_angle'])):.4g}° counter-clockwise"
            self.summary.append(("Scan angle", angle))

    def write(self, path: Path) -> Path:
        """Write the page."""
        footer = f"Data and results: {self.target.name} (plain HDF5). Made by xpycro demo."
        return report.write(
            path, title=self.title, lead=self.lead, summary=self.summary, sections=self.sections, footer=footer
        )


def _label(da: xr.DataArray) -> str:
    return str(da.attrs.get("long_name") or da.name)


def _shown(value: float, units: str | None) -> str:
    """A number with its unit, prefixed so that it reads."""
    factor, unit = engineering(abs(value), units)
    return f"{value * factor:.4g} {display_unit(unit) or ''}".rstrip()


# -------------------------------------------------------------------------------------------------------- spectra


def spectra(ds: xr.Dataset, da: xr.DataArray, page: Page) -> None:
    """Explore, decompose, cluster, fit, compare with the truth where there is one; every result is stored."""
    (dim,) = resolve_dims(da, ndim=1)
    page.facts(ds)
    if "direction" in da.dims:
        da = da.isel(direction=0)
    da, left_out = _measured(da, dim)
    if dim in _LIGHT and da.dtype.kind != "c":
        print(f"taking cosmic rays out of {_label(da)}")
        before, da = da, spectra_tools.despike(da, dim=dim)
        share = float(((before != da) & before.notnull()).mean())
        left_out = f"{left_out} Cosmic rays were taken out first: {share:.2g} of all values.".strip()
    page.lead = f"{_label(da)} over {da.sizes[dim]} values of {dim} at every pixel: decomposed, clustered, fitted."
    page.summary.append(("Channel", _label(da)))
    text = "Tap a pixel for its spectrum; tap the spectrum for the map at that value."
    page.add(_label(da), f"{text}\n\n{left_out}" if left_out else text, report.explorer(da))

    components = min(32, da.sizes[dim], _pixels(da, dim))
    print(f"decomposing {_label(da)}: SVD")
    svd = store.save(decompose.svd(da, dim=dim, n_components=components), page.target)
    if _uniform(svd):
        print(f"{_label(da)}: the same at every pixel")
        page.add("Nothing to decompose", "The spectrum is the same at every pixel.", _history_table(svd))
        return
    share = 100 * float(svd.explained_variance_ratio[0])
    page.add(
        "Singular value decomposition",
        f"Exact, all singular values kept; the first component holds {share:.3g} % of the sum of squares. "
        f"Maps are in the data's units.\n\nComponents to take: {decompose.rank(svd).advice}",
        plot.decomposition(svd, explore=False),
    )
    print("clustering the maps: k-means")
    clusters = store.save(cluster.kmeans(svd, _n_clusters(da, dim), data=da), page.target)
    page.add(
        "Clusters",
        "k-means on the maps of the decomposition; mean spectra and their spread are of the raw data. "
        "Neighbouring numbers have similar means.",
        report.model_of(plot.clusters(clusters), 200_000),  # beside the other explorers the page stays below 10 MB
    )
    model, ranking, near = _model(da, dim, clusters)
    print(f"fitting every pixel: {model}")
    fit = store.save(_fit(da, model, dim, near), page.target)
    fitted = da.notnull().any(dim)
    good = 100 * float((fit.converged & fitted).sum() / fitted.sum())
    text = f"Model: {model}. {good:.4g} % of the measured pixels converged" + (
        ". " if good == 100 else "; the others are NaN and flagged in status. "
    )
    text += "Tap a map for data and fitted curve."
    page.add("Fit of every pixel", text, *([ranking] if ranking is not None else []), report.fit_explorer(fit, da))
    _compare_with_truth(ds, fit, page)
    print(f"\n{history(fit)}")
    page.add("How it was made", "", _history_table(fit))


def _measured(da: xr.DataArray, dim: str) -> tuple[xr.DataArray, str]:
    """The part of the signal axis that nearly every measured pixel has, and a sentence on what was left out.

    A sweep that a safety condition ends early leaves NaN at the end of a pixel's spectrum, an aborted scan whole pixels
    of NaN: spectra of different length cannot be decomposed together.
    """
    if da.dtype.kind not in "fc":
        return da, ""
    finite = da.notnull()
    others = [d for d in da.dims if d != dim]
    present = finite.any(dim).compute()
    share = (finite.sum(others) / max(1, int(present.sum()))).compute()
    keep = np.flatnonzero(share.values >= 0.95)
    sentences = []
    if int(present.sum()) < present.size:
        sentences.append(f"{int(present.sum())} of {present.size} pixels were measured.")
    if 2 <= keep.size < da.sizes[dim]:
        da = da.isel({dim: slice(int(keep[0]), int(keep[-1]) + 1)})
        used = f"the {da.sizes[dim]} that at least 95 % of the measured pixels have are used"
        sentences.append(f"Of {share.size} values of {dim} {used}.")
    return da, " ".join(sentences)


def _pixels(da: xr.DataArray, dim: str) -> int:
    return int(np.prod([size for d, size in da.sizes.items() if d != dim]))


def _n_clusters(da: xr.DataArray, dim: str) -> int:
    return max(2, min(4, _pixels(da, dim) // 4))


# What is tried on the clusters' mean spectra of a real measurement; the most likely by AIC is fitted everywhere.
_CANDIDATES = (
    "linear",
    "polynomial",
    "exponential + linear",
    "gaussian + linear",
    "lorentzian + linear",
    "gaussian + polynomial",
)


# What a detector behind a grating records: cosmic rays, and lines on a fluorescence.
_LIGHT = ("wavenumber", "wavelength")
_LINES = (
    "linear",
    "polynomial",
    "lorentzian + polynomial",
    "gaussian + polynomial",
    "lorentzian + lorentzian + polynomial",
)

# An energy loss falls off as a power law below its edges.
_LOSSES = ("power_law", "power_law + gaussian", "power_law + erf_step", "power_law + erf_step + gaussian")


def _model(da: xr.DataArray, dim: str, clusters: xr.Dataset) -> tuple[str, Any, xr.Dataset | None]:
    """The model that suits: the oscillator for complex spectra, else the best candidate on the clusters' means.

    With it come a table of the candidates and, of lines behind a grating, the fit of the means.
    """
    if da.dtype.kind == "c":
        return "sho", None, None
    means = clusters.mean_response.compute()
    # the spread of the mean is far below any model's misfit, so AIC only ranks here; it is not a test
    candidates: tuple[str, ...] = _LINES if dim in _LIGHT else _CANDIDATES
    candidates = _LOSSES if dim == "energy_loss" and float(da[dim].min()) > 0 else candidates
    fits = {name: _fit(means, name, dim) for name in candidates}
    scores = {name: float(fit.aic.mean()) for name, fit in fits.items() if bool(fit.converged.all())}
    if not scores:
        return candidates[0], None, None
    best = min(scores, key=lambda name: scores[name])
    rows = [(name, score - scores[best]) for name, score in sorted(scores.items(), key=lambda item: item[1])]
    caption = "Candidates on the clusters' mean spectra: Akaike information criterion above the best."
    return best, report.Table(["Model", "ΔAIC"], rows, caption), fits[best] if dim in _LIGHT else None


def _fit(da: xr.DataArray, model: str, dim: str, near: xr.Dataset | None = None) -> xr.Dataset:
    """The fit, peaks kept within the window: one that lies beyond it is no peak but a bent background.

    Where the mean spectra were fitted, lines stay `near` theirs: two that are alike do not change places.
    """
    axis = np.sort(da[dim].values.astype(float)) if dim in da.coords else np.arange(da.sizes[dim], dtype=float)
    span = float(axis[-1] - axis[0])
    bounds = {}
    for name in models.parse(model).parameters:
        if name.endswith("_center"):
            low, high = (
                (axis[0], axis[-1]) if near is None else (near[name].min() - span / 20, near[name].max() + span / 20)
            )
            bounds[name] = (max(float(low), float(axis[0])), min(float(high), float(axis[-1])))
        elif name.endswith(("_sigma", "_gamma")):
            bounds[name] = (span / (axis.size - 1), span)
    return fit_model(da, model, dim=dim, bounds=bounds or None)


def _compare_with_truth(ds: xr.Dataset, fit: xr.Dataset, page: Page) -> None:
    """Recovered against true, for each parameter of which the simulator knows the truth."""
    rows = []
    for name in fit.data_vars:
        if f"true_{name}" not in ds:
            continue
        truth, found, error = (da.compute() for da in (ds[f"true_{name}"], fit[name], fit[f"{name}_stderr"]))
        units = truth.attrs.get("units")
        difference = found - truth
        is_angle = units == "rad"
        if is_angle:
            difference = (difference + np.pi) % (2 * np.pi) - np.pi
        rms = float(np.sqrt((difference**2).mean()))
        rows.append(
            (
                name,
                "-" if is_angle else _shown(float(truth.median()), units),
                "-" if is_angle else _shown(float(found.median()), units),
                _shown(rms, units),
                float((abs(difference) < error).mean() * 100),
            )
        )
    if not rows:
        return
    header = ["Parameter", "true (median)", "recovered (median)", "rms error", "within 1 stderr (%)"]
    caption = (
        "Over all pixels; angles by their differences, for they have no median. Honest error bars hold 68.3 % of the "
        "truths within one standard error."
    )
    page.add("Recovered against true", "", report.Table(header, rows, caption))
    print("\n" + "\n".join(table([header, *[[*map(str, row[:-1]), f"{row[-1]:.1f}"] for row in rows]])))


def _uniform(svd: xr.Dataset) -> bool:
    """Whether all spectra are one and the same, to what products in double precision tell apart."""
    values, first = svd.singular_values.values, svd.maps.isel(component=0).values
    spread = np.ptp(first[np.isfinite(first)])
    return bool(values[1:].max(initial=0.0) <= 1e-7 * values[0] and spread <= 1e-7 * np.nanmax(np.abs(first)))


def _history_table(obj: xr.Dataset | xr.DataArray) -> Any:
    return report.Table(["", "Operation", "Parameters"], list(history(obj).rows()), text=True)


# --------------------------------------------------------------------------------------------------------- images


def images(ds: xr.Dataset, page: Page, variable: str | None = None) -> None:
    """Level, measure and transform each channel; the leveled images are stored."""
    page.facts(ds)
    names = [str(n) for n, da in ds.data_vars.items() if plane_dims(da) and da.dtype.kind in "fiu"]
    names = [variable] if variable is not None else names
    shown = names[:MANY_CHANNELS]
    page.lead = "Each channel as measured, leveled by a plane, and in the frequency domain."
    if len(names) > len(shown):
        page.lead += f" The first {len(shown)} of {len(names)} channels are shown."
    statistics = []
    for name in shown:
        da = ds[name]
        rest = [d for d in da.dims if d not in (plane_dims(da) or ())]
        da = da.isel({d: 0 for d in rest})
        low, high = (float(v) for v in (da.min(), da.max()))
        # what float32 can tell apart; a channel that stands still is set, not measured
        if not high - low > 1e-6 * max(abs(low), abs(high)) or min(da.shape) < 2:
            print(f"{_label(da)}: constant")
            constant = _shown(low, da.attrs.get("units")) if np.isfinite(low) else "missing"
            statistics.append((_label(da), constant, constant, constant, *[""] * 5))
            continue
        print(f"leveling and measuring {_label(da)}")
        cyclic = da.attrs.get("units") == "rad"  # a plane through a phase that jumps by 2 pi means nothing
        leveled = da if cyclic else image.level(da)
        rough = image.roughness(leveled).compute()
        statistics.append((_label(da), *_statistics(da, rough)))
        spectrum = _log_spectrum(leveled)
        what = f"First of {', '.join(map(str, rest))}. " if rest else ""
        units = da.attrs.get("units")
        after = "" if cyclic else " after leveling"
        text = (
            f"{what}Root-mean-square{after} {_shown(float(rough.root_mean_square_height), units)}, "
            f"peak to valley {_shown(float(rough.maximum_height), units)}."
        )
        page.add(
            _label(da),
            text,
            *[report.image(one) for one in ((da,) if cyclic else (da, leveled))],
            report.image(spectrum),
        )
        if not cyclic:
            store.save(leveled, page.target, name=f"leveled_{name}")
    header = ["Channel", "minimum", "maximum", "mean", "Sa", "Sq", "Ssk", "Sku", "Sz"]
    caption = "Minimum, maximum, mean as measured; ISO 25178-2 parameters after plane leveling (phases as measured)."
    page.sections.insert(0, report.Section("Statistics", "", report.Table(header, statistics, caption)))
    print("\n" + "\n".join(table([header, *statistics])))


def _statistics(da: xr.DataArray, rough: xr.Dataset) -> tuple[str, ...]:
    units = da.attrs.get("units")
    values = [float(v) for v in xr.concat([da.min(), da.max(), da.mean()], "statistic").compute()]
    heights = [_shown(float(rough[name]), units) for name in ("arithmetical_mean_height", "root_mean_square_height")]
    shape = [f"{float(rough[name]):.3g}" for name in ("skewness", "kurtosis")]
    return (*(_shown(v, units) for v in values), *heights, *shape, _shown(float(rough.maximum_height), units))


def _log_spectrum(leveled: xr.DataArray) -> xr.DataArray:
    """Magnitude of the transform in decades, missing lines taken as the mean."""
    magnitude = abs(image.fft(leveled.fillna(0.0)))
    floor = float(magnitude.where(magnitude > 0).min())
    decades: xr.DataArray = xr.apply_ufunc(
        np.log10, magnitude.clip(min=floor) if np.isfinite(floor) else magnitude + 1.0, dask="allowed"
    )
    return decades.assign_attrs(units="1", long_name=f"log₁₀ |F| of {_label(leveled)}").rename("spectrum")


# --------------------------------------------------------------------------------------------------------- curves


def curves(ds: xr.Dataset, page: Page, variable: str | None = None) -> None:
    """Single curves: a plot for each channel."""
    page.facts(ds)
    page.lead = "The recorded curves."
    names = [variable] if variable is not None else [str(n) for n in ds.data_vars][:MANY_CHANNELS]
    for name in names:
        print(f"plotting {_label(ds[name])}")
        page.add(_label(ds[name]), "", report.spectrum(ds[name]))
