"""Leveling, destriping, repair, profiles, grains, filters and deconvolution against planes, disks and waves."""

import sys

import numpy as np
import pytest
import scipy.ndimage
import xarray as xr

from tests.conftest import as_indexed, raise_if_dask_computes
from tests.processing.test_image import surface, terraces
from xpycro.errors import MissingExtra
from xpycro.processing import image

rng = np.random.default_rng


# --------------------------------------------------------------------------------------------------------- leveling


def test_polynomial_and_three_points_take_out_what_was_put_in():
    y, x = np.indices((24, 40))
    bow = 1e-9 * ((x - 20.0) ** 2 / 200 + y * x / 300 - y / 7)
    np.testing.assert_allclose(image.level(surface(bow), "polynomial"), 0, atol=1e-20)
    step, tilt = terraces()
    da = surface(step + tilt)
    places = [(2, 2), (20, 3), (10, 11)]
    points = [{"y": float(da.y[i]), "x": float(da.x[j])} for i, j in places]
    np.testing.assert_allclose(image.level(da, "three_point", points=points), step, atol=1e-20)
    wide = image.level(da, "three_point", points=points, radius=4e-7)
    np.testing.assert_allclose(wide, step, atol=1e-20)
    with pytest.raises(ValueError, match="one line"):
        image.level(da, "three_point", points=[points[0]] * 3)


def test_matched_lines_follow_the_flat_part_where_a_flank_fills_most_of_each_line():
    y, x = np.indices((60, 80))
    clean = 1e-10 * ((x - 25) + 0.5 * y) * (x > 25)  # two thirds of each line climb from one to the next
    offsets = rng(0).normal(0, 2e-9, (60, 1))
    noise = rng(1).normal(0, 1e-12, (60, 80))
    found = image.level(surface(clean + offsets + noise), "matched")
    assert (found.values - clean)[:, :25].std() < 2e-11
    assert image.level(surface(clean + offsets), "median_difference").values[:, :25].std() > 5e-10
    flat = np.zeros((60, 80))
    assert np.abs(image.level(surface(flat + offsets), "matched")).max() < 1e-20
    gap = surface(np.where(y == 5, np.nan, flat + offsets))
    assert np.isnan(image.level(gap, "matched").values[5]).all()


def test_destripe_takes_stripes_and_keeps_the_surface():
    y, x = np.indices((64, 48))
    smooth = 1e-9 * np.sin(x / 9) + 3e-10 * y / 64
    stripes = np.zeros((64, 1))
    stripes[[10, 11, 40, 62]] = [[5e-9], [5e-9], [-3e-9], [2e-9]]
    found = image.destripe(surface(smooth + stripes))
    np.testing.assert_allclose(found, smooth, atol=1e-20)
    np.testing.assert_allclose(image.destripe(surface(smooth)), smooth, atol=1e-20)  # tilted to its very edges
    holed = smooth + stripes
    holed[20] = np.nan
    np.testing.assert_array_equal(np.isnan(image.destripe(surface(holed))), np.isnan(holed))


# --------------------------------------------------------------------------------------------------------- restoring


def test_outliers_and_dead_lines_are_found_and_filled():
    y, x = np.indices((50, 60))
    clean = 1e-9 * np.sin(x / 8) * np.cos(y / 9)
    spoilt = clean + rng(2).normal(0, 1e-11, clean.shape)
    spoilt[7, 8], spoilt[30, 50], spoilt[20], spoilt[41] = 5e-9, -5e-9, 8e-9, clean.min()
    found = image.outliers(surface(spoilt))
    expected = np.zeros(clean.shape, bool)
    expected[7, 8] = expected[30, 50] = expected[20] = expected[41] = True
    assert (found.values[expected]).all() and (found.values & ~expected).sum() <= 2
    repaired = image.repair(surface(spoilt))
    assert np.abs(repaired.values - clean).max() < 2e-10
    untouched = ~found.values
    np.testing.assert_array_equal(repaired.values[untouched], spoilt[untouched])
    assert not image.outliers(surface(rng(3).normal(size=(60, 60))), threshold=7).any()


def test_inpainting_solves_laplaces_equation_and_continues_planes():
    y, x = np.indices((20, 30)).astype(float)
    harmonic = 1e-9 * (x**2 - y**2)  # its discrete Laplacian is zero
    hole = np.hypot(y - 9, x - 14) < 5
    da = surface(np.where(hole, np.nan, harmonic))
    np.testing.assert_allclose(image.inpaint(da), harmonic, atol=1e-19)
    mask = xr.DataArray(hole, dims=("y", "x"))
    np.testing.assert_allclose(image.inpaint(surface(harmonic + hole), mask), harmonic, atol=1e-19)
    assert np.isnan(image.inpaint(surface(np.full((4, 4), np.nan)))).all()


def test_biharmonic_is_scikit_images():
    skimage = pytest.importorskip("skimage.restoration")
    y, x = np.indices((20, 30)).astype(float)
    values = np.sin(x / 9) + np.cos(y / 5)
    hole = np.hypot(y - 9, x - 14) < 3
    found = image.inpaint(surface(values), xr.DataArray(hole, dims=("y", "x")), method="biharmonic")
    np.testing.assert_allclose(found, skimage.inpaint_biharmonic(values, hole), atol=1e-8)
    # heights in metres are far below its tolerances: they are scaled
    small = image.inpaint(surface(1e-9 * values), xr.DataArray(hole, dims=("y", "x")), method="biharmonic")
    np.testing.assert_allclose(small, 1e-9 * found, atol=1e-16)


def test_without_scikit_image_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    with pytest.raises(MissingExtra, match=r"xpycro\[image\]"):
        image.inpaint(surface(np.zeros((4, 4))), method="biharmonic")
    with pytest.raises(MissingExtra, match=r"xpycro\[image\]"):
        image.grains(surface(np.eye(8)), 0.5, method="watershed")


def test_richardson_lucy_is_scikit_images_inside():
    skimage = pytest.importorskip("skimage.restoration")
    values = scipy.ndimage.gaussian_filter(rng(4).poisson(0.02, (60, 70)).astype(float) * 500, 2.0) + 1
    axis = np.arange(-6, 7)
    kernel = np.exp(-(axis[:, None] ** 2 + axis**2) / 8)
    found = image.richardson_lucy(surface(values), kernel, iterations=10)
    padded = np.pad(values, 30, mode="symmetric")
    expected = skimage.richardson_lucy(padded, kernel / kernel.sum(), num_iter=10, clip=False)[30:-30, 30:-30]
    np.testing.assert_allclose(found.values[12:-12, 12:-12], expected[12:-12, 12:-12], rtol=1e-2, atol=1e-2)


def test_richardson_lucy_sharpens_and_conserves():
    y, x = np.indices((65, 65)) - 32
    true = 100 * np.exp(-(y**2 + x**2) / (2 * 2.0**2))
    blurred = surface(scipy.ndimage.gaussian_filter(true, 3.0), (65e-9, 65e-9))
    found = image.richardson_lucy(blurred, 3.0 * 2.3548e-9, iterations=200)
    assert float(found.sum()) == pytest.approx(true.sum(), rel=1e-3)
    assert np.abs(found.values - true).max() < 0.1 * true.max()


# ---------------------------------------------------------------------------------------------------------- measures


def test_gradient_of_a_plane_has_the_right_units():
    y, x = np.meshgrid(surface(np.zeros((8, 9))).y, surface(np.zeros((8, 9))).x, indexing="ij")
    found = image.gradient(surface(0.3 * x - 0.4 * y))
    np.testing.assert_allclose(found.gradient_x, 0.3)
    np.testing.assert_allclose(found.gradient_y, -0.4)
    np.testing.assert_allclose(found.magnitude, 0.5)
    assert found.magnitude.attrs["units"] == "1"
    falling = surface(0.3 * x - 0.4 * y)[::-1]
    np.testing.assert_allclose(image.gradient(falling).gradient_y, -0.4)


def test_ends_of_a_profile_are_numbers_or_text_and_anything_else_is_named():
    place = {d: (d, np.arange(20) * 1e-9, {"units": "m"}) for d in "yx"}
    da = xr.DataArray(np.add.outer(np.zeros(20), np.arange(20.0)), place, ("y", "x"), attrs={"units": "m"})
    text = image.profile(da, {"y": "2 nm", "x": "4 nm"}, {"y": "2 nm", "x": "9 nm"}, width="2 nm")
    np.testing.assert_allclose(text, np.arange(4.0, 10.0))
    for wrong in (("2 nm", "4 nm"), {"y": 0.0}, [0.0, 1.0]):
        with pytest.raises(ValueError, match="give both 'y' and 'x', as a dict"):
            image.profile(da, wrong, {"y": 0.0, "x": 1e-9})


def test_profile_along_a_slanted_line_with_width():
    da = surface(np.zeros((40, 80)))
    y, x = np.meshgrid(da.y, da.x, indexing="ij")
    plane = da.copy(data=2 * x + 3 * y)
    start, end = {"y": 1e-6, "x": 1e-6}, {"y": 3e-6, "x": 6e-6}
    found = image.profile(plane, start, end, width=5e-7)
    np.testing.assert_allclose(found, 2 * found.x + 3 * found.y, rtol=1e-9)
    assert float(found.distance[-1]) == pytest.approx(np.hypot(2e-6, 5e-6))
    assert found.attrs["units"] == "m" and found.distance.attrs["units"] == "m"
    # a ridge across the line: averaged over the width it keeps its height
    noisy = plane.copy(data=rng(5).normal(size=plane.shape))
    assert float(image.profile(noisy, start, end, width=1e-6).std()) < 0.5
    with pytest.raises(ValueError, match="leaves the image along x"):
        image.profile(plane, start, {"y": 1e-6, "x": 9e-6})


def test_grains_have_the_areas_of_their_disks():
    y, x = np.indices((120, 160)) * 1e-8
    disks = [(3e-7, 4e-7, 1.5e-7, 5e-9), (8e-7, 1.1e-6, 2e-7, 7e-9)]
    values = sum(h * (np.hypot(y - cy, x - cx) < r) for cy, cx, r, h in disks) + 1e-9
    da = surface(values, (1.2e-6, 1.6e-6)).assign_coords(
        y=("y", np.arange(120) * 1e-8, {"units": "m"}), x=("x", np.arange(160) * 1e-8, {"units": "m"})
    )
    found = image.grains(da)
    assert 1e-9 < found.attrs["threshold"] < 6e-9
    assert found.sizes["grain"] == 2
    for grain, (cy, cx, r, h) in zip(range(2), disks, strict=True):
        one = found.isel(grain=grain)
        assert float(one.area) == pytest.approx(np.pi * r**2, rel=0.02)
        assert float(one.equivalent_diameter) == pytest.approx(2 * r, rel=0.01)
        assert float(one.center_y) == pytest.approx(cy, abs=2e-9) and float(one.center_x) == pytest.approx(cx, abs=2e-9)
        assert float(one.max_height) == pytest.approx(h + 1e-9)
        assert float(one.volume) == pytest.approx((h + 1e-9 - found.attrs["threshold"]) * float(one.area))
    assert found.area.attrs["units"] == "m^2" and found.volume.attrs["units"] == "m^3"
    assert image.grains(da, min_area=1e-13).sizes["grain"] == 1
    pores = image.grains(-da, below=True)
    np.testing.assert_allclose(pores.area, found.area)
    np.testing.assert_allclose(pores.volume, found.volume)
    assert image.grains(da, 1.0).sizes["grain"] == 0


def test_watershed_splits_touching_disks():
    pytest.importorskip("skimage")
    y, x = np.indices((80, 120))
    touching = surface(((np.hypot(y - 40, x - 40) < 20) | (np.hypot(y - 40, x - 75) < 20)).astype(float))
    assert image.grains(touching, 0.5).sizes["grain"] == 1
    split = image.grains(touching, 0.5, method="watershed", min_distance=1e-6)
    assert split.sizes["grain"] == 2
    np.testing.assert_allclose(split.area, split.area[0], rtol=0.03)
    # the grains of the whole image and no more
    np.testing.assert_array_equal(split.labels > 0, touching > 0.5)


def test_otsu_is_scikit_images():
    filters = pytest.importorskip("skimage.filters")
    values = np.concatenate([rng(6).normal(0, 1, 3000), rng(7).normal(6, 1.5, 1000)]).reshape(40, 100)
    bins = np.ptp(values) / 256
    assert image.grains(surface(values)).attrs["threshold"] == pytest.approx(filters.threshold_otsu(values), abs=bins)


# ------------------------------------------------------------------------------------------------------ Fourier space


def test_low_and_high_pass_share_a_wave_by_half():
    n, period = 96, 12
    x = np.arange(n) + 0.5
    wave = surface(np.tile(np.cos(np.pi * 16 * x / n), (n, 1)), (n * 1e-9, n * 1e-9))  # period 12 pixels, even borders
    low = image.fourier_filter(wave, low_pass=period * 1e-9)
    np.testing.assert_allclose(low, wave / 2, atol=1e-12)
    np.testing.assert_allclose(image.fourier_filter(wave, high_pass=period * 1e-9), wave / 2, atol=1e-12)
    assert np.abs(image.fourier_filter(wave + 5, high_pass=1e-8).mean()) < 1e-12
    np.testing.assert_allclose(image.fourier_filter(wave + 5, low_pass=period * 1e-9), wave / 2 + 5, atol=1e-12)


def lattice(n=128, noise=0.0, k=((0.0937, 0.021), (-0.028, 0.113))):
    y, x = np.indices((n, n)) * 1e-10
    values = sum(np.cos(2 * np.pi * (ky * 1e10 * y + kx * 1e10 * x) + 0.3) for ky, kx in k)
    da = surface(values + rng(8).normal(0, noise, (n, n)), (n * 1e-10, n * 1e-10))
    return da, np.array(k) * 1e10, values


def test_lattice_spots_are_found_below_a_pixel_in_noise():
    da, k, _ = lattice(noise=2.0)
    found = image.lattice_spots(da, 2)
    places = np.stack([found.ky.values, found.kx.values], axis=-1)
    places = places[np.argsort(-places[:, 0])]
    np.testing.assert_allclose(places, k, atol=0.1 / (128 * 1e-10))
    np.testing.assert_allclose(found.amplitude, 1, rtol=0.25)
    assert found.ky.attrs["units"] == "1/m" and found.period.attrs["units"] == "m"
    np.testing.assert_allclose(found.period, 1 / np.hypot(found.ky, found.kx))
    assert np.isnan(image.lattice_spots(surface(rng(9).normal(size=(64, 64))), 2).ky).all()


def test_lattice_filter_keeps_the_lattice():
    da, _, clean = lattice(noise=1.0)
    found = image.lattice_filter(da, radius=4e8)
    assert np.abs(found.values - clean)[10:-10, 10:-10].std() < 0.25
    given = image.lattice_filter(da.chunk(y=50), image.lattice_spots(da, 2), radius=4e8)
    assert given.chunks and np.abs(given.values - clean)[10:-10, 10:-10].std() < 0.2
    # a falling axis describes the same picture
    turned = image.lattice_filter(da[::-1], image.lattice_spots(da[::-1], 2), radius=4e8)
    np.testing.assert_allclose(turned[::-1], given, atol=0.2)
    with pytest.raises(ValueError, match="no lattice found in height"):
        image.lattice_filter(surface(rng(9).normal(size=(64, 64))), radius=1e6)


def waves(n, period, angle, between, noise, seed=0):
    """Two waves with their indices' truth: k of the first and of the second, cycles a pixel."""
    y, x = np.indices((n, n))
    k = np.array([(np.sin(t) / period, np.cos(t) / period) for t in (angle, angle + between)])
    values = sum(np.cos(2 * np.pi * (ky * y + kx * x)) for ky, kx in k)
    return values + rng(seed).normal(0, noise, (n, n)), k


@pytest.mark.parametrize("noise", [0.2, 1.5, 4.0])
@pytest.mark.parametrize("between", [np.pi / 3, np.pi / 2])
@pytest.mark.parametrize("angle", [0.0, 0.3, 1.0, 2.0])
def test_lattices_are_found_at_any_angle_in_noise(angle, between, noise):
    values, k = waves(128, 7.3, angle, between, noise)
    found = image.lattice_spots(xr.DataArray(values, dims=("y", "x")), 2)
    places = np.stack([found.ky, found.kx], axis=-1)
    k = np.where((k[:, 1:] < 0) | ((abs(k[:, 1:]) < 1e-9) & (k[:, :1] < 0)), -k, k)
    off = np.hypot(*np.moveaxis(places[:, None] - k[None], -1, 0)).min(axis=1)
    off = np.minimum(off, np.hypot(*np.moveaxis(places[:, None] + k[None], -1, 0)).min(axis=1))
    assert (off < 0.3 / 128).all()
    assert sorted(map(tuple, abs(found.index.values))) == [(0, 1), (1, 0)]


def test_a_lattice_on_a_step_is_found_and_the_step_is_not():
    values, _ = waves(128, 7.3, 0.3, np.pi / 2, 0.3)
    y, x = np.indices(values.shape)
    found = image.lattice_spots(xr.DataArray(values + 8.0 * (x + 0.4 * y > 90), dims=("y", "x")), 2)
    np.testing.assert_allclose(sorted(found.period.values), [7.3, 7.3], rtol=0.02)
    anything = image.lattice_spots(xr.DataArray(values, dims=("y", "x")), 3, directions=1)
    assert np.isfinite(anything.ky).sum() == 2 and np.isnan(anything.index).all()


def objects(kind, n=128):
    y, x = np.indices((n, n))
    turned = 0.8 * x + 0.6 * y
    crossing = -0.6 * x + 0.8 * y
    return {
        "noise": 0.0 * x,
        "disk": 1.0 * (np.hypot(y - 50, x - 70) < 25),
        "square": 1.0 * ((abs(y - 60) < 20) & (abs(x - 70) < 30)),
        "turned square": 1.0 * ((abs(turned - 90) < 20) & (abs(crossing - 10) < 15)),
        "triangle": 1.0 * ((x > 40) & (y > 30) & (x + y < 150)),
        "islands": sum(1.0 * (np.hypot(y - a, x - b) < r) for a, b, r in [(30, 40, 12), (90, 30, 9), (70, 100, 15)]),
        "particles": sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 18) for a, b in rng(3).uniform(0, n, (12, 2))),
        "step": 1.0 * (x > 50),
        "turned step": 1.0 * (turned > 80),
        "terraces": 1.0 * sum(turned > edge for edge in (30, 75, 98, 140)),
        "scan lines": rng(4).normal(size=(n, 1)) + 0.0 * x,
        "one wave": np.cos(2 * np.pi * turned / 9),
        "rough": np.fft.ifft2(np.fft.fft2(rng(5).normal(size=(n, n))) / (0.02 + np.hypot(*np.meshgrid(
            np.fft.fftfreq(n), np.fft.fftfreq(n), indexing="ij")) ** 2)).real / 50,
    }[kind]  # fmt: skip


KINDS = ["noise", "disk", "square", "turned square", "triangle", "islands", "particles", "step", "turned step",
         "terraces", "scan lines", "one wave", "rough"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_single_objects_edges_and_lines_are_no_lattice(kind):
    plain = objects(kind)
    for seed, noise in enumerate((0.01, 0.1, 0.5)):
        da = xr.DataArray(plain + rng(seed).normal(0, noise, plain.shape), dims=("y", "x"), name="height")
        assert np.isnan(image.lattice_spots(da).ky).all()
    with pytest.raises(ValueError, match="no lattice found in height"):
        image.lattice_filter(da, radius=0.02)


def test_real_images_have_the_lattice_they_have(data_file):
    import xpycro as xp

    single = xp.open(data_file("nanonis_sxm/Image_445.sxm"))  # one molecule: whatever is periodic there is pick-up
    for name in ("z", "current", "frequency_shift", "li_y"):
        assert np.isnan(image.lattice_spots(image.level(single[name])).ky).all(), name
    lattice = xp.open(data_file("nanonis_sxm/sxm_moire_10nm.sxm")).z.sel(direction="backward")
    periods = image.lattice_spots(image.level(lattice), 2).period
    assert (abs(periods / 0.258e-9 - 1) < 0.02).all()  # rows of graphite or metal, not of the pixels (62.5 pm)
    for name in ("createc_dat/createc_scan_preview_120nm.dat", "gwyddion/GwiddionReader_chip.gwy"):
        for da in xp.open_tree(data_file(name)).leaves[0].data_vars.values():
            assert np.isnan(image.lattice_spots(image.level(da)).ky).all(), (name, da.name)


def test_spots_refuse_what_they_cannot_do():
    da = surface(rng(9).normal(size=(16, 16)))
    with pytest.raises(ValueError, match="directions=3: 2 for a lattice"):
        image.lattice_spots(da, directions=3)
    with pytest.raises(ValueError, match="count=0"):
        image.lattice_spots(da, 0)


# ----------------------------------------------------------------------------------------------------------- contract

OPERATIONS = {
    "polynomial": lambda da: image.level(da, "polynomial"),
    "matched": lambda da: image.level(da, "matched"),
    "destripe": lambda da: image.destripe(da),
    "outliers": image.outliers,
    "repair": image.repair,
    "inpaint": lambda da: image.inpaint(da, xr.DataArray(np.eye(12, 24) > 0, dims=("y", "x"))),
    "richardson_lucy": lambda da: image.richardson_lucy(da, 8e-7, iterations=3),
    "gradient": lambda da: image.gradient(da).magnitude,
    "profile": lambda da: image.profile(da, {"y": 1e-6, "x": 1e-6}, {"y": 3e-6, "x": 6e-6}, width=5e-7),
    "fourier_filter": lambda da: image.fourier_filter(da, low_pass=1e-6),
    "spots": lambda da: image.lattice_spots(da, 2, contrast=1.5, directions=1).ky,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_lazy_equals_eager_and_nothing_is_modified(name, tmp_path):
    operation = OPERATIONS[name]
    square = np.random.default_rng(10).normal(size=(3, 12, 24))
    da = surface(square).rename(lead_0="frame")
    before = da.copy(deep=True)
    expected = operation(da)
    xr.testing.assert_identical(da, before)
    assert "units" in expected.attrs and expected.dims[0] == "frame"
    for lazy_input in (
        da.chunk({"frame": 2, "y": 5, "x": 7}),
        as_indexed(da.to_dataset(), tmp_path / "d.nc")["height"],
    ):
        with raise_if_dask_computes():
            lazy = operation(lazy_input)
        assert lazy.chunks and lazy.dtype == expected.dtype
        np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-9, atol=1e-9)
    if name not in ("destripe", "matched", "outliers", "repair"):
        turned = operation(da.transpose("x", "frame", "y"))
        np.testing.assert_allclose(turned.transpose(*expected.dims), expected, rtol=1e-9, atol=1e-9)
    if "x" in expected.coords and "x" in expected.dims:
        xr.testing.assert_identical(expected.x, da.x)


# ------------------------------------------------------------------------------------------------------- real heights


def test_real_topographies_become_flat(data_file):
    height = xr.open_dataset(data_file("igor_ibw/AR_20211011.ibw"), engine="pycro").height_retrace
    assert dict(height.sizes) == {"y": 128, "x": 128} and height.attrs["units"] == "m"
    flat = image.level(image.level(height, "polynomial"), "median_difference")
    rough = image.roughness(flat)
    # the publisher's own flattening gives Rq 7.87 nm, Ra 6.37 nm: another method, the same surface
    assert 5e-9 < float(rough.root_mean_square_height) < 11e-9
    assert 4e-9 < float(rough.arithmetical_mean_height) < 9e-9


def test_what_is_left_out_must_be_labelled_and_lie_on_the_image():
    da = surface(np.zeros((6, 7)))
    for tool in (image.level, image.destripe, image.roughness):
        with pytest.raises(TypeError, match="exclude= is of type ndarray: pass a boolean DataArray"):
            tool(da, exclude=np.zeros((6, 7), bool))
        with pytest.raises(ValueError, match="it needs \\['y', 'x'\\]"):
            tool(da, exclude=xr.DataArray([True], dims="z"))
    with pytest.raises(TypeError, match="mask= is of type ndarray"):
        image.inpaint(da, np.zeros((6, 7), bool))
    with pytest.raises(ValueError, match="not evenly spaced"):
        image.level(da.assign_coords(y=np.arange(6.0) ** 2))
