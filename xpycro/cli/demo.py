"""``xpycro demo``: the whole chain on one file, leaving an HDF5 file and an HTML report.

Which chain is decided by what the file holds: spectra are decomposed, clustered and fitted; mass spectra become ion
images and species; diffraction patterns are reduced and their peak fitted; images leveled, measured and transformed.
Every step is a public call that a notebook could make.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xpycro.cli import chains, diffraction, mass, switching, text
from xpycro.errors import DimensionError
from xpycro.io import opening, store
from xpycro.io.translate import translate
from xpycro.schema import plane_dims, resolve_dims
from xpycro.simulate import band_excitation, write_band_excitation

__all__ = ["run"]


def run(
    file: str | None = None,
    *,
    kind: str = "map",
    group: str | None = None,
    variable: str | None = None,
    output: str = ".",
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Run the chain that suits `file` (or a simulated measurement) and print where the results lie."""
    folder = text.folder(Path(output))
    if file is None and kind == "band-excitation":
        target = _free(folder / "band_excitation_demo.h5")
        raw = target.with_name(f"{target.stem}_raw")
        print("simulating switching spectroscopy: 24 x 24 pixels, 48 bias steps, in and out of field, 48 frequencies")
        made = band_excitation((24, 24), 48, mode="dc", n_steps=48, field="both", quality_factor=60, chunks={"y": 6})
        print(f"writing the raw folder {write_band_excitation(made, raw)}, and translating it")
        ds = translate(raw, target)
        # by place: the folder knows pixels, the simulation metres
        ds = ds.assign({str(n): v.variable for n, v in made.data_vars.items() if str(n).startswith("true_")})
    elif file is None:
        target = _free(folder / "xpycro_demo.h5")
        print("simulating a band-excitation map of 64 x 64 pixels, 128 frequencies")
        ds = store.save(band_excitation(), target)
    else:
        target = _free(folder / f"{Path(file).stem}.h5")
        print(f"translating {file}")
        ds = translate(file, target, format=format, **(options or {}))
        if group is not None:
            ds = opening.open(target, group=group)
    title = str(ds.attrs["title"]).replace("_", " ") if file is None else Path(file).name
    page = chains.Page(title=title, target=target)
    spectral = _spectral(ds, variable)
    patterns = diffraction.patterns(ds, variable)
    if variable is None and switching.is_switching(ds):
        switching.run(ds, page)
    elif patterns is not None:
        diffraction.run(ds, patterns, page)
    elif spectral is not None and (peaks := mass.table(spectral)) is not None:
        mass.run(ds, spectral, peaks, page)
    elif spectral is not None:
        chains.spectra(ds, spectral, page)
    elif any(plane_dims(da) for da in ds.data_vars.values()):
        chains.images(ds, page, variable)
    elif any(da.ndim == 1 or _has_signal(da) for da in ds.data_vars.values()):
        chains.curves(ds, page, variable)
    else:
        raise DimensionError(
            f"{file}: neither spectra, images nor curves in {list(map(str, ds.data_vars))}; see xpycro info"
        )
    report = page.write(target.with_suffix(".html"))
    print(f"\ndata and results: {target}\nreport:           {report}")


def _free(path: Path) -> Path:
    """The path, or a numbered one where it or its report exists: a demo never overwrites."""
    number, candidate = 1, path
    while candidate.exists() or candidate.with_suffix(".html").exists():
        number += 1
        candidate = path.with_name(f"{path.stem}_{number}{path.suffix}")
    return candidate


def _has_signal(da: xr.DataArray) -> bool:
    try:
        return bool(resolve_dims(da))
    except DimensionError:
        return False


FEWEST = 8  # a stack of fewer is a row of images: no spectrum to decompose and fit

# Which channel a microscopist would look at first, by what it is called; else the first.
_PREFERRED = (
    "response",
    "didv",
    "d_i_d_v",
    "lockin_x",
    "li_demod_1_x",
    "li_x",
    "lix",
    "frequency_shift",
    "current",
    "counts",
)


def _spectral(ds: xr.Dataset, variable: str | None) -> xr.DataArray | None:
    """The channel to decompose: over pixels and one signal dim, enough of both; None where there is none."""
    if variable is not None and variable not in ds.data_vars:
        raise ValueError(f"--variable {variable}: no such channel; the file has {list(map(str, ds.data_vars))}")
    found = {}
    for name, da in ds.data_vars.items():
        if str(name).startswith("true_") or (variable is not None and name != variable) or not _has_signal(da):
            continue
        signal = resolve_dims(da)
        pixels = int(np.prod([size for dim, size in da.sizes.items() if dim not in signal]))
        if len(signal) == 1 and pixels > 1 and da.sizes[signal[0]] >= FEWEST and da.dtype.kind in "fiuc":
            found[str(name)] = da
    for wanted in _PREFERRED:
        for name, da in found.items():
            if name.startswith(wanted):
                return da
    return next(iter(found.values()), None)
