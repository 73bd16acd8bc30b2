"""The bounded cursor: right values where the bytes are there, one clear error where they are not."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io.cursor import Cursor, inflate, integer, real


@pytest.fixture(params=["bytes", "file"])
def cursor_of(request, tmp_path):
    def make(content: bytes) -> Cursor:
        if request.param == "bytes":
            return Cursor(content, path="a.bin")
        path = tmp_path / "a.bin"
        path.write_bytes(content)
        return Cursor(path)

    return make


def test_numbers_of_both_byte_orders(cursor_of):
    content = np.array([1, -2, 3], ">i2").tobytes() + np.array([1.5], "<f8").tobytes() + b"name\0\xff rest"
    with cursor_of(content) as cursor:
        assert cursor.number(">i2", "a") == 1
        values = cursor.numbers(">i2", 2, "b")
        np.testing.assert_array_equal(values, [-2, 3])
        assert values.dtype.isnative
        assert cursor.number("<f8", "c") == 1.5
        assert cursor.text(6, "d") == "name"
        assert cursor.remaining == 5 and cursor.peek(100) == b" rest" and cursor.remaining == 5
        assert cursor.unpack("<bb", "e") == (32, 114)


@pytest.mark.parametrize(
    "act",
    [
        lambda c: c.read(9, "title"),
        lambda c: (c.number("<f8", "title"), c.number("<i2", "title")),
        lambda c: c.numbers("<f4", 10**12, "title"),
        lambda c: c.numbers("<f4", -1, "title"),
        lambda c: c.seek(9, "title"),
        lambda c: c.seek(-1, "title"),
        lambda c: c.skip(9, "title"),
        lambda c: c.need(-3, "title"),
        lambda c: c.block((10**6, 10**6), 4, "title"),
        lambda c: c.block((3, -1), 4, "title"),
        lambda c: c.block((1,), 4, "title", offset=6),
        lambda c: c.until(b"END", "title"),
        lambda c: c.integer("<i2", "title", low=10000, high=20000),
    ],
)
def test_what_is_not_there_is_named(cursor_of, act):
    with cursor_of(b"\0" * 8) as cursor, pytest.raises(CorruptFile, match="field 'title'") as caught:
        act(cursor)
    assert caught.value.offset is not None and caught.value.path.endswith("a.bin")


def test_until_finds_a_marker_across_pieces(cursor_of):
    content = b"x" * (2**16 - 2) + b"MARK" + b"rest"
    with cursor_of(content) as cursor:
        assert len(cursor.until(b"MARK", "header")) == 2**16 - 2
        assert cursor.read(4, "rest") == b"rest"
    with cursor_of(content) as cursor, pytest.raises(CorruptFile, match="within 1000 bytes"):
        cursor.until(b"MARK", "header", limit=1000)


def test_lines(cursor_of):
    with cursor_of(b"one\r\ntwo\n" + b"y" * 5000 + b"\nlast") as cursor:
        assert [cursor.line("l") for _ in range(4)] == ["one", "two", "y" * 5000, "last"]
        assert cursor.line("l") == ""
    with cursor_of(b"y" * 5000) as cursor, pytest.raises(CorruptFile, match="more than 100 bytes"):
        cursor.line("l", limit=100)


def test_magic(cursor_of):
    with cursor_of(b"GOOD") as cursor:
        with pytest.raises(NotThisFormat, match="GOOD"):
            cursor.expect(b"EVIL", "magic")
        cursor.expect(b"GOOD", "magic")
        assert cursor.remaining == 0


def test_numbers_in_text():
    cursor = Cursor(b"", path="a")
    assert integer(" 512 ", "n", cursor) == 512 and integer("5.0", "n", cursor) == 5
    assert real("1,5", "n", cursor) == 1.5 and real('"-2E-3"', "n", cursor) == -2e-3
    for bad in ("", "x", "nan", "inf", "1_0", "1e400", "9" * 5000):
        with pytest.raises(CorruptFile, match="'n'"):
            real(bad, "n", cursor)
    for bad in ("1.5", "1e30"):
        with pytest.raises(CorruptFile, match="whole"):
            integer(bad, "n", cursor)
    with pytest.raises(CorruptFile, match=r"outside 1\.\.10"):
        integer("11", "n", cursor, low=1, high=10)


def test_inflating_is_bounded():
    cursor = Cursor(b"", path="a")
    packed = zlib.compress(b"a" * 1000)
    assert inflate(packed, 1000, "block", cursor) == b"a" * 1000
    bomb = zlib.compress(bytes(50_000_000))
    for bad, limit in ((packed, 999), (packed[:-5], 1000), (b"\x78\x9cxx", 1000), (bomb, 10_000)):
        with pytest.raises(CorruptFile, match="block"):
            inflate(bad, limit, "block", cursor)


def test_a_window_knows_nothing_outside(cursor_of):
    with cursor_of(b"abcdefgh") as cursor:
        cursor.skip(2, "head")
        inner = cursor.window(3, "window")
        assert cursor.position == 5 and inner.read(2, "x") == b"cd" and inner.remaining == 1
        deeper = inner.window(1, "deeper")
        assert deeper.read(1, "x") == b"e"
        with pytest.raises(CorruptFile, match="byte 5"):
            deeper.read(1, "beyond")
        with pytest.raises(CorruptFile, match="window"):
            cursor.window(4, "window")
