"""A whole Dataset encoded dry, all its problems in one error.

May import xarray, errors and the modules beside it, except decoding.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import xarray as xr

from xpycro.errors import StoreError
from xpycro.io.encoding.attributes import MARK, encode_attrs
from xpycro.io.encoding.stored import Encoded, Stored
from xpycro.io.encoding.values import Unstorable, dumps, pack
from xpycro.io.encoding.variables import Names, encode_variable

__all__ = ["encode"]


def encode(ds: xr.Dataset) -> Encoded:
    """Encode a Dataset dry: nothing is computed except text, nothing is written.

    Parameters
    ----------
    ds : Dataset
        Variables in any state. Their ``encoding`` is ignored: it belongs to the file they came from.

    Raises
    ------
    StoreError
        If anything cannot be stored and read back identical; the message lists every such thing.

    Notes
    -----
    *Laziness*: lazy, but object arrays (text) are computed, since only a look at each value tells what they hold.

    Examples
    --------
    >>> import xarray as xr
    >>> [one.name for one in encode(xr.Dataset({"1/x": ("x", [1.0])})).variables]
    ['1∕x']
    """
    names, problems = Names(), list[str]()
    multi = _multi_indexes(ds)
    if multi:
        ds = ds.reset_index([name for name, _ in multi])
    # plain names first, so that a renamed one gives way
    for plain in [*ds.dims, *ds.variables]:
        if isinstance(plain, str) and "/" not in plain:
            names.of(plain)
    variables: list[Stored] = []
    sizes = {names.of(dim): size for dim, size in ds.sizes.items()}
    for name, variable in ds.variables.items():
        try:
            found = encode_variable(name, variable, names, problems)
        except Unstorable as error:
            problems.append(f"variable {name!r} {error}")
            continue
        for one in found:
            sizes.update(zip(one.dims, one.shape, strict=True))
        variables += found
    attrs, wrong = encode_attrs(ds.attrs, "the Dataset")
    problems += wrong
    if problems:
        raise StoreError("nothing was written, since this cannot be stored unchanged:\n  " + "\n  ".join(problems))
    mark: dict[str, Any] = {
        "variables": {one.name: list(one.dims) for one in variables},
        "coords": sorted(names.of(name) for name in ds.coords if name not in ds.dims),
    }
    renamed = {stored: given for given, stored in names.given.items() if stored != given and given in ds.dims}
    if renamed:
        mark["dims"] = {stored: pack(given) for stored, given in renamed.items()}
    if multi:
        mark["multi_index"] = [[pack(name), [pack(level) for level in levels]] for name, levels in multi]
    attrs[MARK] = dumps(mark)
    spelled = [name for name in mark["coords"] if not any(c.isspace() for c in name)]
    if spelled:
        attrs["coordinates"] = " ".join(spelled)  # so that plain xarray finds them too
    return Encoded(sizes, variables, attrs)


def _multi_indexes(ds: xr.Dataset) -> list[tuple[Hashable, list[Hashable]]]:
    found = []
    for index, coords in ds.xindexes.group_by_index():
        if isinstance(index, xr.indexes.PandasMultiIndex):
            found.append((index.dim, [name for name in coords if name != index.dim]))
    return found
