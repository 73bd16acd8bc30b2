"""Speed of the detector stacks: translate at the pace of a copy, open at once (run with --benchmark-only)."""

from __future__ import annotations

import os
import resource
import subprocess
import time

import numpy as np
import pytest

GIGABYTES = float(os.environ.get("XPYCRO_BENCHMARK_GB", "2"))


def _merlin(path, count):
    body = np.random.default_rng(0).integers(0, 60, 256 * 256).astype(">u2").tobytes()
    with open(path, "wb") as handle:
        for n in range(count):
            text = f"MQ1,{n + 1:06d},00384,01,0256,0256,U16,   1x1,01,2021-04-15 14:43:47.0085,0.1,"
            handle.write(text.encode().ljust(384, b"\0") + body)
    return 384 + len(body)


def _empad(path, count):
    body = np.random.default_rng(0).normal(size=(130, 128)).astype("<f4").tobytes()
    with open(path, "wb") as handle:
        for _ in range(count):
            handle.write(body)
    return len(body)


@pytest.mark.parametrize(("make", "name", "size"), [(_merlin, "a.mib", 131456), (_empad, "scan_x64_y64.raw", 66560)])
def test_translate_at_the_pace_of_a_copy(benchmark, tmp_path, make, name, size):
    from xpycro.io import opening
    from xpycro.io.translate import file_sha256, translate

    lines = max(2, int(GIGABYTES * 1e9 / size / 64))
    make(tmp_path / name, lines * 64)
    options = {"scan_shape": (lines, 64)}
    opening.open(tmp_path / name, **options)
    started = time.perf_counter()
    opening.open(tmp_path / name, **options)
    opened = time.perf_counter() - started
    started = time.perf_counter()
    subprocess.run(f"cp '{tmp_path / name}' '{tmp_path / 'copy'}' && sync", shell=True, check=True)
    copied = time.perf_counter() - started
    started = time.perf_counter()
    file_sha256(tmp_path / name)  # done by translate, not by cp
    hashed = time.perf_counter() - started
    benchmark.pedantic(
        lambda: translate(tmp_path / name, tmp_path / "a.h5", compression="none", overwrite=True, **options), rounds=1
    )
    spent = max(benchmark.stats.stats.min - hashed, 1e-3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    benchmark.extra_info.update(ratio_to_copy=copied / spent, open_seconds=opened, peak_gigabytes=peak)
    assert opened < 0.3
    assert copied / spent >= 0.4, f"{spent:.1f} s for what cp and sync do in {copied:.1f} s"
    assert peak < 0.6, f"{peak:.2f} GB at the peak"
