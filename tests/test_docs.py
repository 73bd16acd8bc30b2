"""The documentation is true: every Python block of its pages runs, the table of formats is the one of `xp.formats()`.

Blocks of a page share one namespace, in order, in a folder of their own and without a network; a block after the
line ``<!-- not run: REASON -->`` is left out. Notebooks of the gallery are run by the build of the site.
``<!-- real file: NAME as NAME -->`` puts a file of the data folder there, or skips the page where there is none.
``python -m tests.test_docs`` writes the table of docs/formats.md anew.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from sklearn import decomposition

import xpycro as xp
from tests import budget, pages
from tests.benchmarks import table
from xpycro.cli import parser

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("guide/*.md")), DOCS / "api" / "index.md"]
GALLERY = sorted(DOCS.glob("gallery/*.md"))
FORMATS = DOCS / "formats.md"
BEGIN, END = "<!-- formats: begin -->", "<!-- formats: end -->"
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")
REAL_FILE = re.compile(r"<!-- real file: (.+?) as (\S+) -->")


def blocks(page: str) -> list[tuple[int, str]]:
    """The Python blocks of a page that are to be run, each with the line it begins at."""
    found = []
    lines = page.splitlines()
    number = 0
    while number < len(lines):
        if lines[number].strip() != "```python":
            number += 1
            continue
        end = lines.index("```", number)
        before = next((line for line in reversed(lines[:number]) if line.strip()), "")
        if not NOT_RUN.fullmatch(before.strip()):
            found.append((number + 1, "\n".join(lines[number + 1 : end])))
        number = end + 1
    return found


def formats_table() -> str:
    """`xp.formats()` in Markdown."""

    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    table = xp.formats()
    rows = [(f"`{name}`", *(cell or "-" for cell in rest)) for name, *rest in table.rows()]
    return "\n".join([line(table.COLUMNS), "|---" * len(table.COLUMNS) + "|", *map(line, rows)])


def write_formats_table() -> None:
    """Put the table of `xp.formats()` between the markers of docs/formats.md."""
    pages.write(FORMATS, "formats", formats_table())


def called(page: Path) -> str:
    """Its path, as the name of a test."""
    return page.relative_to(ROOT).with_suffix("").as_posix()


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("the documentation must run without a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_blocks_run(page, tmp_path, monkeypatch, offline, data_file):
    monkeypatch.chdir(tmp_path)
    for name, local in REAL_FILE.findall(page.read_text(encoding="utf-8")):
        (tmp_path / local).symlink_to(data_file(name))
    known = {f.name for f in xp.formats()}
    namespace: dict = {"__name__": f"docs_{page.stem}"}
    monkeypatch.setitem(sys.modules, namespace["__name__"], type(sys)(namespace["__name__"]))
    try:
        for line, block in blocks(page.read_text(encoding="utf-8")):
            code = compile("\n" * line + block, str(page), "exec")  # so that a failure names the line of the page
            exec(code, namespace)
    finally:
        forget(known)


def forget(known) -> None:
    """Take formats that a page registered out of the table again: other tests look at all of it."""
    from xpycro.io import formats

    for name in {f.name for f in xp.formats()} - known:
        del formats._FORMATS[name]


def test_entry_point_of_the_page_is_found(tmp_path):
    """The page's example as an installed package: its module, and the entry point that the page shows."""
    page = (DOCS / "add_a_format.md").read_text(encoding="utf-8")
    module, write = (code for _, code in blocks(page)[:2])
    entry = re.search(r"```toml\n(.*?)```", page, re.DOTALL).group(1)
    package, info = tmp_path / "my_package", tmp_path / "my_package-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tip.py").write_text(module.replace("xp.register_format(TIP)", ""))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[xpycro.formats]\n" + entry.split("\n", 1)[1].replace('"', ""))
    script = "import numpy as np, xarray as xr, xpycro as xp\nMAGIC = b'TIPSCAN1'\n" + write
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", script], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_formats_table_is_current():
    page = FORMATS.read_text(encoding="utf-8")
    assert page.count(BEGIN) == page.count(END) == 1
    written = page.split(BEGIN)[1].split(END)[0].strip()
    assert written == formats_table(), "write it anew with: python -m tests.test_docs"


def test_the_readme_counts_the_formats_that_there_are():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    kinds = [f.verified for f in xp.formats() if f.verified != "refused"]
    read, proved, bridged = map(
        int, re.search(r"(\d+), of which (\d+) proved on real files; (\d+) through", text).groups()
    )
    assert (read, proved, bridged) == (len(kinds), kinds.count("real file"), kinds.count("bridge"))
    lazy = int(re.search(r"the header, for (\d+) formats", text)[1])
    assert lazy == sum(f.lazy == "block" for f in xp.formats())


def test_the_readme_has_the_benchmarks_that_there_are():
    rows = pages.published(ROOT / "README.md", "benchmarks")
    assert [[row[0], row[-1]] for row in rows] == [row.cells for row in table.ROWS]
    for row in table.ROWS:
        assert (ROOT / "tests" / "benchmarks" / row.file).exists()


def test_the_budget_of_the_tests_is_the_one_on_the_page():
    assert pages.published(DOCS / "contributing.md", "budget") == budget.rows()
    assert sum(minutes for minutes, _ in budget.PARTS.values()) <= 25
    assert budget.parts(
        ["1.50s call     tests/io/test_a.py::test_b[c]", "30.0s setup xpycro/io/cursor.py::xpycro.io.cursor"]
    )["tests/io"] == pytest.approx(1.5)


def test_every_format_is_described():
    text = FORMATS.read_text(encoding="utf-8").split(END)[1]
    missing = [f.name for f in xp.formats() if not re.search(rf"`{f.name}`", text)]
    assert not missing, f"docs/formats.md has no section for {missing}"


@pytest.mark.parametrize("page", PAGES + GALLERY, ids=called)
def test_no_block_goes_untried(page):
    """Code of a page is in blocks that are run, or says why it is not; shell lines are commands that exist."""
    text = page.read_text(encoding="utf-8")
    fences = set(re.findall(r"^ *(?:```|~~~)([^`\n]+)$", text, re.MULTILINE))
    assert fences <= {"python", "bash", "toml", "{code-cell}", "{toctree}", "{include} ../CHANGELOG.md"}
    assert not re.search(r"^ +```python", text, re.MULTILINE), "an indented block would not be run"
    assert not re.search(r"<!-- not run *-->", text), "say why: <!-- not run: needs your files -->"
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for command in re.split(r"\n|&&", block):
            word, *rest = shlex.split(command, comments=True) or [""]
            if word.endswith("xpycro"):
                parser().parse_args(rest)  # else it ends with what is wrong


@pytest.mark.parametrize("page", PAGES + GALLERY, ids=called)
def test_names_and_links_exist(page):
    """Each xp.name that a page mentions exists, and each relative link leads somewhere."""
    text = page.read_text(encoding="utf-8")
    for dotted in set(re.findall(r"\bxp\.([a-z_]+(?:\.[A-Za-z_]+)?)", text)):
        found = xp
        for part in dotted.split("."):
            found = getattr(found, part)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target and not target.endswith(".rst"):  # those are written by the build
            assert (page.parent / target).exists(), f"{page.name}: no {target}"


def test_every_call_of_the_tables_for_newcomers_runs(tmp_path, monkeypatch):
    """docs/coming_from.md, in its order: what stands in the column *here* and is a call of ours."""
    monkeypatch.chdir(tmp_path)
    values = np.arange(16) * 1e-9
    place = {d: (d, values, {"units": "m"}) for d in ("y", "x")}
    energy = xr.Variable("energy", np.linspace(50, 250, 64), {"units": "eV"})
    counts = np.random.default_rng(0).poisson(50 + 90 * np.exp(-(((energy.values - 150) / 20) ** 2)), (16, 16, 64))
    da = xr.DataArray(counts * 1.0, {**place, "energy": energy}, ("y", "x", "energy"), "counts", {"units": "counts"})
    frames = xr.concat([da[..., 0].pycro.image.fourier_filter(low_pass=3e-9)] * 2, "frame")
    ds = da.to_dataset().assign_attrs(original_metadata="{}")
    ds["response"] = xp.simulate.band_excitation((4, 4), 32).response.rename(y="y2", x="x2")
    names = {"xp": xp, "xr": xr, "da": da, "ds": ds, "frames": frames, "values": values, "array": values[None], "n": 3}
    names |= {"path": "file.h5", "a": 60, "b": 100, "svd": da.pycro.decompose.svd(n_components=6)}
    names["f"] = lambda energy, a, b: a + b * energy
    names["NMF"] = functools.partial(decomposition.NMF, tol=0.1)
    xp.save(da.to_dataset(), "file.h5")
    tried = 0
    for row in re.findall(r"^\| `.*", (DOCS / "coming_from.md").read_text(encoding="utf-8"), re.MULTILINE):
        for code in re.findall(r"`([^`]+)`", row.split(" | ")[1]):
            if re.match(r"(?:\w+ = )?(?:xp|xr|da|ds|svd|frames)[.(\[]", code) and "save(ds," not in code:
                exec(code, names)
                tried += 1
    assert tried > 40


def test_functions_are_not_hidden_by_modules_of_their_name():
    """The guide calls `xp.script` and then `xp.replay`; the module of that name is imported by the first."""
    for name, home in xp._HOMES.items():
        module, _, attribute = home.partition(":")
        imported = importlib.import_module(module)
        assert getattr(xp, name) is (getattr(imported, attribute) if attribute else imported), name


if __name__ == "__main__":
    write_formats_table()
