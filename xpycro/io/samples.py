"""Real measurements to try things on: downloaded once, from public repositories, under permissive licences.

May import numpy, the floors below and io; pooch only inside functions. Nothing is downloaded unless `sample` is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from xpycro.errors import CorruptFile, MissingExtra
from xpycro.io.formats import Table

__all__ = ["Sample", "SampleTable", "sample", "samples"]


_RAW = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Sample:
    """A measurement: what it is, where it comes from at which commit, its licence, and the SHA-256 of each file."""

    name: str
    description: str
    licence: str
    repository: str
    commit: str
    folder: str
    files: dict[str, str]  # name and SHA-256; the first is the one to open

    def address(self, file: str) -> str:
        """Where a file is downloaded from."""
        return f"{_RAW}/{self.repository}/{self.commit}/{quote(f'{self.folder}/{file}')}"


_SAMPLES = (
    Sample(
        "sts_grid", "tunnelling spectra with lock-in over a grid, Nanonis .3ds, 2.9 MB", "MIT",
        "pycroscopy/SciFiDatasets", "0c977f2f0db47514f3b0c0c79ad698ddc8fddd71", "data/microscopy/spm/stm",
        {"NanonisReader_STS_grid_lockin.3ds": "fb960bbfe4fd5774aac508b85c7bc00cb137b6305aa8d82c65792b938cdcb731"},
    ),
    Sample(
        "stm_image", "molecules on gold, Nanonis .sxm, 1.1 MB", "Apache-2.0",
        "FAIRmat-NFDI/pynxtools-spm", "8e29c85598340df2256001036d1e28628ba45e56",
        "tests/data/nanonis/stm/version_gen_5_with_default_config",
        {"Au_mica_2023_Y_A_diPAMY_195.sxm": "fb0d522e71e21a0fe7bf165e8598118a7b5f752f8b7d4d26ce23d8d6e5dbfec6"},
    ),
    Sample(
        "pfm_images", "piezoresponse images of a ferroelectric, Asylum .ibw, 1.1 MB", "MIT",
        "pycroscopy/SciFiDatasets", "0c977f2f0db47514f3b0c0c79ad698ddc8fddd71", "data/microscopy/spm/afm",
        {"IgorIBWReader_ImageStack_BTFO_DSO.ibw": "4c6bc09ccf0fa50227c5bf1af92b189ff2e4a4abfcd5f5ae1ddcc853cdad5bc6"},
    ),
    Sample(
        "force_curve", "a force curve, Bruker .spm, 0.1 MB", "MIT",
        "jlopezalo/PyFMReader", "b48c41cf7378982057639534f27b05abc206af56", "tests/testfiles",
        {"20200904_Egel4-Z1.0_00025.spm": "515b90b0452ae3c4a225a228e107e6bcc456018b71b328eca6ce3f3884998a0a"},
    ),
    Sample(
        "eels", "an energy-loss spectrum of strontium titanate, Gatan .dm4, 0.3 MB", "MIT",
        "pycroscopy/SciFiDatasets", "0c977f2f0db47514f3b0c0c79ad698ddc8fddd71", "data/microscopy/em/tem",
        {"DMReader_EELS_STO.dm4": "027d027cf1352b438f7b370bb9418408bd58c5cc769fa51b968e19907df8a7de"},
    ),
    Sample(
        "mass_image", "a small mass spectrometry image, imzML with its .ibd, 0.4 MB", "Apache-2.0",
        "alexandrovteam/pyimzML", "d84f61ee5a3242d72c594f5210c611383bd9764a", "tests/data",
        {
            "Example_Continuous.imzML": "04237b10d61db093d2c5529f380d676d400383e8cbe55b3fe0e09bb97ae2ea8e",
            "Example_Continuous.ibd": "e8f2fefb1a0b6947b9ad78c773d20c1381f7728e060010c8d2f174ac414ff099",
        },
    ),
)  # fmt: skip


class SampleTable(Table):
    """What `samples` returns: a tuple of `Sample` that prints as a table."""

    __slots__ = ()
    COLUMNS = ("name", "what it is", "licence", "from")
    WIDTHS = (14, 70, 12, 30)

    def rows(self) -> list[tuple[str, ...]]:
        """The cells as text, a row a sample, columns as in `COLUMNS`."""
        return [(s.name, s.description, s.licence, s.repository) for s in self]


def samples() -> SampleTable:
    """The real measurements that `sample` downloads.

    Returns
    -------
    SampleTable
        A tuple of `Sample`; prints as a table of names, what they are, their licences, and whose they are.

    Notes
    -----
    *Laziness*: reads and downloads nothing.

    Examples
    --------
    >>> [one.name for one in samples()][:2]
    ['sts_grid', 'stm_image']
    """
    return SampleTable(_SAMPLES)


def sample(name: str) -> Path:
    """A real measurement, downloaded once and kept: the path of its file, for `open` or `translate`.

    Parameters
    ----------
    name : str
        One of those that `samples` lists.

    Returns
    -------
    pathlib.Path
        In the system's folder for caches, or where the environment variable ``XPYCRO_SAMPLES`` says; as it was
        published, its SHA-256 compared.

    Raises
    ------
    ValueError
        If there is no such sample.
    ConnectionError
        If it is not there yet and cannot be downloaded; the message says how to bring it.
    CorruptFile
        If what arrived is not the file that was meant.
    MissingExtra
        If pooch is not installed.

    Notes
    -----
    *Laziness*: downloads the file the first time, some 3 MB at most.

    Examples
    --------
    >>> sample("nanotubes")
    Traceback (most recent call last):
    ValueError: no sample named 'nanotubes'; there are sts_grid, stm_image, pfm_images, force_curve, eels, mass_image
    """
    known = {one.name: one for one in _SAMPLES}
    if name not in known:
        raise ValueError(f"no sample named {name!r}; there are {', '.join(known)}")
    wanted = known[name]
    try:
        import pooch
    except ImportError as error:
        raise MissingExtra("pooch", "samples", "downloading a sample") from error
    store = pooch.create(
        path=pooch.os_cache("xpycro"),
        base_url="",
        registry={file: f"sha256:{digest}" for file, digest in wanted.files.items()},
        urls={file: wanted.address(file) for file in wanted.files},
        env="XPYCRO_SAMPLES",
    )
    paths = []
    for file in wanted.files:
        target = Path(store.abspath) / file
        try:
            paths.append(Path(store.fetch(file)))
        except ValueError as error:  # pooch's word for another hash; nothing was kept
            raise CorruptFile(
                f"what came from {wanted.address(file)} is not the file that was meant: its SHA-256 differs",
                path=target,
            ) from error
        except OSError as error:
            raise ConnectionError(
                f"sample {name!r} is not on this machine and could not be downloaded ({type(error).__name__}): with a "
                f"network call again, or bring {wanted.address(file)} by other means and put it at {target}; without "
                "it xp.simulate makes measurements whose truth is known"
            ) from error
    return paths[0]
