"""Band excitation as the CNMS instruments wrote it: a folder of parameters, excitation and raw spectra (`.dat`).

May import numpy, xarray, schema and the io modules below; bytes are read through the cursor and as lazy views. No raw
folder is public in small form: the layout follows what the public readers of the field say of it (BGlib's and
pycroscopy's BEodf translators).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import ComplexArray, RawArray, StackedArray
from xpycro.io.translators._be_steps import FRACTIONS, Steps, steps_of
from xpycro.io.translators._common import dataset, image_coordinates, lazy_variable, measured_variable
from xpycro.io.translators._mat5 import read_arrays
from xpycro.schema import coordinate

__all__ = ["FIELDS", "folder_of", "odf", "parameters", "phase_sign"]

FIELDS = {"write": "in", "read": "out"}  # what a file's name says of the bias while it was measured
_MODES = {
    "DC modulation mode": "dc", "current mode": "dc", "AC modulation mode with time reversal": "ac",
}  # fmt: skip
_COUNT = 1 << 24  # rows, columns, steps or cycles beyond that are no measurement
_TEXT = 1 << 20
_MAT = 1 << 28


def odf(path: str, *, phase_check: int = 64, incomplete: bool = False) -> dict[str, xr.Dataset]:
    """Read a band-excitation folder (BE line, BEPS in DC, AC or current mode).

    Parameters
    ----------
    path : str
        The folder, or its parameter file.
    phase_check : int, default 64
        How many spectra are looked at for the sign of their phase; 0: none, and no data are read.
    incomplete : bool, default False
        Read files that end before the last pixel but one. That the last one is missing is common, and always read.

    Returns
    -------
    dict of str to Dataset
        ``response(y, x, [forc], [cycle], [direction], [field], step, frequency)``, complex, V, bins as recorded;
        dims of one element are left out, a BE line has ``frequency`` only. ``bias(step)``, of FORC experiments
        ``bias(forc, step)``; in AC mode ``drive_amplitude(step)``; ``field`` is "in" (written while the bias was on) or
        "out". ``current`` in A, without ``frequency``, where a second channel was recorded; ``excitation(frequency)``
        where the excitation file is there. Pixels that were never measured are NaN and False in ``measured(y, x)``.
        The attribute ``phase_sign`` says which sign of the phase the spectra follow; they are never changed.

    Raises
    ------
    NotThisFormat
        If the folder has no parameters or no data.
    CorruptFile
        If sizes and parameters contradict each other.
    UnsupportedVariant
        If the steps are in a file of the user's own.

    Notes
    -----
    *Laziness*: parameters, excitation and `phase_check` spectra are read; all else when used.
    """
    folder, said = folder_of(path)
    parms = parameters(said)
    files = _data_files(folder)
    here = Reading(parms, said)
    rows, columns = here.whole("grid_num_rows"), here.whole("grid_num_cols")
    steps = _steps(here)
    bins, excitation = _excitation(folder, here)
    if bins is None:
        first = next(iter(files["response"].values()))
        bins = _bins_by_size(first[0], rows * columns, steps.count, here)
    coords = {**image_coordinates(columns, rows, None, None), **steps.coords}
    coords["frequency"] = coordinate("frequency", bins)
    pixels = _pixels(files["response"], rows * columns, steps.count * bins.size * 4, incomplete)
    variables: dict[str, xr.Variable] = {}
    views = {
        tag: ComplexArray(*(_view(f, (rows, columns, *steps.shape, bins.size), pixels) for f in pair))
        for tag, pair in files["response"].items()
    }
    dims = ("y", "x", *steps.dims, "frequency")
    variables["response"], field = _joined(views, dims, "Piezoresponse", "V")
    coords |= field
    if files["current"]:
        seen = _pixels(files["current"], rows * columns, steps.count * 4, incomplete)
        currents = {
            tag: _view(pair[0], (rows, columns, *steps.shape), seen, factor=1e-9)
            for tag, pair in files["current"].items()
        }
        variables["current"], others = _joined(currents, dims[:-1], "Current", "A")
        if set(others) - set(field) or (others and not others["field"].equals(field["field"])):
            raise CorruptFile("current and response were not measured in the same fields", path=folder)
    if excitation is not None:
        attrs = {"units": "V", "long_name": "Excitation spectrum"}
        variables["excitation"] = xr.Variable("frequency", excitation.astype(np.complex64), attrs)
    if pixels < rows * columns:
        variables["measured"] = measured_variable(pixels, rows, columns)
    ds = dataset(
        variables, coords, parms, modality="band excitation", instrument="CNMS band excitation",
        data_type="BEPS" if steps.dims else "BE line", title=parms.get("File_file_name", os.path.basename(folder)),
        vs_mode=parms.get("VS_mode"),
    )  # fmt: skip
    if phase_check > 0:
        ds.attrs["phase_sign"] = phase_sign(ds["response"].variable, bins, pixels, phase_check)
    return {"": ds}


# ------------------------------------------------------------------------------------------------------- the folder


def folder_of(path: str) -> tuple[str, str]:
    """The folder and its parameter file, from either."""
    if not os.path.isdir(path):
        return os.path.dirname(os.path.abspath(path)), path
    names = sorted(os.listdir(path))[:100_000]
    found = [n for n in names if n.lower().endswith(".txt") and "parm" in n.lower()]
    if not found:
        raise NotThisFormat("no parameter file, *parm*.txt, in this folder", path=path)
    if len(found) > 1:
        raise NotThisFormat(f"several parameter files, {found}: pass the path of one of them", path=path)
    return path, os.path.join(path, found[0])


def parameters(path: str) -> dict[str, str]:
    """The parameter file: ``name : value`` lines below ``<group>`` headers, whose first word becomes the prefix."""
    with Cursor(path) as cursor:
        if cursor.size > _TEXT:
            raise NotThisFormat(f"{cursor.size} bytes are no parameter file", path=path)
        lines = cursor.read(cursor.size, "parameters").decode("latin-1").splitlines()
    found: dict[str, str] = {}
    prefix = ""
    for line in lines:
        name, colon, value = line.partition(" :") if " :" in line else line.partition(":")
        if colon:
            plain = name.strip().replace("# ", "num_").replace("#", "num_").replace(" ", "_")
            found[prefix + plain] = value.strip()
        elif line.strip():
            word = line.strip().strip("<>").split()
            prefix = f"{word[0]}_" if word else ""
    found = {name: value for name, value in found.items() if not name.startswith("Multi_")}
    if not any(name.startswith(("BE_", "grid_")) for name in found):
        raise NotThisFormat("no group of BE or grid parameters", path=path)
    return found


@dataclass(frozen=True)
class Reading:
    """Numbers among the parameters, with what to say where they are wrong."""

    values: Mapping[str, str]
    path: str

    def text(self, name: str, default: str | None = None) -> str:
        if name in self.values:
            return self.values[name]
        if default is None:
            raise CorruptFile(f"{name!r} is not among the parameters", path=self.path, field=name)
        return default

    def number(self, name: str, default: float | None = None) -> float:
        text = self.text(name, None if default is None else repr(default))
        match = re.match(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([kMG]?)", text)
        try:
            value = float(match.group(1)) if match else np.nan
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise CorruptFile(f"{text[:40]!r} is no finite number", path=self.path, field=name)
        assert match is not None
        return value * {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}[match.group(2)]

    def whole(self, name: str, default: int | None = None) -> int:
        value = self.number(name, default)
        if value != int(value) or not 1 <= value <= _COUNT:
            raise CorruptFile(f"{value:g} is no count", path=self.path, field=name)
        return int(value)


def _data_files(folder: str) -> dict[str, dict[str, list[str]]]:
    """Response pairs (real, imaginary) and currents, by what their names say."""
    found: dict[str, dict[str, dict[str, str]]] = {"response": {}, "current": {}}
    for name in sorted(os.listdir(folder))[:100_000]:
        if not name.lower().endswith(".dat"):
            continue
        tag = "write" if "write" in name else "read"
        second = "AI2" in name
        part = "real" if "real" in name else "imag" if "imag" in name else "real" if second else ""
        if not part:
            continue
        kind = found["current" if second else "response"].setdefault(tag, {})
        if part in kind:
            raise NotThisFormat(
                f"both {os.path.basename(kind[part])} and {name} hold the {part} part of {tag}", path=folder
            )
        kind[part] = os.path.join(folder, name)
    if not found["response"]:
        raise NotThisFormat("no .dat files with 'real' and 'imag' in their names", path=folder)
    ready: dict[str, dict[str, list[str]]] = {"response": {}, "current": {}}
    for tag, parts in found["response"].items():
        if len(parts) < 2:
            raise CorruptFile(f"of {tag!r} only the {next(iter(parts))} part is there", path=folder, field=tag)
        if os.path.getsize(parts["real"]) != os.path.getsize(parts["imag"]):
            raise CorruptFile("real and imaginary part differ in size", path=parts["imag"], field=tag)
        ready["response"][tag] = [parts["real"], parts["imag"]]
    for tag, parts in found["current"].items():
        ready["current"][tag] = [parts["real"]]
    return ready


def _steps(here: Reading) -> Steps:
    if not any(name.startswith("VS_") for name in here.values):
        return Steps()
    mode = here.text("VS_mode")
    if mode not in _MODES:
        raise UnsupportedVariant(
            f"VS_mode {mode[:60]!r} is not understood; known are {list(_MODES)}", path=here.path, field="VS_mode"
        )
    parts = {}
    for name, word in (("fraction", "VS_cycle_fraction"), ("shift", "VS_cycle_phase_shift")):
        text = here.text(word, "full" if name == "fraction" else "0")
        if text not in FRACTIONS:
            raise CorruptFile(f"{text[:40]!r} is none of {list(FRACTIONS)}", path=here.path, field=word)
        parts[name] = FRACTIONS[text]
    n, cycles = here.whole("VS_steps_per_full_cycle"), here.whole("VS_number_of_cycles", 1)
    n_forc = here.whole("FORC_num_of_FORC_cycles", 1)
    if n * cycles * n_forc > _COUNT or round(parts["fraction"] * n) < 1:
        raise CorruptFile(f"{n} x {cycles} x {n_forc} steps", path=here.path, field="VS_steps_per_full_cycle")
    forc = None
    if n_forc > 1:
        high, low = (tuple(here.number(f"FORC_V_{end}{k}_[V]") for k in (1, 2)) for end in ("high", "low"))
        forc = ((high[0], high[1]), (low[0], low[1]))
    return steps_of(
        n, mode=_MODES[mode], amplitude=here.number("VS_amplitude_[V]", 1.0), offset=here.number("VS_offset_[V]", 0.0),
        cycles=cycles, n_forc=n_forc, forc=forc, **parts,
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- the bins


def _excitation(folder: str, here: Reading) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Frequencies of the bins and the drive in them, from the excitation file where there is one."""
    names = [
        n for n in sorted(os.listdir(folder))[:100_000] if n.lower().endswith(".mat") and "more_parms" in n.lower()
    ]
    if not names:
        return None, None
    path = os.path.join(folder, names[0])
    if os.path.getsize(path) > _MAT:
        raise CorruptFile(f"{os.path.getsize(path)} bytes are no excitation", path=path)
    arrays = read_arrays(path)
    if "BE_bin_w" not in arrays:
        raise CorruptFile(f"holds {sorted(arrays)[:10]} and no BE_bin_w", path=path, field="BE_bin_w")
    bins = arrays["BE_bin_w"].real.ravel()
    if not 1 <= bins.size <= _COUNT or not np.isfinite(bins).all():
        raise CorruptFile("frequencies that are not finite", path=path, field="BE_bin_w")
    spectrum = next((arrays[n].ravel() for n in ("FFT_BE_wave", "FFT_BE_rev_wave") if n in arrays), None)
    places = arrays.get("BE_bin_ind")
    if spectrum is None or places is None:
        raise CorruptFile(
            f"holds {sorted(arrays)[:10]} and not BE_bin_ind with FFT_BE_wave or FFT_BE_rev_wave; without this "
            "file the folder is read with bins spread evenly over the band",
            path=path,
        )
    index = places.real.ravel()
    fits = index.size == bins.size and bool(((index >= 1) & (index <= spectrum.size) & (index == index.round())).all())
    if not fits:
        raise CorruptFile(
            f"{index.size} bins of {bins.size} frequencies in a spectrum of {spectrum.size}", path=path,
            field="BE_bin_ind",
        )  # fmt: skip
    return bins, np.conj(spectrum[index.astype(np.int64) - 1])  # counted from one


def _bins_by_size(path: str, pixels: int, steps: int, here: Reading) -> np.ndarray:
    """Without the excitation file: as many bins as the file's size says, evenly over the band."""
    size = os.path.getsize(path)
    for count in (pixels, pixels - 1):  # the last pixel is missing at times
        if count > 0 and size > 0 and size % (4 * count * steps) == 0:
            n = size // (4 * count * steps)
            if n > _COUNT:
                break
            centre, width = here.number("BE_center_frequency_[Hz]"), here.number("BE_band_width_[Hz]")
            trim = here.number("BE_band_edge_trim", 0.094742)
            half = width * (0.5 - trim)
            if not (half > 0 and centre > half):
                raise CorruptFile(f"a band of {width:g} Hz about {centre:g} Hz", path=here.path, field="BE_band_width")
            return np.linspace(centre - half, centre + half, n)
    raise CorruptFile(
        f"{size} bytes are no whole number of spectra for {pixels} pixels of {steps} steps, or one less",
        path=path,
    )


# -------------------------------------------------------------------------------------------------------- the views


def _pixels(files: Mapping[str, Sequence[str]], pixels: int, each: int, incomplete: bool) -> int:
    """How many pixels all files hold."""
    sizes = {path: os.path.getsize(path) for parts in files.values() for path in parts}
    path, size = min(sizes.items(), key=lambda item: item[1])
    if max(sizes.values()) > pixels * each:
        raise CorruptFile(
            f"{max(sizes.values())} bytes are more than {pixels} pixels of {each}: parameters and data contradict",
            path=max(sizes, key=lambda p: sizes[p]),
        )
    if size not in (pixels * each, (pixels - 1) * each) and not (incomplete and size >= each):
        raise CorruptFile(
            f"{size} bytes are not {pixels} pixels of {each} bytes, with or without the last one; if the scan was "
            "aborted pass incomplete=True",
            path=path,
        )
    return size // each


def _view(path: str, shape: tuple[int, ...], pixels: int, *, factor: float = 1.0) -> RawArray:
    each = int(np.prod(shape[2:], dtype=np.int64)) * 4
    end = pixels * each if pixels < shape[0] * shape[1] else None
    target = np.dtype(np.float32)
    return RawArray.contiguous(path, 0, "<f4", shape, factor=factor, target=target, end=end)


def _joined(
    views: Mapping[str, RawArray | ComplexArray], dims: tuple[str, ...], label: str, units: str
) -> tuple[xr.Variable, dict[str, xr.Variable]]:
    """One array of the files of one or two fields, and the coordinate of ``field``."""
    tags = [tag for tag in FIELDS if tag in views]
    if len(tags) == 1:
        attrs = {"field": FIELDS[tags[0]]} if "step" in dims else {}
        return lazy_variable(dims, views[tags[0]], label, units, **attrs), {}
    axis = dims.index("step") if "step" in dims else 2
    joined = lazy_variable(
        (*dims[:axis], "field", *dims[axis:]), StackedArray(tuple(views[t] for t in tags), axis), label, units
    )  # fmt: skip
    return joined, {"field": coordinate("field", np.array([FIELDS[tag] for tag in tags]))}


# --------------------------------------------------------------------------------------------------- sign of the phase


def phase_sign(response: xr.Variable, frequency: np.ndarray, pixels: int, count: int) -> str:
    """Whether spectra follow the sign convention of the oscillator model, from the damping of `count` of them.

    For each, ``Z (w^2 - i w c - d) = g`` is solved for c = w0 / Q by linear least squares; its sign is the answer.
    """
    lead = response.shape[:-1]
    inner = int(np.prod(lead[2:], dtype=np.int64))
    places = np.unique(np.linspace(0, pixels * inner - 1, count).round().astype(np.int64))
    w = frequency / frequency.mean()
    spectra = np.stack([response[np.unravel_index(int(p), lead)].values for p in places]).astype(np.complex128)
    z = spectra[np.isfinite(spectra).all(-1) & spectra.any(-1)]
    positive = negative = 0
    if len(z) and frequency.size >= 4:
        z = z / np.abs(z).max(-1, keepdims=True)
        weight = np.abs(z)  # what lies off resonance says little of the damping
        columns = np.stack([z, 1j * w * z, np.ones_like(z), 1j * np.ones_like(z)], axis=-1) * weight[..., None]
        target = w**2 * z * weight
        matrix = np.concatenate([columns.real, columns.imag], axis=1)
        right = np.concatenate([target.real, target.imag], axis=1)
        damping = (np.linalg.pinv(matrix) @ right[..., None])[:, 1, 0]
        positive, negative = int((damping > 0).sum()), int((damping < 0).sum())
    total = max(1, positive + negative)
    if positive >= 0.75 * total and positive:
        return f"as the model: {positive} of {total} spectra"
    if negative >= 0.75 * total and negative:
        return f"conjugated: {negative} of {total} spectra; fit ds.response.conj()"
    return f"undecided: {positive} of {total} spectra follow the model"
