"""Text tables of the command line."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["table"]


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
