"""Spots of lattices in Fourier transforms of images: peaks against noise, told from streaks, brought onto one lattice.

NumPy kernels that the processing modules share. May import numpy and, inside functions, scipy; no labels, no dask.
"""

from __future__ import annotations

import itertools

import numpy as np

__all__ = ["spot_list"]

_GUARD = 3  # bins about the centre that do not count: fewer periods than that are no lattice
_STREAK = 5.0  # how many times a spot exceeds the brightest line through it,
_LINE = 2.0  # if that is a line: of noise the brightest of many has a median of about 1.5 times that of the ring
_MOST = 64  # of all peaks of an image the strongest, so many, are looked at
_LEAST_ANGLE = np.sin(np.radians(10))  # between independent directions
_FASTEST = 0.4  # cycles a pixel: nearer to two pixels a period interference cannot be told from a lattice
_HARMONIC = 0.5  # of a grating's first spot, the most that another has
_HIGHEST = 4  # order of a spot on its lattice
_WEAKEST = 0.15  # of the strongest spot's amplitude, that of a direction: harmonics and their aliases are weaker
_OFF = 0.75  # bins that a spot may lie off its place on the lattice


def spot_list(values: np.ndarray, *, dy: float, dx: float, count: int, least: float, directions: int) -> np.ndarray:
    """(..., spot, [ky, kx, amplitude, contrast, two indices]), strongest first, NaN where there are fewer.

    A spot is a maximum of the Hann-windowed amplitude in the half plane that exceeds `least` times the median of its
    ring and is compact: no line through it is nearly as bright as itself, as along the streak of an edge. With two
    `directions` only those spots are given that are integer combinations of two of them; with one all of them, without
    indices.
    """
    ny, nx = values.shape[-2:]
    images = values.reshape(-1, ny, nx).astype(float)
    plane = _Plane(ny, nx, dy, dx)
    out = np.full((len(images), count, 6), np.nan)
    for found, image in zip(out, images, strict=True):
        if not np.isfinite(image).all():
            continue
        spots = plane.spots(image, least)
        index = np.full((len(spots), 2), np.nan)
        if directions == 2:
            index = _indexed(spots[:, :2] * plane.step, spots[:, 2], (ny, nx))
            known = np.isfinite(index[:, 0])
            spots, index = spots[known], index[known]
        kept = min(count, len(spots))
        found[:kept] = np.hstack([spots, index])[:kept]
    return out.reshape(*values.shape[:-2], count, 6)


class _Plane:
    """The reciprocal plane of images of a shape: its bins, rings, and the lines that streaks are looked for along."""

    def __init__(self, ny: int, nx: int, dy: float, dx: float) -> None:
        self.shape, self.step = (ny, nx), (ny * dy, nx * dx)
        self.window = np.multiply.outer(np.hanning(ny + 2)[1:-1], np.hanning(nx + 2)[1:-1])
        self.ky, self.kx = (np.fft.fftshift(np.fft.fftfreq(n, d)) for n, d in ((ny, dy), (nx, dx)))
        bins = np.hypot(self.ky[:, None] * self.step[0], self.kx[None, :] * self.step[1])
        half = (self.kx[None, :] > 0) | ((self.kx[None, :] == 0) & (self.ky[:, None] > 0))
        self.allowed, self.ring = half & (bins >= _GUARD), bins.astype(int)
        self.order = np.argsort(self.ring, axis=None)
        self.edges = np.searchsorted(self.ring.ravel()[self.order], np.arange(self.ring.max() + 2))
        # from three bins on: nearer lies the spot itself, as wide as the window's transform
        distance = np.arange(3, max(6, min(12, ny // 8, nx // 8)) + 1)
        distance = np.concatenate([-distance[::-1], distance])
        angle = np.arange(24) * np.pi / 24
        self.lines = [np.rint(np.outer(f(angle), distance)).astype(int) for f in (np.sin, np.cos)]

    def spots(self, image: np.ndarray, least: float) -> np.ndarray:
        """(spot, [ky, kx, amplitude, contrast]): compact peaks, strongest first, refined by parabolas."""
        from scipy import fft as scipy_fft
        from scipy.ndimage import maximum_filter

        window = self.window
        centred = image - np.average(image, weights=window)
        amplitude = np.abs(scipy_fft.fftshift(scipy_fft.fft2(centred * window))) / window.sum()
        # the background falls steeply with k: a spot stands out against its ring, not against the whole
        ordered = amplitude.ravel()[self.order]
        level = np.array([np.median(ordered[a:b]) if b > a else np.inf for a, b in itertools.pairwise(self.edges)])
        rounding = 1e-7 * float(np.abs(centred).max())
        contrast = amplitude / np.maximum(level, rounding + 1e-300)[self.ring]
        peak = (amplitude == maximum_filter(amplitude, 3, mode="wrap")) & self.allowed & (contrast > least)
        places = np.argwhere(peak)
        places = places[np.argsort(-amplitude[peak], kind="stable")][:_MOST]
        found = [self._refined(amplitude, contrast, i, j) for i, j in places if self._compact(contrast, i, j)]
        return np.array(found, dtype=float).reshape(-1, 4)

    def _compact(self, contrast: np.ndarray, i: int, j: int) -> bool:
        """Whether no line through a peak is nearly as bright as the peak."""
        lines = contrast[(i + self.lines[0]) % self.shape[0], (j + self.lines[1]) % self.shape[1]]
        brightest = np.median(lines, axis=1).max()
        return bool(brightest < _LINE or contrast[i, j] > _STREAK * brightest)

    def _refined(self, amplitude: np.ndarray, contrast: np.ndarray, i: int, j: int) -> tuple[float, ...]:
        ny, nx = self.shape
        logs = np.log(amplitude[np.ix_([(i - 1) % ny, i, (i + 1) % ny], [(j - 1) % nx, j, (j + 1) % nx])] + 1e-300)
        shift = [
            0.5 * (line[0] - line[2]) / min(line[0] - 2 * line[1] + line[2], -1e-12)
            for line in (logs[:, 1], logs[1, :])
        ]
        at = (self.ky[i] + shift[0] / self.step[0], self.kx[j] + shift[1] / self.step[1])
        return (*at, 2 * amplitude[i, j], contrast[i, j])


def _indexed(places: np.ndarray, strength: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The two indices of each spot, in bins, on the lattice of that pair which explains most; NaN where it lies off."""
    best, index, size = 0.0, np.full(places.shape, np.nan), np.array(shape)
    for i, j in itertools.combinations(range(len(places)), 2):  # the strongest come first
        basis = places[[i, j]]
        if (
            strength[j] < _WEAKEST * strength[0]
            or _parallel(basis[0], basis[1])
            or (np.abs(basis) > _FASTEST * size).any()
        ):
            continue
        if strength[j] < _HARMONIC * strength[i] and _folded(basis[0], basis[1], shape):
            continue
        order = np.rint(places @ np.linalg.inv(basis))
        off = np.hypot(*(places - order @ basis).T)
        on = (np.abs(order).max(axis=1) <= _HIGHEST) & (off <= _OFF * np.maximum(np.abs(order).sum(axis=1), 1))
        score = float(strength[on].sum())
        if score > best * (1 + 1e-9):
            best, index = score, np.where(on[:, None], order, np.nan)
    return index


def _parallel(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(abs(np.linalg.det(np.array([a, b]))) < _LEAST_ANGLE * np.hypot(*a) * np.hypot(*b))


def _folded(a: np.ndarray, b: np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether b is a harmonic of a that the sampling has folded back: coarse pixels give a grating such spots."""
    harmonics = np.outer(np.arange(2, 10), a)
    folded = harmonics - np.rint(harmonics / shape) * shape
    off = np.minimum(np.hypot(*(folded - b).T), np.hypot(*(folded + b).T))
    return bool(((np.abs(folded - harmonics).max(axis=1) > 1) & (off < 2 * _OFF)).any())
