"""The table of file formats: what each is called, how it is recognised, and which function reads it.

A format is a frozen `Format`; `register` adds one, also from outside (entry points of the group ``xpycro.formats``).
May import numpy, xarray and the errors; translators are imported when a file of theirs is opened, never before.
"""

from __future__ import annotations

import functools
import html
import importlib
import inspect
import os
import textwrap
import warnings
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import xarray as xr

from xpycro.errors import MissingExtra, NotThisFormat, TranslationError, UnknownOption

__all__ = ["Format", "FormatTable", "Translator", "formats", "identify", "read_groups", "register"]

HEAD = 4096  # bytes of a file that a sniffer is shown


class Translator(Protocol):
    """What reads a file: a callable of its path and the options it declares.

    It returns one Dataset for each grid in the file, under its group name; the name is ``""`` where there is one only.
    Variables should be lazily indexed (`xpycro.io.rawarray.lazy`) where the format allows it.
    """

    def __call__(self, path: str, **options: Any) -> dict[str, xr.Dataset]: ...


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes
    ----------
    name : str
        What ``format=`` takes.
    suffixes : tuple of str
        With the dot, lower case; ``".*"`` style patterns are not understood, ``".001"`` is.
    sniff : callable
        ``sniff(head, path) -> bool`` of the first 4096 bytes; must be cheap and must not raise.
    function : str or Translator
        ``"module:function"``, imported when needed, or the callable itself.
    description, instruments : str
    lazy : str
        ``"block"`` (nothing is read on opening), ``"partly"``, or ``"no"`` (read whole).
    options : mapping of str to str
        The reader options with one line of help each.
    extra : str
        The extra that installs what it needs; empty where nothing is needed.
    verified : str
        ``"real file"``, ``"facts only"`` (written from a description, no file to try), ``"bridge"``, or ``"refused"``
        (known by sight only: the error says what to export instead).
    guess : bool
        Whether plain `xarray.open_dataset` may choose engine "pycro" for it; False where other engines claim the file.
    folder : bool
        Whether a measurement is a folder of files: then `sniff` is asked about folders too, with an empty head.

    Examples
    --------
    >>> Format("mine", (".mine",), lambda head, path: head.startswith(b"MINE"), "my_package:read").options
    {}
    """

    name: str
    suffixes: tuple[str, ...]
    sniff: Callable[[bytes, str], bool]
    function: str | Translator
    description: str = ""
    instruments: str = ""
    lazy: str = "no"
    options: Mapping[str, str] = field(default_factory=dict)
    extra: str = ""
    verified: str = "facts only"
    guess: bool = True
    folder: bool = False

    def translator(self) -> Translator:
        """The function that reads it, imported now."""
        if not isinstance(self.function, str):
            return self.function
        module, _, name = self.function.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if not self.extra or (error.name or "").startswith("xpycro"):
                raise
            raise MissingExtra(str(error.name), self.extra, f"reading {self.name} files") from error


_FORMATS: dict[str, Format] = {}


def register(format: Format, *, replace: bool = False) -> Format:
    """Add a format to the table.

    Parameters
    ----------
    format : Format
    replace : bool, optional
        Allow one of that name to be replaced.

    Returns
    -------
    Format
        The same, so that a module may write ``FORMAT = register(Format(...))``.

    Raises
    ------
    ValueError
        If the name is taken, or `lazy` or `verified` is not one of the words for it.

    Examples
    --------
    >>> def read(path):
    ...     return {}
    >>> tip = Format("tip", (".tip",), lambda head, path: head.startswith(b"TIPSCAN1"), read, "TIP scan")
    >>> register(tip).name
    'tip'
    >>> del _FORMATS["tip"]  # only here, so that other examples do not meet it
    """
    if format.name in _FORMATS and not replace:
        raise ValueError(f"a format named {format.name!r} is registered; pass replace=True to replace it")
    if format.lazy not in ("block", "partly", "no"):
        raise ValueError(f"lazy={format.lazy!r}: expected 'block', 'partly' or 'no'")
    if format.verified not in ("real file", "facts only", "bridge", "refused"):
        raise ValueError(f"verified={format.verified!r}: expected 'real file', 'facts only', 'bridge' or 'refused'")
    wrong = [suffix for suffix in format.suffixes if not suffix.startswith(".") or suffix != suffix.lower()]
    if wrong:
        raise ValueError(f"suffixes {wrong}: expected lower case with a dot, as in '.sxm'")
    _FORMATS[format.name] = format
    return format


@functools.cache
def _load_all() -> None:
    """Register the formats of this package and of others that announce theirs, once."""
    importlib.import_module("xpycro.io.translators")
    from importlib.metadata import entry_points

    for entry in entry_points(group="xpycro.formats"):
        try:
            found = entry.load()
            for one in (found,) if isinstance(found, Format) else found:
                if one.name not in _FORMATS:
                    register(one)
        except Exception as error:  # another package's fault must not keep one from opening a file
            warnings.warn(f"the xpycro format plug-in {entry.value!r} does not load: {error!r}", stacklevel=2)


def known() -> dict[str, Format]:
    """The formats by name, in the order they were registered."""
    _load_all()
    return dict(_FORMATS)


# ---------------------------------------------------------------------------------------------------------- table


class Table(tuple[Any, ...]):
    """A tuple that prints as a table, as text and in a notebook."""

    __slots__ = ()
    COLUMNS: tuple[str, ...] = ()
    WIDTHS: tuple[int, ...] = ()  # of the text, at most

    def rows(self) -> list[tuple[str, ...]]:
        """The cells as text, columns as in `COLUMNS`."""
        raise TypeError(f"{type(self).__name__} does not say what its rows are")

    def __repr__(self) -> str:
        cells = [
            [textwrap.wrap(cell, limit) or [""] for cell, limit in zip(row, self.WIDTHS, strict=True)]
            for row in (self.COLUMNS, *self.rows())
        ]
        widths = [max(len(line) for row in cells for line in row[i]) for i in range(len(self.WIDTHS))]
        lines = []
        for row in cells:
            for n in range(max(map(len, row))):
                parts = [(cell[n] if n < len(cell) else "").ljust(w) for cell, w in zip(row, widths, strict=True)]
                lines.append("  ".join(parts).rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(c)}</th>" for c in self.COLUMNS)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class FormatTable(Table):
    """What `formats` returns: a tuple of `Format` that prints as a table."""

    __slots__ = ()
    COLUMNS = ("format", "suffixes", "instruments", "lazy", "options", "extra needed", "verified")
    WIDTHS = (18, 26, 44, 6, 24, 12, 10)

    def rows(self) -> list[tuple[str, ...]]:
        """The cells as text, a row a format, columns as in `COLUMNS`."""
        return [
            (
                f.name,
                " ".join(f.suffixes),
                f.instruments,
                f.lazy,
                ", ".join(f.options) or "-",
                f.extra or "-",
                f.verified,
            )
            for f in self
        ]


def formats() -> FormatTable:
    """Every file format that can be opened.

    Returns
    -------
    FormatTable
        A tuple of `Format`; prints as a table whose columns are the format, its suffixes, the instruments, how lazily
        it is read (``block``: nothing on opening; ``partly``; ``no``), its reader options, the extra it needs, and
        whether it was verified on a real file.

    Examples
    --------
    >>> [f.suffixes for f in formats() if f.name == "nanonis_3ds"]
    [('.3ds',)]
    """
    return FormatTable(known().values())


# ------------------------------------------------------------------------------------------------------- identify


def suffix_of(path: str) -> str:
    """The last suffix of a path, lower case, with its dot."""
    return os.path.splitext(path)[1].lower()


def head_of(path: str) -> bytes:
    """The first bytes of a file, as sniffers see them; of a folder none."""
    if os.path.isdir(path):
        return b""
    with open(path, "rb") as handle:
        return handle.read(HEAD)


def by_content(path: str, head: bytes, table: Iterable[Format]) -> list[Format]:
    """The formats that recognise the content; those whose suffix fits come first."""
    is_folder = os.path.isdir(path)
    fitting = [f for f in table if (f.folder or not is_folder) and f.sniff(head, path)]
    return sorted(fitting, key=lambda f: suffix_of(path) not in f.suffixes)


def identify(path: str | os.PathLike[str], format: str | None = None) -> Format:
    """Which format a file is: by its content first, by its suffix second.

    Parameters
    ----------
    path : path-like
    format : str, optional
        Take this one without looking.

    Returns
    -------
    Format

    Raises
    ------
    ValueError
        If `format` names none.
    NotThisFormat
        If no format recognises the file; the message shows how it begins and what to do.
    """
    table = known()
    path = os.fspath(path)
    if format is not None:
        if format not in table:
            near = _near(format, table)
            raise ValueError(f"format={format!r} is not known{near}; known are {sorted(table)}")
        return table[format]
    head = head_of(path)
    fitting = by_content(path, head, table.values())
    if fitting:
        return fitting[0]
    if not head and not os.path.isdir(path):
        raise NotThisFormat("the file is empty (0 bytes): copy it again from the instrument", path=path)
    if os.path.isdir(path):
        known_folders = [f.name for f in table.values() if f.folder]
        raise NotThisFormat(
            f"no known format is a folder like this (folders are read as {' or '.join(known_folders)}); xp.open reads "
            "one file, xp.open_many the files of a folder, in the shell xpycro translate FOLDER/* -o OUT",
            path=path,
        )
    suffix = suffix_of(path)
    named = [f for f in table.values() if suffix in f.suffixes]
    if len(named) == 1:
        return named[0]  # its translator says better than we can what is wrong with the content
    suffixes = {s for f in table.values() for s in f.suffixes}
    begins = f"none of the {len(table)} known formats begins with {head[:16]!r}"
    if not named and (meant := _beside(path, head, suffixes)):
        raise NotThisFormat(f"{begins}; {meant}", path=path)
    if named:
        said = f"files named {suffix} are read as {' or '.join(f.name for f in named)}, and it is none of these"
    elif suffix:
        said = f"nor has one the suffix {suffix!r}"
    else:
        said = "and it has no suffix"
    said += "" if named else _near(suffix, suffixes)
    raise NotThisFormat(
        f"{begins}, {said}. "
        'xp.formats() (in the shell `xpycro formats`) lists them: if it is one of them pass format="..." '
        "(--format ...), else see xp.register_format for how to add one",
        path=path,
    )


def _beside(path: str, head: bytes, suffixes: Container[str]) -> str:
    """What a user probably meant: the header of a pair of files, or what is in an archive."""
    if head.startswith((b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ")):
        return "it is an archive: unpack it first"
    folder, own = os.path.split(path)
    others = [n for n in sorted(os.listdir(folder or ".")) if n != own and suffix_of(n) in suffixes]
    pair = [n for n in others if os.path.splitext(n)[0] == os.path.splitext(own)[0]]
    return f"beside it lies {pair[0]!r}, which xp.open reads" if pair else ""


def _near(word: str, words: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.75)
    return f" (did you mean {close[0]!r}?)" if close else ""


# ----------------------------------------------------------------------------------------------------------- read


def declared_options(found: Format, options: Mapping[str, Any]) -> None:
    """Raise where an option is given that the format does not declare."""
    unknown = [name for name in options if name not in found.options]
    if unknown:
        declared = "; ".join(f"{name}: {text}" for name, text in found.options.items()) or "none"
        raise UnknownOption(f"format {found.name!r} has no reader option {unknown}; its options are {declared}")


def read_groups(path: str, found: Format, options: Mapping[str, Any]) -> dict[str, xr.Dataset]:
    """Every grid of a file as its translator gives it.

    Raises
    ------
    TypeError
        If an option is not declared by the format.
    TranslationError
        If the file is not what it claims to be.
    """
    declared_options(found, options)
    translate = found.translator()
    groups = translate(path, **options)
    if not isinstance(groups, dict) or not groups or not all(isinstance(ds, xr.Dataset) for ds in groups.values()):
        raise TranslationError(
            f"the translator {found.function!r} of format {found.name!r} must return a dict of group name to Dataset "
            f"and returned {inspect.cleandoc(repr(type(groups)))}",
            path=path,
        )
    return groups
