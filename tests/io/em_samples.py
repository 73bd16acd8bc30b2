"""Small electron microscopy files built byte by byte, with the numbers that they hold; nothing here uses the package.

Each builder returns (bytes, (first, last + 1) byte of the data, truth).
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

Built = tuple[bytes, tuple[int, int], np.ndarray]


def merlin(frames: int = 6, height: int = 4, width: int = 5, *, kind: str = "U16", header: int = 384) -> Built:
    dtype = {"U08": "u1", "U16": ">u2", "U32": ">u4"}[kind]
    rng = np.random.default_rng(0)
    data = rng.integers(0, 200, (frames, height, width)).astype(dtype)
    content = b""
    for n in range(frames):
        text = (
            f"MQ1,{n + 1:06d},{header:05d},01,{width:04d},{height:04d},{kind},   1x1,01,2021-04-15 14:43:47.0085,0.1,"
        )
        content += text.encode().ljust(header, b"\0") + data[n].tobytes()
    block = (header, len(content)) if frames == 1 else (len(content), len(content))
    return content, block, data.astype(dtype.replace(">", "<"))


def merlin_raw(frames: int = 2, *, depth: int = 6, quad: bool = False) -> Built:
    """Frames as the chips send them, of 8 x 64 pixels a chip; written pixel by pixel."""
    rows, columns = 8, 64
    bits = {1: 1, 6: 8, 12: 16}[depth]
    width = columns * (4 if quad else 1)
    shape = (frames, 2 * rows, 2 * columns) if quad else (frames, rows, columns)
    data = np.random.default_rng(6).integers(0, 2**depth, shape).astype("u2" if depth == 12 else "u1")
    content = b""
    for n in range(frames):
        layout, chips = ("   2x2", 4) if quad else ("   1x1", 1)
        text = f"MQ1,{n + 1:06d},00384,{chips:02d},{width:04d},{rows:04d},R64,{layout},0F,2021-04-15 14:43:47.0,0.001,"
        content += (text + f"0,0,0,MQ1A,2021-04-15T14:43:47.0Z,1000000ns,{depth},").encode().ljust(384, b"\0")
        for row in range(rows):
            line = []
            for column in range(width):
                chip, x = divmod(column, columns)
                if not quad:
                    line.append(data[n, row, x])
                elif chip >= 2:  # the lower half, the last chip to the left
                    line.append(data[n, row, (3 - chip) * columns + x])
                else:  # the upper half upside down
                    line.append(data[n, 2 * rows - 1 - row, (2 - chip) * columns - 1 - x])
            per_word = 64 // bits
            for start in range(0, width, per_word):
                word = sum(int(v) << (bits * k) for k, v in enumerate(line[start : start + per_word]))
                content += struct.pack(">Q", word)
    return content, (384 if frames == 1 else len(content), len(content)), data


def princeton(frames: int = 3, ny: int = 4, nx: int = 5, *, calibrated: bool = False) -> Built:
    data = np.random.default_rng(1).integers(0, 6e4, (frames, ny, nx)).astype("<u2")
    head = bytearray(4100)
    struct.pack_into("<H", head, 42, nx)
    struct.pack_into("<H", head, 656, ny)
    struct.pack_into("<i", head, 1446, frames)
    struct.pack_into("<h", head, 108, 3)
    struct.pack_into("<f", head, 10, 0.5)
    head[20:29] = b"22Jul2015"
    head[172:178] = b"094018"
    if calibrated:
        head[3098:3102] = bytes([1, 0, 0, 2])
        struct.pack_into("<6d", head, 3263, 500.0, 0.25, 1e-4, 0, 0, 0)
    return bytes(head) + data.tobytes(), (4100, 4100 + data.nbytes), data


def mrc(
    nz: int = 3, ny: int = 4, nx: int = 5, *, order: str = "<", mode: int = 2, volume: bool = True, tilts: Any = None,
    marked: bool = True, axes: tuple[int, int, int] = (1, 2, 3), extended: bytes = b"", fields: Any = (),
) -> Built:  # fmt: skip
    """`fields` are (layout, offset, value) to write into the header last."""
    dtype = order + {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}[mode]
    data = np.random.default_rng(2).integers(0, 100, (nz, ny, nx)).astype(dtype)
    head = bytearray(1024)
    struct.pack_into(order + "4i", head, 0, nx, ny, nz, mode)
    struct.pack_into(order + "3i", head, 28, nx, ny, nz)
    struct.pack_into(order + "3f", head, 40, nx * 10.0, ny * 20.0, nz * 30.0)
    struct.pack_into(order + "3i", head, 64, *axes)
    struct.pack_into(order + "i", head, 88, 1 if volume else 0)
    if marked:
        head[208:212] = b"MAP "
        head[212:216] = b"DD\0\0" if order == "<" else b"\x11\x11\0\0"
    if tilts is not None:
        head[104:108] = b"FEI1"
        for tilt in tilts:
            section = bytearray(768)
            struct.pack_into(order + "i", section, 0, 768)
            section[20:27] = b"Spectra"
            struct.pack_into(order + "d", section, 100, tilt)
            struct.pack_into(order + "2d", section, 156, 2e-9, 3e-9)
            extended += bytes(section)
    struct.pack_into(order + "i", head, 92, len(extended))
    start = 1024 + len(extended)
    for layout, at, value in fields:
        struct.pack_into(order + layout, head, at, value)
    return (
        bytes(head) + extended + data.tobytes(),
        (start, start + data.nbytes),
        data.astype(np.dtype(dtype).newbyteorder("=")),
    )


def blockfile(ny: int = 3, nx: int = 2, size: int = 6) -> Built:
    data = np.random.default_rng(3).integers(0, 255, (ny, nx, size, size)).astype("u1")
    head = bytearray(4096)
    head[:8] = b"IMGBLO\x02\x01"
    struct.pack_into("<II", head, 8, 4096, 4112)
    struct.pack_into("<HHHHH", head, 20, size, 0, nx, ny, 2500)
    struct.pack_into("<dd", head, 30, 12.8, 12.8)
    struct.pack_into("<IHId", head, 46, 200000, 6226, 2000, 42339.653)
    content = bytes(head) + bytes(16)
    for n in range(ny * nx):
        content += struct.pack("<HI", 0x55AA, n) + data.reshape(ny * nx, -1)[n].tobytes()
    first = len(content) - size * size if nx * ny == 1 else len(content)
    return content, (first, len(content)), data


def series(nx: int = 3, ny: int = 2, channels: int = 7, *, version: int = 0x210, valid: int | None = None) -> Built:
    """A TIA spectrum image of int32."""
    total = nx * ny
    data = np.random.default_rng(4).integers(0, 1000, (ny, nx, channels)).astype("<i4")
    wide = version >= 0x220
    word = "<Q" if wide else "<I"
    head = b"II\x97\x01" + struct.pack("<HIIII", version, 0x4120, 0x4142, total, total if valid is None else valid)
    dims = b""
    for size, step in ((nx, 1e-9), (ny, -2e-9)):
        dims += struct.pack("<Iddi", size, 5e-9, step, 0) + struct.pack("<I", 8) + b"Position"
        dims += struct.pack("<I", 6) + b"meters"
    table = len(head) + struct.calcsize(word) + 4 + len(dims)
    start = table + 2 * total * struct.calcsize(word)
    length = 26 + 4 * channels
    stride = length + 24
    content = head + struct.pack(word, table) + struct.pack("<I", 2) + dims
    content += b"".join(struct.pack(word, start + n * stride) for n in range(total))
    content += b"".join(struct.pack(word, start + n * stride + length) for n in range(total))
    for spectrum in data.reshape(total, channels):
        content += struct.pack("<ddihi", -20.0, 0.2, 0, 6, channels) + spectrum.tobytes()
        content += struct.pack("<HIdd", 0x4142, 1456142158, 0.0, 0.0).ljust(24, b"\0")
    last = len(content) - 24
    return content, (last - 4 * channels, last) if total == 1 else (len(content), len(content)), data


def digital_micrograph(
    data: np.ndarray, *, version: int = 3, order: str = "<", code: int = 2, dimensions: Any = (), signal: str = "",
    extra_image: np.ndarray | None = None, meta: Any = (), brightness: Any = None,
) -> Built:  # fmt: skip
    """A DM3 or DM4 file of one image (fastest dimension last in `data`) with a thumbnail before it."""
    size = ">I" if version == 3 else ">Q"

    def tag(name: str, kind: int, body: bytes) -> bytes:
        head = struct.pack(">BH", kind, len(name)) + name.encode("latin-1")
        return head + (struct.pack(">Q", len(body)) if version == 4 else b"") + body

    def info(*words: int) -> bytes:
        return b"%%%%" + struct.pack(size, len(words)) + b"".join(struct.pack(size, w) for w in words)

    def number(value: float, kind: int, layout: str) -> bytes:
        return info(kind) + struct.pack(order + layout, value)

    def text(value: str) -> bytes:
        return info(20, 4, len(value)) + value.encode("utf-16-le" if order == "<" else "utf-16-be")

    def group(entries: list[tuple[str, Any]]) -> bytes:
        body = b"".join(
            tag(name, 20 if isinstance(v, list) else 21, group(v) if isinstance(v, list) else v) for name, v in entries
        )
        return b"\1\0" + struct.pack(size, len(entries)) + body

    codes = {"i1": 9, "u1": 6, "i2": 2, "u2": 4, "i4": 3, "u4": 5, "f4": 6, "f8": 7, "i8": 11, "u8": 12}

    def image(values: np.ndarray, dm: int, axes: Any) -> list[tuple[str, Any]]:
        raw = values.astype(values.dtype.newbyteorder(order))
        if values.dtype.kind == "c":
            part = 6 if values.dtype.itemsize == 8 else 7
            array = info(20, 15, 0, 2, 0, part, 0, part, values.size) + raw.tobytes()
        else:
            element = {"u1": 8, "i1": 9}.get(values.dtype.str[1:], codes[values.dtype.str[1:]])
            array = info(20, element, values.size) + raw.tobytes()
        dims = [
            ("", [("Origin", number(o, 6, "f")), ("Scale", number(s, 6, "f")), ("Units", text(u))]) for s, o, u in axes
        ]
        calibrations: list[tuple[str, Any]] = [("Dimension", dims)]
        if brightness:
            scale, origin, units = brightness
            entries = [("Origin", number(origin, 6, "f")), ("Scale", number(scale, 6, "f")), ("Units", text(units))]
            calibrations.insert(0, ("Brightness", entries))
        data_tags = [
            ("Calibrations", calibrations),
            ("Data", array),
            ("DataType", number(dm, 5, "I")),
            ("Dimensions", [("", number(n, 5, "I")) for n in values.shape[::-1]]),
            ("PixelDepth", number(values.dtype.itemsize, 5, "I")),
        ]
        said = [("Signal", text(signal))] if signal else []
        said += [(name, text(v) if isinstance(v, str) else number(v, 8, "B")) for name, v in meta]
        image_tags = [("Meta Data", said)] if said else [("empty", number(1, 8, "B"))]
        return [("ImageData", data_tags), ("ImageTags", image_tags), ("Name", text("picture"))]

    thumbnail = np.zeros((2, 2), "i4")
    images = [("", image(thumbnail, 7, [])), ("", image(data, code, dimensions))]
    if extra_image is not None:
        images.append(("", image(extra_image, 2, [])))
    root = group([
        ("ImageList", images),
        ("ImageSourceList", [("", [("ImageRef", number(n, 5, "I"))]) for n in range(1, len(images))]),
        ("Thumbnails", [("", [("ImageIndex", number(0, 5, "I"))])]),
    ])  # fmt: skip
    head = struct.pack(">I", version) + struct.pack(size, len(root)) + struct.pack(">I", 1 if order == "<" else 0)
    content = head + root + bytes(8)
    raw = data.astype(data.dtype.newbyteorder(order)).tobytes()
    start = content.index(raw)
    return content, (start, start + len(raw)), data


def msa(count: int = 12) -> Built:
    values = np.random.default_rng(5).integers(100, 999, count).astype(float)
    head = (
        "#FORMAT      : EMSA/MAS Spectral Data File\r\n#VERSION     : 1.0\r\n#TITLE       : A spectrum\r\n"
        f"#DATE        : 01-OCT-1991\r\n#TIME        : 12:00\r\n#NPOINTS     : {count}.\r\n#NCOLUMNS    : 1.\r\n"
        "#XUNITS      : eV\r\n#YUNITS      : Counts\r\n#DATATYPE    : Y\r\n#XPERCHAN    : 0.5\r\n"
        "#OFFSET      : 360.0\r\n#SIGNALTYPE  : ELS\r\n#SPECTRUM    : \r\n"
    ).encode()
    body = "".join(f"{v:.1f}\r\n" for v in values).encode() + b"#ENDOFDATA   :\r\n"
    return head + body, (len(head), len(head) + len(body)), values
