"""Fonts for the words of a print figure: what Matplotlib's lacks is taken from another one that is installed.

May import the floors below; Matplotlib only inside functions.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

__all__ = ["families"]


def families(words: Iterable[str]) -> list[str]:
    """Matplotlib's font families, and behind them the first installed one that has the letters they lack.

    Warns where no font has them: they are drawn as empty boxes.
    """
    from matplotlib import font_manager, rcParams

    chosen = list(rcParams["font.family"])
    letters = {letter for text in words for letter in text if letter.isprintable() and not letter.isascii()}
    if not letters:
        return chosen
    own = font_manager.findfont(font_manager.FontProperties(family=chosen))
    missing = letters - _letters(own)
    if not missing:
        return chosen
    for font in font_manager.fontManager.ttflist:
        if font.style == "normal" and missing <= _letters(font.fname):
            return [*chosen, font.name]
    shown = "".join(sorted(missing)[:8])
    warnings.warn(
        f"no installed font has the letters {shown!r}: install one (such as Noto Sans CJK for Chinese, Japanese and "
        "Korean), or name it in matplotlib.rcParams['font.family']",
        stacklevel=2,
    )
    return chosen


def _letters(path: str) -> set[str]:
    from matplotlib import font_manager

    return {chr(code) for code in font_manager.get_font(path).get_charmap()}
