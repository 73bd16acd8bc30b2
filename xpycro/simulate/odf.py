"""Write a band-excitation measurement as the raw folder of the CNMS instruments, to test readers and to teach with.

May import the floors below; SciPy inside functions.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import xarray as xr

from xpycro.errors import StoreError
from xpycro.io.translators._be_steps import FRACTIONS, bias_wave

__all__ = ["write_band_excitation"]

_DIMS = ("y", "x", "forc", "cycle", "direction", "field", "step", "frequency")
_FILES = {"in": "write", "out": "read"}
_SPECTRUM = 8192  # points of the excitation's spectrum


def write_band_excitation(
    ds: xr.Dataset, folder: str | os.PathLike[str], *, excitation_file: bool = True, pixels: int | None = None
) -> Path:
    """Write ``ds.response`` as a band-excitation folder of the old data format.

    Parameters
    ----------
    ds : Dataset
        ``response(y, x, [forc], [cycle], [direction], [field], [step], frequency)`` with the coordinates of
        `band_excitation`; ``current`` and ``excitation`` are written where they are there.
    folder : path-like
        Is made; must not exist, or be empty.
    excitation_file : bool, default True
        Whether ``more_parms.mat`` is written; without it readers spread the bins over the band.
    pixels : int, optional
        End the data files after so many pixels, as an aborted scan does; None writes all.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    StoreError
        If the folder holds something.
    ValueError
        If the dims or the bias sweep are not those of such a measurement.

    Notes
    -----
    *Laziness*: computes and writes a few rows at a time.

    No raw folder is public in small form. What is written follows public readers.

    * BEodfTranslator of BGlib and pycroscopy: the names of the files (``parm`` and ``.txt``, ``more_parms`` and
      ``.mat``, ``.dat`` with ``real`` or ``imag``, ``write`` for in field and ``read`` for out of field, ``AI2`` for
      the second channel, in nA); ``name : value`` below ``<group>``; the words of modes, fields and fractions; the
      order of numbers (little-endian float32, pixel after pixel, in each [step, bin]); the variables of the ``.mat``
      (BE_bin_ind counted from one, BE_bin_w, FFT_BE_wave or FFT_BE_rev_wave, conjugated on reading); the table of
      steps that the bias wave and the ends of FORC curves follow.
    * A listing of an instrument's parameters in a public notebook on lead titanate films: which words there are.
    * Said nowhere, and assumed: the sense in which a phase shift rolls the wave, and the ramp of the AC mode.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from xpycro.simulate import band_excitation
    >>> folder = pathlib.Path(tempfile.mkdtemp(), "be_0001")
    >>> made = write_band_excitation(band_excitation((2, 3), 8, mode="dc", n_steps=8, field="both"), folder)
    >>> sorted(path.name for path in made.iterdir())[:3]
    ['be_0001_more_parms.mat', 'be_0001_parms.txt', 'be_0001_read_imag.dat']
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty: name a new folder")
    response = ds["response"]
    strange = [str(d) for d in response.dims if d not in _DIMS]
    if strange or not {"y", "x", "frequency"} <= set(response.dims):
        raise ValueError(
            f"response has the dims {list(response.dims)}; it needs y, x, frequency and may have {_DIMS[2:7]}"
        )
    text = _parameters(ds, folder.name)  # says what is wrong before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / folder.name
    Path(f"{base}_parms.txt").write_text(text, encoding="latin-1")
    if excitation_file:
        _write_excitation(ds, f"{base}_more_parms.mat")
    names = [str(v) for v in response["field"].values] if "field" in response.dims else [""]
    for number, name in enumerate(names):
        tag = _FILES.get(name or str(response.attrs.get("field", "out")), "read")
        part = response.isel(field=number) if "field" in response.dims else response
        _write_numbers(part.transpose(*[d for d in _DIMS if d in part.dims]), f"{base}_{tag}", pixels)
        if "current" in ds:
            current = ds["current"].isel(field=number) if "field" in ds["current"].dims else ds["current"]
            ordered = current.transpose(*[d for d in _DIMS if d in current.dims])
            _write_numbers(ordered * 1e9, f"{base}_AI2_{tag}", pixels)
    return folder


def _write_numbers(da: xr.DataArray, base: str, pixels: int | None) -> None:
    """Rows one after another; complex data as two files."""
    left = da.sizes["y"] * da.sizes["x"] if pixels is None else pixels
    parts = ("real", "imag") if da.dtype.kind == "c" else ("",)
    handles = [open(f"{base}_{part}.dat" if part else f"{base}.dat", "wb") for part in parts]
    try:
        rows = max(1, (1 << 25) // max(1, da.isel(y=0).nbytes))
        for first in range(0, da.sizes["y"], rows):
            block = np.asarray(da.isel(y=slice(first, first + rows)).values)
            block = block.reshape(-1, *block.shape[2:])[: max(0, left)]
            left -= len(block)
            for part, handle in zip(parts, handles, strict=True):
                (getattr(block, part) if part else block).astype("<f4").tofile(handle)
    finally:
        for handle in handles:
            handle.close()


def _write_excitation(ds: xr.Dataset, path: str) -> None:
    from scipy.io import savemat

    frequency = ds["frequency"].values
    first = _SPECTRUM // 4
    index = np.arange(first, first + frequency.size)
    spectrum = np.zeros(max(_SPECTRUM, 2 * (first + frequency.size)), dtype=np.complex128)
    drive = ds["excitation"].values if "excitation" in ds else np.ones(frequency.size)
    spectrum[index] = np.conj(drive)
    savemat(path, {"BE_bin_ind": index + 1.0, "BE_bin_w": frequency, "FFT_BE_wave": spectrum})


def _parameters(ds: xr.Dataset, name: str) -> str:
    frequency = ds["frequency"].values
    centre, width = (frequency[0] + frequency[-1]) / 2, frequency[-1] - frequency[0]
    groups: dict[str, dict[str, object]] = {
        "File parameters": {"file name": name},
        "IO parameters": {"rate": "4 MHz", "Analog Input 1": "+/- 1V, FFT",
                          "Analog Input 2": "+/- 1V, FFT" if "current" in ds else "off"},
        "grid parameters": {"num rows": ds.sizes["y"], "num cols": ds.sizes["x"]},
        "BE parameters": {"center frequency [Hz]": centre, "band width [Hz]": width, "amplitude [V]": 1,
                          "band edge trim": 0},
    }  # fmt: skip
    if "step" in ds["response"].dims:
        groups |= _steps(ds)
    lines = []
    for header, values in groups.items():
        lines.append(f"<{header}>")
        lines += [
            f"{key} : {value if isinstance(value, str) else format(value, '.12g')}" for key, value in values.items()
        ]
    return "\r\n".join(lines) + "\r\n"


def _steps(ds: xr.Dataset) -> dict[str, dict[str, object]]:
    """The groups VS and FORC, found from the coordinates."""
    response = ds["response"]
    n = response.sizes["step"]
    in_field = "in and out-of-field" if "field" in response.dims else "out-of-field"
    if response.attrs.get("field") == "in":
        in_field = "in-field"
    vs: dict[str, object] = {"number of cycles": response.sizes.get("cycle", 1), "measure in field loops": in_field,
                             "read voltage [V]": 0, "offset [V]": 0}  # fmt: skip
    if "direction" in response.dims:
        amplitude = float(ds["drive_amplitude"].max())
        vs |= {"mode": "AC modulation mode with time reversal", "amplitude [V]": amplitude,
               "steps per full cycle": 2 * n, "cycle fraction": "full", "cycle phase shift": "0"}  # fmt: skip
        return {"VS parameters": vs}
    bias = ds["bias"].transpose(..., "step").values
    vs["mode"] = str(ds.attrs.get("vs_mode", "DC modulation mode"))
    if bias.ndim == 2:
        high, low = bias.max(axis=1), bias.min(axis=1)
        wave = bias_wave(n)
        if not np.allclose(
            wave * (high - low)[:, None] / 2 + (high + low)[:, None] / 2, bias, atol=1e-6 * np.ptp(bias)
        ):
            raise ValueError("bias(forc, step) is not a triangle between each curve's ends")
        vs |= {"amplitude [V]": 1, "steps per full cycle": n, "cycle fraction": "full", "cycle phase shift": "0"}
        forc = {"num of FORC cycles": len(bias), "V high1 [V]": high[0], "V high2 [V]": high[-1],
                "V low1 [V]": low[0], "V low2 [V]": low[-1]}  # fmt: skip
        return {"VS parameters": vs, "FORC parameters": dict(forc)}
    for fraction in ("full", "1/2", "1/4", "3/4"):
        for shift in ("0", "1/4", "1/2", "3/4"):
            whole = round(n / FRACTIONS[fraction])
            wave = bias_wave(whole, fraction=FRACTIONS[fraction], shift=FRACTIONS[shift])
            if wave.size != n or np.ptp(wave) == 0:
                continue
            amplitude, offset = np.polyfit(wave, bias, 1)
            offset = 0.0 if abs(offset) < 1e-9 * abs(amplitude) else offset
            if amplitude > 0 and np.allclose(amplitude * wave + offset, bias, atol=1e-6 * np.ptp(bias)):
                vs |= {"amplitude [V]": amplitude, "offset [V]": offset, "steps per full cycle": whole,
                       "cycle fraction": fraction, "cycle phase shift": shift}  # fmt: skip
                return {"VS parameters": vs}
    raise ValueError("bias(step) is not a triangle 0, +A, 0, -A, 0, nor a part of one: the format has no words for it")
