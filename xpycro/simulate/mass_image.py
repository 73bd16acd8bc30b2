"""A mass spectrometry image: species of known spectra and places, counted ion by ion; and the writer of imzML.

May import the floors below. The layout of imzML is that of the publication named in `write_imzml`.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from typing import Literal
from xml.sax.saxutils import quoteattr

import numpy as np
import xarray as xr

from xpycro.provenance import recorded
from xpycro.schema import coordinate
from xpycro.simulate.surface import axes, smooth_field

__all__ = ["mass_image", "write_imzml"]


@recorded("simulate.mass_image")
def mass_image(
    shape: tuple[int, int] = (24, 24),
    n_species: int = 3,
    n_channels: int = 4000,
    *,
    counts: float = 500.0,
    resolving_power: float = 4000.0,
    scan_size: tuple[float, float] = (1e-4, 1e-4),
    seed: int = 0,
) -> xr.Dataset:
    """An image of a time-of-flight instrument: each species has its own peaks and its own places, ions are counted.

    Parameters
    ----------
    shape : (int, int)
        Pixels along y and x.
    n_species : int
    n_channels : int
        Of the mass axis, m/z 20 to 420, evenly spaced in the time of flight.
    counts : float
        Ions of a pixel, on average.
    resolving_power : float
        m over full width at half height.
    scan_size : (float, float)
        Height and width of the frame, m.
    seed : int

    Returns
    -------
    Dataset
        ``intensity(y, x, mass_to_charge)`` in counts, Poisson distributed; the truth
        ``true_abundance(component, y, x)`` (expected counts of a species) and
        ``true_spectra(component, mass_to_charge)`` (which sum to one).

    Notes
    -----
    *Laziness*: in memory.

    Examples
    --------
    >>> mass_image((2, 3), 2, 500).intensity.sizes["mass_to_charge"]
    500
    """
    if min(shape) < 1 or n_species < 1 or n_channels < 10 or counts <= 0:
        raise ValueError(f"shape={shape}, n_species={n_species}, n_channels={n_channels}: needs pixels and species")
    rng = np.random.default_rng([seed, 2])
    mass = np.linspace(np.sqrt(20.0), np.sqrt(420.0), n_channels) ** 2
    step = np.gradient(mass)
    spectra = np.zeros((n_species, n_channels))
    for spectrum in spectra:
        for center, height in zip(rng.uniform(25, 410, 6), rng.gamma(2.0, 1.0, 6), strict=True):
            sigma = np.maximum(center / resolving_power / 2.3548, step)
            spectrum += height * np.exp(-0.5 * ((mass - center) / sigma) ** 2)
        spectrum /= spectrum.sum()
    weights = np.stack([np.exp(1.5 * smooth_field(shape, max(shape) / 6, rng)) for _ in range(n_species)])
    abundance = counts * weights / weights.sum(axis=0)
    expected = np.tensordot(abundance, spectra, axes=(0, 0))
    return xr.Dataset(
        {
            "intensity": (
                ("y", "x", "mass_to_charge"), rng.poisson(expected).astype("u2"),
                {"units": "counts", "long_name": "Intensity"},
            ),
            "true_abundance": (
                ("component", "y", "x"), abundance, {"units": "counts", "long_name": "True counts of a species"},
            ),
            "true_spectra": (
                ("component", "mass_to_charge"), spectra, {"units": "1", "long_name": "True spectrum of a species"},
            ),
        },
        coords={
            **axes(shape, scan_size), "mass_to_charge": coordinate("mass_to_charge", mass),
            "component": coordinate("component", np.arange(n_species)),
        },
        attrs={
            "title": "Simulated mass spectrometry image", "modality": "mass spectrometry imaging",
            "instrument": "simulator", "data_type": "mass spectra",
        },
    )  # fmt: skip


def _term(accession: str, name: str, value: object = "", more: str = "") -> str:
    source = accession.partition(":")[0]
    return f'<cvParam cvRef="{source}" accession="{accession}" name="{name}" value={quoteattr(str(value))}{more}/>'


def write_imzml(
    ds: xr.Dataset | xr.DataArray,
    path: str | os.PathLike[str],
    kind: Literal["continuous", "processed"] = "continuous",
    *,
    variable: str = "intensity",
) -> None:
    """Write a mass spectrometry image as imzML: the ``.imzML`` and the ``.ibd`` beside it.

    Parameters
    ----------
    ds : Dataset or DataArray
        ``intensity(y, x, mass_to_charge)``, row by row in memory; ``y, x`` in m give the size of a pixel.
    path : path-like
        Ends in ``.imzML``.
    kind : {"continuous", "processed"}
        One axis for all, or the channels with counts of each pixel.
    variable : str, default "intensity"

    Raises
    ------
    ValueError
        If the dims or the name of the file are others.
    FileExistsError
        If one of the files is there.

    References
    ----------
    T. Schramm et al., J. Proteomics 75, 5106 (2012): the two files, their accession numbers, the order of the pixels.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> write_imzml(mass_image((2, 3)), folder / "tissue.imzML")
    >>> sorted(file.name for file in folder.iterdir())
    ['tissue.ibd', 'tissue.imzML']
    """
    da = ds[variable] if isinstance(ds, xr.Dataset) else ds
    target = os.fspath(path)
    if kind not in ("continuous", "processed"):
        raise ValueError(f"kind={kind!r}: choose 'continuous' or 'processed'")
    if set(da.dims) != {"y", "x", "mass_to_charge"} or not target.lower().endswith(".imzml"):
        raise ValueError(f"dims {da.dims} to {os.path.basename(target)!r}: expected (y, x, mass_to_charge) to a .imzML")
    da = da.transpose("y", "x", "mass_to_charge")
    binary = os.path.splitext(target)[0] + ".ibd"
    identity, digest, mass = uuid.uuid4(), hashlib.sha1(), da.mass_to_charge.values.astype("<f8")
    spectra, position = [], 0
    with open(binary, "xb") as file:

        def put(content: bytes) -> int:
            nonlocal position
            file.write(content)
            digest.update(content)
            position += len(content)
            return position - len(content)

        put(identity.bytes)
        shared = put(mass.tobytes()) if kind == "continuous" else 0
        for row in range(da.sizes["y"]):  # the first line lies at the top
            line = da.isel(y=da.sizes["y"] - 1 - row).values.astype("<f4")
            for column, values in enumerate(line):
                kept = np.flatnonzero(values > 0) if kind == "processed" else slice(None)
                count = values[kept].size
                at = put(mass[kept].tobytes()) if kind == "processed" else shared
                spectra.append((column + 1, row + 1, count, at, put(values[kept].tobytes())))
    with open(target, "x", encoding="utf-8") as text:
        text.write(_head(da, kind, identity, digest.hexdigest(), len(spectra)))
        text.writelines(_spectrum(number, *spectrum) for number, spectrum in enumerate(spectra))
        text.write("</spectrumList>\n</run>\n</mzML>\n")


def _head(da: xr.DataArray, kind: str, identity: uuid.UUID, sha1: str, count: int) -> str:
    accession = {"continuous": "IMS:1000030", "processed": "IMS:1000031"}[kind]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>', '<mzML xmlns="http://psi.hupo.org/ms/mzml" version="1.1">',
        "<fileDescription><fileContent>", _term("MS:1000579", "MS1 spectrum"),
        _term("IMS:1000080", "universally unique identifier", identity.hex), _term("IMS:1000091", "ibd SHA-1", sha1),
        _term(accession, kind), "</fileContent></fileDescription>", '<referenceableParamGroupList count="2">',
    ]  # fmt: skip
    unit = ' unitCvRef="MS" unitAccession="MS:1000131" unitName="number of detector counts"'
    for name, number, label, bits, more in (
        ("mzArray", "MS:1000514", "m/z array", ("MS:1000523", "64-bit float"), ""),
        ("intensityArray", "MS:1000515", "intensity array", ("MS:1000521", "32-bit float"), unit),
    ):
        lines += [f'<referenceableParamGroup id="{name}">', _term("MS:1000576", "no compression"),
                  _term(number, label, "", more), _term(*bits), "</referenceableParamGroup>"]  # fmt: skip
    lines += ["</referenceableParamGroupList>", '<scanSettingsList count="1"><scanSettings id="s1">',
              _term("IMS:1000042", "max count of pixels x", da.sizes["x"]),
              _term("IMS:1000043", "max count of pixels y", da.sizes["y"])]  # fmt: skip
    length = ' unitCvRef="UO" unitAccession="UO:0000017" unitName="micrometer"'
    for dim, number in (("x", "IMS:1000046"), ("y", "IMS:1000047")):
        if da.sizes[dim] > 1 and da[dim].attrs.get("units") == "m":
            step = float(da[dim][1] - da[dim][0]) * 1e6
            lines.append(_term(number, f"pixel size {dim}", f"{step:.12g}", length))
    lines += ["</scanSettings></scanSettingsList>", '<run id="r1">', f'<spectrumList count="{count}">']
    return "\n".join(lines) + "\n"


def _spectrum(number: int, x: int, y: int, count: int, masses: int, intensities: int) -> str:
    lines = [
        f'<spectrum id="s{number}" defaultArrayLength="0" index="{number}">', '<scanList count="1"><scan>',
        _term("IMS:1000050", "position x", x), _term("IMS:1000051", "position y", y), "</scan></scanList>",
        '<binaryDataArrayList count="2">',
    ]  # fmt: skip
    for name, size, offset in (("mzArray", 8, masses), ("intensityArray", 4, intensities)):
        lines += [
            '<binaryDataArray encodedLength="0">', f'<referenceableParamGroupRef ref="{name}"/>',
            _term("IMS:1000103", "external array length", count),
            _term("IMS:1000104", "external encoded length", count * size),
            _term("IMS:1000102", "external offset", offset), "<binary/></binaryDataArray>",
        ]  # fmt: skip
    return "\n".join([*lines, "</binaryDataArrayList>", "</spectrum>"]) + "\n"
