"""What stands behind a live explorer: reading what is shown and no more.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.viz import parts as _parts
from xpycro.viz import planes, style
from xpycro.viz.navigator import Navigator

__all__ = [
    "Channel", "Reader", "amount", "attempt", "channels_of", "coarse", "cost", "state_cost", "touched",
]  # fmt: skip

_KEPT = 8  # planes and spectra remembered, so that moving one cursor does not read again what the other shows


def attempt(read: Callable[[], np.ndarray], shape: Sequence[int]) -> tuple[np.ndarray, str]:
    """What `read` gives; where it fails, NaN of `shape` and why, to be said in the page.

    A page has nobody to raise to: a file that was moved away, a worker that died.
    """
    try:
        return read(), ""
    except Exception as error:
        warnings.warn(f"could not be read: {error}", stacklevel=2)
        first = (str(error).strip().splitlines() or [""])[0]
        return np.full(tuple(shape), np.nan), f"Could not be read: {type(error).__name__}: {first}"[:160]


class Reader:
    """Planes and spectra of an array by index: read when first asked for, the last few kept.

    What could not be read is NaN, and `problem` says why until something could. `dear` is that all would be more than
    256 MB: a region may be.
    """

    def __init__(self, da: xr.DataArray, roles: _parts.Parts) -> None:
        self.roles = roles
        self.da = _parts.ascending(da.transpose(*roles.rest, *roles.nav, roles.signal), roles.nav)
        self.over = Navigator.of(self.da, roles.nav)
        self.signal = style.axis(self.da, roles.signal)
        self.rest = [style.axis(da, d) for d in roles.rest]
        self.problem = ""
        self.dear = chunked.is_lazy(self.da) and touched(self.da, self._rest([0] * len(self.rest))) > planes.COSTLY
        self._first: int | None = None
        self._kept: OrderedDict[tuple[Any, ...], np.ndarray] = OrderedDict()
        self._elements: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._masks: OrderedDict[bytes, xr.DataArray] = OrderedDict()

    def _read(self, key: tuple[Any, ...], make: Callable[[], xr.DataArray], shape: Sequence[int]) -> np.ndarray:
        if key in self._kept:
            self._kept.move_to_end(key)
            self.problem = ""
            return self._kept[key]
        values, self.problem = attempt(lambda: style.read(make()), shape)
        if not self.problem:  # what failed is tried again
            self._kept[key] = values
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return values

    def _rest(self, rest: Sequence[int]) -> dict[str, int]:
        return dict(zip(self.roles.rest, map(int, rest), strict=True))

    def steps(self, low: int, high: int, rest: Sequence[int], whole: bool) -> tuple[tuple[int, ...], int]:
        """Of how many pixels a map shows one, and the bytes that one of all pixels would read; 0 where it does.

        What reads more than 256 MB waits until the user wants the `whole`.
        """
        index: dict[str, int | slice] = {self.roles.signal: slice(low, high + 1), **self._rest(rest)}
        steps = coarse(self.da, self.roles.nav, index)
        if whole or max(steps) == 1:
            return (self.over.every,) * len(self.roles.nav), 0
        return tuple(max(n, self.over.every) for n in steps), touched(self.da, index)

    def plane(self, low: int, high: int, rest: Sequence[int], steps: Sequence[int]) -> np.ndarray:
        """The map at one sample of the signal, or the mean of those between two, of every n-th pixel (`steps`)."""
        at, signal, nav = self._rest(rest), self.roles.signal, self.roles.nav
        drawn = self.da.isel({d: slice(None, None, n) for d, n in zip(nav, steps, strict=True) if n > 1})

        def make() -> xr.DataArray:
            if low == high:
                return drawn.isel({signal: low, **at})
            return chunked.lazily(drawn.isel({signal: slice(low, high + 1), **at})).mean(signal)

        return self._read(("plane", low, high, *steps, *rest), make, [drawn.sizes[d] for d in nav])

    def first(self, rest: Sequence[int]) -> int:
        """The sample to begin with: where the middle pixel's spectrum is largest, or the middle where it has none."""
        if self._first is None:
            values = np.abs(self.spectrum(self.over.middle, rest))
            valid = np.isfinite(values)
            self._first = int(np.argmax(np.where(valid, values, -1))) if valid.any() else values.size // 2
        return self._first

    def _window(self, outline: np.ndarray) -> dict[str, slice]:
        """The rectangle of pixels around those inside an outline."""
        mask, nav = self.inside(outline), self.roles.nav
        return {
            d: slice(int(found.min()), int(found.max()) + 1) if found.size else slice(0, 0)
            for d, found in zip(nav, np.nonzero(mask.values), strict=True)
        }

    def region_steps(self, outline: np.ndarray, rest: Sequence[int], whole: bool) -> tuple[tuple[int, ...], int]:
        """Of how many pixels inside an outline one is read, and the bytes that all would be; 0 where all are."""
        index: dict[str, int | slice] = {**self._window(outline), **self._rest(rest)}
        cut = self.da.isel(index)
        steps = (1,) * len(self.roles.nav) if whole else coarse(cut, self.roles.nav, {})
        return steps, touched(self.da, index) if max(steps) > 1 else 0

    def region(self, outline: np.ndarray, rest: Sequence[int], steps: Sequence[int]) -> np.ndarray:
        """The mean spectrum of the pixels inside an outline, of every n-th (`steps`)."""
        window, nav = self._window(outline), self.roles.nav
        cut, mask = self.da.isel(window | self._rest(rest)), self.inside(outline).isel(window)
        thin = {d: slice(n // 2 if n < cut.sizes[d] else 0, None, n) for d, n in zip(nav, steps, strict=True)}

        def make() -> xr.DataArray:
            return chunked.lazily(cut.isel(thin)).where(mask.isel(thin)).mean(nav)

        return self._read(("region", outline.tobytes(), *steps, *rest), make, [self.signal.values.size])

    def spectrum(self, pixel: int, rest: Sequence[int]) -> np.ndarray:
        """The spectrum at one pixel."""
        at = self.over.at(pixel) | self._rest(rest)
        return self._read(("spectrum", pixel, *rest), lambda: self.da.isel(at), [self.signal.values.size])

    def element(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """A drawn element, made once: what is the same as before is not sent to the page again."""
        if key in self._elements:
            self._elements.move_to_end(key)
            return self._elements[key]
        made = make()
        if not self.problem:
            self._elements[key] = made
        while len(self._elements) > 4 * _KEPT:
            self._elements.popitem(last=False)
        return made

    def inside(self, outline: np.ndarray) -> xr.DataArray:
        """Which pixels' middles lie inside an outline, over the map's dims."""
        key = np.asarray(outline, dtype=float).tobytes()
        if key not in self._masks:
            self._masks[key] = self._inside(outline)
        while len(self._masks) > _KEPT:
            self._masks.popitem(last=False)
        return self._masks[key]

    def _inside(self, outline: np.ndarray) -> xr.DataArray:
        x, y = self.over.places
        hit = np.zeros(x.size, dtype=bool)
        for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
            crosses = (y0 > y) != (y1 > y)
            with np.errstate(divide="ignore", invalid="ignore"):
                hit ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
        nav = self.roles.nav
        coords = {d: self.da[d] for d in nav if d in self.da.coords}
        return xr.DataArray(hit.reshape([self.da.sizes[d] for d in nav]), dims=nav, coords=coords)


def _blocks(da: xr.DataArray) -> dict[str, int]:
    """What is read at once along each dim: a chunk of the file, or of dask."""
    stored = da.encoding.get("preferred_chunks") or dict(
        zip(map(str, da.dims), da.encoding.get("chunksizes") or (), strict=False)
    )
    blocks = {str(d): max(c) if isinstance(c, tuple | list) else int(c) for d, c in (stored or {}).items()}
    if not blocks and da.chunks is not None:
        blocks = {str(d): max(c) for d, c in da.chunksizes.items()}
    return {str(d): max(1, min(blocks.get(str(d), size), size)) for d, size in da.sizes.items()}


def touched(da: xr.DataArray, index: Mapping[str, int | slice]) -> int:
    """About how many bytes of its file reading ``da.isel(index)`` touches, from the chunks of the file or of dask."""
    total = da.dtype.itemsize
    for dim, block in _blocks(da).items():
        size = da.sizes[dim]
        at = index.get(dim, slice(None))
        wanted = range(at, at + 1) if isinstance(at, int) else range(*at.indices(size))
        if len(wanted) == 0:
            return 0
        count = -(-(wanted[-1] + 1) // block) - wanted[0] // block
        total *= min(min(count, len(wanted)) * block, size)
    return total


def coarse(da: xr.DataArray, dims: Sequence[str], index: Mapping[str, int | slice]) -> tuple[int, ...]:
    """Of how many pixels along `dims` one is read, so that ``da.isel(index)`` touches at most 256 MB of a lazy array.

    A block of the file is read for a single pixel of it: what is left out are whole blocks.
    """
    ones = (1,) * len(dims)
    if not chunked.is_lazy(da) or touched(da, index) <= planes.COSTLY:
        return ones
    steps, blocks = ones, _blocks(da)
    for times in range(1, max(da.sizes[d] for d in dims) + 1):
        steps = tuple(min(blocks[d] * times, da.sizes[d]) for d in dims)
        thinned = {d: slice(None, None, n) for d, n in zip(dims, steps, strict=True)}
        if touched(da, {**index, **thinned}) <= planes.COSTLY:
            break
    return steps


def amount(size: int) -> str:
    """A number of bytes in words."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"


def cost(da: xr.DataArray, roles: _parts.Parts) -> dict[str, int]:
    """About how many bytes a tap (``spectrum``) and a map (``plane``) read."""
    return {
        "spectrum": touched(da, dict.fromkeys((*roles.nav, *roles.rest), 0)),
        "plane": touched(da, dict.fromkeys((roles.signal, *roles.rest), 0)),
    }


def state_cost(da: xr.DataArray, roles: _parts.Parts) -> str:
    """Words that say what one action reads, where it is more than 256 MB of lazy data; else nothing."""
    if not chunked.is_lazy(da):
        return ""
    dear = {name: size for name, size in cost(da, roles).items() if size > planes.COSTLY}
    return "; ".join(f"each {name} reads about {amount(size)}" for name, size in dear.items())


class Channel:
    """One real quantity that is shown of an array: its values, or the amplitude or phase of complex ones.

    Label, unit and scale are decided once, because labels must not change while one explores.
    """

    def __init__(self, like: xr.DataArray, part: Callable[[np.ndarray], np.ndarray]) -> None:
        self.like = like
        self._part = part
        self._shown: style.Quantity | None = None

    def apply(self, raw: np.ndarray) -> tuple[np.ndarray, style.Quantity]:
        """Values in display units, and what they are."""
        values = self._part(raw)
        shown = self._shown or style.quantity(self.like, values)
        if self._shown is None and np.isfinite(values).any():  # a pixel without data decides nothing
            self._shown = shown
        return values * shown.factor, shown


def channels_of(da: xr.DataArray) -> list[Channel]:
    """What is shown of an array: itself, or amplitude and phase."""
    if da.dtype.kind != "c":
        return [Channel(da, np.asarray)]
    amplitude, phase = planes.amplitude_phase(da.isel(dict.fromkeys(da.dims, slice(0, 0))))
    return [Channel(amplitude, np.abs), Channel(phase, np.angle)]
