"""Small vendor files built byte by byte, with the numbers that they hold: what readers are tested and fuzzed on.

Each builder returns (bytes, header length, truth); nothing here uses the package.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence

import numpy as np


def nanonis_grid(
    nx: int = 4,
    ny: int = 3,
    points: int = 5,
    *,
    channels: Sequence[str] = ("Current (A)", "LI Demod 1 X (A)"),
    sweep: tuple[float, float] = (-1.0, 1.0),
    signal: str = "Bias (V)",
    written: int | None = None,
    angle: float = 0.0,
    extra: Sequence[str] = (),
    drop: Sequence[str] = (),
    seed: int = 0,
) -> tuple[bytes, int, dict[str, np.ndarray]]:
    """A ``.3ds`` grid; `written` pixels of it."""
    rng = np.random.default_rng(seed)
    width, height, cx, cy = 4e-9, 6e-9, 1e-7, -2e-7
    parameters = ["Sweep Start", "Sweep End", "X (m)", "Y (m)", "Z (m)", "Phase (deg)"]
    i, j = np.meshgrid(np.arange(nx), np.arange(ny))
    local = np.stack([(i + 0.5) * width / nx - width / 2, (j + 0.5) * height / ny - height / 2])
    turn = np.deg2rad(-angle)
    x = cx + np.cos(turn) * local[0] - np.sin(turn) * local[1]
    y = cy + np.sin(turn) * local[0] + np.cos(turn) * local[1]
    values = np.zeros((ny, nx, len(parameters)), ">f4")
    for k, column in enumerate([sweep[0], sweep[1], x, y, rng.normal(size=(ny, nx)), 30.0]):
        values[..., k] = column
    data = rng.normal(size=(ny, nx, len(channels), points)).astype(">f4")
    lines = [
        f'Grid dim="{nx} x {ny}"',
        f"Grid settings={cx:.6E};{cy:.6E};{width:.6E};{height:.6E};{angle:.6E}",
        "Filetype=Linear",
        f'Sweep Signal="{signal}"',
        'Fixed parameters="Sweep Start;Sweep End"',
        'Experiment parameters="' + ";".join(parameters[2:]) + '"',
        f"# Parameters (4 byte)={len(parameters)}",
        f"Experiment size (bytes)={4 * points * len(channels)}",
        f"Points={points}",
        'Channels="' + ";".join(channels) + '"',
        'Experiment="Grid Spectroscopy"',
        'Start time="26.10.2021 10:48:37"',
    ]
    lines = [line for line in lines if not line.startswith(tuple(drop) or ("\0",))] + list(extra)
    header = ("\r\n".join(lines) + "\r\n:HEADER_END:\r\n").encode("latin-1")
    record = np.concatenate([values, data.reshape(ny, nx, -1)], axis=2).reshape(ny * nx, -1)
    body = record[:written].astype(">f4").tobytes()
    return header + body, len(header), {"parameters": values, "data": data}


def nanonis_scan(
    nx: int = 5,
    ny: int = 3,
    *,
    direction: str = "up",
    channels: Sequence[tuple[str, str, str]] = (("Z", "m", "both"), ("Current", "A", "forward")),
    seed: int = 0,
) -> tuple[bytes, int, dict[str, np.ndarray]]:
    """A ``.sxm`` scan; the truth is what lies at (direction, y, x) with the origin at the lower left."""
    rng = np.random.default_rng(seed)
    header = (
        ":NANONIS_VERSION:\n2\n:SCANIT_TYPE:\n              FLOAT            MSBFIRST\n:REC_DATE:\n 17.02.2013\n"
        f":REC_TIME:\n11:13:07\n:SCAN_PIXELS:\n       {nx}       {ny}\n:SCAN_FILE:\nC:\\data\\Image_1.sxm\n"
        ":SCAN_RANGE:\n           2.000000E-9           4.000000E-9\n:SCAN_OFFSET:\n   3.5E-7   2.9E-7\n"
        f":SCAN_ANGLE:\n            9.000E+1\n:SCAN_DIR:\n{direction}\n:BIAS:\n            5.000E-2\n"
        ":Z-CONTROLLER:\n\tName\ton\tSetpoint\tP-gain\tI-gain\tT-const\n"
        "\tlog current\t1\t1.000E-11 A\t3.015E-11 m\t3.015E-8 m/s\t1.000E-3 s\n"
        ":DATA_INFO:\n\tChannel\tName\tUnit\tDirection\tCalibration\tOffset\n"
        + "".join(f"\t{k}\t{n}\t{u}\t{d}\t1.0E+0\t0.0E+0\n" for k, (n, u, d) in enumerate(channels))
        + "\n:SCANIT_END:\n\n\n"
    ).encode("latin-1") + b"\x1a\x04"
    truth, body = {}, b""
    for name, _, which in channels:
        kinds = ("forward", "backward") if which == "both" else (which,)
        planes = []
        for kind in kinds:
            image = rng.normal(size=(ny, nx)).astype(">f4")
            planes.append(image)
            stored = image[:, ::-1] if kind == "backward" else image  # the tip comes back from the right
            stored = stored[::-1] if direction == "down" else stored  # and the top line is scanned first
            body += stored.tobytes()
        truth[name] = np.stack(planes) if len(planes) > 1 else planes[0]
    return header + body, len(header), truth


def igor_wave5(
    data: np.ndarray,
    *,
    order: str = "<",
    units: Sequence[str] = ("m", "m", "m"),
    step: Sequence[float] = (1e-9, 2e-9, 1.0),
    start: Sequence[float] = (0.0, 0.0, 0.0),
    labels: Sequence[Sequence[str]] = ((), (), ()),
    note: str = "",
    name: str = "wave0",
) -> tuple[bytes, int, np.ndarray]:
    """A version 5 wave of an array in Igor's axis order (rows, columns, layers)."""
    codes = {"f4": 2, "f8": 4, "i1": 8, "i2": 16, "i4": 32, "u2": 80, "u4": 96, "c8": 3, "c16": 5, "i8": 128}
    kind = f"{data.dtype.kind}{data.dtype.itemsize}"
    body = data.astype(data.dtype.newbyteorder(order)).tobytes(order="F")
    sizes = [*data.shape, *[0] * (4 - data.ndim)]
    marks = [b"".join(t.encode().ljust(32, b"\0") for t in ("", *some)) if some else b"" for some in labels]
    marks += [b""] * (4 - len(marks))

    def padded(values, fill):
        return [*values[: data.ndim], *[fill] * (4 - min(len(values), data.ndim))]

    def header(checksum: int) -> bytes:
        first = struct.pack(
            order + "hHiiii4i4iiii", 5, checksum % 65536, 320 + len(body), 0, len(note), 0, *[0] * 4,
            *[len(m) for m in marks], 0, 0, 0,
        )  # fmt: skip
        second = struct.pack(
            order + "iIIihh6xh32sii4i4d4d4s4s4s4s4s",
            0, 3692884718, 3692884718, data.size, codes[kind], 0, 1, name.encode(), 0, 0, *sizes,
            *padded(list(step), 1.0), *padded(list(start), 0.0), units[0].encode(),
            *[u.encode() for u in padded(list(units[1:]), "")],
        )  # fmt: skip
        return first + second.ljust(320, b"\0")

    words = np.frombuffer(header(0), order + "i2").sum(dtype=np.int64)
    head = header(int(-words) % 65536)
    return head + body + note.encode("latin-1") + b"".join(marks), len(head), data


def igor_wave2(data: np.ndarray, *, order: str = ">", note: str = "", units: Sequence[str] = ("V", "s")) -> bytes:
    """A version 2 wave of a 1-D float32 array with the scaling x = 3 + 0.5 i."""
    body = data.astype(order + "f4").tobytes()

    def head(checksum: int) -> bytes:
        first = struct.pack(order + "hiiiH", 2, 110 + len(body) + 16, len(note), 0, checksum % 65536)
        second = struct.pack(
            order + "hi20shhi4s4sihdd", 2, 0, b"old", 0, 0, 0, *[u.encode() for u in units], len(data), 0, 0.5, 3.0
        )  # fmt: skip
        return first + second.ljust(110, b"\0") + body[:16].ljust(16, b"\0")

    words = np.frombuffer(head(0), order + "i2").sum(dtype=np.int64)
    return head(int(-words) % 65536)[:126] + body + bytes(16) + note.encode()


def simple_field(nx: int = 5, ny: int = 3, *, seed: int = 0, units: str = "m") -> tuple[bytes, int, np.ndarray]:
    """A ``.gsf`` field; the truth has its origin at the lower left."""
    image = np.random.default_rng(seed).normal(size=(ny, nx)).astype("<f4")
    header = (
        f"Gwyddion Simple Field 1.0\nXRes = {nx}\nYRes = {ny}\nXReal = 5e-9\nYReal = 6e-9\nXOffset = 1e-9\n"
        f"XYUnits = m\nZUnits = {units}\nTitle = Height (trace)\n"
    ).encode()
    header += b"\0" * (4 - len(header) % 4)
    return header + image[::-1].tobytes(), len(header), image


def nanonis_spectrum(points: int = 6, *, seed: int = 0) -> tuple[bytes, int, np.ndarray]:
    """A ``.dat`` spectrum swept downwards, with two sweeps, their average, backward and filtered copies."""
    names = ["Bias calc (V)"]
    names += [f"Current [{s}]{b} (pA)" for b in ("", " [bwd]") for s in ("AVG", "00001", "00002")]
    names += ["Phase (deg)", "Phase (deg) [filt]", "Current [AVG] (pA)"]
    values = np.random.default_rng(seed).normal(size=(points, len(names)))
    values[:, 0] = np.linspace(1, -1, points)
    lines = ["Experiment\tbias spectroscopy\t", "Date\t17.10.2020 22:38:54\t", "User\t\t", "X (m)\t11.009E-9\t"]
    lines += ["Y (m)\t-208.172E-9\t", "Final Z (m)\tN/A\t", "Z-Controller>Setpoint\t10E+0\t"]
    lines += ["Z-Controller>Setpoint unit\tpA\t", "Bias>Bias (V)\t0.1\t", "", "[DATA]", "\t".join(names)]
    header = "\n".join(lines) + "\n"
    body = "".join("\t".join(f"{v:.9E}" for v in row) + "\n" for row in values)
    return (header + body).encode(), len(header), values


def nanoscope_image(nx: int = 6, ny: int = 4, *, seed: int = 0, itemsize: int = 2) -> tuple[bytes, int, np.ndarray]:
    """A ``.spm`` of a height in trace and retrace; the truth is the integers over (direction, y, x)."""
    top = 2 ** (8 * itemsize - 1)
    raw = np.random.default_rng(seed).integers(-top, top, size=(2, ny, nx)).astype(f"<i{itemsize}")
    start, length = 2048, raw[0].nbytes
    lines = [
        r"\*File list",
        rf"\Data length: {start}",
        r"\Version: 0x09200000",
        r"\Date: 10:27:26 AM Fri Oct 17 2014",
        r"\*Scanner list",
    ]
    lines += [r"\@Sens. Zsens: V 20.00000 nm/V", r"\*Ciao scan list", r"\X offset: -100 nm", r"\Rotate Ang.: 90"]
    for k, way in enumerate(("Trace", "Retrace")):
        lines += [r"\*Ciao image list", rf"\Data offset: {start + k * length}", rf"\Data length: {length}"]
        lines += [r"\Bytes/pixel: 2", rf"\Samps/line: {nx}", rf"\Number of lines: {ny}", r"\Scan Size: 600 800 nm"]
        lines += [rf"\Line Direction: {way}", r'\@2:Image Data: S [Height] "Height"']
        lines += [r"\@2:Z scale: V [Sens. Zsens] (0.01 V/LSB) 65.536 V"]
    head = ("\r\n".join(lines) + "\r\n" + r"\*File list end" + "\r\n\x1a").encode("latin-1").ljust(start, b"\0")
    return head + raw.tobytes(), start, raw


def nanoscope_force(
    n: int = 8, curves: tuple[int, int] | None = None, *, seed: int = 0
) -> tuple[bytes, int, np.ndarray]:
    """A force curve, or a volume of (ny, nx) curves; the truth is the integers over (..., approach/retract, point)."""
    shape = (*(curves or ()), 2, n)
    raw = np.random.default_rng(seed).integers(-3000, 3000, size=shape).astype("<i2")
    start = 2048
    lines = [
        r"\*Force file list",
        rf"\Data length: {start}",
        r"\Version: 0x08150300",
        r"\*Ciao scan list",
        r"\Scan Size: 600 nm",
    ]
    lines += [r"\@Sens. DeflSens: V 50.00000 nm/V", r"\@Sens. Zsens: V 10.00000 nm/V", r"\*Ciao force list"]
    lines += [rf"\force/line: {curves[1] if curves else 16} 0", r"\*Ciao force image list"]
    lines += [rf"\Data offset: {start}", rf"\Data length: {raw.nbytes}", r"\Bytes/pixel: 2", rf"\Samps/line: {n} {n}"]
    lines += [r"\Spring Constant: 0.5", r'\@4:Image Data: S [DeflectionError] "Deflection Error"']
    lines += [r"\@4:Z scale: V [Sens. DeflSens] (0.0005 V/LSB) 2.5 V"]
    lines += [r"\@4:Ramp size: V [Sens. Zsens] (0.004 V/LSB) 7.0 V"]
    head = ("\r\n".join(lines) + "\r\n" + r"\*File list end" + "\r\n\x1a").encode("latin-1").ljust(start, b"\0")
    return head + raw.tobytes(), start, raw


def gwy_item(key: str, value: object) -> bytes:
    """One item of a Gwyddion container: key, type letter, content."""
    name = key.encode() + b"\0"
    if isinstance(value, bool):
        return name + b"b" + bytes([value])
    if isinstance(value, int):
        return name + b"i" + struct.pack("<i", value)
    if isinstance(value, float):
        return name + b"d" + struct.pack("<d", value)
    if isinstance(value, str):
        return name + b"s" + value.encode() + b"\0"
    if isinstance(value, np.ndarray):
        return name + b"D" + struct.pack("<I", value.size) + value.astype("<f8").tobytes()
    if isinstance(value, bytes):
        return name + b"o" + value
    if isinstance(value, list):
        return name + b"O" + struct.pack("<I", len(value)) + b"".join(value)
    raise TypeError(type(value))


def gwy_object(kind: str, **items: object) -> bytes:
    """One object of a Gwyddion container; two underscores in a keyword stand for a slash."""
    body = b"".join(gwy_item(key.replace("__", "/"), value) for key, value in items.items())
    return kind.encode() + b"\0" + struct.pack("<I", len(body)) + body


def gwy_unit(text: str) -> bytes:
    """A GwySIUnit."""
    return gwy_object("GwySIUnit", unitstr=text)


def gwyddion_native(nx: int = 6, ny: int = 4, *, seed: int = 0) -> tuple[bytes, tuple[int, int], np.ndarray]:
    """A ``.gwy`` file of one channel; the truth has its origin at the lower left."""
    image = np.random.default_rng(seed).normal(size=(ny, nx))
    field = gwy_object(
        "GwyDataField", xres=nx, yres=ny, xreal=3e-9, yreal=4e-9, si_unit_xy=gwy_unit("m"), si_unit_z=gwy_unit("nm"),
        data=image[::-1],
    )  # fmt: skip
    content = b"GWYP" + gwy_object("GwyContainer", **{"/0/data": field, "/0/data/title": "Height (trace)"})
    start = content.index(image[::-1].tobytes())
    return content, (start, start + image.nbytes), image


def createc_image(
    nx: int = 6,
    ny: int = 4,
    *,
    lines: int | None = None,
    voltages: Sequence[float] = (),
    kind: str = "Paramco32",
    seed: int = 0,
) -> tuple[bytes, int, np.ndarray]:
    """A ``.dat`` image of topography and current; the truth is the stored numbers with the top line first."""
    planes = 4 * len(voltages) if voltages else 2
    numbers = np.random.default_rng(seed).normal(size=(planes, ny, nx)).astype("<f4") * 1e5
    numbers[:, lines:] = 0 if lines is not None else numbers[:, lines:]
    text = [f"[{kind}]", "DAC-Type=20bit", "Titel(File) / Titel=Test", "Delta X / Delta X [Dac]=100"]
    text += ["Delta Y / Delta Y [Dac]=100", f"Num.X / Num.X={nx}", f"Num.Y / Num.Y={ny}", "GainX / GainX=10"]
    text += ["GainY / GainY=10", "GainZ / GainZ=10", "Rotation / Rotation=90.00", "BiasVoltage / BiasVolt.[mV]=-550.00"]
    text += ["Gainpreamp / GainPre 10^=9", f"Channels / Channels={planes}", "Channelselectval / Channelselectval=3"]
    text += [f"MVoltnumber11 / MVoltnumber11={max(1, len(voltages))}"]
    text += [f"MVolt_{k + 1} / MVolt_{k + 1}={1e3 * v:.5f}" for k, v in enumerate(voltages)]
    text += ["Dacto[A]xy=0.002", "Dacto[A]z=0.0005", f"Length x[A]={2 * nx}", f"Length y[A]={2 * ny}", "SetPoint=1E-10"]
    head = "\r\n".join([*text, ""]).encode("latin-1")
    if kind != "Paramco32":  # older software: bare keys, numbers behind 16384 bytes and one that is no pixel
        numbers = numbers.astype("<i2" if kind == "Parameter" else "<f4")
        head = re.sub(rb"(?m)^(Delta .|Gainpreamp|BiasVoltage) / [^=]*=", rb"\1=", head).ljust(16384, b"\0")
        head = head.replace(b"Channelselectval / Channelselectval=3", b"Chan(1,2,4) / Chan(1,2,4)=2")
        head = head[:16384].ljust(16384, b"\0")
        return head + bytes(numbers.itemsize) + numbers.tobytes(), 16384 + numbers.itemsize, numbers
    head = head.ljust(2000, b"\0") + b"DATA"
    body = np.concatenate([[0], numbers.ravel(), np.zeros(4 * nx + 31)]).astype("<f4").tobytes()
    return head + zlib.compress(body), len(head), numbers


def createc_spectrum(points: int = 7, *, turns: bool = False, seed: int = 0) -> tuple[bytes, int, np.ndarray]:
    """A ``.VERT`` spectrum of current and dI/dV; the truth is the table."""
    half = np.linspace(500.0, -100.0, points)
    bias = np.concatenate([half, half[-2::-1]]) if turns else half
    rng = np.random.default_rng(seed)
    table = np.stack([np.arange(len(bias)), bias, *rng.integers(-9999, 9999, (3, len(bias)))], 1).round(3)
    head = "[ParVERT30]\r\nDAC-Type=20bit\r\nTitel / Titel=Test\r\nGainX / GainX=10\r\nGainY / GainY=10\r\n"
    head += "Gainpreamp / GainPre 10^=9\r\nDacto[A]xy=0.002\r\nSetPoint=1E-10\r\n"
    content = head.encode().ljust(1000, b"\0") + b"DATA\r\n" + f"    {len(bias)} 300 -200 3\r\n".encode()
    rows = "".join("\t".join(f"{v:.3f}" for v in row) + "\r\n" for row in table)
    return content + rows.encode(), len(content), table


def igor_experiment(*, order: str = "<", seed: int = 0) -> tuple[bytes, tuple[int, int], np.ndarray]:
    """A ``.pxp`` file: variables, then one image in the data folder ``scan``."""
    image = np.random.default_rng(seed).normal(size=(6, 5)).astype("f4")
    content, _, _ = igor_wave5(image, order=order, note="Gain: 3")

    def record(kind: int, body: bytes) -> bytes:
        return struct.pack(order + "HhI", kind, 0, len(body)) + body

    before = record(1, bytes(40)) + record(9, b"scan".ljust(32, b"\0"))
    start = len(before) + 8 + 384
    whole = before + record(3, content) + record(10, b"")
    return whole, (start, start + image.nbytes), image
