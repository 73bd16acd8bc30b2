"""The simulated oscillator against its differential equation, its noise against what was asked for."""

import numpy as np
import pytest

from tests.conftest import raise_if_dask_computes
from xpycro.analysis.loops import model
from xpycro.errors import StoreError
from xpycro.simulate import band_excitation, write_band_excitation
from xpycro.simulate.band_excitation import sho_response


def test_response_solves_the_equation_of_motion():
    # (w0^2 + i w w0/Q - w^2) H = -A e^{i phi} w0^2, written out for one frequency by hand
    w, amplitude, w0, quality, phase = 331e3, 2e-4, 325e3, 90.0, 0.7
    found = sho_response(np.array([w]), *(np.array(v) for v in (amplitude, w0, quality, phase)))[0]
    left = (w**2 - 1j * w * w0 / quality - w0**2) * found
    assert abs(left - amplitude * np.exp(1j * phase) * w0**2) < 1e-9 * abs(left)


def test_at_resonance_the_gain_is_the_quality_factor():
    found = sho_response(np.array([1e5]), np.array(3.0), np.array(1e5), np.array(40.0), np.array(0.2))[0]
    assert found == pytest.approx(1j * 3.0 * 40.0 * np.exp(0.2j))


def test_noise_has_the_standard_deviation_that_the_attribute_states():
    ds = band_excitation((20, 20), 200, seed=3)
    clean = sho_response(
        ds.frequency.values,
        ds.true_amplitude.values,
        ds.true_resonance_frequency.values,
        ds.true_quality_factor.values,
        ds.true_phase.values,
    )
    noise = ds.response.values - clean
    expected = ds.attrs["noise_standard_deviation"]
    # 80,000 draws a quadrature: the standard error of the spread is 0.25 %
    assert noise.real.std() == pytest.approx(expected, rel=0.01)
    assert noise.imag.std() == pytest.approx(expected, rel=0.01)
    assert abs(noise.mean()) < 0.02 * expected


def test_chunks_change_nothing_and_compute_nothing():
    eager = band_excitation((9, 4), 16, seed=5)
    with raise_if_dask_computes():
        lazy = band_excitation((9, 4), 16, seed=5, chunks={"y": 2})
    assert lazy.response.chunks is not None
    np.testing.assert_array_equal(lazy.response.compute(), eager.response)


def test_domains_turn_the_phase_by_pi():
    ds = band_excitation((32, 32), 8)
    up, down = (ds.true_phase.values[ds.true_domain.values == k] for k in (1, 0))
    assert up.size and down.size
    assert np.unique(up).item() - np.unique(down).item() == pytest.approx(np.pi)


def static(ds):
    """Signed response of each step, from spectra divided by the oscillator's own curve and the drive."""
    gain = sho_response(
        ds.frequency.values, np.ones(ds.true_domain.shape), ds.true_resonance_frequency.values,
        ds.true_quality_factor.values, np.full(ds.true_domain.shape, ds.attrs["true_phase_offset"]),
    )  # fmt: skip
    gain = gain * ds.excitation.values
    gain = gain.reshape(*gain.shape[:2], *[1] * (ds.response.ndim - 3), -1)
    return (ds.response.values * gain.conj()).sum(-1).real / (np.abs(gain) ** 2).sum(-1)


def test_each_step_follows_the_pixels_loop_in_and_out_of_field():
    ds = band_excitation((3, 4), 32, mode="dc", n_steps=16, n_cycles=2, field="both", signal_to_noise=1e9,
                         drive_ripple=0.3)  # fmt: skip
    found = static(ds)
    bias = ds.bias.values
    rising = np.append(np.diff(bias), bias[0] - bias[-1]) > 0
    p = [ds[f"true_{name}"].values[..., None] for name in model.PARAMETERS]
    out = model.loop(bias, rising, *p) * ds.true_polarity.values[..., None]
    on = ds.true_electrostatic_slope.values[..., None] * (bias - ds.true_surface_potential.values[..., None])
    for cycle in range(2):
        np.testing.assert_allclose(found[:, :, cycle, 1], out, atol=1e-9)
        np.testing.assert_allclose(found[:, :, cycle, 0], out + on, atol=1e-9)
    assert set(np.unique(ds.true_polarity)) == {-1.0, 1.0}


def test_reversal_curves_open_only_beyond_the_coercive_bias():
    ds = band_excitation((2, 2), 16, mode="dc", n_steps=64, n_forc=10, signal_to_noise=1e9)
    found, bias = static(ds) * ds.true_polarity.values[..., None, None], ds.bias.values
    # from saturation, curve 0 turns long before much switches back
    height = ds.true_height.values
    assert (np.ptp(found[:, :, 0], axis=-1) < 0.2 * height).all()
    full = found[:, :, -1]
    np.testing.assert_allclose(np.ptp(full, axis=-1), height, rtol=0.1)
    assert (np.diff(bias.min(axis=1)) < 0).all() and np.ptp(bias.max(axis=1)) == 0


def test_a_sweep_of_the_drive_is_linear_in_it():
    ds = band_excitation((2, 2), 16, mode="ac", n_steps=16, signal_to_noise=1e9)
    found = static(ds)
    np.testing.assert_allclose(found / found[..., -1:], np.broadcast_to(np.linspace(0, 1, 8), found.shape), atol=1e-6)


def test_switching_spectra_are_the_same_lazily():
    options = {"mode": "dc", "n_steps": 8, "field": "both", "seed": 3}
    eager = band_excitation((5, 3), 8, **options)
    with raise_if_dask_computes():
        lazy = band_excitation((5, 3), 8, chunks={"y": 2}, **options)
    np.testing.assert_array_equal(lazy.response.compute(), eager.response)


def test_the_writer_names_what_it_cannot_write(tmp_path):
    ds = band_excitation((2, 2), 8, mode="dc", n_steps=8)
    with pytest.raises(ValueError, match="triangle"):
        write_band_excitation(ds.assign_coords(bias=ds.bias**2), tmp_path / "a")
    with pytest.raises(ValueError, match="dims"):
        write_band_excitation(ds.rename(step="time"), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(StoreError, match="not empty"):
        write_band_excitation(ds, tmp_path / "full")


@pytest.mark.parametrize(
    "bad",
    [{"shape": (0, 4)}, {"n_frequencies": 1}, {"band": (2.0, 1.0)}, {"chunks": {"x": 2}}, {"mode": "bad"},
     {"n_steps": 6, "mode": "dc"}, {"n_cycles": 0, "mode": "dc"}, {"field": "off", "mode": "dc"},
     {"bias_amplitude": -1.0, "mode": "dc"}],
)  # fmt: skip
def test_bad_arguments_name_themselves(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        band_excitation(**{"shape": (4, 4), "n_frequencies": 8, **bad})
