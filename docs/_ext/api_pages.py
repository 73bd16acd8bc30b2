"""The pages of docs/api, written from the public names when the site is built, and links to them from the prose.

A page of docs that no table of contents names stands in that of the guide.

A page for each namespace of ``xp.``, one for the functions that stand in ``xp.`` itself, and one for the accessor. In
prose ``xp.decompose.svd`` and ``xp.open(path)``, set as code, lead to their entries.
"""

from __future__ import annotations

import inspect
import re
import textwrap
import types
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

import xpycro as xp

# the functions in ``xp.`` itself by what one wants to do; what is missing here goes to the last heading
TASKS = {
    "Open and translate": ["open", "open_many", "open_tree", "open_result", "translate", "sample", "samples"],
    "Formats": ["formats", "Format", "register_format"],
    "Fit": ["fit", "fit_compare", "derived", "evaluate"],
    "Use results": ["reconstruct", "residual", "project", "stack_channels"],
    "Keep, check and replay": ["save", "verify", "pack", "unpack", "layout", "history", "replay", "script"],
    "Units and places": ["to_units", "crop", "lab_frame", "positions"],
    "To and from other packages": ["to_nexus", "to_hyperspy", "from_hyperspy", "from_sidpy"],
}


def namespaces() -> dict[str, list[str]]:
    """Each namespace of ``xp.`` and its public names; under "" the names in ``xp.`` itself."""
    found: dict[str, list[str]] = {"": []}
    for name in xp.__all__:
        value = getattr(xp, name)
        if isinstance(value, types.ModuleType):
            found[name] = list(value.__all__)
        else:
            found[""].append(name)
    return found


def _entry(path: str, value: object) -> str:
    if not inspect.isclass(value):
        return f".. autofunction:: xpycro::{path}\n"
    kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
    members = "" if issubclass(value, BaseException) else "   :members:\n"
    return f".. {kind}:: xpycro::{path}\n{members}"


def _section(prefix: str, names: list[str]) -> str:
    """A table of summaries, and the entries that it leads to."""
    space = getattr(xp, prefix) if prefix else xp
    paths = {f"{prefix}.{name}".lstrip("."): getattr(space, name) for name in names}
    table = ".. autosummary::\n   :nosignatures:\n\n" + "".join(f"   ~xpycro.{path}\n" for path in paths)
    return "\n".join([table, *(_entry(path, value) for path, value in paths.items())])


def _heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n\n"


def _names(text: str) -> str:
    """A line that begins with an initial, W. H. Richardson, is no list that begins with the letter W."""
    return re.sub(r"^( *[A-Z])\. (?=[A-Z])", r"\1\\. ", text, flags=re.MULTILINE)


def _references() -> str:
    """What the docstrings cite, by the name that cites it."""
    text = _heading("References", "=")
    text += (
        "The papers and standards behind the formulas and formats, as the docstrings of the public names cite them.\n\n"
    )
    for space, names in namespaces().items():
        for name in names:
            path = f"{space}.{name}".lstrip(".")
            doc = inspect.getdoc(getattr(getattr(xp, space) if space else xp, name)) or ""
            cited = re.search(r"^References\n-+\n(.*?)(?=\n\n[A-Z][a-z]+\n-+\n|\Z)", doc, re.DOTALL | re.MULTILINE)
            if cited:
                text += (
                    f":py:obj:`xp.{path} <xpycro.{path}>`\n"
                    + textwrap.indent(_names(cited[1].strip()), "    ")
                    + "\n\n"
                )
    return text


def pages() -> dict[str, str]:
    """Name and text of each page, in reStructuredText."""
    spaces = namespaces()
    own = spaces.pop("")
    listed = {task: [name for name in names if name in own] for task, names in TASKS.items()}
    rest = sorted(set(own) - {name for names in listed.values() for name in names})
    if rest:
        listed["More"] = rest
    body = "".join(_heading(task, "-") + _section("", names) + "\n" for task, names in listed.items())
    written = {"functions": _heading("xp: open, fit, keep", "=") + body}
    for space, names in spaces.items():
        summary = inspect.getdoc(getattr(xp, space)).split("\n\n")[0]
        head = _heading(f"xp.{space}", "=") + summary + "\n\n"
        written[space] = head + _section(space, names)
    written["references"] = _references()
    return written


def write(app: Sphinx) -> None:
    """Write the pages, those that changed only, so that a second build is quick."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    wanted = pages()
    for old in folder.glob("*.rst"):
        if old.stem not in wanted:
            old.unlink()
    for name, text in wanted.items():
        target = folder / f"{name}.rst"
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


def list_the_rest(app: Sphinx, name: str, source: list[str]) -> None:
    """Put pages that no table of contents names below the guide."""
    if name != "guide/index":
        return
    folder = Path(app.srcdir)
    texts = [page.read_text(encoding="utf-8") for page in (*folder.glob("*.md"), *folder.glob("*/index.md"))]
    tables = [
        table for text in texts for table in re.findall(r"^```\{toctree\}$(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]
    named = {line.strip().removeprefix("../") for table in tables for line in table.splitlines()} | {"index"}
    rest = sorted(f"../{page.stem}" for page in folder.glob("*.md") if page.stem not in named)
    if rest:
        source[0] += "\n```{toctree}\n:hidden:\n\n" + "\n".join(rest) + "\n```\n"


class LinkNames(SphinxTransform):
    """Makes ``xp.name`` in running text a link to its entry."""

    default_priority = 400
    NAME = re.compile(r"^(?:xp|xpycro)\.([A-Za-z_][\w.]*)(?:\(.*\))?$", re.DOTALL)

    def apply(self, **kwargs: object) -> None:
        for node in list(self.document.findall(nodes.literal)):
            match = self.NAME.match(node.astext())
            if match and not isinstance(node.parent, (pending_xref, nodes.reference)):
                link = pending_xref(
                    "", refdomain="py", reftype="obj", reftarget=f"xpycro.{match[1]}", refexplicit=True, refwarn=False
                )
                node.replace_self(link)
                link += node


def keep_initials(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = [_names(line) for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", keep_initials)
    app.connect("builder-inited", write)
    app.connect("source-read", list_the_rest)
    app.add_transform(LinkNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
