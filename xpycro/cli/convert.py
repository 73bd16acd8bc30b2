"""``xpycro translate``: files to HDF5, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xpycro.io.translate import translate

__all__ = ["run"]


def run(files: Sequence[str], *, output: str, group: str | None = None, overwrite: bool = False) -> None:
    """Translate each file; a folder, or several files, give one ``.h5`` a file under the source's name."""
    target = Path(output)
    several = len(files) > 1 or target.is_dir() or target.suffix == ""
    if several:
        target.mkdir(parents=True, exist_ok=True)
    for file in files:
        path = target / f"{Path(file).stem}.h5" if several else target
        ds = translate(file, path, overwrite=overwrite, group=group)
        shape = ", ".join(f"{dim}={size}" for dim, size in ds.sizes.items())
        print(f"{file} -> {path}  ({len(ds.data_vars)} variables; {shape})")
