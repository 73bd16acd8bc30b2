"""``xpycro view``: the explorer that suits a file, served to a browser on this machine only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from xpycro import schema
from xpycro.io import opening
from xpycro.viz import plot

__all__ = ["run", "serve"]


def serve(
    file: str,
    *,
    group: str | None = None,
    variable: str | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    port: int = 0,
    show: bool = False,
) -> Any:
    """Serve the explorers of `file` on 127.0.0.1, a tab for each thing in it, and return the running server.

    Parameters
    ----------
    file : str
    group, variable : str, optional
        Only this grid, or this channel.
    format : str, optional
        Of the file, where content and suffix do not tell.
    options : mapping, optional
        Of the file's reader.
    port : int, optional
        0 takes a free one.
    show : bool, optional
        Open it in the browser.

    Returns
    -------
    panel.io.server.StoppableThread
        ``.stop()`` ends it.

    Notes
    -----
    *Laziness*: nothing is read before a browser asks; then what it shows.
    """
    import panel

    held = _held(file, group, variable, {**(options or {}), "format": format})

    def page() -> Any:
        return plot.tree(held)

    return panel.serve(
        {"": page}, title=Path(file).name, address="127.0.0.1", port=port, show=show, threaded=True, verbose=False
    )


def _held(file: str, group: str | None, variable: str | None, options: Mapping[str, Any]) -> xr.DataTree:
    """Everything in a file, results included, or the one group or channel asked for."""
    if group is None and variable is None:
        return opening.open_tree(file, **options)
    ds = opening.open(file, group=group, **options)
    return xr.DataTree(ds if variable is None else schema.pick(ds, variable).to_dataset(), name=group)


def run(file: str, *, port: int = 0, show: bool = True, **chosen: Any) -> None:
    """Serve the explorer until the user interrupts."""
    port = _port(port)
    server = serve(file, port=port, show=show, **chosen)
    print(f"{file}: http://127.0.0.1:{port} (Ctrl+C ends it)", flush=True)
    try:
        server.join()
    except KeyboardInterrupt:
        server.stop()


def _port(asked: int) -> int:
    """The port asked for if it can be had, or a free one for 0: so that its address can be printed."""
    import socket

    with socket.socket() as probe:
        if os.name != "nt":  # one that a server before has just left may be used, as the server to come does
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", asked))
        except (OSError, OverflowError) as error:
            raise ValueError(f"--port {asked} cannot be had ({error}): leave it out and a free one is taken") from error
        return int(probe.getsockname()[1])
