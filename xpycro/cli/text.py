"""What the commands share: text tables, and folders to write to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["folder", "table"]


def folder(path: Path) -> Path:
    """The folder, made where it is not there.

    Raises
    ------
    ValueError
        If a file is in its way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"cannot make the folder {path}: a file is in its way") from error
    return path


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """The lines of a table, columns as wide as their widest cell.

    Examples
    --------
    >>> table([("a", "1"), ("bcd", "2")], indent=" ")
    [' a    1', ' bcd  2']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (indent + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]
