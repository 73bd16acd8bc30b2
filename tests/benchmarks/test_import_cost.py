"""What ``import xpycro`` adds to ``import xarray``: the goal is a ratio below 1.1."""

import subprocess
import sys

import pytest


def seconds(code: str) -> float:
    text = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout)


@pytest.mark.benchmark(group="import")
def test_import_against_xarray(benchmark):
    pairs = []

    def once():
        pairs.append((seconds("import xarray"), seconds("import xarray, xpycro")))

    benchmark.pedantic(once, rounds=7, warmup_rounds=1)
    plain, ours = (sorted(column)[len(column) // 2] for column in zip(*pairs, strict=True))
    benchmark.extra_info["ratio to import xarray"] = round(ours / plain, 3)
