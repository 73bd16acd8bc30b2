"""``xpycro replay``: a stored result made again, on the same measurement or on another."""

from __future__ import annotations

from xpycro.io import store
from xpycro.provenance import history
from xpycro.replay import replay
from xpycro.schema import result_kind

__all__ = ["run"]


def run(file: str, name: str, *, source: str | None = None) -> None:
    """Replay result `name` of `file` and store it beside the measurement it was made from this time."""
    made = replay(file, name, source=source)
    target = source or file
    stored = store.save(made, target)
    place = history(stored).location or {}
    print(f"{target}: {place.get('group')} ({result_kind(stored) or 'data'})")
