"""Numbers as they are read: values with their errors, and what is said under the pointer.

May import numpy; Bokeh only inside functions.
"""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np

__all__ = ["headed", "placed", "plain_hover", "plain_ticks", "value_text"]

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
BESIDE, LETTER = 90, 6.3  # screen pixels that a title has to the right of the frame, and of a letter of it

MOST = 6  # digits of a value whose error is smaller than anything that is measured

_POWERS = """
const raised = {'-': '⁻', 0: '⁰', 1: '¹', 2: '²', 3: '³', 4: '⁴', 5: '⁵', 6: '⁶', 7: '⁷', 8: '⁸', 9: '⁹'};
const ten = (power) => ' × 10' + [...String(power)].map(c => raised[c]).join('');
"""

# Bokeh's own words for 5147 nm are "5.147e+3"
_HOVER = (
    _POWERS
    + """
if (typeof value !== 'number') return String(value);
const size = Math.abs(value);
const [digits, power] = value.toExponential(3).split('e');
const text = size && (size < 1e-3 || size >= 1e7) ? digits + ten(Number(power))
  : String(Number.isInteger(value) ? value : Number(value.toPrecision(6)));
return text.replace('-', '−');
"""
)

# and for a tick at 3000000, "3.000e+6": as many digits as tell the ticks apart, and one power of ten for all
_TICK = (
    _POWERS
    + """
const most = Math.max(...ticks.map(Math.abs));
const least = Math.min(...ticks.slice(1).map((t, i) => Math.abs(t - ticks[i])));
const power = most && (most >= 1e6 || most < 1e-3) ? Math.floor(Math.log10(most) + 1e-9) : 0, scale = 10 ** power;
const step = Number.isFinite(least) && least ? least : most || 1;
let digits = 0;
const off = (t) => Math.abs(Number((t / scale).toFixed(digits)) * scale - t) > 0.01 * step;
while (digits < 12 && ticks.some(off)) digits++;
const number = Number((tick / scale).toFixed(digits));
return String(number).replace('-', '−') + (power && number ? ten(power) : '');
"""
)


def value_text(value: float, error: float | None, unit: str | None, some: bool) -> str:
    """A value with its error, both to the error's second digit; without one where `some` others have theirs, it lies at
    its bound.

    Examples
    --------
    >>> value_text(-1.2488, 0.0997, "V", True)
    '−1.25 ± 0.10 V'
    >>> value_text(5147.3, 123.0, "nm", True)
    '5150 ± 120 nm'
    """
    if not np.isfinite(value):
        return "–"
    bound = " (at its bound)" if some and error is not None and not np.isfinite(error) else ""
    known = error is not None and np.isfinite(error)
    return f"{_both(value, float(error or 0)) if known else _plain(f'{value:.4g}')} {unit or ''}".rstrip() + bound


def _both(value: float, error: float) -> str:
    error = float(f"{error:.1e}")
    largest = max(abs(value), error)
    power = math.floor(math.log10(largest)) if largest else 0
    if error < 10.0 ** (power - MOST):
        return _plain(f"{value:.{MOST}g} ± {error:.0e}" if error else f"{value:.{MOST}g} ± 0")
    scale = power if not -3 <= power < 6 else 0
    value, error = value / 10.0**scale, error / 10.0**scale
    digits = 1 - math.floor(math.log10(error))
    told = " ± ".join(f"{round(number, digits):.{max(digits, 0)}f}" for number in (value, error))
    return _plain(f"({told})e{scale}" if scale else told)


def _plain(text: str) -> str:
    """With minus signs, and powers of ten as they are written by hand."""
    words = []
    for word in text.split(" "):
        number, _, power = word.partition("e")
        words.append(f"{number} × 10{str(int(power)).translate(_RAISED)}" if power else number)
    return " ".join(words).replace("-", "−")


def headed(what: str, where: str, width: int) -> str:
    """A title above a frame so many screen pixels wide: in one line where both have room, else in two.

    A place that changes leaves the number of lines, because a page keeps as much room as it began with.

    Examples
    --------
    >>> headed("Current (nA)", "at Bias = 0.3 V", 320)
    'Current (nA) at Bias = 0.3 V'
    >>> headed("Spectrum of the spectrometer (counts)", "at Wavelength = 600 nm", 200)
    'Spectrum of the spectrometer (counts)\\nat Wavelength = 600 nm'
    """
    room = int((width + BESIDE) / LETTER)
    if len(what) + 1 + max(len(where), 24) <= room:
        return f"{what} {where}"
    return "\n".join(line for part in (what, where) for line in textwrap.wrap(part, max(room, 16)))


def placed(what: str, where: str) -> tuple[str, str]:
    """What and where, of a place or of what is called by a name, for a title.

    Examples
    --------
    >>> placed("Current (nA)", "Bias = 0.3 V"), placed("Current (nA)", "backward")
    (('Current (nA)', 'at Bias = 0.3 V'), ('Current (nA),', 'backward'))
    """
    return (what, f"at {where}") if "=" in where else (f"{what},", where)


def plain_hover(figure: Any) -> None:
    """Numbers under the pointer with six digits, and no powers of ten where they read without."""
    from bokeh.models import CustomJSHover, HoverTool

    for tool in figure.tools:
        if not isinstance(tool, HoverTool) or not isinstance(tool.tooltips, list):
            continue
        fields = [field for _, field in tool.tooltips if not field.endswith("{custom}")]
        if fields:
            tool.formatters = {**tool.formatters, **dict.fromkeys(fields, CustomJSHover(code=_HOVER))}
            tool.tooltips = [(label, field.removesuffix("{custom}") + "{custom}") for label, field in tool.tooltips]


def plain_ticks(formatter: Any) -> Any:
    """What writes the numbers at the ticks of an axis or a colour bar in place of Bokeh's own."""
    from bokeh.models.formatters import BasicTickFormatter, CustomJSTickFormatter

    own = formatter == "auto" or type(formatter) is BasicTickFormatter
    return CustomJSTickFormatter(code=_TICK) if own else formatter
