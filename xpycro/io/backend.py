"""The one xarray engine, ``"pycro"``: every format of the table through `xarray.open_dataset`.

May import xarray and the opening module; decides nothing itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint

__all__ = ["PycroBackendEntrypoint"]


class PycroBackendEntrypoint(BackendEntrypoint):
    """Opens instrument files and xpycro's own store lazily.

    Examples
    --------
    >>> "group" in PycroBackendEntrypoint().open_dataset.__kwdefaults__
    True
    """

    description = "Microscopy files of many vendors, and the HDF5 store of xpycro"
    supports_groups = True
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "group", "format", "reader_options")

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        format: str | None = None,
        reader_options: Mapping[str, Any] | None = None,
    ) -> xr.Dataset:
        """One grid of a file, lazily indexed.

        Parameters
        ----------
        filename_or_obj : path-like
        drop_variables : str or iterable of str, optional
        group : str, optional
            Which grid, of a file that holds several.
        format : str, optional
            Name of the format, where content and suffix do not tell.
        reader_options : mapping, optional
            What the format declares.
        """
        from xpycro.io import opening

        ds = opening.load(_path(filename_or_obj), group=group, format=format, options=reader_options)
        return _without(ds, drop_variables)

    def open_groups_as_dict(  # type: ignore[override]
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        format: str | None = None,
        reader_options: Mapping[str, Any] | None = None,
    ) -> dict[str, xr.Dataset]:
        """Every grid of a file by the path of its group."""
        from xpycro.io import opening

        groups = opening.load_tree(_path(filename_or_obj), format=format, options=reader_options)
        return opening.aligned({f"/{name}": _without(ds, drop_variables) for name, ds in groups.items()})

    def open_datatree(  # type: ignore[override]
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        format: str | None = None,
        reader_options: Mapping[str, Any] | None = None,
    ) -> xr.DataTree:
        """Everything in a file as a tree."""
        groups = self.open_groups_as_dict(
            filename_or_obj, drop_variables=drop_variables, format=format, reader_options=reader_options
        )
        return xr.DataTree.from_dict(groups)

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """True only where the content is that of a vendor format that no other engine reads."""
        if not isinstance(filename_or_obj, str | os.PathLike) or not os.path.isfile(filename_or_obj):
            return False
        from xpycro.io import formats

        path = os.fspath(filename_or_obj)
        fitting = formats.by_content(path, formats.head_of(path), formats.known().values())
        return bool(fitting) and fitting[0].guess


def _path(filename_or_obj: Any) -> str:
    if not isinstance(filename_or_obj, str | os.PathLike):
        raise TypeError(f'engine "pycro" opens files by their path and got {type(filename_or_obj).__name__}')
    return os.fspath(filename_or_obj)


def _without(ds: xr.Dataset, names: str | Iterable[str] | None) -> xr.Dataset:
    if names is None:
        return ds
    return ds.drop_vars([names] if isinstance(names, str) else list(names), errors="ignore")
