"""``xpycro translate``: files to HDF5, one line each."""

from __future__ import annotations

import glob
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xpycro.cli.text import folder
from xpycro.errors import XpycroError
from xpycro.io.store.publish import AlreadyThere
from xpycro.io.translate import translate

__all__ = ["run"]


def run(
    files: Sequence[str],
    *,
    output: str,
    group: str | None = None,
    overwrite: bool = False,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Translate each file; a folder, or several files, give one ``.h5`` a file under the source's name.

    Raises
    ------
    ValueError
        If two files would become one; of several, at the end, if some were not translated: each was said by then.
    """
    files = [one for file in files for one in _matching(file)]
    target = Path(output)
    several = len(files) > 1 or target.is_dir() or target.suffix == ""
    folder(target if several else target.parent)
    said: list[str] = []
    for file, path in zip(files, _targets(files, target) if several else [target], strict=True):
        try:
            ds = translate(file, path, overwrite=overwrite, group=group, format=format, **(options or {}))
        except AlreadyThere:
            said.append(f"{path} exists: --overwrite replaces it")
        except (XpycroError, OSError, ValueError) as error:
            said.append(str(error))
        else:
            shape = ", ".join(f"{dim}={size}" for dim, size in ds.sizes.items())
            print(f"{file} -> {path}  ({len(ds.data_vars)} variables; {shape})")
            continue
        if len(files) > 1:
            print(said[-1] if Path(file).name in said[-1] else f"{file}: {said[-1]}", file=sys.stderr)
    if said:
        raise ValueError(said[0] if len(files) == 1 else f"{len(said)} of {len(files)} files were not translated")


def _matching(file: str) -> list[str]:
    """What a pattern matches where the shell has not expanded it; anything else as it is."""
    return (not Path(file).exists() and sorted(glob.glob(file))) or [file]


def _targets(files: Sequence[str], output: Path) -> list[Path]:
    """A name for each file: its own without the suffix, or with it where two would share one."""
    shared = Counter(Path(file).stem for file in files)
    names = [Path(f).stem if shared[Path(f).stem] == 1 else Path(f).name for f in files]
    for name, count in Counter(names).items():
        if count > 1:
            same = [file for file, one in zip(files, names, strict=True) if one == name]
            raise ValueError(f"{' and '.join(same)} would both become {output / name}.h5: translate them one by one")
    return [output / f"{name}.h5" for name in names]
