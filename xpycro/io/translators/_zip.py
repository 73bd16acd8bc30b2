"""ZIP archives as containers of measurements: a bounded directory, members checked and inflated one by one.

A declared size is compared with what deflate can make of the bytes that are there, names and checksums must agree, so
nothing damaged is read and nothing is inflated unbounded. May import the errors and the cursor; knows no vendor.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor, inflate

__all__ = ["Member", "contents", "members"]

_END, _ENTRY, _LOCAL = b"PK\5\6", b"PK\1\2", b"PK\3\4"
_END64, _LOCATOR64 = b"PK\6\6", b"PK\6\7"
# magic, versions, flags, method, time, checksum, sizes, lengths, disk and attributes, offset
_FIXED = struct.Struct("<4s4xHH4xIIIHHH8xI")
_EXPANSION = 1100  # deflate cannot make more than 1032 bytes of one
_FULL = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the archive.

    Attributes
    ----------
    name : str
    method : int
        0 stored, 8 deflated.
    checksum, stored, size, offset : int
        CRC-32, bytes in the archive, bytes when inflated, where its own header lies.
    """

    name: str
    method: int
    checksum: int
    stored: int
    size: int
    offset: int


def members(cursor: Cursor) -> dict[str, Member]:
    """The directory of an archive; folders are left out.

    Raises
    ------
    NotThisFormat
        If the file does not begin as a ZIP archive.
    CorruptFile
        If the directory does not fit the file.
    UnsupportedVariant
        If a member is encrypted, or compressed by anything but deflate.
    """
    if cursor.peek(4) != _LOCAL:
        raise NotThisFormat(f"begins with {cursor.peek(4)!r} and no ZIP archive does", path=cursor.path, offset=0)
    count, size, start, end = _directory(cursor)
    if start + size != end:
        raise cursor.corrupt(f"the directory of {size} bytes at {start} does not end at {end}", "directory", end)
    cursor.seek(start, "directory")
    listing = cursor.read(size, "directory")  # in one go: quantitative imaging has hundreds of thousands of members
    found: dict[str, Member] = {}
    names = at = 0
    while at < size:
        member, at = _entry(cursor, listing, at, start)
        names += 1
        if member.name in found:
            raise cursor.corrupt(f"{member.name!r} comes twice", "directory")
        if not member.name.endswith("/"):
            found[member.name] = member
    if names != count or at != size:
        raise cursor.corrupt(f"{names} members, and the archive says {count}", "directory")
    return found


def _directory(cursor: Cursor) -> tuple[int, int, int, int]:
    """Number of members, bytes and offset of the directory, and where it ends."""
    tail_start = max(0, cursor.size - 22 - 65535)
    cursor.seek(tail_start, "end of the directory")
    tail = cursor.read(cursor.remaining, "end of the directory")
    at = tail.rfind(_END)
    if at < 0 or at + 22 > len(tail):
        raise cursor.corrupt("an archive without its directory: truncated", "end of the directory")
    end = tail_start + at
    cursor.seek(end + 4, "end of the directory")
    disk, first, here, count = (cursor.integer("<u2", "end of the directory") for _ in range(4))
    size, start = (cursor.integer("<u4", "end of the directory") for _ in range(2))
    comment = cursor.integer("<u2", "comment")
    if comment != cursor.remaining:
        raise cursor.corrupt(f"{cursor.remaining} bytes after the archive, {comment} announced", "comment")
    if (end >= 20 and 0xFFFF in (count, here)) or _FULL in (size, start):
        cursor.seek(end - 20, "ZIP64 locator")
        cursor.expect(_LOCATOR64, "ZIP64 locator")
        cursor.skip(4, "ZIP64 locator")
        end = cursor.integer("<u8", "ZIP64 locator")
        cursor.seek(end, "ZIP64 locator")
        cursor.expect(_END64, "ZIP64 end of the directory")
        cursor.skip(20, "ZIP64 end of the directory")
        here, count, size, start = (cursor.integer("<u8", "ZIP64 end of the directory") for _ in range(4))
    if disk or first or here != count:
        raise UnsupportedVariant("an archive in several volumes", path=cursor.path, field="end of the directory")
    return count, size, start, end


def _entry(cursor: Cursor, listing: bytes, at: int, limit: int) -> tuple[Member, int]:
    """The entry at a place of the directory, and where the next one begins."""
    where = limit + at
    if at + _FIXED.size > len(listing):
        raise cursor.corrupt("an entry that leaves the directory", "directory", where)
    magic, flags, method, checksum, stored, size, named, extended, commented, offset = _FIXED.unpack_from(listing, at)
    begin = at + _FIXED.size
    following = begin + named + extended + commented
    if magic != _ENTRY or following > len(listing):
        raise cursor.corrupt("not an entry of the directory", "directory", where)
    name = listing[begin : begin + named].decode("utf-8", "replace")
    if _FULL in (stored, size, offset):
        extra = listing[begin + named : begin + named + extended]
        size, stored, offset = _wide(extra, size, stored, offset, cursor)
    if flags & 1 or method not in (0, 8):
        raise UnsupportedVariant(f"encrypted, or compressed by method {method}", path=cursor.path, field=name)
    if offset + stored > limit or (size != stored if method == 0 else size > _EXPANSION * (stored + 1)):
        raise cursor.corrupt(f"{stored} bytes at {offset} for {size}: damaged", name, where)
    return Member(name, method, checksum, stored, size, offset), following


def _wide(extra: bytes, size: int, stored: int, offset: int, cursor: Cursor) -> tuple[int, int, int]:
    """64-bit sizes from the extra field, in this order and only where the short ones are full."""
    with Cursor(extra, path=cursor.path) as piece:
        while piece.remaining >= 4:
            kind, length = (piece.integer("<u2", "extra field") for _ in range(2))
            if kind != 1:
                piece.skip(length, "extra field")
                continue
            size = piece.integer("<u8", "size") if size == _FULL else size
            stored = piece.integer("<u8", "size") if stored == _FULL else stored
            offset = piece.integer("<u8", "offset") if offset == _FULL else offset
            return size, stored, offset
    raise cursor.corrupt("a member of more than 4 GB without its size", "extra field")


def contents(cursor: Cursor, member: Member) -> bytes:
    """The bytes of a member, inflated and checked.

    Raises
    ------
    CorruptFile
        If its own header disagrees with the directory, or size or checksum do not hold.
    """
    cursor.seek(member.offset, member.name)
    if cursor.read(4, member.name) != _LOCAL:
        raise cursor.corrupt("no member begins here", member.name, member.offset)
    cursor.skip(4, member.name)
    method = cursor.integer("<u2", member.name)
    cursor.skip(16, member.name)
    length, extra = (cursor.integer("<u2", member.name) for _ in range(2))
    name = cursor.read(length, member.name).decode("utf-8", "replace")
    if name != member.name or method != member.method:
        raise cursor.corrupt(f"{name[:60]!r} lies where the directory says this member does", member.name)
    cursor.skip(extra, member.name)
    data = cursor.read(member.stored, member.name)
    if method == 8:
        data = inflate(data, member.size, member.name, cursor, wbits=-15)
    if len(data) != member.size or zlib.crc32(data) != member.checksum:
        raise cursor.corrupt("the checksum or the size does not hold: damaged", member.name, member.offset)
    return data
