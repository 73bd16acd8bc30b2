"""Transforms, smoothing, baselines and binning against SciPy on one spectrum and answers known in closed form."""

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import as_indexed, raise_if_dask_computes
from xpycro.errors import DimensionError
from xpycro.processing import spectra
from xpycro.schema import coordinate


def signal(values, x=None, dim="time", units="V"):
    values = np.asarray(values)
    lead = [f"lead_{i}" for i in range(values.ndim - 1)]
    x = np.arange(values.shape[-1]) * 1e-3 + 0.25 if x is None else np.asarray(x)
    coords = {dim: coordinate(dim, x)}
    return xr.DataArray(
        values, dims=(*lead, dim), coords=coords, attrs={"units": units, "long_name": "Deflection"}, name="d"
    )


def random(shape=(3, 40), seed=0):
    return signal(np.random.default_rng(seed).normal(size=shape))


# ------------------------------------------------------------------------------------------------------- transforms


@pytest.mark.parametrize("n", [40, 41])
@pytest.mark.parametrize("one_sided", [True, False])
def test_the_inverse_restores_numbers_axis_and_units(n, one_sided):
    da = random((2, n))
    back = spectra.ifft(spectra.fft(da, one_sided=one_sided))
    np.testing.assert_allclose(back, da, atol=1e-13)
    np.testing.assert_allclose(back.time, da.time, rtol=1e-12)
    assert back.dims == da.dims and back.name == "d" and back.attrs["long_name"] == "Deflection"
    assert back.attrs["units"] == "V" and back.time.attrs["units"] == "s"


def test_a_falling_axis_comes_back_falling():
    da = random()[:, ::-1]
    back = spectra.ifft(spectra.fft(da))
    np.testing.assert_allclose(back, da, atol=1e-13)
    np.testing.assert_allclose(back.time, da.time, rtol=1e-12)
    np.testing.assert_allclose(spectra.fft(da), spectra.fft(random()), atol=1e-15)


def test_a_gaussian_transforms_to_its_integral():
    # exp(-t^2 / 2 s^2) has the transform s sqrt(2 pi) exp(-2 (pi s f)^2)
    t, s = (np.arange(400) - 200) * 1e-3, 0.01
    found = abs(spectra.fft(signal(np.exp(-((t / s) ** 2) / 2), t)))
    expected = s * np.sqrt(2 * np.pi) * np.exp(-2 * (np.pi * s * found.frequency.values) ** 2)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.attrs["units"] == "V s" and found.frequency.attrs["units"] == "Hz"


def test_parseval_and_the_power_of_noise():
    da = random((3, 64))
    two_sided = spectra.fft(da, one_sided=False)
    df = float(two_sided.frequency[1] - two_sided.frequency[0])
    np.testing.assert_allclose((abs(two_sided) ** 2).sum("frequency") * df, (da**2).sum("time") * 1e-3)
    power = spectra.power_spectrum(da, window=None)
    np.testing.assert_allclose(power.sum("frequency") * df, da.var("time"), rtol=1e-12)
    assert power.attrs["units"] == "V^2/Hz"


def test_power_spectrum_is_welch():
    da = random((2, 256))
    found = spectra.power_spectrum(da, segment=0.064)
    frequency, expected = scipy.signal.welch(da.values[1], 1000.0, nperseg=64)
    np.testing.assert_allclose(found[1], expected, rtol=1e-9)
    np.testing.assert_allclose(found.frequency, frequency, rtol=1e-12)
    sine = signal(3 * np.sin(2 * np.pi * 100 * np.arange(1000) * 1e-3))
    assert float(spectra.power_spectrum(sine, scaling="power").max()) == pytest.approx(9 / 2)


def test_single_precision_stays_single():
    da = random().astype(np.float32)
    assert spectra.fft(da).dtype == np.complex64 and spectra.fft(da.chunk()).compute().dtype == np.complex64
    assert spectra.ifft(spectra.fft(da)).dtype == np.float32
    assert spectra.smooth(da, 5e-3).dtype == np.float32
    assert spectra.power_spectrum(da).dtype == np.float32


def test_a_cropped_transform_is_not_transformed_back():
    with pytest.raises(ValueError, match="do not crop"):
        spectra.ifft(spectra.fft(random())[:, :7])


# --------------------------------------------------------------------------------------------- smoothing, derivative


def test_savgol_and_its_derivative_are_scipys():
    da = random()
    for deriv in (0, 1, 2):
        expected = scipy.signal.savgol_filter(da.values, 7, 3, deriv, 1e-3)
        found = (
            spectra.smooth(da, 7e-3, order=3) if deriv == 0 else spectra.derivative(da, n=deriv, width=7e-3, order=3)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * abs(expected).max())
    assert found.attrs["units"] == "V/s^2"


def test_local_polynomials_bridge_missing_points_exactly():
    t = np.arange(40) * 1e-3
    parabola = 1 + 300 * t + 2e4 * t**2
    broken = np.where(np.isin(np.arange(40), [0, 9, 10, 30]), np.nan, parabola)
    np.testing.assert_allclose(spectra.smooth(signal(broken, t), 9e-3), broken, rtol=1e-9)
    slope = spectra.derivative(signal(broken, t), width=9e-3)
    np.testing.assert_allclose(slope, np.where(np.isnan(broken), np.nan, 300 + 4e4 * t), rtol=1e-7)
    # no NaN elsewhere changes nothing: the two branches of the code agree
    whole = random((2, 40))
    with_gap = whole.copy(data=np.where((np.arange(40) == 20) & (np.arange(2)[:, None] == 1), np.nan, whole))
    far = slice(0, 12)
    np.testing.assert_allclose(
        spectra.smooth(with_gap, 7e-3)[:, far], spectra.smooth(whole, 7e-3)[:, far], rtol=1e-9, atol=1e-12
    )


def test_gaussian_widens_a_gaussian_and_ignores_gaps():
    x = np.linspace(-50, 50, 1001)
    peak = np.exp(-4 * np.log(2) * (x / 8) ** 2)
    wide = spectra.smooth(signal(peak, x, "energy"), 6.0, method="gaussian")
    width = np.hypot(8, 6)
    np.testing.assert_allclose(wide, 8 / width * np.exp(-4 * np.log(2) * (x / width) ** 2), atol=1e-5)
    flat = signal(np.where(np.arange(50) % 7 == 3, np.nan, 2.0))
    np.testing.assert_allclose(spectra.smooth(flat, 5e-3, method="gaussian"), flat)


def test_median_is_the_median_of_what_is_there():
    values = np.random.default_rng(1).normal(size=30)
    values[[4, 5, 20]] = np.nan
    found = spectra.smooth(signal(values), 5e-3, method="median").values
    for i, value in enumerate(values):
        expected = np.nan if np.isnan(value) else np.nanmedian(values[max(0, i - 2) : i + 3])
        assert found[i] == pytest.approx(expected, nan_ok=True)


def test_a_sweep_that_turns_back_is_differentiated_branch_by_branch():
    bias = np.concatenate([np.linspace(-1, 1, 21), np.linspace(0.9, -1, 20)])
    current = np.where(np.arange(41) <= 20, bias**2, 3 * bias)
    da = xr.DataArray(
        current, dims="step", coords={"bias": ("step", bias, {"units": "V"})}, attrs={"units": "A"}, name="i"
    )
    found = spectra.derivative(da, "bias")
    np.testing.assert_allclose(found, np.where(np.arange(41) <= 20, 2 * bias, 3.0), rtol=1e-9, atol=1e-9)
    assert found.attrs["units"] == "A/V" and "bias" in found.coords
    smooth = spectra.derivative(da, "bias", width=0.5)
    np.testing.assert_allclose(smooth, found, rtol=1e-6, atol=1e-9)


# ---------------------------------------------------------------------------------------------------------- baselines


def test_asls_solves_its_equations():
    # at the fixed point (W + s D'D) z = W y with w from the sign of the residual, solved densely here
    rng = np.random.default_rng(2)
    y = rng.normal(size=30) + np.linspace(0, 5, 30)
    da = signal(y, np.arange(30.0), "energy")
    found = spectra.baseline(da, method="asls", width=8.0, asymmetry=0.05, tolerance=0).values
    weight = np.where(y > found, 0.05, 0.95)
    difference = np.diff(np.eye(30), 2, axis=0)
    matrix = np.diag(weight) + (8 / (2 * np.pi)) ** 4 * difference.T @ difference
    np.testing.assert_allclose(found, scipy.linalg.solve(matrix, weight * y), rtol=1e-8)


@pytest.mark.parametrize("density", [1, 2])
def test_baselines_find_what_lies_below_peaks_whatever_the_sampling(density):
    x = np.linspace(0, 1000, 500 * density + 1)
    below = 3 + 2 * np.sin(x / 400)
    peaks = sum(a * np.exp(-(((x - c) / 8) ** 2)) for a, c in [(5, 200), (8, 450), (3, 700)])
    noise = np.random.default_rng(3).normal(0, 0.05, (2, x.size))
    da = signal(below + peaks + noise, x, "wavenumber", "counts")
    found = spectra.baseline(da, width=600.0)
    assert abs(found - below).mean() < 0.05
    # the fixed asymmetry runs below the noise and cannot follow where it is stiff
    assert abs(spectra.baseline(da, method="asls", width=300.0) - below).mean() < 0.2
    assert found.attrs["units"] == "counts"
    hole = da.where((da.wavenumber < 400) | (da.wavenumber > 500))
    assert abs(spectra.baseline(hole, width=600.0) - below).max() < 0.4


def test_polynomials_are_exact_with_gaps_and_exclusion():
    x = np.array([0.0, 1, 2.5, 3, 5, 7, 8, 9])
    line = 2 - 3 * x + 0.5 * x**2
    spoilt = line.copy()
    spoilt[3], spoilt[5] = np.nan, 100
    da = signal(spoilt, x, "energy")
    outlier = xr.DataArray(np.arange(8) == 5, dims="energy")
    found = spectra.baseline(da, method="polynomial", order=2, exclude=outlier)
    np.testing.assert_allclose(found, line, atol=1e-10)
    flat = spectra.detrend(da, order=2, exclude=outlier).values
    np.testing.assert_allclose(flat[[0, 1, 2, 4, 6, 7]], 0, atol=1e-10)
    assert np.isnan(flat[3]) and flat[5] == pytest.approx(100 - line[5])


@pytest.mark.parametrize("model", ["power_law", "exponential", "polynomial"])
def test_background_is_extrapolated_from_its_windows(model):
    e = np.linspace(150, 600, 226)
    amplitude = np.array([1.0, 30.0])[:, None]
    below = {
        "power_law": amplitude * 1e9 * e**-2.7,
        "exponential": amplitude * 900 * np.exp(-e / 90),
        "polynomial": amplitude * (2000 - 3 * e),
    }[model]
    edge = np.where(e > 400, 40.0, 0.0)
    da = signal(below + edge, e, "energy_loss", "counts")
    found = spectra.background(da, model, (150, 390))
    np.testing.assert_allclose(found.background, below, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.signal, np.broadcast_to(edge, below.shape), atol=1e-3)
    two = spectra.background(da - edge, model, [(150, 200), (500, 600)])
    np.testing.assert_allclose(two.background, below, rtol=1e-6)
    assert found.signal.attrs["units"] == "counts"


def test_background_is_the_least_squares_one():
    e = np.linspace(200, 400, 101)
    y = np.random.default_rng(4).poisson(1e8 * e**-2.5).astype(float)
    from scipy.optimize import curve_fit

    best, _ = curve_fit(lambda x, a, r: a * (x / 300) ** -r, e, y, p0=(50, 2))
    found = spectra.background(signal(y, e, "energy_loss"), window=(200, 400)).background
    np.testing.assert_allclose(found, best[0] * (e / 300) ** -best[1], rtol=1e-5)


def test_background_of_an_empty_spectrum_is_nan_not_zero():
    e = np.linspace(200, 400, 101)
    found = spectra.background(signal(np.zeros((2, 101)), e, "energy_loss"), window=(200, 300))
    assert np.isnan(found.background).all()


def damped(x, height, rate):
    return height * np.exp(-rate * x)


def test_background_takes_any_model_of_the_fit():
    from xpycro.analysis import models

    e = np.linspace(-20, 400, 211)
    edge = 40.0 * (e > 300)
    decay = 900 * np.exp(-e / 90)
    truths = {
        "exponential + constant": decay + 30,
        models.Polynomial(3): 20 + 3 * e - 1e-2 * e**2 + 2e-5 * e**3,
        models.Gaussian(name="tail") + models.Constant(): 200 * np.exp(-((e - 60) ** 2) / 2 / 80**2) + 12,
    }
    for model, below in truths.items():
        found = spectra.background(signal(below + edge, e, "energy_loss", "counts"), model, ("20 eV", "0.29 keV"))
        np.testing.assert_allclose(found.background, below, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found.signal, edge, atol=1e-5)
    own = spectra.background(signal(decay + edge, e, "energy_loss"), damped, (20, 290), start=[500, 0.02])
    np.testing.assert_allclose(own.signal, edge, atol=1e-5)
    resonance = decay - 3j * decay
    turned = spectra.background(signal(resonance + 5, e, "energy_loss"), "complex_constant", (300, 400))
    np.testing.assert_allclose(turned.background, np.mean(resonance[160:]) + 5, rtol=1e-9)


def test_background_reads_the_data_once_and_is_nan_where_its_model_is_not_defined():
    e = np.linspace(-20, 400, 211)
    values = np.where(e > 0, 1e9 * np.maximum(e, 1) ** -2.5, 7.0)[None].repeat(4, 0)
    reads = []

    def block(data):
        reads.append(data.shape)
        return data

    da = signal(values, e, "energy_loss").chunk(lead_0=2)
    da = da.copy(data=da.data.map_blocks(block, dtype=float, meta=np.empty((0, 0))))
    found = spectra.background(da, window=(100, 200))
    assert not reads
    found = found.compute()
    assert len(reads) == 2
    assert np.isnan(found.background.values[:, e <= 0]).all() and np.isnan(found.signal.values[:, e <= 0]).all()
    np.testing.assert_allclose(found.background.values[:, e > 0], values[:, e > 0], rtol=1e-6)


def test_despike_takes_the_spike_only():
    x = np.linspace(0, 10, 300)
    clean = np.sin(x) + np.random.default_rng(5).normal(0, 0.02, (4, 300))
    spiky = clean.copy()
    spiky[1, 100] += 5
    spiky[2, 200:202] += 3
    found = spectra.despike(signal(spiky), 7e-3).values
    changed = found != spiky
    assert changed.sum() == 3 and changed[1, 100] and changed[2, 200:202].all()
    assert abs(found - clean).max() < 0.15
    assert np.isnan(spectra.despike(signal(spiky), 7e-3, fill="nan").values[1, 100])


# --------------------------------------------------------------------------------------------------------- resampling


def test_normalise():
    da = random((3, 40)) + 3
    assert spectra.normalise(da, "area").attrs["units"] == "1/s"
    np.testing.assert_allclose(np.trapezoid(spectra.normalise(da, "area"), da.time), 1)
    np.testing.assert_allclose(spectra.normalise(da, "sum").sum("time"), 1)
    standard = spectra.normalise(da, "standard")
    np.testing.assert_allclose([standard.mean("time"), standard.std("time")], [[0] * 3, [1] * 3], atol=1e-12)
    np.testing.assert_allclose(spectra.normalise(da, "minmax").max("time"), 1)
    window = (0.25, 0.26)
    inside = da.sel(time=slice(*window))
    np.testing.assert_allclose(spectra.normalise(da, window=window), da / inside.max("time"))
    assert np.isnan(spectra.normalise(da * 0)).all()


def test_rebin_conserves_counts_and_averages_densities():
    counts = signal(
        np.random.default_rng(6).poisson(20, (2, 60)).astype(float), np.arange(60) + 0.5, "energy", "counts"
    )
    for width in (1.0, 2.0, 2.5, 7.5):
        binned = spectra.rebin(counts, width, how="sum")
        np.testing.assert_allclose(binned.sum("energy"), counts.sum("energy"))
        np.testing.assert_allclose(np.diff(binned.energy), width)
    np.testing.assert_allclose(spectra.rebin(counts, 2.0, how="sum"), counts.values.reshape(2, 30, 2).sum(-1))
    np.testing.assert_allclose(spectra.rebin(counts, 3.0), counts.values.reshape(2, 20, 3).mean(-1))
    np.testing.assert_allclose(spectra.rebin(counts[:, ::-1], 3.0), counts.values.reshape(2, 20, 3).mean(-1))
    # an uneven axis with gaps, onto another: constants stay constant
    uneven = signal(np.where(np.arange(5) == 2, np.nan, 4.0), [0.0, 1, 2, 4, 8], "energy")
    np.testing.assert_allclose(spectra.rebin(uneven, [0.5, 3.0, 5.0]), 4.0)
    assert binned.energy.attrs["units"] == "eV" and binned.attrs["units"] == "counts"


def test_align_finds_known_shifts_below_a_sample():
    rng = np.random.default_rng(7)
    x = np.linspace(-20, 60, 401)
    true = rng.uniform(-3, 3, 12)

    def curve(shift):
        u = x - shift
        return np.exp(-((u / 2) ** 2)) + 0.3 * np.exp(-(((u - 18) / 6) ** 2)) + 0.002 * u

    clean = signal(np.array([curve(s) for s in true]), x, "energy_loss", "counts")
    reference = signal(curve(0.0), x, "energy_loss", "counts")
    found = spectra.align(clean, reference=reference)
    np.testing.assert_allclose(found["shift"], true, atol=1e-3 * 0.2)
    assert found["shift"].attrs["units"] == "eV"
    inner = found.aligned.sel(energy_loss=slice(-15, 55))
    assert abs(inner - reference).max() < 2e-3
    noisy = clean + rng.normal(0, 0.05, clean.shape)
    assert abs(spectra.align(noisy, reference=reference)["shift"] - true).max() < 0.2
    gain = spectra.align(3 * clean + 7, reference=reference)["shift"]
    np.testing.assert_allclose(gain, true, atol=1e-3)


def test_calibrate_moves_the_axis_only():
    da = signal(np.zeros(5), [500.0, 510, 520, 530, 540], "wavenumber")
    moved = spectra.calibrate(da, {520.0: 520.7})
    np.testing.assert_allclose(moved.wavenumber, da.wavenumber + 0.7)
    two = spectra.calibrate(da, {500.0: 0.0, 540.0: 80.0}, units="eV")
    np.testing.assert_allclose(two.wavenumber, np.arange(5) * 20.0, atol=1e-10)
    assert two.wavenumber.attrs["units"] == "eV" and da.wavenumber.attrs["units"] == "1/cm"
    with pytest.raises(ValueError, match="turn back"):
        spectra.calibrate(da, {500.0: 0.0, 520.0: 50.0, 540.0: 0.0}, order=2)


# ----------------------------------------------------------------------------------------------------------- contract

OPERATIONS = {
    "fft": spectra.fft,
    "power_spectrum": spectra.power_spectrum,
    "smooth": lambda da: spectra.smooth(da, 5e-3),
    "median": lambda da: spectra.smooth(da, 5e-3, method="median"),
    "gaussian": lambda da: spectra.smooth(da, 5e-3, method="gaussian"),
    "derivative": spectra.derivative,
    "savgol derivative": lambda da: spectra.derivative(da, width=5e-3),
    "detrend": spectra.detrend,
    "baseline": lambda da: spectra.baseline(da, max_iterations=3),
    "background": lambda da: spectra.background(da, "linear", (0.25, 0.26)).signal,
    "despike": spectra.despike,
    "normalise": spectra.normalise,
    "rebin": lambda da: spectra.rebin(da, 3e-3),
    "align": lambda da: spectra.align(da, reference=da[0, 0])["shift"],
    "align to mean": lambda da: spectra.align(da).aligned,
    "ifft": lambda da: spectra.ifft(spectra.fft(da)),
    "calibrate": lambda da: spectra.calibrate(da, {0.25: 0.5}),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_lazy_equals_eager_and_nothing_is_modified(name, tmp_path):
    operation = OPERATIONS[name]
    da = random((3, 4, 24), seed=8)
    before = da.copy(deep=True)
    expected = operation(da)
    xr.testing.assert_identical(da, before)
    assert not expected.chunks and expected.dims[:2] == ("lead_0", "lead_1")
    assert "units" in expected.attrs and (expected.coords or expected.ndim == 2)
    with raise_if_dask_computes():
        lazy = operation(da.chunk({"lead_0": 2, "lead_1": 3, "time": 7}))
    assert lazy.chunks and lazy.dtype == expected.dtype
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-10, atol=1e-12)
    xr.testing.assert_allclose(lazy.coords.to_dataset(), expected.coords.to_dataset())
    indexed = as_indexed(xr.Dataset({"d": da}), tmp_path / "d.nc")["d"]
    with raise_if_dask_computes():
        lazy = operation(indexed)
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-10, atol=1e-12)
    # a transposed array gives the transposed answer
    turned = operation(da.transpose("time", "lead_1", "lead_0")) if name != "align" else None
    if turned is not None:
        np.testing.assert_allclose(turned.transpose(*expected.dims), expected, rtol=1e-10, atol=1e-12)


@given(
    chunks=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 24)),
    name=st.sampled_from(["fft", "smooth", "baseline"]),
)
def test_chunks_never_change_a_bit(chunks, name):
    da = random((3, 4, 24), seed=9)
    lazy = OPERATIONS[name](da.chunk(dict(zip(da.dims, chunks, strict=True))))
    np.testing.assert_allclose(lazy.compute(), OPERATIONS[name](da), rtol=1e-12, atol=1e-14)


def test_a_step_is_recorded():
    from xpycro.provenance import history

    assert history(spectra.smooth(random(), 5e-3)).steps[-1]["operation"] == "spectra.smooth"


def test_bad_input_is_named():
    da = random()
    with pytest.raises(DimensionError, match="energy"):
        spectra.fft(da, "energy")
    uneven = signal(np.zeros(4), [0.0, 1, 2, 4])
    for operation in (spectra.fft, spectra.power_spectrum, lambda d: spectra.smooth(d, 3.0)):
        with pytest.raises(ValueError, match="time is not evenly spaced"):
            operation(uneven)
    with pytest.raises(ValueError, match=r"savgol.*gaussian.*median"):
        spectra.smooth(da, 5e-3, method="boxcar")
    with pytest.raises(ValueError, match="at least 3 are needed"):
        spectra.smooth(da, 1e-3)
    with pytest.raises(ValueError, match="longer than time"):
        spectra.smooth(da, 1.0)
    with pytest.raises(TypeError, match="complex"):
        spectra.baseline(da * 1j)
    with pytest.raises(ValueError, match="not redundant"):
        spectra.fft(da * 1j, one_sided=True)
    with pytest.raises(ValueError, match=r"window=\(5, 6\) holds no point of time"):
        spectra.background(da, "exponential", (5, 6))
    with pytest.raises(ValueError, match=r"did you mean .*power_law"):
        spectra.background(da, "powerlaw", (0.25, 0.26))
    with pytest.raises(ValueError, match="several such pairs"):
        spectra.background(da, "exponential")
    with pytest.raises(ValueError, match="time is empty"):
        spectra.fft(da[:, :0])
    with pytest.raises(ValueError, match="turns back"):
        spectra.rebin(signal(np.zeros(4), [0.0, 1, 0.5, 2]), 1.0)


def test_a_baseline_on_an_uneven_axis_is_the_one_of_the_dense_equations():
    """AsLS of symmetric weights is (W + s D'D) z = W y, with the second derivatives of Newton's divided differences."""
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.uniform(0.5, 1.6, 60))
    y = rng.normal(size=(3, 60)).cumsum(axis=1)
    width = 15.0
    d = np.zeros((58, 60))
    for n in range(58):
        a, b, c = x[n : n + 3]
        d[n, n : n + 3] = 2 / ((a - b) * (a - c)), 2 / ((b - a) * (b - c)), 2 / ((c - a) * (c - b))
    expected = np.linalg.solve(0.5 * np.eye(60) + (width / 2 / np.pi) ** 4 * d.T @ d, 0.5 * y.T).T
    rows = xr.DataArray(y, coords={"energy": x}, dims=["row", "energy"])
    # the first step weighs all points with 1, the second, which is the last, with one half
    found = spectra.baseline(rows, "energy", method="asls", width=width, asymmetry=0.5, max_iterations=3)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    turned = spectra.baseline(rows[:, ::-1], "energy", method="asls", width=width, asymmetry=0.5, max_iterations=3)
    np.testing.assert_allclose(turned[:, ::-1], expected, rtol=1e-9, atol=1e-9)


def test_the_baseline_of_a_grating_spectrum_passes_long_periods_and_no_lines():
    x = 1226 + np.cumsum(np.linspace(1.72, 1.38, 1000))  # the steps of a real Raman axis
    slow = 100 + 20 * np.sin(2 * np.pi * x / 1500)
    line = 50 * np.exp(-0.5 * ((x - 2000) / 8) ** 2)
    noisy = slow + line + np.random.default_rng(1).normal(0, 0.5, 1000)
    found = spectra.baseline(xr.DataArray(noisy, coords={"wavenumber": x}, dims="wavenumber"), width=300)
    assert float(abs(found - slow).max()) < 2.0  # of a line of 50
    assert float(abs(found - slow).mean()) < 0.5
    with pytest.raises(ValueError, match="wavenumber"):
        spectra.baseline(xr.DataArray(noisy, coords={"wavenumber": x % 500}, dims="wavenumber"))
