"""Shared fixtures: real instrument files, a counting scheduler, a byte counter, a browser.

Real files lie beside the checkout in ``shared/data``; where they are absent such tests skip and say so, and fail under
``XPYCRO_REQUIRE_DATA=1``. The same holds for Chromium and ``XPYCRO_REQUIRE_BROWSER=1``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import pytest
import xarray as xr
from hypothesis import HealthCheck, settings

settings.register_profile(
    "xpycro",
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("xpycro")

DATA = Path(os.environ.get("XPYCRO_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def _absent(what: str, variable: str) -> None:
    if os.environ.get(variable) == "1":
        pytest.fail(f"{what}, and {variable}=1 asks for it")
    pytest.skip(what)


@pytest.fixture(scope="session")
def data_file() -> Callable[[str], Path]:
    """``data_file("nanonis_sxm/Image_445.sxm")``: the path of a real file, or a skip with its reason."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            _absent(f"real instrument file {name} is not beside this checkout", "XPYCRO_REQUIRE_DATA")
        return path

    return find


class CountingScheduler:
    """A dask scheduler that counts how often anything is computed."""

    def __init__(self, max_computes: int = 0) -> None:
        self.max_computes = max_computes
        self.total = 0

    def __call__(self, dsk, keys, **kwargs):
        self.total += 1
        if self.total > self.max_computes:
            raise RuntimeError(f"{self.total} computes, at most {self.max_computes} allowed")
        return dask.get(dsk, keys, **kwargs)


@contextlib.contextmanager
def raise_if_dask_computes(max_computes: int = 0) -> Iterator[CountingScheduler]:
    """Fail when dask computes more often than allowed inside the block."""
    scheduler = CountingScheduler(max_computes)
    with dask.config.set(scheduler=scheduler):
        yield scheduler


class BytesRead:
    """Bytes that this process asked the system to read since it was made (Linux; page cache or not)."""

    def __init__(self) -> None:
        self._start = self._now()

    @staticmethod
    def _now() -> int:
        for line in Path("/proc/self/io").read_text().splitlines():
            if line.startswith("rchar:"):
                return int(line.split()[1])
        raise RuntimeError("/proc/self/io has no rchar")

    @property
    def total(self) -> int:
        return self._now() - self._start


@pytest.fixture
def bytes_read() -> type[BytesRead]:
    """``counter = bytes_read(); ...; counter.total``: what was read from files by this process in between."""
    if not Path("/proc/self/io").exists():
        pytest.skip("counting bytes read needs Linux's /proc/self/io")
    return BytesRead


@pytest.fixture
def chromium() -> str:
    """Path of a Chromium, or a skip with its reason."""
    for candidate in (os.environ.get("XPYCRO_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(candidate) if candidate else None
        if found:
            return found
    _absent("no Chromium on this machine", "XPYCRO_REQUIRE_BROWSER")
    raise AssertionError


def as_indexed(ds: xr.Dataset, path: Path, **kwargs) -> xr.Dataset:
    """The same Dataset lazily indexed by xarray: written to netCDF and opened without dask."""
    ds.to_netcdf(path, engine="h5netcdf")
    return xr.open_dataset(path, engine="h5netcdf", **kwargs)
