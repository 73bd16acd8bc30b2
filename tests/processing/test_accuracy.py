"""docs/accuracy_decomposition.md says what is measured: its tables again, the rank with a draw a row."""

from __future__ import annotations

import re

import pytest

from tests import pages
from tests.processing import accuracy


def test_singular_values_are_as_right_as_the_page_says():
    told = pages.published(accuracy.PAGE, "values")
    for row, found in zip(told, accuracy.value_rows(), strict=True):
        assert row[0] == found[0]
        for said, measured in zip(row[1:], found[1:], strict=True):
            assert float(measured) <= 10 * float(said), row  # rounding of another LAPACK


@pytest.mark.parametrize("row", pages.published(accuracy.PAGE, "rank"), ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_advice_is_one_that_the_page_counts(row):
    noise, k, theory, advised = row
    low, *high = map(int, theory.split(" to "))
    draws = {int(value): int(n) for value, n in re.findall(r"(-?\d+): (\d+)", advised)}
    assert int(k) in accuracy.NOISE[noise] and sum(draws.values()) == accuracy.DRAWS
    says, advises = accuracy.draw(noise, int(k), 1)  # one of those that were counted
    assert low <= says <= (high or [low])[0] and advises in draws
