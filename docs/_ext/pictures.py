"""Takes the pictures of the guide and the README: ``python docs/_ext/pictures.py``; SITE added, the gallery's.

``docs/images/guide/<page>_<name>.png`` is what stands in the variable ``name`` after the blocks of docs/guide/<page>.md
have run, photographed in Chromium. Those of the index are taken from the gallery's pages in ``SITE``, a folder of the
built site. Everything on them is simulated.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import xpycro as xp

DOCS = Path(__file__).resolve().parents[1]
IMAGES = DOCS / "images"
# the picture of each page of the gallery that its card shows, counted from the last
CARDS = {
    "sts_grid_to_clusters": 1,
    "band_excitation_to_switching_maps": 1,
    "afm_images_to_figure": 1,
    "spectrum_image_unmixing": 1,
    "peak_fitting_with_uncertainties": 2,
    "larger_than_memory": 1,
    "provenance_and_replay": 1,
    "adding_your_own_format": 1,
}
IDLE = "() => Bokeh.documents.length && Bokeh.documents.every(d => d.is_idle)"


def keep(png: bytes, target: Path, width: int, height: int = 10_000) -> None:
    """Cut white borders off and what is below `height`, and write 256 colours: drawings need no more."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    inside = picture.point(lambda value: 255 * (value < 250)).convert("L").getbbox() or (0, 0, *picture.size)
    picture = picture.crop(inside)
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    picture = picture.crop((0, 0, picture.width, min(picture.height, height)))
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(target, optimize=True)
    print(target.relative_to(DOCS), f"{target.stat().st_size / 1e3:.0f} kB")


def photograph(drawn: Any, page: Page) -> bytes:
    """The page that `xp.plot.save` makes of a picture or explorer."""
    with tempfile.TemporaryDirectory() as folder:
        page.goto(xp.plot.save(drawn, Path(folder) / "drawn.html").as_uri())
        page.wait_for_function(IDLE)
        page.wait_for_timeout(300)
        return page.locator(".content").first.screenshot()


def guide(page: Page) -> None:
    """Run the pages of the guide that show a picture, each in a folder of its own, and photograph what they drew."""
    for path in sorted((DOCS / "guide").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        wanted = re.findall(rf"images/guide/{path.stem}_(\w+)\.png", text)
        if not wanted:
            continue
        module = sys.modules[path.stem] = types.ModuleType(path.stem)
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for found in re.finditer(r"(<!-- not run.*-->\n)?^```python\n(.*?)^```", text, re.M | re.S):
                if not found[1]:
                    above = "\n" * text.count("\n", 0, found.start(2))  # own functions are told by their source
                    # the blocks of our own pages, by who writes them: nothing of a user's file comes here
                    exec(compile(above + found[2], path, "exec"), vars(module))
            for name in wanted:
                keep(photograph(vars(module)[name], page), IMAGES / "guide" / f"{path.stem}_{name}.png", 1400)


def gallery(page: Page, site: Path) -> None:
    for name, number in CARDS.items():
        page.goto((site / "gallery" / f"{name}.html").as_uri())
        page.wait_for_function(IDLE)
        page.wait_for_timeout(500)
        keep(
            page.locator(".cell_output:has([data-root-id])").nth(-number).screenshot(),
            IMAGES / "gallery" / f"{name}.png",
            560,
            300,
        )


def main(site: str | None = None) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        size = {
            "width": 1180,
            "height": 5000 if site else 400,
        }  # a page of the gallery as a whole: its head covers nothing
        page = browser.new_context(viewport=size, device_scale_factor=1.5).new_page()
        gallery(page, Path(site).resolve()) if site else guide(page)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
