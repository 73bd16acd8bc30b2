"""For the notebooks of the gallery when the site is built: a page has no server, so the twins for files are drawn."""

import holoviews.plotting.bokeh  # noqa: F401
from holoviews import Store
from IPython import get_ipython

Store.set_current_backend("bokeh")  # loaded: nothing more goes into the output of the first picture


def _drawn(plot: object) -> str:
    """A picture or explorer as HTML; the library itself is loaded once by the page."""
    from bokeh.embed import components

    from xpycro.viz.report import model_of

    script, div = components(model_of(plot))
    return f"{div}{script}"


get_ipython().display_formatter.formatters["text/html"].for_type_by_name(
    "holoviews.core.dimension", "Dimensioned", _drawn
)
