"""Colours that colour-blind readers tell apart: measured in CIELAB through simulated dichromacies."""

from __future__ import annotations

import numpy as np
import pytest

from tests.viz.colour_vision import MACHADO, distances, lab
from xpycro.viz import style

JUST_TOLD_APART = 2.3  # of CIE76, for patches side by side
SEQUENTIAL = ("viridis", *(style._MAPS[kind] for kind in ("height", "counts")))


def test_the_simulation_knows_white_red_and_what_protanopia_cannot_see():
    np.testing.assert_allclose(lab(["#ffffff", "#000000"]), [[100, 0, 0], [0, 0, 0]], atol=0.02)
    np.testing.assert_allclose(lab(["#ff0000"]), [[53.24, 80.09, 67.20]], atol=0.05)  # of published tables
    for matrix in MACHADO.values():  # white stays white
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=2e-6)
    red, green = "#c04000", "#607000"
    assert distances([red, green])[0, 1] > 60 > 25 > distances([red, green], "protanopia")[0, 1]


@pytest.mark.parametrize("vision", MACHADO)
def test_any_two_categories_are_told_apart(vision):
    """Seven times what is just seen: thin lines and small patches need more than large ones side by side."""
    between = distances(style.CATEGORIES, vision)[np.triu_indices(len(style.CATEGORIES), 1)]
    assert between.min() > 7 * JUST_TOLD_APART - 0.1, f"{between.min():.1f}"


@pytest.mark.parametrize("vision", MACHADO)
@pytest.mark.parametrize("name", SEQUENTIAL)
def test_sequential_maps_grow_lighter_all_the_way(name, vision):
    lightness = lab(style.palette(name), vision)[:, 0]
    assert np.diff(lightness).min() > -0.1  # eight bits a colour
    assert lightness[-1] - lightness[0] > 70
    steps = np.linalg.norm(np.diff(lab(style.palette(name)[::16], vision), axis=0), axis=1)
    assert steps.min() > JUST_TOLD_APART  # a sixteenth of the range is seen anywhere


@pytest.mark.parametrize("vision", MACHADO)
def test_the_diverging_map_has_two_arms_of_one_length_and_hues_told_apart(vision):
    at = lab(style.palette(style._MAPS["signed"]), vision)
    lightness, middle = at[:, 0], len(at) // 2
    assert abs(int(lightness.argmax()) - middle) <= 3
    assert np.diff(lightness[: middle - 2]).min() > -0.1 and np.diff(lightness[middle + 3 :]).max() < 0.1
    if vision == "normal":
        assert np.abs(lightness - lightness[::-1]).max() < 1
    ends = np.linalg.norm(at - at[::-1], axis=1)[: len(at) // 4]
    assert ends.min() > 10 * JUST_TOLD_APART  # of equal size, plus from minus


@pytest.mark.parametrize("vision", MACHADO)
def test_the_cyclic_map_closes_and_its_quarters_are_told_apart(vision):
    colours = style.palette(style._MAPS["phase"])
    assert distances([colours[0], colours[-1]], vision)[0, 1] < 3
    quarters = distances([colours[i] for i in (0, 64, 128, 192)], vision)
    assert quarters[np.triu_indices(4, 1)].min() > 5 * JUST_TOLD_APART
