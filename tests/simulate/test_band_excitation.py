"""The simulated oscillator against its differential equation, its noise against what was asked for."""

import numpy as np
import pytest

from tests.conftest import raise_if_dask_computes
from xpycro.simulate import band_excitation
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


@pytest.mark.parametrize("bad", [{"shape": (0, 4)}, {"n_frequencies": 1}, {"band": (2.0, 1.0)}, {"chunks": {"x": 2}}])
def test_bad_arguments_name_themselves(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        band_excitation(**{"shape": (4, 4), "n_frequencies": 8, **bad})
