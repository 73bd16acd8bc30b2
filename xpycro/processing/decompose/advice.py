"""What the answers on the rank presume, whether it holds here, and which of them to take: in words.

May import the other modules of this folder; numbers in, sentences out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xpycro.processing.decompose.permuting import Channels
from xpycro.processing.decompose.structure import Structure

__all__ = ["LABELS", "Judgement", "judge"]

LABELS = {
    "gavish_donoho": "Components above the optimal hard threshold",
    "marchenko_pastur": "Components above the edge of noise",
    "parallel_analysis": "Components above noise without correlation",
    "map_structure": "Components whose maps have structure",
    "elbow": "Components before the scree bends",
}
_ALIKE = 0.2  # correlation of the noise in neighbouring observations from which its maps cannot be told from signal

_TELLING = 0.4  # limit of the correlation below which a map that does not pass it is worth a word


@dataclass(frozen=True)
class Judgement:
    """What to take and why; and for each answer whether it is believable, and a note."""

    recommended: int
    advice: str
    notes: list[tuple[int, str]]


def judge(
    answers: Mapping[str, int],
    structure: Structure,
    structured: np.ndarray,
    misfit: float,
    limit: float,
    *,
    permuted: bool,
    complete: bool,
    channels: Channels | None,
    counts: bool,
) -> Judgement:
    """Weigh the answers: theory where the bulk follows its law, else the structure of the maps, else none.

    Parameters
    ----------
    answers : mapping
        Of `LABELS`.
    structured : ndarray of bool
        Of the components kept.
    misfit, limit : float
        Of the bulk from the law, and what independent noise stays below.
    permuted : bool
        Whether the parallel analysis shuffled the data.
    complete : bool
        Whether every component is kept.
    channels : Channels, optional
    counts : bool
        Whether the data are counts, decomposed as they are.
    """
    white = misfit <= limit
    law = (
        f"what is left follows the Marchenko-Pastur law (distance {misfit:.3f}, independent noise up to {limit:.3f})"
        if white
        else f"what is left does not follow the Marchenko-Pastur law (distance {misfit:.2f}, independent noise up to "
        f"{limit:.2f}), so the noise is correlated between channels, unequal, or scaled by the signal"
    )
    presumed = f"presumes noise alike in all channels and independent between them; {law}"
    parallel = (
        "compares with shuffled channels, so presumes noise independent between channels; strong components hide weak "
        f"ones; {law}"
        if permuted
        else presumed
    )
    told, maps = _on_maps(structure, structured, complete)
    notes = [
        (int(white), presumed),
        (int(white), presumed),
        (int(white), parallel),
        (int(told), maps),
        (0, "a habit of the eye, no test: the bend of the logarithmic scree"),
    ]
    if white:
        number = answers["gavish_donoho"]
        doubt = _artefacts(structured[:number]) if np.nanmedian([*structure.limit, 1.0]) < _TELLING else ""
        return Judgement(number, f"{number} (gavish_donoho): {law}{doubt}.", notes)
    why = f"{law[0].upper()}{law[1:]}{_causes(channels)}. Thresholds of theory count noise as signal here."
    if counts:
        why += " For counts, decompose by pca(scale='poisson'): its noise is alike everywhere."
    if not told:
        return Judgement(-1, f"No answer can be believed: {maps}. {why}", notes)
    return Judgement(answers["map_structure"], f"{answers['map_structure']} (map_structure): {maps}. {why}", notes)


def _on_maps(structure: Structure, structured: np.ndarray, complete: bool) -> tuple[bool, str]:
    """Whether the structure of the maps tells signal from noise, and what it tells."""
    if not np.isfinite(structure.limit).any():
        return False, "too few observations lie next to each other to compare neighbours"
    if structure.floor > _ALIKE:
        return False, f"noise is alike in neighbouring observations too (correlation {structure.floor:.2f})"
    limit = f"correlation above {np.nanmedian(structure.limit):.2f}"
    numbers = np.flatnonzero(structured)
    if not numbers.size:
        return True, (
            f"no map is more alike in neighbouring observations than noise is ({limit}); "
            "where observations lie in no order, that says nothing"
        )
    if not complete and structured.all():
        return False, f"all {structured.size} maps kept are alike in neighbouring observations: decompose and keep more"
    leading = numbers.size == numbers[-1] + 1
    which = f"the first {numbers.size} maps" if leading and numbers.size > 1 else f"maps {_ranges(numbers)}"
    text = f"{which} are more alike in neighbouring observations than noise is ({limit})"
    if not complete and numbers[-1] >= 0.75 * structured.size:
        text += f"; the last of the {structured.size} maps kept are among them: keep more to see where it ends"
    return True, text


def _artefacts(structured: np.ndarray) -> str:
    """Components beyond doubt whose maps look like noise all the same."""
    numbers = np.flatnonzero(~structured)
    if not numbers.size:
        return ""
    return (
        f"; but maps {_ranges(numbers)} are no more alike in neighbouring observations than noise: "
        "mains hum or the like, unless the observations lie in no order"
    )


def _ranges(numbers: np.ndarray) -> str:
    """Components in words, counted from 1 as in pictures: ``1 to 4, 6``."""
    runs = np.split(numbers + 1, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(str(r[0]) if r.size == 1 else f"{r[0]} to {r[-1]}" for r in runs) + " (counted from 1)"


def _causes(channels: Channels | None) -> str:
    if channels is None:
        return ""
    found = []
    if abs(channels.correlation) > 0.1:
        apart = "neighbouring channels" if channels.lag == 1 else f"channels {channels.lag} apart"
        found.append(f"{apart} are correlated by {channels.correlation:.2f}")
    if channels.inequality > 1.5:
        found.append(f"channels differ {channels.inequality:.1f}-fold in noise, for which there is pca(variance=)")
    return f" ({' and '.join(found)})" if found else ""
