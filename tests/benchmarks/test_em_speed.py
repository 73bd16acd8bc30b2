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
def test_translate_at_the_pace_of_a_copy(benchmark, monkeypatch, tmp_path, make, name, size):
    """Without the two hashes that `cp` does not make (of the source, of each chunk); their cost is stated beside it."""
    from xpycro.io import opening, translate
    from xpycro.io.store import part

    lines = max(2, int(GIGABYTES * 1e9 / size / 64))
    make(tmp_path / name, lines * 64)
    options = {"scan_shape": (lines, 64)}
    opening.open(tmp_path / name, **options)
    started = time.perf_counter()
    opening.open(tmp_path / name, **options)
    opened = time.perf_counter() - started
    started, before = time.perf_counter(), os.times()
    subprocess.run(f"cp '{tmp_path / name}' '{tmp_path / 'copy'}' && sync", shell=True, check=True)
    copied, after = time.perf_counter() - started, os.times()
    copy_used = after.children_user + after.children_system - before.children_user - before.children_system
    (tmp_path / "copy").unlink()

    def run():
        translate.translate(tmp_path / name, tmp_path / "a.h5", compression="none", **options)

    def afresh():  # freeing what is replaced costs as much as writing it anew, and cp wrote a new file too
        (tmp_path / "a.h5").unlink()

    started = time.perf_counter()
    run()
    whole = time.perf_counter() - started
    monkeypatch.setattr(translate, "file_sha256", lambda path: "0" * 64)
    monkeypatch.setattr(part, "digest", lambda values: bytes(16))
    used = time.process_time()
    benchmark.pedantic(run, setup=afresh, rounds=1)
    spent, used = benchmark.stats.stats.min, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    benchmark.extra_info.update(
        ratio_to_copy=copied / spent, copy_seconds=copied, seconds_with_both_hashes=whole,
        processor_ratio_to_copy=copy_used / used, processor_seconds=used, open_seconds=opened, peak_gigabytes=peak,
    )  # fmt: skip
    assert opened < 0.3
    assert copied / spent >= 0.4, f"{spent:.1f} s for what cp and sync do in {copied:.1f} s"
    assert peak < 0.6, f"{peak:.2f} GB at the peak"
