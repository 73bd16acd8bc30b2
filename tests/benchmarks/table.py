"""The table of benchmarks in the README: ``python -m tests.benchmarks.table`` reruns every row and writes it anew.

It takes quiet cores, the extras test and bench, 10 GB of disk and about a quarter of an hour. Numbers of rows
(``... table 0 3``) rerun these only and print them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import pages

ROOT = Path(__file__).resolve().parents[2]
HEAD = ["what", "measured", "`tests/benchmarks/`"]


@dataclass(frozen=True)
class Row:
    """What is measured, by which file, of it the tests with these words, and how their figures are said."""

    what: str
    file: str
    chosen: str
    said: Callable[..., str]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def cells(self) -> list[str]:
        """First and last cell of the row."""
        set_to = "".join(f" (`{name}={value}`)" for name, value in self.environment.items())
        return [self.what, f"`{self.file}`{set_to}"]

    def measure(self) -> list[str]:
        """Run the tests; in the order of the file their figures make the cell in the middle."""
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            command = [sys.executable, "-m", "pytest", "--benchmark-only", f"--benchmark-json={report}"]
            command += ["-k", self.chosen, f"tests/benchmarks/{self.file}"]
            subprocess.run(command, cwd=ROOT, env={**os.environ, **self.environment}, check=True)
            found = json.loads(report.read_text())["benchmarks"]
        return [self.what, self.said(*(one["extra_info"] for one in found)), self.cells[1]]


def _others(scipy: dict[str, Any], xarray: dict[str, Any], hyperspy: dict[str, Any]) -> str:
    return f"{scipy['ratio to curve_fit']} / {hyperspy['ratio']} / {xarray['ratio']} times"


ROWS = [
    Row("a million oscillator spectra fitted, HDF5 to HDF5", "test_fit_file.py", "million",
        lambda info: f"{info['seconds']} s, {info['peak RSS, GB']} GB"),
    Row("20,000 oscillator spectra of 128 bins, against SciPy's `curve_fit`", "test_fit_speed.py", "oscillator",
        lambda info: f"{info['ratio to curve_fit']} times as fast"),
    Row("gaussian and line, 128 channels, against `curve_fit` / HyperSpy's `multifit` / xarray's `curvefit`",
        "test_fit_speed.py", "1-128-100 or other_packages", _others),
    Row("switching loops, nine parameters and their errors, against SciPy's `least_squares`", "test_loops_speed.py",
        "scipy and 0.05", lambda info: f"{info['times_all_against_one_start_wall_cpu'][0]} times as fast"),
    Row("five reductions of a 4D scan of 2 GB, against reading it / LiberTEM", "test_diffraction_speed.py",
        "five_reductions", lambda read, other:
        f"{read['ratio_to_read'][0]:.1f} times the time / {1 / other['ratio_to_libertem'][0]:.1f} times as fast",
        {"XPYCRO_FULL_BENCHMARKS": "1"}),
    Row("exact SVD of 6 GB within 2 GB of address space", "test_decompose_speed.py", "no_slower and 256",
        lambda info: f"{info['wall']:.0f} s, {info['rss_mb'] / 1e3:.2f} GB"),
    Row("k-means of a million spectra of 256 channels from disk", "test_cluster_speed.py", "million",
        lambda info: f"{info['wall']:.0f} s, {info['rss_mb'] / 1e3:.2f} GB"),
    Row("writing 2 GB with checksums, against bare h5py", "test_store_speed.py", "bare_h5py and dask",
        lambda info: f"{info['share of bare h5py']:.1f} times as fast", {"XPYCRO_BENCH_MB": "2048"}),
    Row("opening a 20 GB grid file", "test_open_cost.py", "twenty",
        lambda info: f"{info['seconds']:.2g} s, {info['bytes read'] / 1e6:.2g} MB read"),
    Row("explorer of a spectrum image of 8 GB: first picture / tap to drawn spectrum in Chromium / slice to map",
        "test_viz.py", "explorer or browser", lambda costs, tap:
        f"{costs['first_s']:.1f} s / {tap['browser_tap_p50_ms']:.0f} ms / {costs['slice_p50_ms']:.0f} ms",
        {"XPYCRO_BENCH_GB": "8"}),
]  # fmt: skip


if __name__ == "__main__":
    chosen = [int(number) for number in sys.argv[1:]]
    measured = [row.measure() for number, row in enumerate(ROWS) if not chosen or number in chosen]
    print(pages.table(HEAD, measured))
    if not chosen:
        pages.write(ROOT / "README.md", "benchmarks", pages.table(HEAD, measured))
