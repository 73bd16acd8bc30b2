"""What each part of the tests may take; without arguments its table in docs/contributing.md is written anew.

``python -m tests.budget times.txt`` compares the output of ``pytest --durations=0 -vv`` with it and ends with 1 where a
part is over.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests import pages

# minutes on two slow cores, and what takes them; a file that is not named belongs to "the rest"
PARTS = {
    "tests/io": (8, "fuzzing, crash states, two clusters"),
    "tests/analysis": (2, "the first compile of the fit kernels; coverage of errors"),
    "tests/processing": (2, "rank, clusters, images"),
    "tests/viz": (5, "a browser that taps"),
    "tests/test_site.py": (3, "this site: every notebook of the gallery is executed, once"),
    "tests/test_docs.py": (1, "every block of the pages runs"),
    "examples of docstrings": (1, "each public function has one"),
    "the rest": (3, "engine, simulate, command line, replay"),
}
LINE = re.compile(r"([\d.]+)s (?:call|setup|teardown)\s+(\S+?)::(\S*)")


def rows() -> list[list[str]]:
    return [
        [f"`{part}`" if part.startswith("tests") else part, str(minutes), why] for part, (minutes, why) in PARTS.items()
    ]


def part(file: str) -> str:
    if file.startswith("xpycro"):
        return "examples of docstrings"
    return next((name for name in PARTS if file == name or file.startswith(f"{name}/")), "the rest")


def parts(lines: Iterable[str]) -> Counter[str]:
    """Seconds a part, from the lines of ``--durations=0``."""
    taken: Counter[str] = Counter()
    for line in lines:
        if found := LINE.search(line):
            taken[part(found[2])] += float(found[1])
    return taken


def compare(path: Path) -> bool:
    """Print what each part took beside what it may take, and the ten slowest; whether all kept to it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    taken = parts(lines)
    for name, (minutes, _) in PARTS.items():
        print(f"{name:24} {taken[name] / 60:5.1f} of {minutes} min{'  OVER' if taken[name] > 60 * minutes else ''}")
    print(f"{'all':24} {taken.total() / 60:5.1f} of 25 min")
    slowest = sorted((found for line in lines if (found := LINE.search(line))), key=lambda found: -float(found[1]))
    print(*(f"{found[1]:>8} s  {found[2]}::{found[3]}" for found in slowest[:10]), sep="\n")
    return all(taken[name] <= 60 * minutes for name, (minutes, _) in PARTS.items())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(not compare(Path(sys.argv[1])))
    pages.write(pages.DOCS / "contributing.md", "budget", pages.table(["part", "minutes", "what takes it"], rows()))
