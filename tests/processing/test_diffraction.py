"""Virtual detectors against NumPy sums, the centre of mass of a known field, phases that are known beforehand."""

import struct

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import as_indexed, raise_if_dask_computes
from xpycro.errors import DimensionError
from xpycro.processing import diffraction as d
from xpycro.schema import coordinate

K = 5e8  # of a detector pixel, in 1/m


def scan(values=None, shape=(4, 5, 12, 10), dtype=np.uint16):
    values = np.random.default_rng(0).poisson(30, shape).astype(dtype) if values is None else np.asarray(values)
    ny, nx, nky, nkx = values.shape
    return xr.DataArray(
        values,
        dims=("y", "x", "ky", "kx"),
        coords={
            "y": coordinate("y", np.arange(ny) * 1e-10),
            "x": coordinate("x", np.arange(nx) * 1e-10),
            "ky": coordinate("ky", (np.arange(nky) - nky // 2) * K),
            "kx": coordinate("kx", (np.arange(nkx) - nkx // 2) * K),
        },
        attrs={"units": "counts", "long_name": "Diffraction"},
        name="intensity",
    )


EVERYTHING = [
    d.VirtualDetector(2 * K, name="bright"),
    d.VirtualDetector(4.5 * K, 2.5 * K, (K, 0.0), name="dark"),
    d.CenterOfMass(4 * K),
    d.MeanPattern(),
    d.MaxPattern(),
    d.StdPattern(),
    d.RadialProfile(),
]


@pytest.mark.parametrize("dtype", [np.uint16, np.uint8, np.int32, np.float32, np.float64, ">u2", bool])
def test_every_reduction_is_what_numpy_says(dtype):
    da = scan(np.random.default_rng(0).poisson(30, (4, 5, 12, 10)).astype(dtype))
    v = da.values.astype(float)
    ky, kx = np.meshgrid(da.ky, da.kx, indexing="ij")
    found = d.run(da, EVERYTHING)
    np.testing.assert_allclose(found.bright, (v * (np.hypot(ky, kx) <= 2 * K)).sum((-2, -1)))
    ring = np.hypot(ky - K, kx)
    np.testing.assert_allclose(found.dark, (v * ((ring <= 4.5 * K) & (ring >= 2.5 * K))).sum((-2, -1)))
    inside = v * (np.hypot(ky, kx) <= 4 * K)
    for name, k in (("com_ky", ky), ("com_kx", kx)):
        np.testing.assert_allclose(found[name], (inside * k).sum((-2, -1)) / inside.sum((-2, -1)), rtol=1e-9)
        assert found[name].attrs["units"] == "1/m"
    np.testing.assert_allclose(found.mean_pattern, v.mean((0, 1)))
    np.testing.assert_array_equal(found.max_pattern, v.max((0, 1)))
    np.testing.assert_allclose(found.std_pattern, v.std((0, 1)), atol=1e-12)
    number = (np.hypot(ky, kx) / K + 1e-9).astype(int)
    for ring in range(found.sizes["k"]):
        np.testing.assert_allclose(found.radial_profile[..., ring], v[..., number == ring].mean(-1))
    assert found.bright.attrs["units"] == found.std_pattern.attrs["units"] == "counts"
    np.testing.assert_allclose(found.k, (np.arange(found.sizes["k"]) + 0.5) * K)
    xr.testing.assert_identical(found.mean_pattern.ky, da.ky)


def test_each_is_also_a_function():
    da = scan()
    found = d.run(da, EVERYTHING)
    np.testing.assert_array_equal(d.virtual_detector(da, 2 * K), found.bright)
    np.testing.assert_array_equal(d.center_of_mass(da, 4 * K).com_kx, found.com_kx)
    np.testing.assert_array_equal(d.mean_pattern(da), found.mean_pattern)
    np.testing.assert_array_equal(d.max_pattern(da), found.max_pattern)
    np.testing.assert_array_equal(d.std_pattern(da), found.std_pattern)
    np.testing.assert_array_equal(d.radial_profile(da), found.radial_profile)


def test_masks_and_dead_pixels():
    da = scan()
    mask = (da.ky > 0) & (da.kx > -2 * K)
    np.testing.assert_allclose(
        d.virtual_detector(da, mask=mask.astype(float) * 0.3), 0.3 * da.where(mask).sum(("ky", "kx"))
    )
    hot = da.copy(deep=True)
    hot[:, :, 7, 6] = 60000
    dead = (xr.zeros_like(da[0, 0], dtype=bool)).copy()
    dead[7, 6] = True
    found = d.run(hot, EVERYTHING, exclude=dead)
    clean = d.run(da.where(~dead, 0), EVERYTHING, exclude=dead)
    for name in found:
        np.testing.assert_allclose(found[name], clean[name])
    assert np.isnan(found.mean_pattern[7, 6]) and int(np.isnan(found.max_pattern).sum()) == 1
    # the ring mean divides by the pixels that count
    flat = d.run(xr.full_like(hot, 7).where(~dead, 50000), [d.RadialProfile()], exclude=dead)
    np.testing.assert_allclose(flat.radial_profile, 7)


def test_the_spread_of_a_small_signal_on_a_large_one():
    values = 1e8 + np.random.default_rng(1).normal(0, 1, (4, 5, 6, 6))
    lazy = scan(values).chunk(y=1, x=2)
    np.testing.assert_allclose(d.std_pattern(lazy).compute(), values.std((0, 1)), rtol=1e-6)


def test_patterns_without_intensity_have_no_centre_and_nan_spreads_no_further():
    values = np.ones((2, 2, 4, 4))
    values[0, 0] = 0
    values[1, 1, 2, 2] = np.nan
    found = d.run(scan(values), [d.CenterOfMass(), d.VirtualDetector(), d.MaxPattern(), d.MeanPattern()])
    np.testing.assert_array_equal(np.isnan(found.com_kx), [[True, False], [False, True]])
    np.testing.assert_array_equal(np.isnan(found.virtual_image), [[False, False], [False, True]])
    assert int(np.isnan(found.mean_pattern).sum()) == int(np.isnan(found.max_pattern).sum()) == 1


# -------------------------------------------------------------------------------------------------------------- phase


def phase_object(n=48):
    step = 1e-10
    y, x = np.meshgrid(np.arange(n) * step, np.arange(n) * step, indexing="ij")
    width = 4e-10
    phase, gy, gx = 0.0, 0.0, 0.0
    for cy, cx in ((1.5e-9, 1.8e-9), (3.2e-9, 2.9e-9), (3.1e-9, 1.1e-9)):
        bump = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
        phase, gy, gx = phase + bump, gy - (y - cy) / width**2 * bump, gx - (x - cx) / width**2 * bump
    coords = {"y": coordinate("y", y[:, 0]), "x": coordinate("x", x[0])}
    return phase, gy, gx, coords


def com_of(gy, gx, coords):
    attrs = {"units": "1/m"}
    parts = {"com_ky": (("y", "x"), gy / (2 * np.pi), attrs), "com_kx": (("y", "x"), gx / (2 * np.pi), attrs)}
    return xr.Dataset(parts, coords=coords)


def test_shifted_disks_give_the_field_and_the_phase_back():
    _, gy, gx, coords = phase_object(24)
    k = (np.arange(96) - 48) * 2e8
    disk = 4e9
    # a soft disk about the momentum transfer of each position
    shift_y, shift_x = gy / (2 * np.pi), gx / (2 * np.pi)
    r = np.hypot(k[:, None] - shift_y[..., None, None], k[None, :] - shift_x[..., None, None])
    patterns = (1000 / (1 + np.exp((r - disk) / 2e8))).astype(np.float32)
    da = xr.DataArray(
        patterns,
        dims=("y", "x", "ky", "kx"),
        coords={**coords, "ky": coordinate("ky", k), "kx": coordinate("kx", k)},
        attrs={"units": "counts"},
    )
    com = d.center_of_mass(da)
    np.testing.assert_allclose(com.com_ky, shift_y, atol=2e5)
    np.testing.assert_allclose(com.com_kx, shift_x, atol=2e5)
    contrast = d.dpc(com, voltage=300e3, subtract_mean=False)
    np.testing.assert_allclose(contrast.gradient_x, gx, atol=2e6)
    assert contrast.gradient_x.attrs["units"] == "rad/m" and contrast.field_x.attrs["units"] == "V"
    # electrons of 300 kV: 0.7765 c, so h v / e = 9.628e-7 V m
    np.testing.assert_allclose(contrast.field_x, -9.628e-7 * com.com_kx, rtol=2e-4)


def test_integration_recovers_the_phase():
    phase, gy, gx, coords = phase_object()
    found = d.integrate(d.dpc(com_of(gy, gx, coords), subtract_mean=False))
    np.testing.assert_allclose(found, phase - phase.mean(), atol=0.02)
    assert found.attrs["units"] == "rad"
    # a linear phase, which no periodic function is
    y, x = np.meshgrid(coords["y"].values, coords["x"].values, indexing="ij")
    ramp = d.integrate(d.dpc(com_of(0 * y + 2e8, 0 * y - 1e8, coords), subtract_mean=False))
    expected = 2e8 * y - 1e8 * x
    assert np.abs(ramp - (expected - expected.mean())).max() < 0.05 * np.ptp(expected)


def test_phases_are_refused_or_have_honest_units_where_axes_are_not_calibrated():
    phase, gy, gx, coords = phase_object()
    com = com_of(gy, gx, coords)
    for unit in ("pixel", "1", "rad"):
        loose = xr.Dataset({name: part.assign_attrs(units=unit) for name, part in com.items()})
        with pytest.raises(ValueError, match=f"com_ky is in '{unit}'.*calibrate the detector first"):
            d.dpc(loose)
    nano = xr.Dataset({name: (part * 1e-9).assign_attrs(units="1/nm") for name, part in com.items()})
    np.testing.assert_allclose(d.dpc(nano, voltage=2e5).field_x, d.dpc(com, voltage=2e5).field_x, rtol=1e-12)
    gradient = d.dpc(com, subtract_mean=False)
    nanometres = gradient.assign_coords({dim: (dim, gradient[dim].values * 1e9, {"units": "nm"}) for dim in ("y", "x")})
    found = d.integrate(nanometres)
    assert found.attrs["units"] == "rad"
    np.testing.assert_allclose(found, phase - phase.mean(), atol=0.02)
    bare = d.integrate(gradient.drop_vars(["y", "x"]))
    assert bare.attrs["units"] == "rad pixel/m"


@pytest.mark.parametrize("degrees", [-150, -60, 0, 35, 90, 170])
def test_the_rotation_of_the_detector_is_found(degrees):
    _, gy, gx, coords = phase_object()
    angle = np.radians(degrees)
    # the detector turned: what dpc turns by `angle` is the gradient
    turned = com_of(np.cos(angle) * gy - np.sin(angle) * gx, np.cos(angle) * gx + np.sin(angle) * gy, coords)
    found = d.find_rotation(turned, positive_divergence=False)  # bumps: the Laplacian is skewed to negative values
    assert float(found) == pytest.approx(angle, abs=0.01)
    assert found.attrs["units"] == "rad"
    np.testing.assert_allclose(d.dpc(turned, found, subtract_mean=False).gradient_y, gy, atol=0.02 * abs(gy).max())
    opposite = d.find_rotation(turned)
    assert abs(abs(float(opposite - found)) - np.pi) < 1e-9


def test_centring_moves_coordinates_only():
    da = scan()
    moved = d.center(da, (K, -2 * K))
    np.testing.assert_allclose(moved.ky, da.ky - K)
    np.testing.assert_allclose(moved.kx, da.kx + 2 * K)
    assert moved.ky.attrs["units"] == "1/m"
    a, b = d.virtual_detector(moved, 2 * K), d.virtual_detector(da, 2 * K, center=(K, -2 * K))
    np.testing.assert_array_equal(a, b)


def test_the_direct_beam_is_found_below_a_tenth_of_a_pixel():
    y, x = np.indices((64, 64))
    disk = 200 / (1 + np.exp(2 * (np.hypot(y - 29.3, x - 36.8) - 6)))  # soft edge: its centre of mass is known
    spot = 120 / (1 + np.exp(2 * (np.hypot(y - 10, x - 50) - 3)))
    da = scan(np.random.default_rng(5).poisson(np.broadcast_to(disk + spot + 5, (3, 3, 64, 64))))
    da[:, :, 60, 3] = 400  # a hot pixel
    found = d.center(da)
    expected = [da.ky.values[0] + 29.3 * K, da.kx.values[0] + 36.8 * K]
    np.testing.assert_allclose([da.ky[0] - found.ky[0], da.kx[0] - found.kx[0]], expected, atol=0.1 * K)
    with raise_if_dask_computes(1):
        lazy = d.center(da.chunk(y=1))
    assert lazy.chunks
    np.testing.assert_allclose(lazy.ky, found.ky)
    with pytest.raises(ValueError, match="no bright beam"):
        d.center(xr.zeros_like(da))


def test_excluded_nan_counts_nowhere_and_nan_spoils_only_what_sees_it():
    values = np.random.default_rng(6).normal(10, 1, (2, 2, 12, 10))
    values[..., 0, 0] = np.nan
    da = scan(values)
    dead = xr.zeros_like(da[0, 0], dtype=bool).copy()
    dead[0, 0] = True
    found = d.run(da, EVERYTHING, exclude=dead)
    for name in ("bright", "dark", "com_ky", "radial_profile"):
        assert np.isfinite(found[name]).all()
    seen = d.run(da, [d.VirtualDetector(2 * K, name="centre"), d.VirtualDetector(name="all")])
    assert np.isfinite(seen.centre).all() and np.isnan(seen["all"]).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_sums_of_counts_are_exact(dtype):
    # the largest counts there are, on more pixels than one 32-bit sum holds
    top = np.iinfo(dtype)
    values = np.random.default_rng(7).integers(top.max - 5, top.max, (1, 3, 300, 310), endpoint=True).astype(dtype)
    values[0, 1] = np.random.default_rng(8).integers(top.min, top.min + 5, (300, 310)).astype(dtype)
    bare = xr.DataArray(values, dims=("y", "x", "ky", "kx"))
    found = d.run(bare, [d.VirtualDetector(), d.CenterOfMass(), d.MeanPattern(), d.MaxPattern()])
    exact = values.astype(object)
    np.testing.assert_array_equal(found.virtual_image, exact.sum((-2, -1)).astype(float))
    moments = (exact * np.arange(300)[:, None]).sum((-2, -1)) / exact.sum((-2, -1))
    np.testing.assert_allclose(found.com_ky, moments.astype(float), rtol=1e-14)
    np.testing.assert_array_equal(found.mean_pattern, (exact.sum((0, 1)) / 3).astype(float))
    np.testing.assert_array_equal(found.max_pattern, values.max((0, 1)))


# ----------------------------------------------------------------------------------------------------------- contract


@pytest.mark.parametrize(("count", "shape"), [(1, (96, 512)), (6, (96, 512)), (7, (3, 20000))])
def test_detectors_larger_than_the_cache_are_summed_exactly(count, shape):
    values = np.random.default_rng(3).integers(0, 2**16, (count, *shape), dtype=np.uint16)
    values[:, -1] = 2**16 - 1
    scan = xr.DataArray(values, dims=("position", "ky", "kx"))
    centre, radius = (shape[0] / 2, shape[1] / 2), shape[0] / 2.5
    asked = [
        d.VirtualDetector(radius, center=centre),
        d.CenterOfMass(),
        d.MeanPattern(),
        d.MaxPattern(),
        d.StdPattern(),
    ]
    found = d.run(scan, asked)
    y, x = np.indices(shape)
    whole, inside = values.astype(np.int64), np.hypot(y - centre[0], x - centre[1]) <= radius
    np.testing.assert_array_equal(found.virtual_image, whole[:, inside].sum(axis=1))
    np.testing.assert_allclose(found.com_ky, (whole * y).sum(axis=(1, 2)) / whole.sum(axis=(1, 2)), rtol=1e-13)
    np.testing.assert_allclose(found.com_kx, (whole * x).sum(axis=(1, 2)) / whole.sum(axis=(1, 2)), rtol=1e-13)
    np.testing.assert_allclose(found.mean_pattern, whole.mean(axis=0), rtol=1e-14)
    np.testing.assert_array_equal(found.max_pattern, whole.max(axis=0))
    np.testing.assert_allclose(found.std_pattern, whole.std(axis=0), rtol=1e-9, atol=1e-4)


@settings(max_examples=8)
@given(chunks=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 12), st.integers(1, 10)))
def test_chunks_never_change_a_bit_of_an_image(chunks):
    da = scan(np.random.default_rng(2).normal(size=(4, 5, 12, 10)).astype(np.float32))
    expected = d.run(da, EVERYTHING)
    with raise_if_dask_computes():
        lazy = d.run(da.chunk(dict(zip(da.dims, chunks, strict=True))), EVERYTHING)
    assert all(part.chunks for part in lazy.data_vars.values())
    with raise_if_dask_computes(1):
        computed = lazy.compute()
    for name in expected:
        if {"y", "x"} <= set(expected[name].dims):
            np.testing.assert_array_equal(computed[name], expected[name])
        else:
            np.testing.assert_allclose(computed[name], expected[name], rtol=1e-12, atol=1e-14)


def test_a_file_is_read_once(tmp_path, bytes_read):
    da = scan(shape=(8, 8, 128, 128))
    indexed = as_indexed(da.to_dataset(), tmp_path / "d.nc", cache=False)["intensity"]
    d.run(indexed[:1], EVERYTHING).compute()  # what is compiled and opened first
    with raise_if_dask_computes():
        lazy = d.run(indexed, EVERYTHING)
    counter = bytes_read()
    computed = lazy.compute()
    assert counter.total < 1.3 * da.nbytes
    xr.testing.assert_allclose(computed, d.run(da, EVERYTHING))


def test_transposed_and_uncalibrated_data():
    da = scan()
    turned = d.run(da.transpose("kx", "y", "ky", "x"), EVERYTHING)
    xr.testing.assert_allclose(turned.transpose(*d.run(da, EVERYTHING).dims), d.run(da, EVERYTHING))
    bare = xr.DataArray(da.values, dims=("y", "x", "v", "u"))
    found = d.run(bare, [d.CenterOfMass(center=(6, 5))], dims=("v", "u"))
    np.testing.assert_allclose(found.com_u, d.run(da, [d.CenterOfMass()]).com_kx / K + 5)
    assert found.com_u.attrs["units"] == "pixel"


def test_bad_input_is_named():
    da = scan()
    with pytest.raises(ValueError, match="two reductions are called 'virtual_image'"):
        d.run(da, [d.VirtualDetector(), d.VirtualDetector(2 * K)])
    with pytest.raises(ValueError, match="no pixel lies between"):
        d.virtual_detector(da, 1e20, 1e19)
    with pytest.raises(DimensionError, match="two reciprocal dims"):
        d.mean_pattern(xr.DataArray(np.ones((2, 2, 3)), dims=("y", "x", "v")))
    with pytest.raises(TypeError, match="VirtualDetector"):
        d.run(da, ["mean"])
    with pytest.raises(ValueError, match="the detector is"):
        d.virtual_detector(da, mask=xr.DataArray(np.ones((3, 3)), dims=("ky", "kx")))
    with pytest.raises(ValueError, match="com_ky and com_kx"):
        d.dpc(xr.Dataset({"a": da[0, 0]}))


def test_a_real_blockfile_by_its_bytes(data_file):
    path = data_file("blockfile/test1.blo")
    raw = path.read_bytes()
    (offset,) = struct.unpack_from("<I", raw, 12)
    ds = xr.open_dataset(path, engine="pycro")
    (name,) = [n for n, v in ds.data_vars.items() if v.ndim == 4]
    da = ds[name]
    image, com = d.virtual_detector(da), d.center_of_mass(da)
    assert image.sizes == {"y": 3, "x": 2}
    # every pattern is 144 x 144 bytes after a six-byte header, in the order of the scan
    size = 144 * 144
    sums = []
    for index in range(6):
        begin = offset + index * (size + 6) + 6
        sums.append(np.frombuffer(raw, np.uint8, size, begin).astype(float).sum())
    assert sorted(image.values.ravel()) == sorted(sums)
    assert np.isfinite(com.com_kx).all() and np.isfinite(com.com_ky).all()


# ------------------------------------------------------------------------------------------------ Bragg peaks, angles


def arm(ny=3, nx=2):
    """Patterns of a detector far beside the beam, with the angle of each pixel."""
    rng = np.random.default_rng(3)
    row, column = np.meshgrid(np.arange(12.0), np.arange(15.0), indexing="ij")
    angle = np.degrees(np.arctan(np.hypot(row + 40, column + 200) / 1000))
    coords = {"ky": np.arange(12.0), "kx": np.arange(15.0), "two_theta": (("ky", "kx"), angle, {"units": "degree"})}
    return xr.DataArray(rng.poisson(5.0, (ny, nx, 12, 15)), coords, ("y", "x", "ky", "kx"), attrs={"units": "counts"})


@pytest.mark.parametrize("lazy", [False, True])
def test_rings_along_a_coordinate_of_the_detector(lazy):
    da, width = arm(), 0.11
    bad = xr.zeros_like(da[0, 0], dtype=bool)
    bad[3, 4] = True
    found = d.radial_profile(da.chunk({"y": 1}) if lazy else da, width, radius="two_theta", exclude=bad)
    assert found.dims == ("y", "x", "two_theta") and found.two_theta.attrs["units"] == "degree"
    angle = da.two_theta.values
    start = angle.min()
    for n in range(found.sizes["two_theta"]):
        ring = (angle >= start + n * width) & (angle < start + (n + 1) * width) & ~bad.values
        assert found.ring_pixels[n] == ring.sum() > 0
        np.testing.assert_allclose(found[:, :, n], da.values[..., ring].mean(-1))
        np.testing.assert_allclose(found.two_theta[n], angle[ring].mean())
    assert int(found.ring_pixels.sum()) == 12 * 15 - 1


def test_a_coordinate_that_is_not_there_is_said():
    with pytest.raises(ValueError, match="two_theta"):
        d.radial_profile(arm(), radius="q")
    with pytest.raises(ValueError, match="no ring"):
        d.radial_profile(arm(), outer=1.0, radius="two_theta")


@pytest.mark.parametrize("units", ["degree", "rad", "1/m"])
def test_strain_is_what_braggs_law_says(units):
    """The peak of planes 0.2 % wider apart, by the law itself; the error by moving the peak."""
    wavelength, d0 = 1.0e-10, 1.5e-10
    wider = d0 * np.array([1.0, 1.002, 0.999])
    theta, theta0 = np.arcsin(wavelength / (2 * wider)), np.arcsin(wavelength / (2 * d0))
    of = {
        "degree": lambda t: np.degrees(2 * t),
        "rad": lambda t: 2 * t,
        "1/m": lambda t: 4 * np.pi * np.sin(t) / wavelength,
    }
    position = xr.DataArray(of[units](theta), dims="x", attrs={"units": units})
    error = xr.full_like(position, 1e-4 * float(position[0]))
    found = d.strain(position, reference=of[units](theta0), stderr=error)
    np.testing.assert_allclose(found.strain, [0, 2e-3, -1e-3], atol=1e-12)
    moved = d.strain(position + error, reference=of[units](theta0))
    np.testing.assert_allclose(found.strain_stderr, abs(moved.strain - found.strain), rtol=1e-3)
    relative = d.strain(position)
    assert float(abs(relative.strain).min()) == 0 and relative.attrs["strain_reference"] == float(position.median())
    with pytest.raises(ValueError, match="degree"):
        d.strain(position.assign_attrs(units="m"))
