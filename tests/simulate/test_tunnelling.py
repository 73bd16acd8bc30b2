"""The simulated current against the numerical integral of the density of states."""

import numpy as np
import pytest

from xpycro.simulate import tunnelling_grid


def test_current_is_the_integral_of_the_conductance():
    ds = tunnelling_grid((3, 4), 4001, signal_to_noise=1e9)
    v, didv = ds.bias.values, ds.didv.values.astype(float)
    steps = np.diff(v) * (didv[..., 1:] + didv[..., :-1]) / 2
    integral = np.concatenate([np.zeros((3, 4, 1)), np.cumsum(steps, axis=-1)], axis=-1)
    integral -= integral[..., [v.size // 2]]  # zero bias is the middle sample
    np.testing.assert_allclose(ds.current.values, integral, atol=2e-6 * np.abs(integral).max())


def test_gap_width_is_between_the_half_heights():
    ds = tunnelling_grid((2, 2), 8001, signal_to_noise=1e9, seed=2)
    # half-way up a logistic edge of height 1 nS lies the band edge; the in-gap state must not reach it
    for y, x in np.ndindex(2, 2):
        curve = ds.didv.values[y, x] - 0
        above = ds.bias.values[(curve < 0.5e-9)]
        if ds.true_state_amplitude.values[y, x] < 0.3e-9:
            assert above.max() - above.min() == pytest.approx(ds.true_gap.values[y, x], abs=2e-3)


def test_bad_arguments():
    with pytest.raises(ValueError, match="bias"):
        tunnelling_grid(bias=(1.0, -1.0))
