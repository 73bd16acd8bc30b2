"""Units against a table written by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpycro.units import combine_units, conversion, display_unit, engineering, quantity, to_base

TABLE = [
    ("m", 1.0, "m"), ("nm", 1e-9, "m"), ("µm", 1e-6, "m"), ("μm", 1e-6, "m"), ("um", 1e-6, "m"), ("pm", 1e-12, "m"),
    ("Å", 1e-10, "m"), ("\u212b", 1e-10, "m"), ("Angstrom", 1e-10, "m"), ("pA", 1e-12, "A"), ("A", 1.0, "A"),
    ("mV", 1e-3, "V"), ("deg", math.pi / 180, "rad"), ("°", math.pi / 180, "rad"), ("rad", 1.0, "rad"),
    ("kHz", 1e3, "Hz"), ("ms", 1e-3, "s"), ("min", 60.0, "s"), ("nN", 1e-9, "N"), ("eV", 1.0, "eV"),
    ("keV", 1e3, "eV"), ("cm-1", 1.0, "1/cm"), ("1/cm", 1.0, "1/cm"), ("counts", 1.0, "counts"), ("px", 1.0, "pixel"),
    ("", 1.0, "1"), (None, 1.0, "1"), ("a.u.", 1.0, "1"), ("%", 1e-2, "1"), ("nm/V", 1e-9, "m/V"),
    ("pA/mV", 1e-9, "A/V"), ("1/nm", 1e9, "1/m"), ("1 / nm", 1e9, "1/m"), ("nm^2", 1e-18, "m^2"), ("m²", 1.0, "m^2"),
    ("V/m/s", 1.0, "V/m/s"), ("furlong", 1.0, "furlong"), ("mm/s", 1e-3, "m/s"),
    ("kohm", 1e3, "Ohm"), ("\u03a9", 1.0, "Ohm"), ("M\u2126", 1e6, "Ohm"), ("GOhm", 1e9, "Ohm"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "factor", "base"), TABLE)
def test_what_instruments_write_becomes_base_units(text, factor, base):
    found = to_base(text)
    assert found[1] == base
    assert found[0] == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize("base", sorted({row[2] for row in TABLE}))
def test_base_units_are_their_own_base(base):
    assert to_base(base) == (1.0, base)


def test_products_and_quotients():
    assert combine_units(("A", 1), ("V", -1)) == "A/V"
    assert combine_units(("m", 1), ("m", 1)) == "m^2"
    assert combine_units(("m", 1), ("m", -1)) == "1"
    assert combine_units(("1", 1), ("m", -1)) == "1/m"
    assert combine_units(("V", 1), ("1/cm", -1)) == "V cm"


def test_products_keep_prefixes_for_the_numbers_stay():
    assert combine_units(("nm", 1)) == "nm"
    assert combine_units(("pA", 1), ("mV", -1)) == "pA/mV"
    assert combine_units(("µm", 2)) == "um^2" and combine_units(("nm", 1), ("nm", -1)) == "1"
    assert combine_units(("degree", 1)) == "degree" and combine_units(("%", 1)) == "%"


def test_quantities_are_converted():
    assert quantity("-2.5 nm", "m") == pytest.approx(-2.5e-9) and quantity("1e3", "V") == 1000.0
    assert quantity("280eV", "eV") == 280.0 and quantity("0.28 keV", "eV") == pytest.approx(280)
    for text, message in (("two", "no number"), ("2 A", "cannot be converted")):
        with pytest.raises(ValueError, match=message):
            quantity(text, "m")


def test_conversion_refuses_another_quantity():
    assert conversion("A", "pA") == 1e12
    assert conversion("m", "nm") == 1e9
    assert conversion("rad", "degree") == pytest.approx(180 / math.pi)
    with pytest.raises(ValueError, match=r"'A'.*'nm'"):
        conversion("A", "nm")


@pytest.mark.parametrize(
    ("largest", "unit", "shown", "prefixed"),
    [(2.5e-8, "m", 25.0, "nm"), (3e5, "Hz", 300.0, "kHz"), (0.5, "V", 500.0, "mV"), (7.0, "eV", 7.0, "eV"),
     (5e9, "1/m", 5.0, "1/nm"), (1e-9, "A/V", 1.0, "nA/V"), (1e4, "counts", 1e4, "counts"), (3.0, "rad", 3.0, "rad"),
     (1600.0, "1/cm", 1600.0, "1/cm"), (0.0, "m", 0.0, "m"), (1e-9, "m", 1.0, "nm"),
     (1e8, "counts/m", 100.0, "counts/µm"), (4e9, "rad/m", 4.0, "rad/nm"), (20.0, "counts/m", 20.0, "counts/m")],
)  # fmt: skip
def test_engineering_prefixes(largest, unit, shown, prefixed):
    factor, text = engineering(largest, unit)
    assert text == prefixed
    assert largest * factor == pytest.approx(shown)


@given(st.floats(1e-14, 1e11), st.sampled_from(["m", "A", "V", "Hz", "1/m", "N/m"]))
def test_prefixed_numbers_read_between_one_and_a_thousand(largest, unit):
    factor, _ = engineering(largest, unit)
    assert 1 - 1e-9 <= largest * factor < 1000 * (1 + 1e-9)


def test_display():
    assert display_unit("1") is None and display_unit(None) is None
    assert display_unit("m^2") == "m²"
