"""XML without what makes it dangerous: no document types, no entities, elements as nested metadata.

May import the standard library and the errors.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from xpycro.errors import CorruptFile

__all__ = ["parse", "parse_opening", "tree"]

_DEPTH = 100


def parse(content: bytes, path: str, *, offset: int | None = None) -> ElementTree.Element:
    """The root element of a document.

    Raises
    ------
    CorruptFile
        If it is not well-formed, or declares a document type or entities (billion laughs, files from elsewhere).
    """
    _plain(content, path, offset)
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise CorruptFile(f"the xml is damaged ({error})", path=path, offset=offset) from None


def parse_opening(content: bytes, path: str) -> ElementTree.Element:
    """The root element of the beginning of a document, whose open elements end where the content does.

    Raises
    ------
    CorruptFile
        As `parse`.
    """
    _plain(content, path, 0)
    parser: Any = ElementTree.XMLPullParser(events=("start",))
    try:
        parser.feed(content)
        started = [element for _, element in parser.read_events()]
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise CorruptFile(f"the xml is damaged ({error})", path=path, offset=0) from None
    if not started:
        raise CorruptFile("the xml has no element", path=path, offset=0)
    return started[0]


def _plain(content: bytes, path: str, offset: int | None) -> None:
    """Raise where a document type or entities are declared."""
    wide = content.replace(b"\0", b"")[:4096].upper() if content[:2] in (b"\xff\xfe", b"\xfe\xff") else b""
    if b"<!ENTITY" in content.upper() or b"<!DOCTYPE" in content.upper() or b"<!DOCTYPE" in wide:
        raise CorruptFile("the xml declares a document type or entities, which are not read", path=path, offset=offset)


def tree(element: ElementTree.Element, depth: int = 0) -> Any:
    """An element as nested dicts: attributes, children by tag (a list where a tag repeats), else its text."""
    result: dict[str, Any] = dict(element.attrib)
    for child in element if depth < _DEPTH else ():
        tag, value = child.tag.rpartition("}")[2], tree(child, depth + 1)
        if tag not in result:
            result[tag] = value
        elif isinstance(result[tag], list):
            result[tag].append(value)
        else:
            result[tag] = [result[tag], value]
    text = (element.text or "").strip()
    if not result:
        return text
    if text:
        result["text"] = text
    return result
