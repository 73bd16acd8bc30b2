"""Numbers on their way into a page: three bytes each, and a page no larger than can be mailed.

``packed(rows)`` is read in the page by ``row_of`` and ``value_of`` of `viz.scripts`. May import numpy and the floors
below; Bokeh only inside functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

__all__ = ["PAGE_PIXELS", "packed", "single", "slim"]

LEVELS = 0xFFFFFE  # the largest of three bytes stands for no data

PAGE_PIXELS = 450_000  # of pictures that no callback redraws; each is about 5.3 characters of the page


def packed(rows: np.ndarray) -> list[np.ndarray]:
    """Rows of numbers for a page: 24 bits of each row's own range, as exact at its top as 32-bit floats; counts exact.

    Parameters
    ----------
    rows : ndarray, shape (row, sample)
        Real; what is not finite arrives as NaN.

    Returns
    -------
    list of ndarray
        Bytes, lowest first; where each row begins; how wide its steps are.

    Examples
    --------
    >>> numbers, low, step = packed(np.array([[0.0, np.nan, 2.0]]))
    >>> numbers.size, float(low[0])
    (9, 0.0)
    """
    rows = np.asarray(rows, dtype=float)
    valid = np.isfinite(rows)
    low = np.where(valid, rows, np.inf).min(axis=1, initial=np.inf)
    high = np.where(valid, rows, -np.inf).max(axis=1, initial=-np.inf)
    low, high = (np.where(np.isfinite(v), v, 0.0) for v in (low, high))
    low = low.astype(np.float32)
    step = ((high - low.astype(float)) / LEVELS).astype(np.float32)
    step = np.nextafter(step, np.float32(np.inf))  # rounded up, so that the top is within reach
    whole = ((rows == np.rint(rows)) | ~valid).all(axis=1) & (high - low <= LEVELS) & (np.abs(low) < 2**24)
    step[whole] = 1.0  # counts stay what they are
    level = np.rint((np.where(valid, rows, 0.0) - low[:, None].astype(float)) / step[:, None].astype(float))
    level = np.where(valid, np.clip(level, 0, LEVELS), LEVELS + 1).astype("<u4")
    return [np.ascontiguousarray(level[..., None].view(np.uint8)[..., :3]).reshape(-1), low, step]


def single(model: Any) -> Any:
    """Pictures of a Bokeh model in 32-bit floats: half the page, and more than colours tell apart."""
    for _, column, image in _images(model):
        if image.dtype == np.float64:
            column[0] = image.astype(np.float32)
    return model


def slim(models: Sequence[Any], pixels: int = PAGE_PIXELS) -> None:
    """Draw every n-th pixel of the pictures of a page until it has at most `pixels` of them.

    Pictures that a callback redraws stay as they are: they are bounded by the explorers' budgets.
    """
    from bokeh.models import ColumnDataSource, CustomJS

    redrawn = {
        held.id
        for model in models
        for action in model.select({"type": CustomJS})
        for held in _flat(action.args.values())
        if isinstance(held, ColumnDataSource)
    }
    free = [held for m in models for held in _images(m) if held[0].id not in redrawn]
    if not sum(image.size for _, _, image in free) > pixels:
        return
    share = next(s for s in _shares(pixels) if sum(min(image.size, s) for _, _, image in free) <= pixels)
    for source, column, image in free:
        every = int(np.ceil(np.sqrt(image.size / share)))
        column[0] = np.ascontiguousarray(image[every // 2 :: every, every // 2 :: every])
        if every > 1:
            _say(models, source, f" (one of {every} × {every} shown)")


def _say(models: Sequence[Any], source: Any, words: str) -> None:
    """Words behind the title of the figure that draws from a source."""
    from bokeh.models import Plot

    for figure in (found for model in models for found in model.select({"type": Plot})):
        if any(getattr(drawn, "data_source", None) is source for drawn in figure.renderers) and figure.title:
            figure.title.text += words


def _shares(pixels: int) -> Iterator[int]:
    """How many pixels the largest picture may have, from all to fewer."""
    while pixels > 256:
        yield pixels
        pixels = int(pixels * 0.9)
    yield pixels


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def _images(model: Any) -> Iterator[tuple[Any, list[np.ndarray], np.ndarray]]:
    """The pictures of a Bokeh model: source, column, values."""
    from bokeh.models import ColumnDataSource

    for source in model.select({"type": ColumnDataSource}):
        column = source.data.get("image")
        if column is not None and len(column) == 1 and isinstance(column[0], np.ndarray) and column[0].ndim == 2:
            yield source, column, column[0]
