"""The error family: what xpycro raises, and what a caller may catch.

May import nothing of xpycro. Wrong arguments raise ``ValueError``/``TypeError`` as xarray does; what concerns files,
stores and dimensions raises one of these.
"""

from __future__ import annotations

import os

__all__ = [
    "CorruptFile",
    "DimensionError",
    "Incomplete",
    "Locked",
    "MissingExtra",
    "MissingSource",
    "NotThisFormat",
    "SeveralGroups",
    "StoreError",
    "TranslationError",
    "UnknownOption",
    "UnsupportedVariant",
    "XpycroError",
]


class XpycroError(Exception):
    """Every error that xpycro raises on purpose, besides wrong arguments."""


class DimensionError(XpycroError, ValueError):
    """A dimension is missing, unknown or ambiguous; the message names the candidates."""


class MissingSource(XpycroError, ValueError):
    """A result needs the data it was made from and cannot find it; the message says to pass ``data=``."""


class MissingExtra(XpycroError, ImportError):
    """An optional dependency is not installed; the message holds the line that installs it.

    Parameters
    ----------
    module : str
        What failed to import.
    extra : str
        The name of the extra that brings it.
    purpose : str
        What needs it.
    """

    def __init__(self, module: str, extra: str, purpose: str) -> None:
        super().__init__(f'{purpose} needs the package {module!r}: pip install "xpycro[{extra}]"')


class TranslationError(XpycroError, OSError):
    """A file cannot be read as what it claims to be.

    Parameters
    ----------
    reason : str
        What is wrong, in one sentence.
    path : str or os.PathLike, optional
        The file.
    offset : int, optional
        Where in the file, in bytes.
    field : str, optional
        Which header field, tag or block.
    """

    def __init__(
        self,
        reason: str,
        *,
        path: str | os.PathLike[str] | None = None,
        offset: int | None = None,
        field: str | None = None,
    ) -> None:
        self.reason = reason
        self.path = None if path is None else os.fspath(path)
        self.offset = offset
        self.field = field
        where = [] if self.path is None else [os.path.basename(self.path)]
        if offset is not None:
            where.append(f"byte {offset}")
        if field is not None:
            where.append(f"field {field!r}")
        super().__init__(f"{', '.join(where)}: {reason}" if where else reason)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.reason, self.path, self.offset, self.field)


def _rebuild(
    kind: type[TranslationError], reason: str, path: str | None, offset: int | None, field: str | None
) -> TranslationError:
    return kind(reason, path=path, offset=offset, field=field)


class NotThisFormat(TranslationError):
    """The content is not of this format (or of no known format)."""


class CorruptFile(TranslationError):
    """The file is truncated, contradicts itself, or declares what cannot be."""


class UnsupportedVariant(TranslationError):
    """A well-formed file of a variant that is not read; the message says which and what to do."""


class UnknownOption(XpycroError, TypeError):
    """A reader option that the format does not declare; the message lists those it does."""


class SeveralGroups(XpycroError, ValueError):
    """A file holds several grids and ``open`` gives one Dataset; the message lists the call that opens each."""


class StoreError(XpycroError, OSError):
    """The HDF5 store refused or could not finish; what was there before is untouched."""


class Locked(StoreError):
    """Another process is writing to this file; the message names it."""


class Incomplete(StoreError):
    """A stored result lacks its commit mark or a checksum does not hold."""
