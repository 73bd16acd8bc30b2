"""XML without what makes it dangerous: no document types, no entities, elements as nested metadata.

May import the standard library and the errors.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from xpycro.errors import CorruptFile

__all__ = ["parse", "tree"]

_DEPTH = 100


def parse(content: bytes, path: str, *, offset: int | None = None) -> ElementTree.Element:
    """The root element of a document.

    Raises
    ------
    CorruptFile
        If it is not well-formed, or declares a document type or entities (billion laughs, files from elsewhere).
    """
    plain = content.replace(b"\0", b"")[:4096].upper() if content[:2] in (b"\xff\xfe", b"\xfe\xff") else b""
    if b"<!ENTITY" in content.upper() or b"<!DOCTYPE" in content.upper() or b"<!DOCTYPE" in plain:
        raise CorruptFile("the xml declares a document type or entities, which are not read", path=path, offset=offset)
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise CorruptFile(f"the xml is damaged ({error})", path=path, offset=offset) from None


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
