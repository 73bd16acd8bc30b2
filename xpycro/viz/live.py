"""What stands behind a live explorer: reading what is shown and no more.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.viz import parts as _parts
from xpycro.viz import planes, style
from xpycro.viz.costs import coarse, touched
from xpycro.viz.navigator import Navigator

__all__ = ["Channel", "Reader", "attempt", "channels_of"]

_KEPT = 8  # planes and spectra remembered, so that moving one cursor does not read again what the other shows
_BLOCKS = 512  # parts of a file that a dear map is made of at most: each takes two milliseconds


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


def _times(numbers: Sequence[int]) -> str:
    return " × ".join(map(str, numbers))


def _loaded(da: xr.DataArray) -> xr.DataArray:
    return da.copy(data=style.read(da))


def _mean(values: np.ndarray) -> complex:
    known = values[~np.isnan(values)]
    return known.mean(dtype=np.result_type(known, np.float64)) if known.size else math.nan


class Reader:
    """Planes and spectra of an array by index: read when first asked for, the last few kept.

    What could not be read is NaN, and `problem` says why until something could. `dear` is that all would be more than
    256 MB: a region may be.
    """

    def __init__(self, da: xr.DataArray, roles: _parts.Parts) -> None:
        self.roles = roles
        self.da = _parts.ascending(chunked.stored(da), roles.nav)  # turned once read: a file reads its own order best
        self.over = Navigator.of(self.da, roles.nav)
        self.signal = style.axis(self.da, roles.signal)
        self.rest = [style.axis(da, d) for d in roles.rest]
        self.problem = ""
        self.dear = chunked.is_lazy(self.da) and touched(self.da, self._rest([0] * len(self.rest))) > planes.COSTLY
        self._first: int | None = None
        self._start: int | None = None
        self._kept: OrderedDict[tuple[Any, ...], np.ndarray] = OrderedDict()
        self._elements: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._masks: OrderedDict[bytes, xr.DataArray] = OrderedDict()

    def _read(self, key: tuple[Any, ...], make: Callable[[], xr.DataArray], shape: Sequence[int]) -> np.ndarray:
        if key in self._kept:
            self._kept.move_to_end(key)
            self.problem = ""
            return self._kept[key]
        values, self.problem = attempt(lambda: self._values(make()), shape)
        if not self.problem:  # what failed is tried again
            self._kept[key] = values
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return values

    def _values(self, part: xr.DataArray) -> np.ndarray:
        order = [d for d in (*self.roles.rest, *self.roles.nav, self.roles.signal) if d in part.dims]
        return _loaded(part).transpose(*order).values

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
        """The map at one sample of the signal, or the mean of those between two, of every n-th pixel (`steps`).

        A dear one is of blocks, where `blocks` says so.
        """
        signal, nav = self.roles.signal, self.roles.nav
        cut = self.da.isel({signal: low if low == high else slice(low, high + 1), **self._rest(rest)})
        shape = [len(range(0, cut.sizes[d], n)) for d, n in zip(nav, steps, strict=True)]

        def make() -> xr.DataArray:
            if max(self.blocks(steps)) > 1:
                windows = self._windows({d: slice(0, cut.sizes[d]) for d in nav}, steps, middle=False)
                means = [_mean(cut.variable.isel(at).values) for at in windows]
                return xr.DataArray(np.reshape(means, shape), dims=nav)
            drawn = cut.isel({d: slice(None, None, n) for d, n in zip(nav, steps, strict=True) if n > 1})
            return drawn if low == high else chunked.lazily(drawn).mean(signal)

        return self._read(("plane", low, high, *steps, *rest), make, shape)

    def blocks(self, steps: Sequence[int]) -> tuple[int, ...]:
        """How many pixels along each dim of the map are averaged to one of it, where it shows one of n (`steps`).

        What a file gives at once with a pixel costs nothing more, and its mean has less noise.
        """
        nav = self.roles.nav
        number = math.prod(len(range(0, self.da.sizes[d], n)) for d, n in zip(nav, steps, strict=True))
        if max(steps) <= self.over.every or self.da.chunks is not None or number > _BLOCKS:
            return (1,) * len(nav)
        read = chunked.read_at_once(self.da)
        return tuple(min(read[d], n) for d, n in zip(nav, steps, strict=True))

    def sampled(self, steps: Sequence[int]) -> str:
        """Which pixels a map of one of n is made of (`steps`), in words."""
        blocks = self.blocks(steps)
        if max(blocks) == 1:
            return f"one of {_times(steps)} pixels"
        left_out = [n // b for n, b in zip(steps, blocks, strict=True)]
        return f"one of {_times(left_out)} blocks of {_times(blocks)} pixels"

    def _windows(
        self, inside: Mapping[str, slice], steps: Sequence[int], *, middle: bool
    ) -> Iterator[dict[str, slice]]:
        """The blocks within a rectangle, one of n along each dim: from its corner on, or through its middle."""
        edges = []
        for d, n, length in zip(self.roles.nav, steps, self.blocks(steps), strict=True):
            start, stop = inside[d].start, inside[d].stop
            first = (start + stop) // 2 // length * length if middle else start  # a block of the file
            ends = [
                (max(k, start), min(k + length, stop)) for k in range(first - (first - start) // n * n - n, stop, n)
            ]
            edges.append([slice(*e) for e in ends if e[1] > e[0]])
        return (dict(zip(self.roles.nav, corner, strict=True)) for corner in itertools.product(*edges))

    def start(self, rest: Sequence[int]) -> int:
        """The pixel to begin with: the middle one, or the nearest to it that was measured."""
        if self._start is None:
            self._start = self.over.middle
            if not np.isfinite(self.spectrum(self._start, rest)).any():
                sample, nav = self.signal.values.size // 2, self.roles.nav
                steps, _ = self.steps(sample, sample, rest, False)
                known = np.argwhere(np.isfinite(self.plane(sample, sample, rest, steps))) * steps
                away = np.abs(known - np.array([self.da.sizes[d] // 2 for d in nav])).sum(axis=1)
                if away.size:
                    nearest = known[int(np.argmin(away))]
                    self._start = int(np.ravel_multi_index(tuple(nearest), [self.da.sizes[d] for d in nav]))
        return self._start

    def first(self, rest: Sequence[int]) -> int:
        """The sample to begin with: where the first pixel's spectrum is largest, or the middle where it has none."""
        if self._first is None:
            values = np.abs(self.spectrum(self.start(rest), rest))
            valid = np.isfinite(values)
            beside = valid & ~_clock(self.da, self.roles.signal)
            valid = beside if beside.any() else valid
            self._first = int(np.argmax(np.where(valid, values, -1))) if valid.any() else values.size // 2
        return self._first

    def left(self, low: int, high: int, regions: Sequence[np.ndarray]) -> int:
        """About how many bytes the whole of what is shown of in part would read."""
        rest = [0] * len(self.rest)
        return self.steps(low, high, rest, False)[1] + sum(self.region_steps(r, rest, False)[1] for r in regions)

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
        """The mean spectrum of the pixels inside an outline, of every n-th (`steps`) or of blocks of them."""
        window, nav, mask = self._window(outline), self.roles.nav, self.inside(outline)
        whole = self.da.isel(self._rest(rest))
        cut = whole.isel(window)
        thin = {d: slice(n // 2 if n < cut.sizes[d] else 0, None, n) for d, n in zip(nav, steps, strict=True)}

        def make() -> xr.DataArray:
            if max(self.blocks(steps)) == 1:
                return chunked.lazily(cut.isel(thin)).where(mask.isel(window).isel(thin)).mean(nav)
            total: Any = 0.0
            count: Any = 0
            for at in self._windows(window, steps, middle=True):
                part = _loaded(whole.isel(at)).where(mask.isel(at))
                total, count = total + part.sum(nav), count + part.count(nav)
            return total / count.where(count > 0)

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

    def drawn(self, key: tuple[Any, ...]) -> Any:
        """An element that is still kept, or None."""
        return self._elements.get(key)

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


def _clock(da: xr.DataArray, dim: str) -> np.ndarray:
    """Where an X-ray detector counts its own clock: about zero, often higher than any line."""
    coord = da.coords.get(dim)
    if coord is None or dim != "energy" or coord.attrs.get("units") != "eV" or not float(coord.max()) > 1e3:
        return np.zeros(da.sizes[dim], dtype=bool)
    return np.abs(coord.values) < 100


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
