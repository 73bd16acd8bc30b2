"""A fuzz harness for translators: mutants of a file with fixed seeds, and the oracle that judges what is read of them.

The oracle: either a `TranslationError`, or the same dims, shapes and dtypes and the same values outside the mutated
bytes. What a mutated header states (a scale, a unit, a label) may differ; what is missing must be flagged.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from xpycro.errors import TranslationError

INTERESTING = (0, 1, -1, 2, 127, 128, 255, 256, 32767, -32768, 65535, 65536, 2**31 - 1, -(2**31), 2**32 - 1, 2**62)
SECONDS = 2.0


@dataclass(frozen=True)
class Mutant:
    """A damaged file: what was done, its bytes, how many bytes of data it touches; -1 where the header is damaged."""

    label: str
    content: bytes
    touched: int
    truncated: bool = False


def mutants(content: bytes, data_block: tuple[int, int], count: int, seed: int) -> Iterator[Mutant]:
    """`count` mutants: truncations at 64 log-spaced lengths, then flips, numbers, digits, deletions, duplications.

    What lies outside `data_block` is header: text, sizes, labels.
    """
    rng = np.random.default_rng(seed)
    header, stop = data_block
    edges = sorted({header, stop, len(content)})

    def inside_data(at: int) -> bool:
        return header <= at < stop

    lengths = np.unique(np.geomspace(1, max(len(content) - 1, 1), 64).astype(int))
    for length in lengths:
        yield Mutant(f"truncate to {length}", content[:length], -1, truncated=True)
    for _ in range(max(0, count - len(lengths))):
        inside = min(header, 600) if rng.random() < 0.6 else len(content)
        at = int(rng.integers(0, max(1, inside)))
        kind = rng.choice(["flip", "number", "digit", "delete", "duplicate"])
        data = bytearray(content)
        if kind == "flip":
            edge = min(at + 8, next(e for e in edges if e > at))  # header or data, not both at once
            places = {int(p) for p in rng.integers(at, edge, size=rng.integers(1, 4))}
            for place in places:
                data[place] ^= 1 << int(rng.integers(0, 8))
            yield Mutant(f"flip {sorted(places)}", bytes(data), len(places) if inside_data(at) else -1)
        elif kind == "number":
            size = min(int(rng.choice([1, 2, 4, 8])), next(e for e in edges if e > at) - at)
            value = int(rng.choice(np.array(INTERESTING, dtype=object))) % 2 ** (8 * size)
            data[at : at + size] = value.to_bytes(size, str(rng.choice(["little", "big"])))
            yield Mutant(f"number {value} of {size} at {at}", bytes(data), size if inside_data(at) else -1)
        elif kind == "digit":
            digits = [k for k in range(len(data)) if 48 <= data[k] <= 57 and not inside_data(k)]
            if not digits:
                continue
            place = int(rng.choice(digits))
            data[place] = int(rng.choice([48, 49, 57, 45, 46, 120]))
            yield Mutant(f"digit at {place}", bytes(data), -1)
        elif kind == "delete":
            size = int(rng.integers(1, 64))
            del data[at : at + size]
            yield Mutant(f"delete {size} at {at}", bytes(data), 0 if inside_data(at) else -1, truncated=True)
        else:
            size = int(rng.integers(1, 64))
            data[at:at] = data[at : at + size]
            yield Mutant(f"duplicate {size} at {at}", bytes(data), 0 if inside_data(at) else -1)


def _loaded(groups: dict[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    return {name: ds.compute() for name, ds in groups.items()}


def _volumes(groups: dict[str, xr.Dataset]) -> int:
    """Numbers read; a force is the deflection once more, given where a label of the header allows it."""
    derived = {"measured", "length", "force"}
    return sum(
        v.size
        for ds in groups.values()
        for n, v in ds.data_vars.items()
        if n not in derived or (n == "force" and "deflection" not in ds)
    )


def _pool(groups: dict[str, xr.Dataset]) -> np.ndarray:
    """All numbers of a file, sorted."""
    numbers = [
        np.asarray(v.values, dtype=np.complex128).ravel()
        for ds in groups.values()
        for n, v in ds.data_vars.items()
        if v.dtype.kind in "fciu" and n != "measured"
    ]
    return np.sort_complex(np.concatenate(numbers)) if numbers else np.empty(0, complex)


def verdict(good: dict[str, xr.Dataset], read: dict[str, xr.Dataset], mutant: Mutant) -> str | None:
    """What is wrong with what was read of a mutant, or None."""
    flagged = any("measured" in ds for ds in read.values()) and not any("measured" in ds for ds in good.values())
    if flagged:  # an unfinished scan: what is there must be right, what is not must be NaN and said
        for name, ds in read.items():
            for variable, values in ds.data_vars.items():
                if variable == "measured" or variable not in good.get(name, {}):
                    continue
                expected, found = good[name][variable].values, values.values
                if expected.shape != found.shape or not (np.isnan(found) | (found == expected)).all():
                    return f"{variable} is wrong where it was measured"
        return None
    if _volumes(read) != _volumes(good):
        return f"{_volumes(read)} numbers were read and the file holds {_volumes(good)}"
    if mutant.touched < 0:
        return _header_verdict(good, read)
    for name, ds in good.items():
        for variable, expected in ds.variables.items():
            found = read.get(name, xr.Dataset()).variables.get(variable)
            if found is None or found.dims != expected.dims or found.dtype != expected.dtype:
                return f"{variable} has other dims or another dtype"
            if expected.dtype.kind not in "fciub":
                continue
            same = (found.values == expected.values) | (
                (found.values != found.values) & (expected.values != expected.values)
            )
            # a byte touches one number, or one coordinate made of the sweep's two ends
            if int((~same).sum()) > mutant.touched and variable in ds.data_vars:
                return f"{int((~same).sum())} numbers of {variable} changed and {mutant.touched} bytes were touched"
    return None


def _header_verdict(good: dict[str, xr.Dataset], read: dict[str, xr.Dataset]) -> str | None:
    """The numbers are those of the file, each variable up to one factor and constant that its header states."""
    dtypes = [sorted(str(v.dtype) for ds in g.values() for n, v in ds.data_vars.items()) for g in (good, read)]
    if set(dtypes[0]) != set(dtypes[1]):
        return f"dtypes {set(dtypes[1])} were {set(dtypes[0])}"
    if np.array_equal(_pool(good), _pool(read), equal_nan=True):
        return None
    layout = [
        [{d: n for d, n in ds.sizes.items() if d not in ("direction", "sweep")} for ds in g.values()]
        for g in (good, read)
    ]
    names = [[n for ds in g.values() for n in ds.data_vars] for g in (good, read)]
    if layout[0] == layout[1] and names[0] != names[1]:
        return None  # a damaged label: what made up one variable is now several, its unit may be gone
    for before, after in zip(good.values(), read.values(), strict=False):
        for a, b in zip(before.data_vars.values(), after.data_vars.values(), strict=False):
            if a.shape != b.shape:
                return f"{a.name} {a.shape} became {b.name} {b.shape}"
            if a.dtype.kind not in "fiu" or a.size < 3:
                continue
            # each direction, sweep or segment may have a scale of its own
            lead = int(np.prod([a.sizes[d] for d in a.dims[:-2]])) if a.ndim > 2 else 1
            for x, y in zip(a.values.reshape(lead, -1), b.values.reshape(lead, -1), strict=True):
                if not _scaled(x.astype(float), y.astype(float)):
                    return f"the numbers of {a.name} are others"
    return None


def _scaled(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether `y` is `x` up to one factor and one constant."""
    fine = np.isfinite(x) & np.isfinite(y)
    x, y = x[fine], y[fine]
    if len(x) < 3 or np.array_equal(x, y):
        return True
    slope, constant = np.polyfit(x, y, 1) if np.ptp(x) else (1.0, y[0] - x[0])
    return bool(np.allclose(y, slope * x + constant, rtol=1e-4, atol=1e-4 * np.ptp(y) + 1e-300))


def run(
    translate: Callable[[str], dict[str, xr.Dataset]],
    content: bytes,
    data_block: tuple[int, int] | int,
    folder: Path,
    name: str,
    *,
    count: int = 300,
    seed: int = 0,
    text: bool = False,
) -> dict[str, int]:
    """Judge `count` mutants; the numbers refused and read right.

    With `text` the data are lines of text whose number the format does not state: lines may be lost or come twice, and
    a shorter number is a number.

    Raises
    ------
    AssertionError
        With the label of each mutant that was read wrong, raised another error, or took too long.
    """
    path = folder / name
    path.write_bytes(content)
    block = (data_block, len(content)) if isinstance(data_block, int) else data_block
    good = _loaded(translate(str(path)))
    failures, counts = [], {"refused": 0, "right": 0}
    for mutant in mutants(content, block, count, seed):
        path.write_bytes(mutant.content)
        started = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read = _loaded(translate(str(path)))
        except TranslationError:
            counts["refused"] += 1
            read = None
        except Exception as error:
            failures.append(f"{mutant.label}: {type(error).__name__}: {error}")
            continue
        spent = time.process_time() - started
        if spent > SECONDS:
            failures.append(f"{mutant.label}: {spent:.1f} s")
        if read is not None:
            lenient = text and (mutant.truncated or mutant.touched >= 0)
            wrong = None if mutant.content == content or lenient else verdict(good, read, mutant)
            counts["right"] += wrong is None
            if wrong:
                failures.append(f"{mutant.label}: {wrong}")
    assert not failures, f"{len(failures)} of {count} mutants of {name}:\n" + "\n".join(failures[:20])
    return counts


def run_hdf5(
    translate: Callable[[str], dict[str, xr.Dataset]],
    checksummed: bytes,
    data_block: tuple[int, int],
    plain: bytes,
    folder: Path,
    name: str,
    *,
    count: int = 300,
) -> dict[str, int]:
    """Judge mutants of an HDF5 file with checksums in its metadata by the full oracle, and as many of one without.

    HDF5's older metadata cannot know that an address or a number was changed: of these files what is read must have the
    shapes and dtypes of the file, and what is not read must be refused.
    """
    counts = run(translate, checksummed, data_block, folder, name, count=count)
    path, failures = folder / name, []
    path.write_bytes(plain)
    good = _loaded(translate(str(path)))
    sizes = {v.size for ds in good.values() for v in ds.data_vars.values()}
    for mutant in mutants(plain, (0, 0), count, 1):
        path.write_bytes(mutant.content)
        started = time.process_time()
        try:
            read = _loaded(translate(str(path)))
        except TranslationError:
            counts["refused"] += 1
            continue
        except Exception as error:
            failures.append(f"{mutant.label}: {type(error).__name__}: {error}")
            continue
        counts["right"] += 1
        if time.process_time() - started > SECONDS:
            failures.append(f"{mutant.label}: {time.process_time() - started:.1f} s")
        if any(v.size not in sizes for ds in read.values() for v in ds.data_vars.values()):
            failures.append(f"{mutant.label}: {[dict(ds.sizes) for ds in read.values()]}")
    assert not failures, f"{len(failures)} of {count} mutants of {name}:\n" + "\n".join(failures[:20])
    return counts
