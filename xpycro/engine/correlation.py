"""Shifts between images: correlation in Fourier space, its peak found by samples and refined by matrix transforms.

NumPy kernels on (frame, y, x). May import numpy, engine/linalg and, inside functions, scipy; knows no labels, no dask.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.linalg import single_threaded_blas

__all__ = ["frame_shifts", "pair_shifts"]

_STAGES = (0.25, 1 / 24)  # spacing of the two grids around the peak, in pixels; a parabola does the rest


def _weights(shape: tuple[int, int], window: str | None) -> np.ndarray | None:
    if window is None:
        return None
    from scipy.signal import get_window

    return np.multiply.outer(*(get_window(window, n) if n > 2 else np.ones(n) for n in shape)).astype(np.float32)


def _moved_window(window: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The window moved by whole pixels, zero from outside."""
    out = np.zeros_like(window)
    (dy, dx), (ny, nx) = place.astype(int), window.shape
    out[max(dy, 0) : ny + min(dy, 0), max(dx, 0) : nx + min(dx, 0)] = window[
        max(-dy, 0) : ny + min(-dy, 0), max(-dx, 0) : nx + min(-dx, 0)
    ]
    return out


def _spectrum(image: np.ndarray, window: np.ndarray | None) -> np.ndarray | None:
    """Transform of an image about its (weighted) mean, in single precision; None of one without contrast.

    Shifts are wanted to 1e-3 of a pixel: single precision, after the mean is gone, is ample and twice as fast.
    """
    from scipy import fft as scipy_fft

    def mean_of(values: np.ndarray) -> float:
        return float(values.mean() if window is None else np.einsum("ij,ij", values, window) / window.sum())

    values = image if image.dtype.kind == "f" else image.astype(np.float64)
    mean = mean_of(values)
    if not np.isfinite(mean):
        good = np.isfinite(values)
        if not good.any():
            return None
        values = np.where(good, values, values[good].mean())
        mean = mean_of(values)
    centred = np.empty(values.shape, np.float32)
    np.subtract(values, mean, out=centred, casting="same_kind")
    largest = max(float(centred.max()), -float(centred.min()))
    if not largest > 1e-7 * abs(mean):
        return None
    centred *= np.float32(1 / largest) if window is None else window * np.float32(1 / largest)
    return scipy_fft.rfft2(centred)


class _Refiner:
    """What the search for a peak needs, made once for all frames of a shape."""

    def __init__(self, shape: tuple[int, int], most: tuple[int, int]) -> None:
        ny, nx = shape
        self.shape = shape
        self.ky = 2j * np.pi * np.fft.fftfreq(ny)
        self.kx = 2j * np.pi * np.fft.rfftfreq(nx)
        self.twice = np.full(self.kx.size, 2.0, np.float32)
        self.twice[0] = 1.0
        if nx % 2 == 0:
            self.twice[-1] = 1.0
        lag_y, lag_x = (np.abs(np.fft.fftfreq(n, 1 / n)) for n in shape)
        self.beyond = (lag_y[:, None] > most[0]) | (lag_x[None, :] > most[1])
        self.limited = bool(self.beyond.any())
        size = min(shape)
        self.ring = np.hypot(self.ky.imag[:, None], self.kx.imag[None, :]) * size / (2 * np.pi)
        self.ring = np.minimum(self.ring, size // 2).astype(np.intp)
        self.some = self.ring[::3]
        self.members = np.maximum(np.bincount(self.some.ravel(), minlength=int(self.ring.max()) + 1), 1)

    def matched(self, a: np.ndarray, b: np.ndarray, weighting: str) -> np.ndarray:
        """What a spectrum like `a` is multiplied with to correlate it with `b`: the conjugate of `b`, weighted."""
        conjugate = b.conj()
        if weighting == "none":
            return conjugate
        if weighting == "phase":
            size = np.abs(a * conjugate)
            size += np.float32(1e-6 * size.mean() + 1e-30)
            conjugate /= size
            return conjugate
        # Hannan and Thomson: of two noisy images the components count as S / (2 S N + N^2). The strength of signal and
        # noise is that of rings of equal k (every third row of them is plenty), the noise what is left at the highest;
        # never quite without weight, or an image without any correlation length would have none.
        some_a, some_b = a[::3], b[::3]
        size = (some_a.real**2 + some_a.imag**2) * (some_b.real**2 + some_b.imag**2)
        power = np.bincount(self.some.ravel(), np.sqrt(size).ravel(), self.members.size) / self.members
        noise = float(np.median(power[3 * power.size // 4 :])) + 1e-6 * float(power.max()) + 1e-30
        signal = np.maximum(power - noise, 0.05 * power)
        weight = signal / (2 * signal * noise + noise**2)
        conjugate *= (weight / weight.max()).astype(np.float32)[self.ring]
        return conjugate

    def _height(self, cross: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The correlation at displacements (y, x), an outer grid."""
        left = np.exp(np.outer(y, self.ky)).astype(np.complex64)
        right = (np.exp(np.outer(self.kx, x)) * self.twice[:, None]).astype(np.complex64)
        return ((left @ cross) @ right).real

    def coarse(self, cross: np.ndarray) -> np.ndarray:
        """The highest sample of the correlation."""
        from scipy import fft as scipy_fft

        rough = scipy_fft.irfft2(cross, self.shape)
        if self.limited:
            rough[self.beyond] = -np.inf
        at = np.unravel_index(int(rough.argmax()), self.shape)
        return np.array([i if i <= n // 2 else i - n for i, n in zip(at, self.shape, strict=True)], dtype=float)

    def refine(self, cross: np.ndarray, place: np.ndarray) -> np.ndarray:
        """The maximum around a place: two grids, each finer, then a parabola."""
        reach = 1.0
        for spacing in _STAGES:
            grid = np.arange(-round(reach / spacing), round(reach / spacing) + 1) * spacing
            height = self._height(cross, place[0] + grid, place[1] + grid)
            best = np.unravel_index(int(height.argmax()), height.shape)
            place = place + [grid[best[0]], grid[best[1]]]
            reach = 1.5 * spacing
        i, j = (int(np.clip(k, 1, grid.size - 2)) for k in best)
        for axis, line in enumerate((height[i - 1 : i + 2, j], height[i, j - 1 : j + 2])):
            bend = line[0] - 2 * line[1] + line[2]
            if bend < 0:
                place[axis] += spacing * float(np.clip(0.5 * (line[0] - line[2]) / bend, -0.5, 0.5))
        return place

    def find(
        self, here: np.ndarray, other: np.ndarray, image: np.ndarray, window: np.ndarray | None, weighting: str
    ) -> np.ndarray:
        """Displacement of an image, whose spectrum is `here`, from the one with the spectrum `other`.

        A window that stays while the content moves pulls every shift towards zero: once the shift is known to a pixel,
        the image is transformed again with its window moved along.
        """
        matched = self.matched(here, other, weighting)
        cross = here * matched
        place = self.coarse(cross)
        if window is not None and place.any():
            again = _spectrum(image, _moved_window(window, place))
            if again is not None:
                cross = again * matched
        return self.refine(cross, place)


def frame_shifts(
    frames: np.ndarray,
    wanted: np.ndarray,
    *,
    consecutive: bool,
    weighting: str,
    window: str | None,
    most: tuple[int, int],
) -> np.ndarray:
    """Displacement of each frame from its reference in pixels, shape (frame, 2), NaN where there is no contrast.

    Parameters
    ----------
    frames : ndarray, shape (frame, y, x)
    wanted : ndarray, shape (frame, y, x) or (1, y, x)
        The references, or one for all.
    consecutive : bool
        Whether each reference is the frame before, so that its transform is at hand.
    weighting : {"noise", "phase", "none"}
    window : str or None
    most : tuple of int
        Largest displacement looked for.
    """
    shape = (frames.shape[-2], frames.shape[-1])
    taper, search = _weights(shape, window), _Refiner(shape, most)
    out = np.full((len(frames), 2), np.nan)
    other = _spectrum(wanted[0], taper) if len(wanted) else None
    with single_threaded_blas():  # products of a few rows: threads would only wait for each other
        for index, frame in enumerate(frames):
            if index and len(wanted) > 1 and not consecutive:
                other = _spectrum(wanted[index], taper)
            here = _spectrum(frame, taper)
            if here is not None and other is not None:
                out[index] = search.find(here, other, frame, taper, weighting)
            if consecutive:
                other = here
    return out


def pair_shifts(
    frames: np.ndarray, gap: int, *, weighting: str, window: str | None, most: tuple[int, int]
) -> np.ndarray:
    """Displacement of each frame from the first, from all pairs at most `gap` apart by robust least squares.

    A pair whose correlation peak was a wrong one disagrees with all paths around it; iterative reweighting (Cauchy)
    leaves it without influence.
    """
    shape, count = (frames.shape[-2], frames.shape[-1]), len(frames)
    taper, search = _weights(shape, window), _Refiner(shape, most)
    spectra = [_spectrum(frame, taper) for frame in frames]
    known = [i for i, spectrum in enumerate(spectra) if spectrum is not None]
    out = np.full((count, 2), np.nan)
    pairs = [(i, j) for k, i in enumerate(known) for j in known[k + 1 :] if j - i <= gap]
    if not known:
        return out
    place = {i: k for k, i in enumerate(known)}
    design = np.zeros((len(pairs), len(known)))
    for row, (i, j) in enumerate(pairs):
        design[row, place[j]], design[row, place[i]] = 1.0, -1.0
    with single_threaded_blas():
        measured = np.array(
            [search.find(spectra[j], spectra[i], frames[j], taper, weighting) for i, j in pairs]  # type: ignore[arg-type]
        )
    solution = np.zeros((len(known), 2))
    if pairs:
        weight = np.ones(len(pairs))
        for _ in range(20):
            root = np.sqrt(weight)[:, None]
            solution = np.vstack([np.zeros(2), np.linalg.lstsq(design[:, 1:] * root, measured * root, rcond=None)[0]])
            residual = np.hypot(*(measured - design @ solution).T)
            scale = max(1.4826 * float(np.median(residual)), 1e-3)
            weight = 1 / (1 + (residual / (2.4 * scale)) ** 2)
    # relative to the first frame; to the first that has contrast where that has none
    out[known] = solution
    return out
