"""Atoms at known sub-pixel places, errors against repeated noise, lattices of known strain."""

import numpy as np
import pytest
import xarray as xr

from tests.processing.test_image import surface
from xpycro.processing import lattice

PIXEL = 2e-11


def picture(places, n=(128, 120), width=3.0, noise=0.0, seed=0, amplitude=1.0):
    y, x = np.indices(n)
    image = 0.5 + sum(amplitude * np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * width**2)) for a, b in places)
    image = image + np.random.default_rng(seed).normal(0, noise, n)
    da = surface(image, (n[0] * PIXEL, n[1] * PIXEL)).assign_attrs(units="A")
    return da.assign_coords(
        y=("y", np.arange(n[0]) * PIXEL, {"units": "m"}), x=("x", np.arange(n[1]) * PIXEL, {"units": "m"})
    )


def grid(a=(2.0, 16.0), b=(15.0, -3.0), shape=(128, 120), margin=8):
    i, j = (v.ravel() for v in np.meshgrid(np.arange(-20, 21), np.arange(-20, 21), indexing="ij"))
    places = np.outer(i, a) + np.outer(j, b) + [60.3, 58.7]
    inside = ((places > margin) & (places < np.array(shape) - margin)).all(axis=1)
    return places[inside]


def matched(found, true):
    """Distance of each true place to the atom found for it."""
    places = np.stack([found.y.values, found.x.values], axis=-1) / PIXEL
    distance = np.linalg.norm(places[:, None] - true[None], axis=-1)
    return distance, places


def test_all_atoms_of_a_lattice_are_found_and_no_other():
    true = grid()
    found = lattice.find_atoms(picture(true, noise=0.1), 7 * PIXEL)
    distance, _ = matched(found, true)
    assert found.sizes["atom"] == len(true)
    assert distance.min(axis=0).max() < 0.3
    assert found.y.attrs["units"] == "m" and found.height.attrs["units"] == "A"
    np.testing.assert_allclose(lattice.find_atoms(picture(true), 7.06 * PIXEL).height, 1, rtol=0.15)
    dark = lattice.find_atoms(picture(true, amplitude=-1.0), 7 * PIXEL, dark=True)
    assert dark.sizes["atom"] == len(true)
    assert lattice.find_atoms(picture([], noise=0.1), 7 * PIXEL, threshold=5).sizes["atom"] == 0


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_lattice_without_background_between_its_atoms_is_found(noise):
    y, x = np.indices((96, 96))
    waves = [np.cos(2 * np.pi * (x * np.cos(t) + y * np.sin(t)) / 8) for t in (0, np.pi / 3, 2 * np.pi / 3)]
    image = sum(waves) + np.random.default_rng(2).normal(0, noise, x.shape)
    found = lattice.find_atoms(xr.DataArray(image, dims=("y", "x")), 4.0)
    # at an atom all three cosines are one
    phase = [found.x * np.cos(t) / 8 + found.y * np.sin(t) / 8 for t in (0, np.pi / 3, 2 * np.pi / 3)]
    for p in phase:
        np.testing.assert_allclose(p, np.rint(p), atol=0.12 if noise else 0.04)  # of a period; borders are reflected
    cell = 8**2 / np.sin(np.pi / 3)
    assert found.sizes["atom"] == pytest.approx(92 * 92 / cell, rel=0.06)


def test_no_atoms_in_noise():
    image = xr.DataArray(np.random.default_rng(3).normal(size=(128, 128)), dims=("y", "x"))
    assert lattice.find_atoms(image, 4.0, threshold=5.0).sizes["atom"] <= 2


@pytest.mark.parametrize("elliptic", [False, True])
@pytest.mark.parametrize("flip", [False, True])
def test_refined_places_are_exact_without_noise(elliptic, flip):
    true = grid(a=(0.0, 24.0), b=(22.0, 0.0), margin=14)
    da = picture(true)
    da = da[::-1] if flip else da
    found = lattice.refine_atoms(da, lattice.find_atoms(da, 7 * PIXEL), elliptic=elliptic)
    assert found.converged.all()
    distance, _ = matched(found, true)
    assert distance.min(axis=0).max() < 1e-3
    np.testing.assert_allclose(found.amplitude, 1, atol=1e-3)
    np.testing.assert_allclose(found.background, 0.5, atol=1e-3)
    np.testing.assert_allclose(found["sigma_long" if elliptic else "sigma"], 3 * PIXEL, rtol=1e-3)
    assert found.y_stderr.attrs["units"] == "m"


def test_standard_errors_are_the_spread_of_repeated_fits():
    true = np.array([[40.2, 60.7]])
    places = []
    for seed in range(60):
        da = picture(true, (80, 120), noise=0.1, seed=seed)
        atoms = lattice.find_atoms(picture(true, (80, 120)), 7 * PIXEL)
        places.append(lattice.refine_atoms(da, atoms, radius=10 * PIXEL))
    every = xr.concat(places, "seed")
    for name in ("y", "x", "amplitude", "sigma"):
        spread, claimed = float(every[name].std()), float(every[f"{name}_stderr"].mean())
        assert claimed == pytest.approx(spread, rel=0.3), name
    assert abs(float(every.y.mean()) / PIXEL - 40.2) < 0.03


def test_ellipses_have_their_axes_and_angle():
    y, x = np.indices((60, 70))
    angle = 0.6
    u, v = x - 33.4, y - 28.8
    along, across = np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u
    da = picture([], (60, 70)).copy(data=np.exp(-(along**2) / (2 * 5**2) - across**2 / (2 * 2.5**2)))
    found = lattice.refine_atoms(da, lattice.find_atoms(da, 8 * PIXEL), elliptic=True, radius=12 * PIXEL)
    np.testing.assert_allclose(found.sigma_long / PIXEL, 5, rtol=1e-5)
    np.testing.assert_allclose(found.sigma_short / PIXEL, 2.5, rtol=1e-5)
    np.testing.assert_allclose(found.angle, angle, atol=1e-5)
    turned = lattice.refine_atoms(da[::-1], lattice.find_atoms(da, 8 * PIXEL), elliptic=True, radius=12 * PIXEL)
    np.testing.assert_allclose(turned.angle, angle, atol=1e-5)


def test_a_failed_atom_is_nan_and_flagged():
    da = picture([(40, 60)])
    atoms = lattice.find_atoms(da, 7 * PIXEL)
    nowhere = xr.concat([atoms, atoms.assign(y=atoms.y + 50 * PIXEL, x=atoms.x - 30 * PIXEL)], "atom")
    found = lattice.refine_atoms(da, nowhere.assign_attrs(width=7 * PIXEL))
    assert bool(found.converged[0]) and not bool(found.converged[1])
    assert np.isnan(found.y[1]) and np.isfinite(found.y[0])


def test_neighbours_of_a_square_lattice():
    atoms = table(grid(a=(0.0, 10.0), b=(10.0, 0.0)))
    found = lattice.neighbours(atoms, 4)
    inner = np.abs(found.distance[:, 3] / PIXEL - 10) < 1e-6
    assert inner.sum() > 40
    angles = np.sort(np.abs(found.angle.values[inner]), axis=1)
    np.testing.assert_allclose(angles, np.tile([0, np.pi / 2, np.pi / 2, np.pi], (len(angles), 1)), atol=1e-9)
    assert (found["index"].values[inner] >= 0).all()
    assert int(lattice.neighbours(atoms.isel(atom=[0]), 2)["index"].max()) == -1


def table(places):
    return xr.Dataset(
        {name: ("atom", places[:, i] * PIXEL, {"units": "m"}) for i, name in enumerate(("y", "x"))},
        coords={"atom": np.arange(len(places))},
    )


@pytest.mark.parametrize(("a", "b"), [((0, 10), (10, 0)), ((2.0, 16.0), (15.0, -3.0)), ((0, 12), (12 * 0.8660254, 6))])
def test_lattice_vectors_are_found(a, b):
    places = grid(a, b)
    jitter = np.random.default_rng(0).normal(0, 0.1, places.shape)
    found = lattice.lattice_vectors(table(places + jitter))
    vectors = found.vectors.values / PIXEL
    # the same lattice: each set is an integer combination of the other
    combination = vectors @ np.linalg.inv(np.array([a, b], float))
    np.testing.assert_allclose(combination, np.rint(combination), atol=0.01)
    assert abs(abs(np.linalg.det(combination)) - 1) < 0.01
    assert float(found.residual.max()) < 0.6 * PIXEL
    assert found.displacement.attrs["units"] == "m" and found.attrs["pycro_result"] == "lattice"
    np.testing.assert_allclose(found.displacement.std() / PIXEL, 0.1, rtol=0.2)


def test_known_strain_and_rotation_are_found():
    places = grid((0, 10), (10, 0), (300, 300))
    gradient = np.array([[0.02, 0.006], [-0.004, -0.01]])  # du_y/dy, du_x/dy; du_y/dx, du_x/dx
    moved = places + (places - 150) @ gradient
    found = lattice.strain(lattice.lattice_vectors(table(moved)), reference=np.array([[0, 10.0], [10, 0]]) * PIXEL)
    np.testing.assert_allclose(found.strain_yy, 0.02, atol=1e-9)
    np.testing.assert_allclose(found.strain_xx, -0.01, atol=1e-9)
    np.testing.assert_allclose(found.strain_xy, (0.006 - 0.004) / 2, atol=1e-9)
    np.testing.assert_allclose(found.rotation, (-0.004 - 0.006) / 2, atol=1e-9)
    assert found.strain_xx.attrs["units"] == "1" and found.rotation.attrs["units"] == "rad"
    # relative to its own mean an evenly strained lattice has none
    assert float(abs(lattice.strain(lattice.lattice_vectors(table(moved))).strain_yy).max()) < 1e-9


def test_a_strained_half_shows_in_the_map():
    places = grid((0, 10), (10, 0), (300, 300))
    moved = places.copy()
    right = places[:, 1] > 150
    moved[right, 1] += 0.03 * (places[right, 1] - 150)
    found = lattice.strain(lattice.lattice_vectors(table(moved)), reference=np.array([[0, 10.0], [10, 0]]) * PIXEL)
    x = found.x / PIXEL
    np.testing.assert_allclose(found.strain_xx.values[(x > 175).values], 0.03, atol=2e-3)
    np.testing.assert_allclose(found.strain_xx.values[(x < 130).values], 0.0, atol=2e-3)


def test_from_image_to_strain():
    places = grid((0, 12), (12, 0), (128, 120), margin=10)
    moved = places + (places - 60) @ np.array([[0.0, 0.0], [0.0, 0.02]])
    moved = moved[(moved > 8).all(axis=1) & (moved < [120, 112]).all(axis=1)]
    da = picture(moved, noise=0.05, width=2.5)
    atoms = lattice.refine_atoms(da, lattice.find_atoms(da, 6 * PIXEL))
    found = lattice.strain(lattice.lattice_vectors(atoms), reference=np.array([[0, 12.0], [12, 0]]) * PIXEL)
    assert float(found.strain_xx.median()) == pytest.approx(0.02, abs=2e-3)
    assert float(found.strain_yy.median()) == pytest.approx(0.0, abs=2e-3)


def test_bad_input_is_named():
    da = picture([(40, 60)])
    with pytest.raises(ValueError, match="one image"):
        lattice.find_atoms(da.expand_dims(frame=2), 7 * PIXEL)
    with pytest.raises(ValueError, match="at least four"):
        lattice.lattice_vectors(lattice.find_atoms(da, 7 * PIXEL))
    with pytest.raises(ValueError, match="pass what find_atoms returned"):
        lattice.refine_atoms(da, xr.Dataset())
    with pytest.raises(ValueError, match="too few pixels"):
        lattice.refine_atoms(da, lattice.find_atoms(da, 7 * PIXEL), radius=0.5 * PIXEL)
    with pytest.raises(ValueError, match="not parallel"):
        lattice.lattice_vectors(table(grid()), start=[[1, 1], [2, 2]])
