"""Every kind of picture and explorer once, as one would show it: drawn by the tests, looked at by who changes them.

``python -m tests.viz.gallery [FOLDER]`` writes screenshots and print figures to build/screenshots.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xpycro as xp
from tests.viz import samples
from xpycro.schema import coordinate
from xpycro.viz import plot, report

FOLDER = Path(__file__).parents[2] / "build" / "screenshots"


@functools.cache
def band_excitation() -> xr.Dataset:
    return xp.simulate.band_excitation((20, 20), 48, seed=1)


@functools.cache
def oscillators() -> xr.Dataset:
    return xp.fit(band_excitation().response, "sho", dim="frequency")


@functools.cache
def decomposed() -> xr.Dataset:
    return xp.decompose.svd(band_excitation().response, dim="frequency", n_components=8)


@functools.cache
def clustered() -> xr.Dataset:
    return xp.cluster.kmeans(decomposed(), 4, data=band_excitation().response)


@functools.cache
def switched(n_cycles: int = 1) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset, xr.DataArray]:
    ds = xp.simulate.band_excitation(
        (8, 8), 32, mode="dc", n_steps=32, n_cycles=n_cycles, field="both", quality_factor=60
    )
    sho = xp.fit(ds.response, "sho", dim="frequency")
    loops = xp.loops.project(sho, field="out")
    return xp.loops.fit(loops), loops, sho, ds.response


def topography() -> xr.DataArray:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 96)
    values = 3e-9 * np.sin(9 * x + 4 * x[:, None] ** 2) + 1e-10 * rng.normal(size=(96, 96))
    coords = {d: coordinate(d, np.linspace(0, 2e-6, 96)) for d in ("y", "x")}
    return xr.DataArray(values, coords, ("y", "x"), "height", {"units": "m", "long_name": "Height"})


def point_spectra() -> xr.DataArray:
    rng = np.random.default_rng(5)
    bias = np.linspace(-1, 1, 101)
    gap = rng.uniform(0.1, 0.5, (14, 1))
    values = 1e-10 * np.sign(bias) * np.maximum(np.abs(bias) - gap, 0) + 1e-12 * rng.normal(size=(14, 101))
    places = {d: ("position", rng.uniform(1e-7, 1.9e-6, 14), {"units": "m"}) for d in ("x", "y")}
    coords = {**places, "bias": coordinate("bias", bias)}
    return xr.DataArray(values, coords, ("position", "bias"), "current", {"units": "A", "long_name": "Current"})


def approach_and_retract() -> xr.DataArray:
    z = np.linspace(0, 400e-9, 300)
    contact = np.maximum(80e-9 - z, 0) * 0.2
    away = np.where((z > 80e-9) & (z < 130e-9), -0.2 * (z - 80e-9), contact)
    coords = {"direction": ["approach", "retract"], "z": ("point", z, {"units": "m", "long_name": "Piezo position"})}
    attrs = {"units": "N", "long_name": "Force"}
    return xr.DataArray(np.stack([contact, away]), coords, ("direction", "point"), "force", attrs)


def photograph() -> xr.DataArray:
    """The topography as an optical microscope might see it."""
    height = topography()
    light = (height - height.min()) / (height.max() - height.min())
    tints = [(200 * light + 40), (150 * light + 60), (90 * light + 20)]
    names = xr.DataArray(["red", "green", "blue"], dims="channel", name="channel")
    return xr.concat(tints, names).astype("u1").rename("white_light").assign_attrs(long_name="White light")


def movie() -> xr.DataArray:
    held = [topography().roll(x=6 * i, roll_coords=False) for i in range(12)]
    return xr.concat(held, xr.DataArray(np.arange(12) * 0.5, dims="time", attrs={"units": "s"})).rename("height")


def phases() -> xr.Dataset:
    height = topography()
    signed = (height * 1e9 - 1).rename("deflection").assign_attrs(units="V", long_name="Deflection error")
    turned = (height * 0.9e9).rename("phase").assign_attrs(units="rad", long_name="Phase")
    names = {"flag_values": [0, 1, 2], "flag_meanings": "valley slope top", "long_name": "Terrace"}
    classes = xr.DataArray(np.digitize(height, [-1e-9, 1.5e-9]), height.coords, height.dims, "labels", names)
    return xr.Dataset({"deflection": signed, "phase": turned, "labels": classes})


PICTURES: dict[str, Callable[[], Any]] = {
    "image": lambda: plot.image(topography()),
    "image_signed": lambda: plot.image(phases()["deflection"]),
    "image_phase": lambda: plot.image(phases()["phase"]),
    "image_labels": lambda: plot.image(phases()["labels"]),
    "image_counts": lambda: plot.image(samples.patterns().isel(y=2, x=3), log=True),
    "image_uneven": lambda: plot.image(samples.current().isel(bias=3, x=[0, 1, 3, 4, 8])),
    "spectrum": lambda: plot.spectrum(samples.current(), at=[{"x": 4e-9, "y": 2e-9}, {"x": 1e-8, "y": 6e-9}]),
    "spectrum_spread": lambda: plot.spectrum(samples.current()),
    "spectrum_complex": lambda: plot.spectrum(samples.response(), at={"x": 4e-9, "y": 2e-9}),
    "maps": lambda: plot.maps(oscillators()[["amplitude", "resonance_frequency", "quality_factor", "phase", "r2"]]),
    "maps_components": lambda: plot.maps(samples.decomposition()[0]["maps"]),
    "loops": lambda: plot.loops(switched(2)[1].response.isel(y=3, x=4)),
    "complex": lambda: plot.complex(band_excitation().response.isel(frequency=22)),
    "complex_spectrum": lambda: plot.complex(samples.response().isel(y=2, x=2), "real_imaginary"),
    "hist": lambda: plot.hist(topography()),
    "scree": lambda: plot.scree(decomposed(), rank=xp.decompose.rank(decomposed())),
    "components": lambda: plot.components(decomposed()),
    "clusters": lambda: plot.clusters(clustered()),
    "photograph": lambda: plot.image(photograph()),
    "dendrogram": lambda: plot.dendrogram(clustered()),
    "force": lambda: plot.force(approach_and_retract()),
    "decomposition": lambda: plot.decomposition(samples.decomposition()[0]),
    "stack": lambda: plot.stack(movie(), "time"),
    "positions": lambda: plot.positions(point_spectra(), topography()),
    "positions_compared": lambda: plot.positions(point_spectra().isel(position=slice(0, 5)), topography()),
    "diffraction": lambda: plot.diffraction(samples.patterns()),
}  # fmt: skip


def whole() -> xr.Dataset:
    return samples.current().to_dataset()


EXPLORERS: dict[str, Callable[[], Any]] = {
    "explore": lambda: plot.explore(samples.current()),
    "explore_complex": lambda: plot.explore(samples.response()),
    "levels": lambda: plot.hist(topography(), levels=True),
    "lines": lambda: plot.lines(samples.current().isel(y=2)),
    "fit": lambda: plot.fit(oscillators(), band_excitation().response),
    "fit_of_a_line": lambda: plot.fit(oscillators().isel(y=9), band_excitation().response.isel(y=9)),
    "ranks": lambda: plot.decomposition(decomposed(), band_excitation().response),
    "switching": lambda: plot.switching(*switched()),
    "tree": lambda: plot.tree(xr.DataTree.from_dict({"/": whole(), "/svd": samples.decomposition()[0]})),
}  # fmt: skip


@functools.cache
def drawn(name: str) -> Any:
    """A kind or an explorer, made once for its page and its print figure."""
    return {**PICTURES, **EXPLORERS}[name]()


def write_pages(folder: Path, browser: Any, width: int = 1240, together: int = 8) -> list[Path]:
    """Screenshots of every kind, each a section of a page that holds several: Bokeh is loaded once a page."""
    folder.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(viewport={"width": width, "height": 600})
    page = context.new_page()
    written = []
    names = [*PICTURES, *EXPLORERS]
    for start in range(0, len(names), together):
        group = names[start : start + together]
        sections = [report.Section(name, "", drawn(name)) for name in group]
        path = report.write(folder / "gallery.html", title="Gallery", sections=sections)
        page.goto(path.as_uri())
        page.wait_for_function("() => Bokeh.documents.length && Bokeh.documents.every(d => d.is_idle)", timeout=60_000)
        page.wait_for_timeout(150)
        for number, name in enumerate(group):
            written.append(folder / f"{name}.png")
            page.locator(f"#s{number}").screenshot(path=written[-1])
        path.unlink()
    context.close()
    return written


def write_figures(folder: Path) -> list[Path]:
    """Every picture as a print figure."""
    folder.mkdir(parents=True, exist_ok=True)
    return [plot.save(drawn(name), folder / f"{name}_print.png") for name in PICTURES]


if __name__ == "__main__":
    from playwright import sync_api

    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    write_figures(target)
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        write_pages(target, chromium)
        chromium.close()
    print(target)
