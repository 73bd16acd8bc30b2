"""A real browser on a page: pointer actions on named figures, the numbers that are drawn, and no network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

_VIEW = """
const views = () => {
  const seen = [], walk = (v) => { if (!v || seen.includes(v)) return; seen.push(v);
    for (const c of (v.child_views || [])) walk(c); };
  for (const v of Bokeh.index.roots ? Bokeh.index.roots : Object.values(Bokeh.index)) walk(v);
  return seen };
const find = (name) => {
  const found = views().find(v => v.model.name === name || v.model.title?.text?.startsWith(name));
  if (!found) throw new Error(`no figure ${name} among ${views().map(v => v.model.title?.text).filter(t => t)}`);
  return found };
"""


class NoFigure(AssertionError):
    """The page has no figure of that name, or not yet."""


class Page:
    """A browser page with Bokeh figures, found by their name."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.tapped = 0.0
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        page.on("console", lambda m: self.problems.append(f"console: {m.text}") if m.type == "error" else None)

    def guard(self, route: Any) -> None:
        """Let through what is local; refuse and remember the rest."""
        url = route.request.url
        if url.startswith(("file:", "data:", "blob:", "http://127.0.0.1")):
            route.continue_()
            return
        self.problems.append(f"external request: {url}")
        route.abort()

    def open(self, url: str) -> None:
        self.page.goto(url)
        # idle says that messages were handled, a frame that there is something to point at
        self.page.wait_for_function(
            "() => { if (!window.Bokeh?.documents.length || !Bokeh.documents.every(d => d.is_idle)) return false;"
            + _VIEW
            + "return views().some(v => v.frame?.bbox.width > 1) }",
            timeout=60_000,
        )
        places, before = "return JSON.stringify(views().map(v => v.frame && v.el.getBoundingClientRect()))", ""
        while before != (now := self.evaluate(places)):  # the layout has come to rest
            before = now
            self.page.wait_for_timeout(80)

    def settle(self) -> None:
        """Wait until what was sent to the page has been drawn there."""
        self.page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def evaluate(self, expression: str, argument: Any = None) -> Any:
        from playwright.sync_api import Error

        try:
            return self.page.evaluate("(argument) => {" + _VIEW + expression + "}", argument)
        except Error as error:
            if "no figure" in str(error):
                raise NoFigure(str(error)) from None
            raise

    def place(self, name: str, x: float, y: float) -> tuple[float, float]:
        """Where a place of a figure, in its own coordinates, lies on the screen."""
        return tuple(
            self.evaluate(
                """const v = find(argument.name); v.el.scrollIntoView({block: 'center'});
                const r = v.el.getBoundingClientRect(), f = v.frame;
                return [r.x + f.x_scale.compute(argument.x), r.y + f.y_scale.compute(argument.y)]""",
                {"name": name, "x": float(x), "y": float(y)},
            )
        )

    def tap(self, name: str, x: float, y: float) -> None:
        self.page.wait_for_timeout(max(0.0, 350 - 1e3 * (time.monotonic() - self.tapped)))  # two would be a double tap
        self.page.mouse.click(*self.place(name, x, y))
        self.tapped = time.monotonic()
        self.settle()

    def drag(self, name: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        first, last = self.place(name, *start), self.place(name, *end)
        self.page.mouse.move(*first)
        self.page.mouse.down()
        self.page.mouse.move(*last, steps=6)
        self.page.mouse.up()
        self.settle()

    def take(self, name: str, tool: str) -> None:
        """Choose a drag tool of a figure's toolbar."""
        self.evaluate(
            """const v = find(argument.name), t = v.model.toolbar.tools.find(t => t.type === argument.tool);
            v.model.toolbar.active_drag = t; t.active = true""",
            {"name": name, "tool": tool},
        )

    def trace(self, name: str, places: Sequence[tuple[float, float]]) -> None:
        """Draw an outline with the pointer, back to where it began."""
        first, *rest = [self.place(name, *at) for at in places]
        self.page.mouse.move(*first)
        self.page.mouse.down()
        for at in (*rest, first):
            self.page.mouse.move(*at, steps=6)
        self.page.mouse.up()
        self.settle()

    def line(self, name: str, glyph: str = "Line") -> np.ndarray:
        """What is drawn on the vertical axis of a figure's first line."""
        values = self.evaluate(
            """const v = find(argument.name), r = v.model.renderers.find(r => r.glyph?.type === argument.glyph);
            return Array.from(r.data_source.data[r.glyph.y.field], t => Number.isFinite(t) ? t : null)""",
            {"name": name, "glyph": glyph},
        )
        return np.array([np.nan if v is None else v for v in values], dtype=float)

    def lines(self, name: str) -> list[np.ndarray]:
        """What is drawn on the vertical axis of each of a figure's lines."""
        found = self.evaluate(
            """const of = {Line: r => [r.data_source.data[r.glyph.y.field]], MultiLine: r => r.data_source.data.ys};
            return find(argument).model.renderers.flatMap(r => of[r.glyph?.type]?.(r) ?? []).map(values =>
              Array.from(values, t => Number.isFinite(t) ? t : null))""",
            name,
        )
        return [np.array([np.nan if v is None else v for v in values], dtype=float) for values in found]

    def image(self, name: str, layer: int = 0) -> np.ndarray:
        """The values of a figure's image, lowest row first, or of its cells or points; of one that is zoomed into the
        first layer is a preview."""
        found = self.evaluate(
            """const r = find(argument.name).model.renderers[argument.layer], g = r.glyph;
            const clean = (a) => Array.from(a, t => Number.isFinite(t) ? t : null);
            if (g.type === 'Image') { const a = r.data_source.data.image[0]; return [clean(a), a.shape] }
            const a = r.data_source.data[g.fill_color.field]; return [clean(a), [a.length]]""",
            {"name": name, "layer": layer},
        )
        values = np.array([np.nan if v is None else v for v in found[0]], dtype=float)
        return values.reshape(found[1])

    def titles(self) -> list[str]:
        """The titles of all figures."""
        return self.page.evaluate(
            "() => [...Bokeh.documents[0]._all_models.values()].map(m => m.title?.text).filter(t => t)"
        )

    def title(self, name: str) -> str:
        return self.evaluate("return find(argument).model.title.text", name)


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Headless Chromium, started once."""
    sync = pytest.importorskip("playwright.sync_api")
    import os
    import shutil

    names = (os.environ.get("XPYCRO_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    path = next((found for n in names if n and (found := shutil.which(n))), None)
    if path is None:
        if os.environ.get("XPYCRO_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium on this machine, and XPYCRO_REQUIRE_BROWSER=1 asks for it")
        pytest.skip("no Chromium on this machine")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Page]:
    """A page without a network; the test fails on any page error, console error or external request."""
    context = browser.new_context(viewport={"width": 1240, "height": 950})
    opened = Page(context.new_page())
    context.route("**/*", opened.guard)
    yield opened
    context.close()
    assert not opened.problems, opened.problems


@pytest.fixture
def report_page(page: Page, tmp_path: Path) -> Callable[[Any], Page]:
    """``report_page(plot)``: the plot in a report, opened from the file."""

    def show(*content: Any) -> Page:
        from xpycro.viz import report

        path = report.write(tmp_path / "report.html", title="Test", sections=[report.Section("One", "", *content)])
        page.open(path.as_uri())
        return page

    return show


@pytest.fixture
def served(page: Page, request: pytest.FixtureRequest) -> Iterator[Callable[[Any], Page]]:
    """``served(make)``: what `make()` returns, served by Panel on a free port of this machine, opened.

    How it looks after what the test did is kept beside the gallery's screenshots, to be looked at.
    """
    import socket

    panel = pytest.importorskip("panel")
    servers = []

    def show(make: Callable[[], Any]) -> Page:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = panel.serve(
            make, port=port, address="127.0.0.1", threaded=True, show=False, verbose=False,
            websocket_origin=f"127.0.0.1:{port}",
        )  # fmt: skip
        servers.append(server)
        listening = False
        while not listening:  # it starts in a thread of its own
            with socket.socket() as probe:
                listening = probe.connect_ex(("127.0.0.1", port)) == 0
            time.sleep(0.01)
        page.open(f"http://127.0.0.1:{port}")
        return page

    yield show
    if servers:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.page.screenshot(path=SCREENSHOTS / f"live_{request.node.name}.png")
    for server in servers:
        server.stop()
