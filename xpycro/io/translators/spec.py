"""SPEC (certified) data files of synchrotrons: scans of motors and counters as text, one after the other.

May import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat
from xpycro.io.cursor import Cursor, integer
from xpycro.io.translators import _common as common
from xpycro.io.translators._raster import raster
from xpycro.schema import coordinate, identifiers

__all__ = ["is_spec", "scans"]

_LIMIT = 1 << 30
_SCANS = 1 << 16
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_MESH = ("mesh", "dmesh", "amesh", "cmesh", "zapimage", "dmap", "fmesh")


def is_spec(head: bytes) -> bool:
    """Whether a text begins as SPEC writes it."""
    return re.match(rb"\s*#F .*\r?\n(#[A-Z].*\r?\n|\s*\r?\n)*#[ESDO]", head) is not None and b"#" in head


def scans(path: str) -> dict[str, xr.Dataset]:
    """Read a SPEC file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        A group for each scan, ``scan_1`` and on (one alone: ``""``): every counter is a variable over ``point`` with
        the motors that moved as coordinates, named and in the units of the beam line (SPEC writes none); of a mesh over
        ``y, x``, the first motor along x, what a stopped one did not reach NaN and flagged in ``measured``. A spectrum
        of a multichannel analyser (``@A``) is ``mca(point, channel)``. Motors that stood still are in the header.

    Raises
    ------
    NotThisFormat, CorruptFile

    Notes
    -----
    *Laziness*: read whole; a text file.

    References
    ----------
    Certified Scientific Software, "spec: standard data file format".
    """
    with Cursor(path) as cursor:
        if not is_spec(cursor.peek(4096)):
            raise NotThisFormat("does not begin with #F and further lines of SPEC", path=path, offset=0)
        if cursor.size > _LIMIT:
            raise cursor.corrupt(f"a text of more than {_LIMIT} bytes", "size")
        text = cursor.read(cursor.size, "file").decode("latin-1")
        if not text.endswith("\n"):
            raise cursor.corrupt("the last line has no end: truncated", "end", cursor.size)
        blocks = re.split(r"^(?=#S )", text, flags=re.M)
        head, blocks = blocks[0], blocks[1:]
        if not blocks or len(blocks) > _SCANS:
            raise cursor.corrupt(f"{len(blocks)} scans", "#S", len(head))
        motors = {int(n): re.split(r" {2,}", names.strip()) for n, names in re.findall(r"^#O(\d+) (.*)$", head, re.M)}
        found: dict[str, xr.Dataset] = {}
        at = len(head)
        if re.search(r"^[^#\s]", head, re.M):
            raise cursor.corrupt("numbers before the first scan", "header", 0)
        for block in blocks:
            found[f"scan_{len(found) + 1}"] = _scan(block, motors, cursor, at)
            at += len(block)
    return {"": next(iter(found.values()))} if len(found) == 1 else found


def _scan(block: str, motors: dict[int, list[str]], cursor: Cursor, at: int) -> xr.Dataset:
    lines = _unfolded(block)
    said: dict[str, str] = {}
    rows: list[list[float]] = []
    spectra: list[np.ndarray] = []
    for line in lines:
        if line.startswith("#"):
            key, _, value = line[1:].partition(" ")
            if not re.fullmatch(r"@?[A-Za-z]+\d*", key):
                raise cursor.corrupt(f"a line {line[:40]!r}", "scan", at)
            said[key] = f"{said[key]}\n{value}" if key in said else value
        elif line.startswith("@A"):
            spectra.append(_numbers(line[2:], cursor, at))
        elif line.strip():
            rows.append(_numbers(line, cursor, at).tolist())
    labels = re.split(r" {2,}", said.get("L", "").strip())
    if "N" not in said or integer(said["N"].split()[0] if said["N"] else "", "#N", cursor, offset=at) != len(labels):
        raise cursor.corrupt(f"{len(labels)} columns are named and #N says {said.get('N')!r}", "#N", at)
    if "\n" in said.get("L", "") or any(len(_NUMBER.findall(label)) > 2 for label in labels):
        raise cursor.corrupt("numbers or a second line among the names of the columns", "#L", at)
    if any(len(row) != len(labels) for row in rows):
        raise cursor.corrupt(f"a line has not {len(labels)} numbers", "scan", at)
    if spectra and (len(spectra) != len(rows) or len({s.size for s in spectra}) != 1):
        raise cursor.corrupt(f"{len(spectra)} spectra for {len(rows)} points", "@A", at)
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(labels))
    return _dataset(said, labels, table, spectra, motors, cursor, at)


def _unfolded(block: str) -> list[str]:
    """Lines, those that end in a backslash joined with the next."""
    return re.sub(r"\\\r?\n", " ", block).splitlines()


def _numbers(line: str, cursor: Cursor, at: int) -> np.ndarray:
    try:
        return np.array(line.split(), dtype=np.float64)
    except ValueError:
        raise cursor.corrupt(f"{line.strip()[:40]!r} is no line of numbers", "scan", at) from None


def _dataset(
    said: dict[str, str], labels: list[str], table: np.ndarray, spectra: list[np.ndarray],
    motors: dict[int, list[str]], cursor: Cursor, at: int,
) -> xr.Dataset:  # fmt: skip
    command = said["S"].split()
    if len(command) < 2:
        raise cursor.corrupt(f"{said['S']!r} names no scan", "#S", at)
    moved = _moved(command, labels, motors)
    names = dict(zip(labels, identifiers(labels, ("point", "y", "x", "channel", "measured")), strict=True))
    grid = None
    if len(moved) == 2 and command[1] in _MESH:
        fast, slow = (table[:, labels.index(name)] for name in moved)
        grid = raster(slow, fast, partial=True)
    coords: dict[str, Any] = {}
    if grid is None:
        dims: tuple[str, ...] = ("point",)
        coords["point"] = coordinate("point", np.arange(len(table)))
        for name in moved:
            values = table[:, labels.index(name)]
            coords[names[name]] = coordinate(
                "point", values, name=names[name], long_name=name, dimension_type="spectral"
            )
        place = np.arange(len(table))
    else:
        dims, place = ("y", "x"), grid.place
        for dim, values, name in (("y", grid.y, moved[1]), ("x", grid.x, moved[0])):
            coords[dim] = coordinate(dim, values, units="1", long_name=name)
    variables: dict[str, Any] = {}
    there = place >= 0

    def laid(values: np.ndarray) -> np.ndarray:
        """Rows where they were taken; NaN where none was."""
        if there.all():
            return values[place]
        out = np.full((*place.shape, *values.shape[1:]), np.nan)
        out[there] = values[place[there]]
        return out

    for number, label in enumerate(labels):
        if label not in moved:
            variables[names[label]] = xr.Variable(dims, laid(table[:, number]), {"units": "1", "long_name": label})
    if not there.all():
        variables["measured"] = xr.Variable(dims, there, {"units": "1", "long_name": "Measured pixels"})
    if spectra:
        stacked = laid(np.array(spectra))
        variables["mca"] = xr.Variable((*dims, "channel"), stacked, {"units": "counts", "long_name": "MCA"})
        coords["channel"] = coordinate("channel", np.arange(stacked.shape[-1]), dimension_type="spectral")
    positions = {int(k[1:]): v.split() for k, v in said.items() if re.fullmatch(r"P\d+", k)}
    still = {
        name: float(value)
        for row, names_ in motors.items()
        for name, value in zip(names_, positions.get(row, []), strict=False)
        if _NUMBER.fullmatch(value)
    }
    return common.dataset(
        variables, coords, {"command": said["S"], "motors": still, **said}, title=said["S"],
        acquired=_date(said.get("D", "")), data_type="scan",
    )  # fmt: skip


def _moved(command: list[str], labels: list[str], motors: dict[int, list[str]]) -> list[str]:
    """The columns that are motors of the command, in its order; the first column where it names none."""
    known = {name for row in motors.values() for name in row}
    named = [word for word in command[2:] if word in labels]
    found = named or [label for label in labels if label in known]
    return list(dict.fromkeys(found)) or labels[:1]


def _date(text: str) -> str | None:
    """``Thu Feb 12 10:21:03 2015``, whatever the locale."""
    from datetime import datetime

    months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    words = text.split()
    if len(words) != 5 or words[1] not in months:
        return None
    try:
        month = months.index(words[1]) + 1
        return datetime.strptime(f"{words[4]} {month} {words[2]} {words[3]}", "%Y %m %d %H:%M:%S").isoformat()
    except ValueError:
        return None
