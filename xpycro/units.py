"""Units: reading what instruments write, base units, products, engineering prefixes.

May import the standard library and numpy only. The spelling is UDUNITS-style ASCII (``m``, ``A/V``, ``1/m``, ``V^2``).
"""

from __future__ import annotations

import math
import re

__all__ = ["combine_units", "conversion", "display_unit", "engineering", "powers_of", "quantity", "to_base", "unit_in"]

_PREFIXES = {
    "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "c": 1e-2, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
}  # fmt: skip
# Symbols that take prefixes; energies stay in eV because the field never uses joule for them.
_BASE = ("m", "V", "A", "Hz", "s", "rad", "N", "eV", "W", "F", "Pa", "K", "T", "J", "Ohm", "S", "C", "Da", "mol", "cd")
_SPECIAL: dict[str, tuple[float, str]] = {
    "deg": (math.pi / 180, "rad"), "degree": (math.pi / 180, "rad"), "degrees": (math.pi / 180, "rad"),
    "Deg": (math.pi / 180, "rad"), "°": (math.pi / 180, "rad"), "º": (math.pi / 180, "rad"),
    "Angstrom": (1e-10, "m"), "angstrom": (1e-10, "m"), "Ang": (1e-10, "m"), "Å": (1e-10, "m"),
    "meter": (1.0, "m"), "metre": (1.0, "m"), "meters": (1.0, "m"), "micron": (1e-6, "m"), "Meter": (1.0, "m"),
    "Volt": (1.0, "V"), "volt": (1.0, "V"), "Volts": (1.0, "V"), "volts": (1.0, "V"), "Ampere": (1.0, "A"),
    "Ampère": (1.0, "A"), "amp": (1.0, "A"), "Amp": (1.0, "A"), "Newton": (1.0, "N"), "Hertz": (1.0, "Hz"),
    "sec": (1.0, "s"), "second": (1.0, "s"), "seconds": (1.0, "s"), "min": (60.0, "s"), "h": (3600.0, "s"),
    "counts": (1.0, "counts"), "count": (1.0, "counts"), "Counts": (1.0, "counts"), "cts": (1.0, "counts"),
    "px": (1.0, "pixel"), "pixel": (1.0, "pixel"), "pixels": (1.0, "pixel"), "Pixel": (1.0, "pixel"),
    "%": (1e-2, "1"), "": (1.0, "1"), "1": (1.0, "1"), "none": (1.0, "1"), "None": (1.0, "1"), "a.u.": (1.0, "1"),
    "au": (1.0, "1"), "arb": (1.0, "1"), "arb.": (1.0, "1"), "dB": (1.0, "dB"), "ohm": (1.0, "Ohm"),
}  # fmt: skip
# These are kept as they are: the field writes them so, and DESIGN's table names them.
_CUSTOMARY = {"1/cm": "1/cm", "cm-1": "1/cm", "cm^-1": "1/cm", "cm⁻¹": "1/cm", "m/z": "1", "1 / cm": "1/cm"}
_FACTOR = re.compile(r"^(?P<symbol>.+?)(?:\^|\*\*)?(?P<power>[+-]?\d+)?$")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def _symbol(symbol: str) -> tuple[float, str]:
    """Factor and base symbol of one unit symbol; an unknown one stands for itself."""
    if symbol in _SPECIAL:
        return _SPECIAL[symbol]
    if symbol in _BASE:
        return 1.0, symbol
    base = "Ohm" if symbol[1:] == "ohm" else symbol[1:]
    if symbol[:1] in _PREFIXES and base in _BASE:
        return _PREFIXES[symbol[0]], base
    return 1.0, symbol


def _parse(text: str, *, keep: bool = False) -> tuple[float, dict[str, int]]:
    """Factor and powers of base symbols; with `keep`, symbols that are multiples of others stay as they are."""
    text = text.strip().replace("µ", "u").replace("μ", "u").replace("\u212b", "Å")
    text = text.replace("\u2126", "Ohm").replace("\u03a9", "Ohm").translate(_SUPERSCRIPTS)
    if text in _SPECIAL:  # "a.u." would otherwise be split
        factor, symbol = _SPECIAL[text]
        if keep and factor != 1.0:
            return 1.0, {text: 1}
        return factor, {} if symbol == "1" else {symbol: 1}
    powers: dict[str, int] = {}
    factor, sign = 1.0, 1
    for token in re.split(r"\s*([/*·])\s*|\s+", text):
        if not token:
            continue
        if token in "*·":
            continue
        if token == "/":
            sign = -1
            continue
        match = _FACTOR.match(token)
        symbol, power = (match["symbol"], int(match["power"] or 1)) if match and not token.isdigit() else (token, 1)
        scale, base = _symbol(symbol)
        if keep and scale != 1.0:
            scale, base = 1.0, symbol
        power *= sign
        sign = 1  # UDUNITS: a slash binds to the next factor only
        factor *= scale**power
        if base != "1":
            powers[base] = powers.get(base, 0) + power
    return factor, {symbol: power for symbol, power in powers.items() if power}


def _format(powers: dict[str, int]) -> str:
    def spell(symbol: str, power: int) -> str:
        return symbol if power == 1 else f"{symbol}^{power}"

    above = [spell(s, p) for s, p in powers.items() if p > 0]
    below = [spell(s, -p) for s, p in powers.items() if p < 0]
    return "/".join([" ".join(above) or "1", *below])


def to_base(unit: str | None) -> tuple[float, str]:
    """Factor and base unit of what an instrument wrote.

    Parameters
    ----------
    unit : str or None
        Such as ``"nm"``, ``"µm"``, ``"pA"``, ``"deg"``, ``"nm/V"``, ``"1/nm"``, ``"cm-1"``; None is dimensionless.

    Returns
    -------
    factor : float
        Multiply the numbers by it.
    base : str
        Base SI, or the customary unit the field uses (``eV``, ``1/cm``, ``counts``, ``pixel``). An unknown symbol is
        kept verbatim with factor 1.

    Examples
    --------
    >>> to_base("nm")
    (1e-09, 'm')
    >>> to_base("cm-1")
    (1.0, '1/cm')
    >>> to_base("pA/V")
    (1e-12, 'A/V')
    """
    text = (unit or "").strip()
    if text in _CUSTOMARY:
        return 1.0, _CUSTOMARY[text]
    factor, powers = _parse(text)
    return factor, _format(powers)


def combine_units(*terms: tuple[str | None, int]) -> str:
    """Unit of a product of powers, such as a slope or an area; prefixes stay, for the numbers are not converted.

    Examples
    --------
    >>> combine_units(("A", 1), ("V", -1))
    'A/V'
    >>> combine_units(("pA", 1), ("mV", -1))
    'pA/mV'
    >>> combine_units(("V", 1), ("V", -1))
    '1'
    """
    total: dict[str, int] = {}
    for unit, power in terms:
        for symbol, exponent in powers_of(unit).items():
            total[symbol] = total.get(symbol, 0) + exponent * power
    return _format({symbol: power for symbol, power in total.items() if power})


def powers_of(unit: str | None) -> dict[str, int]:
    """The symbols of a unit, prefixes kept, and their powers; dimensionless: none.

    Examples
    --------
    >>> powers_of("pA/V^2")
    {'pA': 1, 'V': -2}
    """
    if _CUSTOMARY.get((unit or "").strip()) == "1/cm":
        return {"cm": -1}
    return _parse(unit or "", keep=True)[1]


def conversion(source: str | None, target: str) -> float:
    """Factor that brings numbers in ``source`` to ``target``.

    Raises
    ------
    ValueError
        If the two do not measure the same quantity.

    Examples
    --------
    >>> conversion("A", "pA") == 1e12
    True
    """
    (factor, base), (target_factor, target_base) = to_base(source), to_base(target)
    if base == "rad" and target in ("degree", "deg", "°"):
        return factor * 180 / math.pi
    if base != target_base:
        raise ValueError(f"{source!r} cannot be converted to {target!r}: one is {base!r}, the other {target_base!r}")
    return float(f"{factor / target_factor:.15g}")  # 1/1e-12 is not exactly 1e12


_QUANTITY = re.compile(r"^\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*$")


def quantity(text: str, unit: str) -> float:
    """A number with a unit (``"2 nm"``) in `unit`; without one it is in `unit` already.

    Raises
    ------
    ValueError
        If it is no number, or its unit measures something else.

    Examples
    --------
    >>> quantity("2 nm", "m"), quantity("0.5", "V")
    (2e-09, 0.5)
    """
    match = _QUANTITY.match(text)
    if not match:
        raise ValueError(f"{text!r} is no number with a unit such as '2 nm'")
    number, given = match.groups()
    return float(number) * (conversion(given, unit) if given else 1.0)


def unit_in(text: str) -> str:
    """The unit of a number with a unit (``"2 nm"``); empty where there is none, or no number.

    Examples
    --------
    >>> unit_in("-50 mV"), unit_in("0.5"), unit_in("sigma")
    ('mV', '', '')
    """
    match = _QUANTITY.match(text)
    return match[2] if match else ""


_ENGINEERING = ((1e-15, "f"), (1e-12, "p"), (1e-9, "n"), (1e-6, "µ"), (1e-3, "m"), (1.0, ""), (1e3, "k"), (1e6, "M"),
                (1e9, "G"), (1e12, "T"))  # fmt: skip


def engineering(largest: float, unit: str | None) -> tuple[float, str]:
    """Factor and prefixed unit in which a largest magnitude reads between 1 and 1000.

    Only plain base symbols, their quotients by another, and reciprocals take a prefix; ``counts``, ``1``, ``pixel``,
    ``rad`` and ``1/cm`` never do, but what they are counted over does (``counts/µm``).

    Examples
    --------
    >>> factor, unit = engineering(2.5e-8, "m")
    >>> round(2.5e-8 * factor, 6), unit
    (25.0, 'nm')
    """
    text = unit or "1"
    head, _, tail = text.partition("/")
    reciprocal = head == "1" and tail in ("m", "s")
    if head in ("counts", "rad", "pixel") and tail == "m" and math.isfinite(largest) and abs(largest) >= 1000:
        inverse = 1000 / abs(largest)
        scale, prefix = next(((s, p) for s, p in reversed(_ENGINEERING) if s <= inverse), _ENGINEERING[0])
        return scale, f"{head}/{prefix}m"  # 1e8 counts/m reads as 100 counts/µm
    if (head not in _BASE and not reciprocal) or head == "rad" or not math.isfinite(largest) or largest == 0:
        return 1.0, text
    if reciprocal:
        # 1/m at 1e9 reads as 1/nm: the prefix goes to the unit below the line, inverted
        inverse = 1 / abs(largest)
        scale, prefix = next(((s, p) for s, p in reversed(_ENGINEERING) if s <= inverse * 1000), _ENGINEERING[0])
        return scale, f"1/{prefix}{tail}"
    scale, prefix = next(((s, p) for s, p in reversed(_ENGINEERING) if s <= abs(largest)), _ENGINEERING[0])
    return 1 / scale, f"{prefix}{text}"


def display_unit(unit: str | None) -> str | None:
    """How a unit is written on an axis: None for dimensionless, ``µ`` for micro, degree sign, real exponents."""
    if unit in (None, "", "1"):
        return None
    return str(unit).replace("^2", "²").replace("^3", "³").replace("Ohm", "Ω").replace("degree", "°")
