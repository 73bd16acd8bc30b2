"""Drift beside scikit-image's per-frame phase correlation at the same accuracy: run with --benchmark-only -s.

256 frames of 512 x 512 where XPYCRO_FULL_BENCHMARKS=1, else 32.
"""

import os
import time

import numpy as np
import pytest

from tests.processing.test_register import scene, stack
from xpycro.processing.register import drift

FRAMES = 256 if os.environ.get("XPYCRO_FULL_BENCHMARKS") == "1" else 32


@pytest.mark.slow
def test_drift_is_three_times_as_fast_as_scikit_image(benchmark):
    registration = pytest.importorskip("skimage.registration")
    rng = np.random.default_rng(0)
    true = np.vstack([np.zeros(2), rng.uniform(-8, 8, (FRAMES - 1, 2))])
    frames = scene(true[:32], size=512, noise=0.05)
    frames = np.concatenate([frames] * (FRAMES // 32))
    true = np.concatenate([true[:32]] * (FRAMES // 32))
    da = stack(frames)
    window = np.multiply.outer(np.hanning(512), np.hanning(512))

    def theirs():
        first = (frames[0] - frames[0].mean()) * window
        flat = ((frame - frame.mean()) * window for frame in frames)
        return np.array(
            [registration.phase_cross_correlation(f, first, upsample_factor=100, normalization=None)[0] for f in flat]
        )

    times = []
    for _ in range(3):
        begin = time.process_time()
        reference = theirs()
        middle = time.process_time()
        found = drift(da, reference="first")["shift"].values / 2e-10
        times.append((middle - begin, time.process_time() - middle))
    error, their_error = np.abs(found - true).max(), np.abs(reference - true).max()
    their_time, own_time = np.median(times, axis=0)
    benchmark.extra_info["ratio_to_scikit_image"] = their_time / own_time
    print(f"\ndrift {own_time:.2f} s, scikit-image {their_time:.2f} s, ratio {their_time / own_time:.1f}")
    print(f"largest error {error:.4f} and {their_error:.4f} pixels")
    benchmark.pedantic(drift, (da,), rounds=1)
    assert error <= their_error
    assert their_time >= 3 * own_time
