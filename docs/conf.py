"""The site: ``python -m sphinx -W -b html docs docs/_build/html``, offline.

Prose is Markdown whose ``python`` blocks are run by tests/test_docs.py; the notebooks of docs/gallery are executed by
this build; the pages of docs/api are written by `_ext/api_pages.py` from the public names.
"""

import os
import shutil
import sys
from pathlib import Path

import bokeh

import xpycro

EXT = Path(__file__).parent / "_ext"
sys.path.insert(0, str(EXT))

project = "xpycro"
author = "The xpycro developers"
copyright = f"2026, {author}"
version = release = xpycro.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "api_pages",
]
exclude_patterns = ["_build", "_ext"]
suppress_warnings = ["mystnb.unknown_mime_type"]  # HoloViews offers its own besides HTML

# prose
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3

# notebooks
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_in_temp = True  # what a notebook writes is gone with it
nb_execution_show_tb = True
nb_merge_streams = True
nb_output_stderr = "error"  # a stray warning is a fault, too
kernel = Path(__file__).parent / "_build" / "kernel"
(kernel / "profile_default" / "startup").mkdir(parents=True, exist_ok=True)
shutil.copy(EXT / "kernel_startup.py", kernel / "profile_default" / "startup")
os.environ["IPYTHONDIR"] = str(kernel)  # there pictures are drawn that work without a server

# reference
default_role = "py:obj"  # names in docstrings lead to their entries where there is one
autosummary_generate = False
autodoc_typehints = "none"  # numpydoc says them, with dims and units
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "pydata_sphinx_theme"
html_title = "xpycro"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# what draws the pictures of the gallery, from the installed package: the site works offline
html_static_path += [
    str(Path(bokeh.__file__).parent / "server" / "static" / "js" / f"bokeh{part}.min.js") for part in ("", "-widgets")
]
html_js_files = ["bokeh.min.js", "bokeh-widgets.min.js"]
html_sidebars = {"gallery/*": []}
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "show_prev_next": False,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": {place: ["page-toc"] for place in ("*", "guide/*", "api/*")},  # room for pictures
    "footer_start": ["copyright"],
    "footer_end": [],
}
