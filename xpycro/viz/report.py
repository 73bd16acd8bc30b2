"""One self-contained HTML page of text, tables and plots that stay interactive without a server or a network.

``report.write(path, title="...", summary=[("Instrument", "..."), ...], sections=[report.Section("Maps", "What one
sees.", plot), ...])`` writes it; a section's content is any number of HoloViews objects, Bokeh models and `Table`. The
explorers that work in a file: `explorer` (map and spectrum) and `fit_explorer`; a plot of ``xp.plot`` that knows its
static twin (``explore``, ``fit``, ``stack``) may be passed as it is.

May import the floors below and viz; Bokeh only inside functions.
"""

from __future__ import annotations

import html
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from xpycro.viz import images
from xpycro.viz.curves import spectrum
from xpycro.viz.levels import hist
from xpycro.viz.packing import slim
from xpycro.viz.pictures import maps
from xpycro.viz.static import explorer, figure_of
from xpycro.viz.static_fit import fit_explorer

__all__ = [
    "Section", "Table", "explorer", "fit_explorer", "hist", "image", "maps", "model_of", "page", "spectrum", "write",
]  # fmt: skip

PAGE_VALUES = 1_500_000  # of all explorers of a page together, four characters each: it stays below 10 MB


_CSS = """
:root { --ink: #1d2530; --soft: #5b6675; --line: #e3e7ec; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.55 Inter, "Helvetica Neue", Helvetica, Arial,
  sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 36px 30px 60px; }
h1 { font-size: 29px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
.lead { color: var(--soft); margin: 0 0 20px; font-size: 16px; max-width: 76ch; }
h2 { font-size: 19px; margin: 40px 0 6px; padding-top: 14px; border-top: 1px solid var(--line); }
p { max-width: 100ch; margin: 4px 0 12px; white-space: pre-line; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 12px 26px; margin: 0 0 8px;
  padding: 16px 18px;
  background: #f6f8fa; border-radius: 8px; }
dl div { min-width: 0; } dt { color: var(--soft); font-size: 12px; } dd { margin: 0; font-weight: 600; overflow-
  wrap: anywhere; }
table { border-collapse: collapse; margin: 8px 0 14px; font-variant-numeric: tabular-nums; font-size: 14px; }
th { text-align: right; font-weight: 600; border-bottom: 2px solid var(--ink); padding: 4px 16px 4px 0; }
td { text-align: right; border-bottom: 1px solid var(--line); padding: 4px 16px 4px 0; }
th:first-child, td:first-child, table.text th, table.text td { text-align: left; }
.note { color: var(--soft); font-size: 13px; margin-top: -6px; }
.content { display: flex; flex-wrap: wrap; gap: 0 14px; align-items: flex-start; } .wide { width: 100%; }
figure { margin: 8px 0 10px; max-width: 100%; overflow-x: auto; }
nav { font-size: 13px; margin: 14px 0 0; color: var(--soft); } nav a { color: var(--accent); text-decoration: none;
  margin-right: 16px; }
footer { margin-top: 48px; border-top: 1px solid var(--line); padding-top: 12px; color: var(--soft); font-size:
  12px; }
@media print { main { max-width: none; padding: 0; } nav { display: none; } h2 { break-after: avoid; } figure, table
  { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Table:
    """A small table: a header, rows of text or numbers, an optional caption. Numbers get four significant digits.

    Columns are aligned for numbers, to the right; with `text` to the left.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    text: bool = False

    def html(self) -> str:
        """The table as HTML; every cell escaped."""
        head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in self.header)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_cell(c))}</td>" for c in row) + "</tr>" for row in self.rows
        )
        # a caption element would be as narrow as its table
        note = f'<p class="note">{html.escape(self.caption)}</p>' if self.caption else ""
        kind = ' class="text"' if self.text else ""
        return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _cell(value: Any) -> str:
    if isinstance(value, float) or (hasattr(value, "dtype") and value.dtype.kind == "f"):
        return f"{float(value):.4g}".replace("-", "−")
    return str(value)


class Section:
    """A heading, a short text, and what is shown below it.

    Parameters
    ----------
    title : str
    text : str
        Plain text; blank lines make paragraphs.
    *content
        HoloViews objects, Bokeh models, `Table`, in order.
    """

    def __init__(self, title: str, text: str = "", *content: Any) -> None:
        self.title = title
        self.text = text
        self.content = content


def image(da: xr.DataArray, *, title: str | None = None, size: int = 225) -> Any:
    """`xpycro.viz.images.image` at a size of which three stand side by side on the page."""
    return images.image(da, title=title, size=size)


def model_of(plot: Any, budget: int | None = None) -> Any:
    """The Bokeh model that stands for a plot in a file: its static twin where it is live, else itself.

    Of a twin at most `budget` values travel; by default as many as suit a page of its own.
    """
    from bokeh.model import Model

    if isinstance(plot, Model):
        return plot
    twin = getattr(plot, "_pycro_static", None)
    if twin is None:
        return figure_of(plot)
    return twin() if budget is None else twin(budget=budget)


def is_live(plot: Any) -> bool:
    """Whether a plot has a twin that works in a file."""
    return getattr(plot, "_pycro_static", None) is not None


def page(
    *,
    title: str,
    lead: str = "",
    summary: Iterable[tuple[str, Any]] = (),
    sections: Sequence[Section] = (),
    footer: str = "",
) -> str:
    """The page as one string of HTML; arguments as for `write`."""
    from bokeh.document import Document
    from bokeh.embed import components
    from bokeh.resources import Resources

    models: list[Any] = []
    body: list[str] = []
    live = sum(is_live(item) for section in sections for item in section.content)
    for number, section in enumerate(sections):
        body.append(f'<section id="s{number}"><h2>{html.escape(section.title)}</h2>')
        body += [f"<p>{html.escape(t.strip())}</p>" for t in section.text.split("\n\n") if t.strip()]
        body.append('<div class="content">')
        for item in section.content:
            if isinstance(item, Table):
                body.append(f'<div class="wide">{item.html()}</div>')
            else:
                models.append(model_of(item, PAGE_VALUES // live if live > 1 and is_live(item) else None))
                body.append(f"<figure>@@{len(models) - 1}@@</figure>")
        body.append("</div></section>")
    slim(models)
    if all(model.document is None for model in models):
        held = Document()
        with held.models.freeze():  # Bokeh by itself goes through all models again for each it adds
            for model in models:
                held.add_root(model)
    script, divs = components(models, wrap_plot_info=True) if models else ("", [])
    text = "\n".join(body)
    for number, div in enumerate(divs):
        text = text.replace(f"@@{number}@@", div, 1)
    # Resources.render() would add what other libraries (Panel) registered: files that a page on disk does not have.
    library = Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).js_raw if models else []
    resources = "".join(f"<script>{_closed(text)}</script>" for text in library)
    facts = "".join(f"<div><dt>{html.escape(str(k))}</dt><dd>{html.escape(_cell(v))}</dd></div>" for k, v in summary)
    links = (
        "".join(f'<a href="#s{n}">{html.escape(s.title)}</a>' for n, s in enumerate(sections))
        if len(sections) > 2
        else ""
    )
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">',
            f"<title>{html.escape(title)}</title><style>{_CSS}</style>{resources}</head><body><main>",
            f"<header><h1>{html.escape(title)}</h1>",
            f'<p class="lead">{html.escape(lead)}</p>' if lead else "",
            f"<dl>{facts}</dl>" if facts else "",
            f"<nav>{links}</nav>" if links else "",
            "</header>",
            text,
            f"<footer>{html.escape(footer)}</footer>" if footer else "",
            f"</main>{script}</body></html>\n",
        ]
    )


def _closed(script: str) -> str:
    """A script whose text cannot end its own element."""
    return script.replace("</script", "<\\/script")


def write(
    path: str | os.PathLike[str],
    *,
    title: str,
    lead: str = "",
    summary: Iterable[tuple[str, Any]] = (),
    sections: Sequence[Section] = (),
    footer: str = "",
) -> Path:
    """Write a report: one HTML file, all resources inline, no request to any network.

    Parameters
    ----------
    path : path-like
        Replaced whole if it exists; an interrupted write leaves it as it was.
    title : str
    lead : str
        A sentence below the title.
    summary : iterable of (label, value)
        Facts in a box at the top.
    sections : sequence of Section
    footer : str

    Returns
    -------
    pathlib.Path
        Where it is.

    Notes
    -----
    Every text is escaped. *Laziness*: computes what is drawn.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> written = write(folder / "report.html", title="Scan", sections=[Section("Facts", "", Table(["a"], [[1.0]]))])
    >>> written.name
    'report.html'
    """
    return write_text(path, page(title=title, lead=lead, summary=summary, sections=sections, footer=footer))


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file atomically: to a temporary file beside it, synced, renamed."""
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target.name}: the folder {str(target.parent)!r} does not exist")
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes it private; a report is read by others
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    return target
