"""VAMAS ``.vms`` (ISO 14976): electron and ion spectra of surfaces, line by line as text, in the order of the standard.

May import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.translators._axes import Axis, data_units, layout
from xpycro.io.translators._raster import Raster, raster
from xpycro.io.translators._signals import Signal, collect
from xpycro.schema import coordinate, identifier

__all__ = ["MAGIC", "blocks"]

MAGIC = b"VAMAS Surface Chemical Analysis Standard Data Transfer Format"
_LIMIT = 1 << 28
_LINES = 1 << 16  # comment lines, blocks, variables: no file has more
_ABSENT = 1e37  # the standard's word for "not known"
_MODES = ("MAP", "MAPDP", "MAPSV", "MAPSVDP", "NORM", "SDP", "SDPSV", "SEM", "NOEXP")
_PROFILES = ("MAPDP", "MAPSVDP", "SDP", "SDPSV")
_IONS = ("FABMS", "FABMS energy spec", "ISS", "SIMS", "SIMS energy spec", "SNMS", "SNMS energy spec")
_ELECTRONS = ("AES diff", "AES dir", "EDX", "ELS", "UPS", "XPS", "XRF")


@dataclass(frozen=True)
class _Block:
    """One block: where and when it was taken, its axis, and a row of numbers for each of its variables."""

    header: dict[str, Any]
    technique: str
    conditions: tuple[float, ...]
    place: tuple[float, float] | None  # (y, x)
    abscissa: tuple[str, str, float, float]
    variables: tuple[tuple[str, str], ...]
    rows: np.ndarray = field(compare=False)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What blocks that follow one another in a profile or a map have in common."""
        names = (self.header["species"], self.header["transition"], self.technique)
        return (*names, self.abscissa, self.variables, self.rows.shape)


def blocks(path: str) -> dict[str, xr.Dataset]:
    """Read a VAMAS file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        A group for each region (one alone: ``""``): the corresponding variables over ``energy`` (eV, ascending; kinetic
        or binding energy as its ``long_name`` says), ``mass_to_charge`` or ``point``. Blocks of one region that follow
        one another are a map ``y, x`` (m) where the file says so, else ``frame`` with the experimental variables as
        coordinates.

    Raises
    ------
    NotThisFormat, CorruptFile
    UnsupportedVariant
        Of images (scan mode MAPPING) and lists of parameters that are left out.

    Notes
    -----
    *Laziness*: read whole; a text file.

    References
    ----------
    W. A. Dench, L. B. Hazell, M. P. Seah, Surf. Interface Anal. 13, 63 (1988); ISO 14976:1998.
    """
    with Cursor(path) as cursor:
        if cursor.peek(len(MAGIC)) != MAGIC:
            raise NotThisFormat("its first line is not that of the standard", path=path, offset=0)
        if cursor.size > _LIMIT:
            raise cursor.corrupt(f"a text of more than {_LIMIT} bytes", "size")
        lines = _Lines(cursor)
        experiment = _experiment(lines)
        found = [_block(lines, experiment) for _ in range(experiment["blocks"])]
        lines.end()
    signals = [_signal(list(group), experiment) for _, group in itertools.groupby(found, key=lambda block: block.kind)]
    said = {key: value for key, value in experiment.items() if key != "variables"}
    flat = [signal for several in signals for signal in several]
    return collect(flat, said, modality="surface spectroscopy", instrument=experiment["instrument"] or None)


class _Lines:
    """The file's lines one after the other, each read as what the standard says it is."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor

    def text(self, name: str) -> str:
        self.cursor.need(1, name)
        return self.cursor.line(name).strip()

    def whole(self, name: str, *, low: int = 0, high: int = _LINES) -> int:
        at = self.cursor.position
        return integer(self.text(name), name, self.cursor, low=low, high=high, offset=at)

    def real(self, name: str) -> float:
        at = self.cursor.position
        return real(self.text(name), name, self.cursor, offset=at)

    def known(self, name: str) -> float | None:
        """A number, or None where the instrument did not know it."""
        value = self.real(name)
        return value if abs(value) < _ABSENT / 10 else None

    def end(self) -> None:
        """Raise where anything follows but the mark of the experiment's end."""
        while self.cursor.remaining:
            at, line = self.cursor.position, self.text("end of experiment")
            if line and line != "end of experiment":
                raise self.cursor.corrupt(f"{line[:40]!r} after the last block", "number of blocks", at)


def _experiment(lines: _Lines) -> dict[str, Any]:
    said: dict[str, Any] = {"format": lines.text("format")}
    for name in ("institution", "instrument", "operator", "experiment"):
        said[name] = lines.text(name)
    said["comment"] = "\n".join(lines.text("comment") for _ in range(lines.whole("number of comment lines")))
    at = lines.cursor.position
    said["mode"] = lines.text("experiment mode").upper()
    if said["mode"] not in _MODES:
        raise lines.cursor.corrupt(f"is {said['mode'][:20]!r}, not one of {_MODES}", "experiment mode", at)
    said["scan"] = lines.text("scan mode").upper()
    if said["scan"] not in ("REGULAR", "IRREGULAR"):
        raise UnsupportedVariant(f"scan mode {said['scan'][:20]!r}", path=lines.cursor.path, offset=at)
    if said["mode"] in ("MAP", "MAPDP", "NORM", "SDP"):
        said["regions"] = lines.whole("number of regions")
    if said["mode"] in ("MAP", "MAPDP"):
        for name in ("positions", "columns", "rows"):
            said[name] = lines.whole(f"number of {name}")
    count = lines.whole("number of experimental variables")
    said["variables"] = [(lines.text("variable label"), lines.text("variable units")) for _ in range(count)]
    listed = lines.whole("length of the inclusion list", low=-_LINES)
    if listed:
        raise UnsupportedVariant("parameters that the blocks leave out", path=lines.cursor.path, field="inclusion list")
    for _ in range(lines.whole("number of manually entered items")):
        lines.text("manually entered item")
    later, said["later"] = lines.whole("future entries"), lines.whole("future block entries")
    for _ in range(later):
        lines.text("future entry")
    said["blocks"] = lines.whole("number of blocks", low=1)
    return said


def _block(lines: _Lines, experiment: dict[str, Any]) -> _Block:
    mode = experiment["mode"]
    header: dict[str, Any] = {"block": lines.text("block"), "sample": lines.text("sample")}
    moment = [lines.whole(name, low=-1, high=9999) for name in ("year", "month", "day", "hour", "minute", "second")]
    header["acquired"] = _date(moment, lines.known("hours in advance of Greenwich"))
    header["comment"] = "\n".join(lines.text("comment") for _ in range(lines.whole("number of comment lines")))
    technique = header["technique"] = lines.text("technique")
    place = (lines.real("x"), lines.real("y"))[::-1] if mode in ("MAP", "MAPDP") else None
    conditions = tuple(lines.real("experimental variable") for _ in experiment["variables"])
    header["source"] = lines.text("analysis source")
    if mode in _PROFILES or technique in _IONS:
        _numbers(lines, header, "sputtering_atomic_number", "sputtering_atoms", "sputtering_charge")
    _numbers(lines, header, "source_energy", "source_strength", "beam_width_x", "beam_width_y")
    if mode in ("MAP", "MAPDP", "MAPSV", "MAPSVDP", "SEM"):
        _numbers(lines, header, "field_of_view_x", "field_of_view_y")
    if mode in ("MAPSV", "MAPSVDP", "SEM"):
        _numbers(lines, header, *(f"linescan_{n}" for n in range(6)))
    _numbers(lines, header, "source_polar_angle", "source_azimuth")
    header["analyser_mode"] = lines.text("analyser mode")
    _numbers(lines, header, "pass_energy")
    if technique == "AES diff":
        _numbers(lines, header, "differential_width")
    _numbers(
        lines, header, "magnification", "work_function", "target_bias", "analysis_width_x", "analysis_width_y",
        "take_off_polar_angle", "take_off_azimuth",
    )  # fmt: skip
    header["species"], header["transition"] = lines.text("species"), lines.text("transition")
    _numbers(lines, header, "charge_state")
    abscissa = ("", "", 0.0, 1.0)
    if experiment["scan"] == "REGULAR":
        abscissa = (lines.text("abscissa"), lines.text("units"), lines.real("start"), lines.real("increment"))
    count = lines.whole("number of corresponding variables", low=1, high=1000)
    variables = tuple((lines.text("label"), lines.text("units")) for _ in range(count))
    header["signal_mode"] = lines.text("signal mode")
    _numbers(lines, header, "collection_time", "scans", "time_correction")
    if technique in _ELECTRONS and mode in _PROFILES:
        _numbers(
            lines, header, "sputtering_energy", "sputtering_current", "sputtering_width_x", "sputtering_width_y",
            "sputtering_polar_angle", "sputtering_azimuth",
        )  # fmt: skip
        header["sputtering_mode"] = lines.text("sputtering mode")
    _numbers(lines, header, "tilt_polar_angle", "tilt_azimuth", "rotation")
    for _ in range(lines.whole("number of additional parameters")):
        label, units = lines.text("label"), lines.text("units")
        header[f"{label} ({units})" if units else label] = lines.text("value")
    for _ in range(experiment["later"]):
        lines.text("future entry")
    return _Block(header, technique, conditions, place, abscissa, variables, _ordinates(lines, count))


def _ordinates(lines: _Lines, variables: int) -> np.ndarray:
    """The numbers of each variable, compared with the least and largest that the block states."""
    cursor, at = lines.cursor, lines.cursor.position
    size = lines.whole("number of ordinate values", low=variables, high=cursor.remaining)
    if size % variables:
        raise cursor.corrupt(f"{size} values for {variables} variables", "number of ordinate values", at)
    limits = [(lines.real("minimum"), lines.real("maximum")) for _ in range(variables)]
    rows = np.array([lines.real("ordinate value") for _ in range(size)]).reshape(-1, variables).T
    for row, (low, high) in zip(rows, limits, strict=True):
        slack = 1e-3 * max(abs(low), abs(high))
        if low <= high and (row.min() < low - slack or row.max() > high + slack):
            raise cursor.corrupt(f"numbers outside {low:g} to {high:g}, which it states", "ordinate value", at)
    return rows


def _numbers(lines: _Lines, header: dict[str, Any], *names: str) -> None:
    for name in names:
        value = lines.known(name)
        if value is not None:
            header[name] = value


def _date(moment: list[int], zone: float | None) -> str | None:
    try:
        date = datetime(*moment)  # type: ignore[arg-type]
    except ValueError:
        return None
    if not zone or abs(zone) > 24:
        return date.isoformat()
    return f"{date.isoformat()}{'+' if zone > 0 else '-'}{_clock(abs(zone))}"


def _clock(hours: float) -> str:
    minutes = int(timedelta(hours=hours).total_seconds() // 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


# ----------------------------------------------------------------------------------------------------------- dataset


def _signal(group: list[_Block], experiment: dict[str, Any]) -> list[Signal]:
    """The variables of blocks of one region: one spectrum, a profile, a map."""
    first = group[0]
    axis, first_is_abscissa = _axis(first)
    laid = layout([axis], top_first=False)
    label = first.abscissa[0] or (first.variables[0][0] if first_is_abscissa else "")
    (dim,) = laid.dims
    coords: dict[str, xr.Variable] = dict(laid.coords)
    if label:
        coords[dim].attrs["long_name"] = label
    lead, order = _leading(group, experiment)
    name = " ".join(word for word in (first.header["species"], first.header["transition"]) if word)
    title = name or first.header["block"] or "spectrum"
    signals = []
    for number, (variable, units) in enumerate(first.variables):
        if first_is_abscissa and number == 0:
            continue
        rows = np.array([block.rows[number] for block in group])
        data = laid.numpy(rows[0]) if not lead else rows[:, :: -1 if laid.flip[0] else 1][order]
        factor, base = _ordinate_units(units)
        dims = (*[d for d in lead if lead[d].dims == (d,)], dim)
        said = {"acquired": first.header["acquired"], "data_type": first.technique, "title": first.header["sample"]}
        signals.append(
            Signal(
                variable or "intensity", xr.Variable(dims, data * factor, {"units": base, "long_name": variable}),
                {**lead, **coords}, {"blocks": [block.header for block in group]},
                {key: value for key, value in said.items() if value}, group=title,
            )
        )  # fmt: skip
    return signals


def _axis(block: _Block) -> tuple[Axis, bool]:
    """The axis of a regular scan, or the first variable of an irregular one (and that it is so)."""
    label, units, start, step = block.abscissa
    size = block.rows.shape[1]
    if label or units:
        return Axis(size, label, units, step or 1.0, start, signal=True, dim=_dim(label, units)), False
    (label, units), values = block.variables[0], block.rows[0]
    steps = np.diff(values)
    if len(block.variables) > 1 and ((steps > 0).all() or (steps < 0).all()):
        return Axis(size, label, units, values=values, signal=True, dim=_dim(label, units)), True
    return Axis(size, "point", "", signal=True, dim="point"), False


def _dim(label: str, units: str) -> str:
    plain = label.lower()
    if units.lower() in ("ev", "kev"):
        return "energy_loss" if "loss" in plain else "energy"
    return "mass_to_charge" if "mass" in plain or units in ("u", "m/z", "amu") else ""


def _ordinate_units(units: str) -> tuple[float, str]:
    """The standard writes ``d`` for a pure number and ``c/s`` for counts in a second."""
    return data_units({"d": "1", "c/s": "counts/s", "c": "counts", "n": "1"}.get(units, units))


def _plane(grid: Raster, header: dict[str, Any], experiment: dict[str, Any]) -> dict[str, xr.Variable]:
    """Places of a map, which the standard counts from 1; lengths where the field of view (um) is known."""
    coords = {}
    for dim, values, total in (("y", grid.y, experiment.get("rows")), ("x", grid.x, experiment.get("columns"))):
        size = header.get(f"field_of_view_{dim}")
        if size and total:
            coords[dim] = coordinate(dim, (values - 1) * size * 1e-6 / total)
        else:
            coords[dim] = coordinate(dim, values, units="pixel")
    return coords


def _leading(group: list[_Block], experiment: dict[str, Any]) -> tuple[dict[str, xr.Variable], Any]:
    """Coordinates before the spectral one, and which block lies where."""
    count = len(group)
    if count == 1:
        return {}, slice(None)
    places = [block.place for block in group if block.place is not None]
    grid = raster(*np.array(places).T) if len(places) == count else None
    if grid is not None:
        return _plane(grid, group[0].header, experiment), grid.place
    lead = {"frame": coordinate("frame", np.arange(count))}
    for number, (label, units) in enumerate(experiment["variables"]):
        values = np.array([block.conditions[number] for block in group])
        if math.isfinite(values.sum()) and np.ptp(values):
            factor, base = data_units(units)
            name = identifier(label)
            lead[name] = coordinate("frame", values * factor, name=name, units=base, long_name=label)
    return lead, slice(None)
