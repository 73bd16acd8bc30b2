"""Draws the pictures of the concepts: ``python docs/_ext/drawings.py`` writes them into docs/images anew."""

from __future__ import annotations

from html import escape
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[1] / "images"
INK, PALE, BLUE, ORANGE, GREEN = "#1b2a3a", "#eef2f6", "#cfe0f5", "#fbe0c3", "#d3ecd6"


class Drawing:
    """Boxes, arrows and words on a grid of pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.parts: list[str] = []

    def text(self, x: float, y: float, words: str, *, size: int = 13, anchor: str = "middle", style: str = "") -> None:
        family = "monospace" if "code" in style else "sans-serif"
        weight = ' font-weight="bold"' if "bold" in style else ""
        for number, line in enumerate(words.split("\n")):
            self.parts.append(
                f'<text x="{x}" y="{y + number * size * 1.3:.1f}" font-family="{family}" font-size="{size}"'
                f'{weight} text-anchor="{anchor}" fill="{INK}">{escape(line)}</text>'
            )

    def box(
        self, x: float, y: float, w: float, h: float, title: str, below: str = "", fill: str = PALE, dash: bool = False
    ) -> None:
        dashed = ' stroke-dasharray="5 4"' if dash else ""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" fill="{fill}" stroke="{INK}"{dashed}/>'
        )
        lines = below.split("\n") if below else []
        top = y + h / 2 + 5 - 8 * len(lines)
        self.text(x + w / 2, top, title, style="bold")
        self.text(x + w / 2, top + 18, below, size=12)

    def arrow(self, x0: float, y0: float, x1: float, y1: float, words: str = "", dash: bool = False) -> None:
        dashed = ' stroke-dasharray="5 4"' if dash else ""
        self.parts.append(
            f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="{INK}" stroke-width="1.6"{dashed} '
            'marker-end="url(#tip)"/>'
        )
        if words:
            self.text((x0 + x1) / 2, (y0 + y1) / 2 - 8, words, size=12)

    def polygon(self, points: list[tuple[float, float]], fill: str) -> None:
        path = " ".join(f"{x},{y}" for x, y in points)
        self.parts.append(f'<polygon points="{path}" fill="{fill}" stroke="{INK}" stroke-linejoin="round"/>')

    def save(self, name: str, title: str) -> None:
        w, h = self.size
        tip = (
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="{INK}"/></marker></defs>'
        )
        text = "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img">',
                f"<title>{escape(title)}</title>",
                tip,
                f'<rect width="{w}" height="{h}" fill="white"/>',
                *self.parts,
                "</svg>\n",
            ]
        )
        (IMAGES / name).write_text(text, encoding="utf-8")


def cube(d: Drawing, x: float, y: float, w: float, h: float, depth: float, fill: str) -> None:
    d.polygon([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], fill)
    d.polygon([(x, y), (x + depth, y - depth * 0.6), (x + w + depth, y - depth * 0.6), (x + w, y)], fill)
    d.polygon(
        [(x + w, y), (x + w + depth, y - depth * 0.6), (x + w + depth, y + h - depth * 0.6), (x + w, y + h)], fill
    )


def data_model() -> None:
    d = Drawing(860, 300)
    d.text(16, 26, "A measurement: a Dataset, the channels of one grid", anchor="start", style="bold")
    cube(d, 60, 110, 110, 110, 70, BLUE)
    d.text(115, 170, "didv", style="code bold")
    d.text(115, 190, "A/V", size=12)
    d.text(115, 240, "x  (m, ascending)", size=12)
    d.text(28, 170, "y\n(m)", size=12)
    d.text(196, 222, "bias (V)", size=12, anchor="start")
    d.polygon([(290, 110), (400, 110), (400, 220), (290, 220)], GREEN)
    d.text(345, 170, "height", style="code bold")
    d.text(345, 190, "m", size=12)
    d.text(345, 240, "the same y, x", size=12)
    d.text(16, 276, "attrs: modality, instrument, the whole header, pycro_history", anchor="start", size=12)
    d.parts.append(f'<line x1="445" y1="20" x2="445" y2="284" stroke="{INK}" stroke-dasharray="2 5"/>')
    d.text(465, 26, 'fit(dim="bias"): dim names what one observation spans', anchor="start", style="bold")
    d.text(465, 52, "all other dims index observations: they are left in the result", anchor="start", size=12)
    for n, (name, unit) in enumerate([("gaussian_center", "V"), ("gaussian_center_stderr", "V"), ("status", "flags")]):
        x = 480 + 120 * n
        d.polygon([(x, 80), (x + 90, 80), (x + 90, 160), (x, 160)], ORANGE)
        d.text(x + 45, 124, unit, size=12)
        d.text(x + 45, 180, name.replace("_stderr", "\n_stderr"), size=11, style="code")
    d.text(465, 226, 'decompose.svd(dim="bias")', anchor="start", style="code")
    d.text(
        465, 248,
        "maps(component, y, x) in the data's unit, components(component, bias),\n"
        "all singular_values: data = mean + sum maps * components",
        anchor="start", size=12,
    )  # fmt: skip
    d.save("data_model.svg", "Data model: channels of one grid, and what operations leave of their dims")


def states() -> None:
    d = Drawing(860, 300)
    d.box(20, 30, 210, 66, "in memory", "a NumPy array", BLUE)
    d.box(20, 116, 210, 66, "lazily indexed by xarray", "open_dataset(path): read when used", PALE, dash=True)
    d.box(20, 202, 210, 66, "dask", "xp.open(path): blocks of ~100 MB", GREEN, dash=True)
    d.box(350, 30, 190, 66, "kernel", "on the whole", PALE)
    d.box(350, 159, 190, 109, "kernel, block by block", "each block holds\nthe core dim whole", PALE)
    d.arrow(230, 63, 350, 63)
    d.arrow(230, 149, 350, 195)
    d.text(300, 152, "chunked first", size=12)
    d.arrow(230, 235, 350, 225)
    d.box(640, 30, 200, 66, "result in memory", "", BLUE)
    d.box(640, 159, 200, 56, "lazy result", "nothing computed yet", GREEN, dash=True)
    d.box(640, 240, 200, 46, "result in the store", "", ORANGE)
    d.arrow(540, 63, 640, 63)
    d.arrow(540, 195, 640, 187)
    d.arrow(740, 215, 740, 240)
    d.text(636, 233, "save: a few\nblocks at a time", size=12, anchor="end")
    d.save("states.svg", "The three states of an array, and what an operation makes of each")


def safety() -> None:
    d = Drawing(860, 330)
    d.box(16, 30, 150, 62, "grid.3ds", "never written to", PALE)
    d.box(256, 30, 180, 62, "grid.h5, raw", "written once", BLUE)
    d.box(536, 30, 140, 62, "fit(...)", "lazy", GREEN, dash=True)
    d.arrow(166, 61, 256, 61, "translate")
    d.arrow(436, 61, 536, 61, "opened")
    d.box(516, 150, 180, 62, "private part file", "nobody sees it yet", PALE, dash=True)
    d.box(256, 150, 180, 62, "results/fit_sho", "complete, or not there", ORANGE)
    d.arrow(606, 92, 606, 150)
    d.text(616, 126, "save, block by block", size=12, anchor="start")
    d.arrow(516, 181, 436, 181)
    d.text(476, 170, "rename", size=12)
    d.parts.append(f'<line x1="346" y1="92" x2="346" y2="150" stroke="{INK}" stroke-width="1.6"/>')
    d.text(336, 125, "one tree", size=12, anchor="end")
    d.box(
        16,
        244,
        828,
        66,
        "pycro_history",
        "grid.3ds (SHA-256)  →  translate, version  →  fit, its parameters by value, version  →  "
        "fingerprints of what went in and came out",
        PALE,
    )
    d.arrow(346, 212, 346, 244)
    d.text(710, 176, "a crash here costs\nthe part file only", size=12, anchor="start")
    d.save("safety.svg", "How a result is staged and published, and the history that it carries")


def architecture() -> None:
    d = Drawing(860, 400)
    floors = [
        ("replay · accessor · cli · simulate", "what one types; an analysis again; data with known truth", ORANGE),
        ("viz", "pictures, linked explorers, reports", GREEN),
        ("", "", PALE),
        ("engine", "blocks (the one room that knows dask), linear algebra, compiled solver, kinds of results", BLUE),
        ("errors · units · schema · provenance", "the data model and the history", PALE),
    ]  # fmt: skip
    for n, (title, below, fill) in enumerate(floors):
        y = 20 + 74 * n
        if title:
            d.box(20, y, 680, 60, title, below, fill)
            continue
        for m, (name, words) in enumerate(
            [
                ("io", "files in, HDF5 out"),
                ("processing", "images, spectra, components"),
                ("analysis", "models, fits, loops"),
            ]
        ):
            d.box(20 + 230 * m, y, 220, 60, name, words, PALE)
    d.arrow(750, 30, 750, 370)
    d.text(764, 180, "imports\ngo down\nonly;\nsiblings\nnever", anchor="start", size=12)
    d.save("architecture.svg", "The floors of the package")


if __name__ == "__main__":
    for draw in (data_model, states, safety, architecture):
        draw()
