"""The site builds offline without a warning, with every notebook of the gallery executed, and misses no public name.

The build is the gallery's test: a cell that fails fails it. Without the packages of ``[docs]`` it is skipped.
"""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import xpycro as xp

ROOT = Path(__file__).resolve().parents[1]
GALLERY = sorted((ROOT / "docs" / "gallery").glob("[!i]*.md"))


def public() -> dict[str, object]:
    """Every public name by its path under ``xp.``."""
    found: dict[str, object] = {}
    for name in xp.__all__:
        value = getattr(xp, name)
        if isinstance(value, types.ModuleType):
            found |= {f"{name}.{member}": getattr(value, member) for member in value.__all__}
        else:
            found[name] = value
    return found


PUBLIC = public()
FUNCTIONS = [path for path, value in PUBLIC.items() if inspect.isfunction(value)]


@pytest.mark.parametrize("path", FUNCTIONS)
def test_every_public_function_has_an_example_that_runs(path):
    examples = (PUBLIC[path].__doc__ or "").partition("Examples\n")[2]
    assert ">>>" in examples, f"xp.{path}: its docstring has no Examples for the doctest run"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, and what the build said."""
    for needed in ("sphinx", "myst_nb", "pydata_sphinx_theme", "sphinx_design"):
        pytest.importorskip(needed, reason=f"{needed} of xpycro[docs] is not installed")
    folder = tmp_path_factory.mktemp("site")
    source = folder / "docs"
    shutil.copytree(ROOT / "docs", source, ignore=shutil.ignore_patterns("_build", "*.rst"))
    shutil.copy(ROOT / "CHANGELOG.md", folder)
    # two notebooks at a time would compile the same kernels twice
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", source, folder / "html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, cwd=ROOT)
    return folder / "html", done


@pytest.mark.timeout(1200)
@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_every_notebook_runs(site):
    html, done = site
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    for notebook in GALLERY:
        page = (html / "gallery" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        assert page.count("cell_output") >= 3, f"{notebook.name} was not executed"


def test_the_reference_misses_no_public_name(site):
    from sphinx.util.inventory import InventoryFile

    html, _ = site
    with open(html / "objects.inv", "rb") as stream:
        found = InventoryFile.load(stream, "", lambda base, path: path)
    named = {name for kind, names in found.items() if kind.startswith("py:") for name in names}
    missing = [path for path in PUBLIC if f"xpycro.{path}" not in named]
    assert not missing


@pytest.mark.parametrize("notebook", GALLERY, ids=lambda path: path.stem)
def test_every_notebook_ends_in_the_truth_and_shows_ones_own_file(notebook):
    text = notebook.read_text(encoding="utf-8")
    assert (
        re.search(r"^## Against the truth", text, re.MULTILINE)
        and "assert " in text.partition("## Against the truth")[2]
    )
    assert re.search(r"your own (file|folder)", text, re.IGNORECASE)
    assert '"cell_type"' not in text  # text, no outputs
