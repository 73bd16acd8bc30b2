"""Filters against sines, the noise floor against known noise, exact rebuilding from the bins that are kept."""

import pickle

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf

from tests.conftest import as_indexed, raise_if_dask_computes
from xpycro.processing import filters as f
from xpycro.processing import spectra
from xpycro.provenance import history
from xpycro.schema import coordinate

STEP = 1e-6


def lines(values):
    values = np.asarray(values)
    lead = ("y", "x", "z")[: values.ndim - 1]
    coords = {"time": coordinate("time", np.arange(values.shape[-1]) * STEP + 5e-3)}
    attrs = {"units": "V", "long_name": "Response"}
    return xr.DataArray(values, dims=(*lead, "time"), coords=coords, attrs=attrs, name="response")


def sines(frequencies, n=2000, phase=0.3):
    t = np.arange(n) * STEP
    return np.sum([np.sin(2 * np.pi * q * t + phase) for q in frequencies], axis=0)


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        (f.LowPass(50e3), [10e3, 40e3]),
        (f.HighPass(50e3), [60e3, 120e3, 200e3]),
        (f.BandPass(60e3, 10e3), [60e3]),
        (f.NoiseBand([60e3, 200e3], [1e3, 2e3]), [10e3, 40e3, 120e3]),
        (f.HarmonicPass(60e3, 2e3, 2), [60e3, 120e3]),
        (f.LowPass(100e3) & f.NoiseBand(60e3, 1e3) & f.HighPass(20e3), [40e3]),
    ],
)
def test_each_filter_lets_the_right_sines_pass(chosen, kept):
    every = [10e3, 40e3, 60e3, 120e3, 200e3]
    da = lines(np.stack([sines(every), 2 * sines(every)]))
    found = f.apply(da, chosen)
    np.testing.assert_allclose(found[0], sines(kept), atol=1e-11)
    np.testing.assert_allclose(found[1], 2 * sines(kept), atol=1e-11)
    assert found.attrs["units"] == "V" and found.name == "response"
    xr.testing.assert_identical(found.time, da.time)
    # complex signals: both signs of the frequency
    np.testing.assert_allclose(f.apply(da[0] * (1 + 2j), chosen), (1 + 2j) * sines(kept), atol=1e-11)


def test_the_roll_off_is_the_error_function():
    frequency = np.linspace(-60e3, 60e3, 241)
    found = f.LowPass(50e3, 0.1).response(frequency, 1e6)
    t = 2.5 - 5 * np.clip((np.abs(frequency) - 45e3) / 5e3, 0, 1)
    inside = (np.abs(frequency) > 45e3) & (np.abs(frequency) < 50e3)
    np.testing.assert_allclose(found[inside], (0.5 * (1 + erf(t)))[inside])
    assert (found[np.abs(frequency) <= 45e3] == 1).all() and (found[np.abs(frequency) >= 50e3] == 0).all()
    np.testing.assert_allclose(f.HighPass(50e3, 0.1).response(frequency, 1e6), 1 - found)


def test_a_tapered_band_is_blackmans():
    from scipy import signal

    taps = signal.firwin(199, [50e3, 70e3], pass_zero=False, window="blackman", fs=1e6)
    frequency = np.array([40e3, 55e3, 60e3, -60e3, 66e3])
    expected = np.abs([np.sum(taps * np.exp(-2j * np.pi * q * np.arange(199) / 1e6)) for q in frequency])
    np.testing.assert_allclose(f.BandPass(60e3, 20e3, taps=199).response(frequency, 1e6), expected, atol=1e-9)


def test_filters_are_values():
    a, b, c = f.LowPass(50e3), f.NoiseBand([60e3], [1e3]), f.HighPass(1e3)
    assert (a & b) & c == a & (b & c) and len({a & b, a & b}) == 1
    assert pickle.loads(pickle.dumps(a & b)) == a & b
    parameters = history(f.apply(lines(np.zeros(100)), f.LowPass(50e3) & f.HighPass(1e3))).steps[-1]["parameters"]
    assert parameters["filter"]["filters"][0] == {"$filter": "LowPass", "cutoff": 50e3, "roll_off": 0.05}


# ------------------------------------------------------------------------------------------------------ noise floor


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
@pytest.mark.parametrize("tolerance", [1e-6, 1e-2])
def test_the_noise_floor_is_right_at_any_scale_with_forty_percent_signal(scale, tolerance):
    rng = np.random.default_rng(0)
    n = 8192
    spectrum = (rng.normal(size=(6, n // 2 + 1)) + 1j * rng.normal(size=(6, n // 2 + 1))) * np.sqrt(n / 2)
    loud = rng.permutation(n // 2 - 1)[: int(0.4 * n / 2)] + 1
    spectrum[:, loud] += 40 * np.sqrt(n)
    spectrum[:, [0, -1]] = 0
    da = lines(np.fft.irfft(spectrum, n) * scale)  # noise of standard deviation `scale`
    found = f.noise_floor(da, tolerance)
    expected = scale * np.sqrt(n * -np.log(tolerance)) * STEP
    np.testing.assert_allclose(found, expected, rtol=0.03)
    assert abs(float(found.mean()) / expected - 1) < 0.01
    assert found.attrs["units"] == "V s" and found.dims == ("y",)
    # what lies above is the signal, and of the noise about the share that was asked for
    above = abs(spectra.fft(da)).values > found.values[:, None]
    assert above[:, loud].all()
    quiet = np.setdiff1d(np.arange(1, n // 2), loud)
    assert above[:, quiet].mean() == pytest.approx(tolerance, abs=0.003)


def test_thresholding_keeps_the_sine_and_drops_the_noise():
    rng = np.random.default_rng(1)
    clean = sines([60e3], 4000)
    da = lines(clean + rng.normal(0, 0.5, (3, 4000)))
    found = f.apply(da, f.LowPass(400e3), tolerance=1e-6)
    assert np.sqrt(((found - clean) ** 2).mean()) < 0.5 * np.sqrt(2 / 4000) * 2
    spectrum = f.condense(da, f.LowPass(400e3), tolerance=1e-6)
    assert ((spectrum != 0).sum("frequency") <= 2).all()


# --------------------------------------------------------------------------------------------------------- condensed


@pytest.mark.parametrize("n", [2000, 2001])
def test_condensed_signals_are_rebuilt_exactly(n):
    da = lines(np.random.default_rng(2).normal(size=(3, n)))
    chosen = f.BandPass(60e3, 20e3) & f.NoiseBand([62e3], [2e3])
    small = f.condense(da, chosen)
    assert small.sizes["frequency"] < 45 and small.frequency.attrs["units"] == "Hz"
    back = f.rebuild(small)
    np.testing.assert_allclose(back, f.apply(da, chosen), atol=1e-12)
    np.testing.assert_allclose(back.time, da.time, rtol=1e-12)
    assert back.attrs["units"] == "V" and back.name == "response" and back.dims == da.dims
    # the bins are those of the transform
    np.testing.assert_allclose(small, spectra.fft(da).sel(frequency=small.frequency, method="nearest"), atol=1e-15)
    with pytest.raises(ValueError, match="do not crop"):
        spectra.ifft(small)
    falling = f.rebuild(f.condense(da[:, ::-1], chosen))
    np.testing.assert_allclose(falling, back[:, ::-1], atol=1e-12)


def test_preview_shows_what_apply_does():
    da = lines(sines([10e3, 60e3]))
    found = f.preview(da, f.LowPass(50e3), tolerance=1e-3)
    xr.testing.assert_allclose(found.after, f.apply(da, f.LowPass(50e3), tolerance=1e-3))
    assert found.response.dims == ("frequency",) and found.amplitude.attrs["units"] == "V s"
    assert float(found.frequency[found.amplitude.argmax("frequency")]) in (10e3, 60e3)
    with pytest.raises(ValueError, match="one line"):
        f.preview(lines(np.zeros((2, 50))), f.LowPass(1e3))


def test_lines_become_pixels():
    values = np.arange(2 * 12.0).reshape(2, 12)
    found = f.lines_to_pixels(lines(values), 4, width=8e-6)
    np.testing.assert_array_equal(found, values.reshape(2, 4, 3))
    assert found.dims == ("y", "x", "time") and found.x.attrs["units"] == "m"
    np.testing.assert_allclose(found.x, [1e-6, 3e-6, 5e-6, 7e-6])
    np.testing.assert_allclose(found.time, [0, 1e-6, 2e-6])
    with pytest.raises(ValueError, match=r"near it fit \[2, 3, 4, 6"):
        f.lines_to_pixels(lines(values), 5)


# ----------------------------------------------------------------------------------------------------------- contract

OPERATIONS = {
    "apply": lambda da: f.apply(da, f.LowPass(200e3) & f.HighPass(20e3)),
    "threshold": lambda da: f.apply(da, f.LowPass(200e3), tolerance=0.3),
    "condense": lambda da: f.condense(da, f.BandPass(200e3, 200e3)),
    "rebuild": lambda da: f.rebuild(f.condense(da, f.BandPass(200e3, 200e3))),
    "noise_floor": lambda da: f.noise_floor(da, 0.1),
    "pixels": lambda da: f.lines_to_pixels(da, 4, name="position"),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
def test_lazy_equals_eager_and_nothing_is_modified(name, dtype, tmp_path):
    operation = OPERATIONS[name]
    da = lines((100 * np.random.default_rng(3).normal(size=(4, 3, 32))).astype(dtype))
    before = da.copy(deep=True)
    expected = operation(da)
    xr.testing.assert_identical(da, before)
    for lazy_input in (
        da.chunk({"y": 3, "x": 2, "time": 9}),
        as_indexed(xr.Dataset({"response": da}), tmp_path / "r.nc")["response"],
    ):
        with raise_if_dask_computes():
            lazy = operation(lazy_input)
        assert lazy.chunks and lazy.dtype == expected.dtype == lazy.compute().dtype
        np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-12 if dtype == np.float64 else 1e-5, atol=1e-7)
    turned = operation(da.transpose("time", "x", "y")).transpose(*expected.dims)
    np.testing.assert_allclose(turned, expected, rtol=1e-6, atol=1e-7)
    if name in ("apply", "threshold") and dtype == np.float32:
        assert expected.dtype == np.float32


@given(chunks=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 32)))
def test_chunks_never_change_a_bit(chunks):
    da = lines(np.random.default_rng(4).normal(size=(4, 3, 32)))
    chunked = da.chunk(dict(zip(da.dims, chunks, strict=True)))
    for operation in (OPERATIONS["apply"], OPERATIONS["noise_floor"]):
        np.testing.assert_allclose(operation(chunked).compute(), operation(da), rtol=1e-12, atol=1e-13)


def test_a_line_with_nan_is_nan_and_no_other():
    values = np.random.default_rng(5).normal(size=(3, 64))
    values[1, 7] = np.nan
    found = f.apply(lines(values), f.LowPass(100e3))
    assert np.isnan(found[1]).all() and np.isfinite(found[[0, 2]]).all()
    assert np.isnan(f.noise_floor(lines(values))[1])


def test_bad_input_is_named():
    da = lines(np.zeros((2, 100)))
    with pytest.raises(ValueError, match="half the sampling rate along time"):
        f.apply(da, f.LowPass(600e3))
    with pytest.raises(TypeError, match=r"LowPass.*NoiseBand"):
        f.apply(da, 50e3)
    with pytest.raises(ValueError, match="cutoff"):
        f.LowPass(-1)
    with pytest.raises(ValueError, match="reaches zero frequency"):
        f.BandPass(1.0, 3.0)
    with pytest.raises(ValueError, match="2 widths for 3"):
        f.NoiseBand([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="overlap"):
        f.HarmonicPass(1.0, 2.0, 3)
    with pytest.raises(ValueError, match="nothing of time passes"):
        f.condense(da, f.BandPass(105e3, 1e3))
    with pytest.raises(ValueError, match="probability"):
        f.noise_floor(da, 2.0)
    with pytest.raises(ValueError, match="what condense returned"):
        f.rebuild(spectra.fft(da, one_sided=False))
