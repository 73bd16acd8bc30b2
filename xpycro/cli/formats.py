"""``xpycro formats``: the table of formats, or the part of it that a word picks, with its reader options."""

from __future__ import annotations

from xpycro.cli.text import table
from xpycro.io.formats import FormatTable, formats

__all__ = ["run"]


def run(word: str | None = None) -> None:
    """Print the formats whose line holds `word`, whatever the case, and what their reader options mean."""
    known = formats()
    if word is None:
        print(known)
        return
    lines = zip(known, known.rows(), strict=True)
    found = FormatTable(one for one, cells in lines if word.lower() in f"{' '.join(cells)} {one.description}".lower())
    if not found:
        raise ValueError(f"none of the {len(known)} formats is named {word!r}, nor has it as suffix or instrument")
    print(found)
    options = [(f"{one.name}:", f"{name}=...", text) for one in found for name, text in one.options.items()]
    if options:
        print("\nreader options (--option NAME=VALUE)")
        print("\n".join(table(options, "  ")))
