"""Drift of known size: rolled, cropped from a larger scene at sub-pixel places, and drowned in noise."""

import numpy as np
import pytest
import scipy.ndimage
import xarray as xr

from tests.conftest import as_indexed, raise_if_dask_computes
from xpycro.errors import DimensionError
from xpycro.processing import register
from xpycro.schema import coordinate

PIXEL = 2e-10


def stack(frames, pixel=PIXEL):
    frames = np.asarray(frames)
    n, ny, nx = frames.shape
    return xr.DataArray(
        frames,
        dims=("frame", "y", "x"),
        coords={
            "frame": coordinate("frame", np.arange(n)),
            "y": coordinate("y", np.arange(ny) * pixel),
            "x": coordinate("x", np.arange(nx) * pixel),
        },
        attrs={"units": "A", "long_name": "Current"},
        name="current",
    )


def scene(shifts, size=96, seed=0, noise=0.0, feature=2.0):
    """Frames cut at exact sub-pixel places from a sum of random Gaussians: nothing periodic, nothing interpolated."""
    rng = np.random.default_rng(seed)
    count = int(0.02 * (size + 60) ** 2)
    y, x = rng.uniform(-30, size + 30, (2, count))
    height = rng.uniform(0.5, 1, count)
    axis = np.arange(size)
    frames = []
    for dy, dx in shifts:
        left = np.exp(-((axis[:, None] - y - dy) ** 2) / (2 * feature**2)) * height
        frames.append(left @ np.exp(-((axis[:, None] - x - dx) ** 2) / (2 * feature**2)).T)
    frames = np.array(frames)
    return frames + rng.normal(0, noise, frames.shape) if noise else frames  # of the tallest feature


TRUE = np.array([[0, 0], [1.3, -0.7], [2.85, -2.2], [3.1, -4.45], [0.4, -5.9]])


@pytest.mark.parametrize("reference", ["first", "all"])
def test_drift_of_a_scene_is_found_below_a_twentieth_of_a_pixel_at_peak_snr_5(reference):
    da = stack(scene(TRUE, size=256, feature=1.5, noise=1 / 5))  # features five times the noise of a pixel at best
    found = register.drift(da, reference=reference)["shift"]
    np.testing.assert_allclose(found / PIXEL, TRUE, atol=0.05)
    assert found.attrs["units"] == "m" and list(found.axis.values) == ["y", "x"] and found.dims == ("frame", "axis")


def test_the_weights_of_noise_beat_plain_correlation_at_low_snr():
    da = stack(scene(TRUE, size=192, noise=0.8))
    plain, found = (
        np.sqrt(((register.drift(da, reference="first", weighting=w)["shift"] / PIXEL - TRUE) ** 2).mean())
        for w in ("none", "noise")
    )
    assert found < plain / 2


def test_without_noise_it_is_found_to_a_hundredth():
    da = stack(scene(TRUE))
    found = register.drift(da, reference="first")["shift"]
    np.testing.assert_allclose(found / PIXEL, TRUE, atol=0.02)
    # a falling axis: the same shift in coordinates
    falling = register.drift(da[:, ::-1], reference="first")["shift"]
    np.testing.assert_allclose(falling, found, atol=0.01 * PIXEL)


@pytest.mark.parametrize("weighting", ["noise", "phase", "none"])
def test_periodic_images_are_exact(weighting):
    rng = np.random.default_rng(1)
    first = scipy.ndimage.gaussian_filter(rng.normal(size=(64, 48)), 1.5, mode="wrap")
    ky, kx = np.fft.fftfreq(64)[:, None], np.fft.fftfreq(48)[None, :]
    shifts = np.array([[0, 0], [5, -7], [2.37, 3.61], [-20.5, 11.25]])
    frames = [np.fft.ifft2(np.fft.fft2(first) * np.exp(-2j * np.pi * (ky * a + kx * b))).real for a, b in shifts]
    found = register.drift(stack(frames), reference="first", window=None, weighting=weighting)["shift"] / PIXEL
    np.testing.assert_allclose(found, shifts, atol=2e-3)


def test_it_agrees_with_scikit_image():
    skimage = pytest.importorskip("skimage.registration")
    frames = scene(TRUE[:3])
    window = np.multiply.outer(np.hanning(97)[:-1], np.hanning(97)[:-1])
    found = register.drift(stack(frames), reference="first")["shift"][2] / PIXEL
    flat = [(f - f.mean()) * window for f in frames]
    theirs = skimage.phase_cross_correlation(flat[2], flat[0], upsample_factor=100, normalization=None)[0]
    np.testing.assert_allclose(found, theirs, atol=0.05)


def test_all_pairs_survive_a_ruined_frame():
    frames = scene(TRUE, size=128, feature=1.5, noise=0.05)
    frames[2] = np.roll(scene(TRUE, size=128, seed=7)[2], 20, 1)  # something else altogether
    chained = register.drift(stack(frames), reference="previous")["shift"] / PIXEL
    together = register.drift(stack(frames), reference="all")["shift"] / PIXEL
    keep = [0, 1, 3, 4]
    assert abs(chained[keep] - TRUE[keep]).max() > 0.3
    np.testing.assert_allclose(together[keep], TRUE[keep], atol=0.05)


def test_frames_without_contrast_are_nan_and_gaps_are_bridged():
    frames = scene(TRUE)
    frames[1] = 3.0
    frames[3, 10:14, 20:40] = np.nan
    found = register.drift(stack(frames), reference="first")["shift"] / PIXEL
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2, 3, 4]], TRUE[[0, 2, 3, 4]], atol=0.05)
    together = register.drift(stack(frames), reference="all")["shift"] / PIXEL
    np.testing.assert_allclose(together[[0, 2, 4]], TRUE[[0, 2, 4]], atol=0.05)


def test_a_largest_shift_keeps_a_lattice_from_jumping():
    y, x = np.indices((64, 64))
    lattice = [np.cos(2 * np.pi * (x - dx) / 8) + np.cos(2 * np.pi * (y - dy) / 8) for dy, dx in ((0, 0), (0.8, -1.6))]
    found = register.drift(stack(lattice), max_shift=3 * PIXEL)["shift"] / PIXEL
    np.testing.assert_allclose(found[1], [0.8, -1.6], atol=0.05)


# ---------------------------------------------------------------------------------------------------------- moving


@pytest.mark.parametrize("method", ["spline", "fourier"])
def test_frames_move_back_onto_the_first(method):
    da = stack(scene(TRUE, feature=3.0))
    found = register.rigid(da, reference="first", method=method, crop=True)
    image = found.image
    assert image.sizes["y"] == 96 - 4 and image.sizes["x"] == 96 - 6
    inner = image[:, 8:-8, 8:-8]
    np.testing.assert_allclose(inner, np.broadcast_to(inner[0], inner.shape), atol=0.03 * float(abs(inner).max()))
    assert image.attrs["units"] == "A" and image.drift_y.attrs["units"] == "m"
    np.testing.assert_allclose(image.drift_y / PIXEL, TRUE[:, 0], atol=0.02)
    assert found.attrs["pycro_result"] == "registration"
    # a feature keeps its coordinate of the first frame
    np.testing.assert_allclose(image.x[0], da.x[0 if TRUE[:, 1].min() >= 0 else 6])


def test_uncropped_frames_are_nan_outside_and_keep_the_grid():
    da = stack(scene(TRUE))
    moved = register.shift(da, register.drift(da, reference="first"))
    xr.testing.assert_identical(moved.x.drop_vars(["drift_y", "drift_x"], errors="ignore"), da.x)
    assert np.isnan(moved[1, -2:]).all() and np.isnan(moved[1, :, 0]).all()
    assert np.isfinite(moved[1, 2:-4, 3:-3]).all()
    np.testing.assert_array_equal(moved[0], da[0])
    gap = da.copy()
    gap[1, 40, 40] = np.nan
    lost = np.isnan(register.shift(gap, register.drift(da, reference="first"))[1, 30:50, 30:50])
    assert 1 <= int(lost.sum()) <= 4


def test_another_channel_moves_by_the_same_drift():
    da = stack(scene(TRUE))
    channels = xr.concat([da, 2 * da], "channel")
    by = register.drift(da, reference="first")
    moved = register.shift(channels, by)
    np.testing.assert_allclose(moved.isel(channel=1), 2 * register.shift(da, by), rtol=1e-9)


def test_affine_moves_features_where_they_belong():
    y, x = np.meshgrid(np.arange(80) * PIXEL, np.arange(90) * PIXEL, indexing="ij")

    def peaks(places):
        return sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * (4 * PIXEL) ** 2)) for a, b in places)

    rng = np.random.default_rng(3)
    source = rng.uniform(20, 60, (5, 2)) * PIXEL
    matrix = np.array([[1.03, 0.05, -2 * PIXEL], [-0.04, 0.98, 3 * PIXEL]])
    target = source @ matrix[:, :2].T + matrix[:, 2]
    da = stack(peaks(source)[None])[0]
    for found in (register.affine(da, matrix), register.affine(da, source=source, target=target)):
        index = (target / PIXEL).round().astype(int)
        for i, j in index:
            window = found.values[i - 2 : i + 3, j - 2 : j + 3]
            assert np.isfinite(window).all()
        # the value at each target is that at its source
        at = xr.DataArray(target, dims=("p", "c"))
        values = found.fillna(0).interp(y=at[:, 0], x=at[:, 1])
        expected = da.interp(y=xr.DataArray(source[:, 0], dims="p"), x=xr.DataArray(source[:, 1], dims="p"))
        np.testing.assert_allclose(values, expected, rtol=0.02)
    np.testing.assert_allclose(found.attrs["affine"], matrix.ravel(), rtol=1e-9)
    same = register.affine(da, [[1, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(same, da, atol=1e-12)


@pytest.mark.parametrize("noise", [0.0, 0.2])  # of the tallest feature: a peak SNR of 5
def test_an_affine_map_is_found_whatever_the_contrast(noise):
    size, rng = 128, np.random.default_rng(4)
    y, x = np.meshgrid(np.arange(size) * PIXEL, np.arange(size) * PIXEL, indexing="ij")
    places, heights = rng.uniform(-20, size + 20, (500, 2)) * PIXEL, rng.uniform(0.5, 1, 500)

    def peaks(places):
        return sum(
            h * np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * (3 * PIXEL) ** 2))
            for h, (a, b) in zip(heights, places, strict=True)
        )

    middle = np.full(2, size / 2 * PIXEL)
    angle = np.radians(1.5)
    linear = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ [[1.02, 0.03], [0, 0.97]]
    matrix = np.column_stack([linear, middle - linear @ middle + [2.3 * PIXEL, -3.7 * PIXEL]])
    belongs = places @ linear.T + matrix[:, 2]
    image, reference = peaks(places), 3 - 0.4 * peaks(belongs)  # another channel, even inverted
    frames = stack(np.array([image, image[::-1]]) + rng.normal(0, noise, (2, size, size)))
    inverted = stack((3 - reference)[None] + rng.normal(0, 0.4 * noise, (1, size, size)))[0]
    found = register.find_affine(frames, inverted)
    places = np.array([[0.5, 0.5, 1], [0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]]) * [size * PIXEL, size * PIXEL, 1]
    centre, *corners = np.abs(places @ (found[0].values - matrix).T) / PIXEL
    assert centre.max() < (0.05 if noise else 0.01)
    assert np.max(corners) < (0.2 if noise else 0.02)
    assert found.attrs["offset_units"] == "m" and list(found.term.values) == ["y", "x", "offset"]
    back = register.affine(frames, found)
    assert back.dims == frames.dims
    inner = (slice(12, -12), slice(12, -12))
    expected = stack(peaks(belongs)[None])[0].values
    assert np.nanstd(back[0].values[inner] - expected[inner]) < 0.03 + noise
    lazy = register.find_affine(frames.chunk(frame=1), inverted)
    assert lazy.chunks
    np.testing.assert_allclose(lazy, found, rtol=1e-12)


def test_images_that_share_nothing_have_no_map():
    flat = stack(np.zeros((1, 32, 32)))[0]
    assert np.isnan(register.find_affine(flat, flat)).all()
    with pytest.raises(ValueError, match="the images are"):
        register.find_affine(flat, flat[:10])
    with pytest.raises(ValueError, match="'term' of 3"):
        register.affine(flat, flat)


# ----------------------------------------------------------------------------------------------------------- contract


@pytest.mark.parametrize("reference", ["previous", "first", "all", 2, "image"])
def test_lazy_equals_eager_and_nothing_is_modified(reference, tmp_path):
    da = stack(scene(TRUE, size=32))
    given = da[1] if reference == "image" else reference
    before = da.copy(deep=True)
    expected = register.rigid(da, reference=given)
    xr.testing.assert_identical(da, before)
    for lazy_input in (
        da.chunk({"frame": 2, "y": 20, "x": 7}),
        as_indexed(da.to_dataset(), tmp_path / "d.nc")["current"],
    ):
        with raise_if_dask_computes():
            lazy = register.rigid(lazy_input, reference=given)
        assert lazy.image.chunks and lazy["shift"].chunks
        computed = lazy.compute()
        np.testing.assert_allclose(computed["shift"], expected["shift"], rtol=1e-12, atol=1e-15 * PIXEL)
        np.testing.assert_allclose(computed.image, expected.image, rtol=1e-12, atol=1e-12)
    assert expected.image.dims == da.dims
    turned = register.drift(da.transpose("x", "frame", "y"), reference=given)["shift"]
    assert turned.dims == ("frame", "axis")


def test_two_dims_of_frames_are_registered_apart():
    frames = scene(TRUE, size=48)
    both = xr.concat([stack(frames), stack(frames[::-1])], "direction")
    for reference in ("previous", "all"):
        found = register.drift(both, "frame", reference=reference)["shift"]
        one = register.drift(stack(frames[::-1]), reference=reference)["shift"]
        np.testing.assert_allclose(found.isel(direction=1), one, atol=1e-3 * PIXEL)


def test_bad_input_is_named():
    da = stack(scene(TRUE[:2], size=16))
    with pytest.raises(DimensionError, match="pass dim="):
        register.drift(da[0])
    with pytest.raises(ValueError, match="'previous', 'first', 'all'"):
        register.drift(da, reference="last")
    with pytest.raises(ValueError, match="there are 2 frames"):
        register.drift(da, reference=5)
    with pytest.raises(ValueError, match=r"noise.*phase.*none"):
        register.drift(da, weighting="x")
    with pytest.raises(ValueError, match="share nothing"):
        by = register.drift(da)["shift"] + 1.0
        register.shift(da, by, crop=True)
    with pytest.raises(ValueError, match="not on one line"):
        register.affine(da[0], source=[[0, 0], [1, 1], [2, 2]], target=[[0, 0], [1, 1], [2, 2]])
    single = register.drift(da[:1])["shift"]
    np.testing.assert_array_equal(single, [[0, 0]])
