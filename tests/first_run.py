"""What a newcomer waits for, timed: ``python -m tests.first_run`` (a network, half an hour; not part of the tests).

Builds the wheel, installs it alone into a new environment, and runs what README.md and docs/start.md say, each step in
a process of its own, on one real file of every family where the folder of files is given. Prints the table of
docs/contributing.md; processor seconds beside the clock's, since other work may share the machine.

    python -m tests.first_run --data FOLDER --environment FOLDER --repeat 3
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START = ROOT / "docs" / "start.md"
# one file for each chain of the demo: spectra, images, losses, light, masses, diffraction, a curve
CHAINS = (
    "nanonis_3ds/NanonisReader_STS_grid_lockin.3ds", "igor_ibw/IgorIBWReader_ImageStack_BTFO_DSO.ibw",
    "dm/EELS_SI.dm4", "imzml/Example_Continuous.imzML", "blockfile/test1.blo", "nanonis_dat/a.dat",
)  # fmt: skip


OTHER = (".csv", ".json", ".md", ".npy", ".gz", ".zip", ".ibd", ".raw")
# `info` and `translate` as the shell runs them, without the import that each would begin with
EVERY = """
import contextlib, io, sys, time, warnings
from pathlib import Path
from xpycro.cli import main
warnings.simplefilter("always")
for path in map(Path, sys.argv[1:]):
    cells = []
    for command in (["info", str(path)], ["translate", str(path), "-o", f"{path.parent.name}.h5"]):
        start, said = time.process_time(), io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            main(command)
        cells += [f"{time.process_time() - start:.2f}", said.getvalue().strip().replace("\\n", " ")[:300]]
    print("", path.parent.name, path.name, *cells, "", sep=" | ", flush=True)
"""


@dataclass
class Step:
    """What one process took and said."""

    wall: float
    cpu: float
    megabytes: int
    code: int
    out: str
    err: str


def step(command: Sequence[str | Path], folder: Path, *, until: str = "") -> Step:
    """Run a command to its end, or to where the address that it prints answers, and take its times.

    Parameters
    ----------
    command : sequence
    folder : Path
        Where it runs.
    until : str
        A pattern whose group is an address in what the command prints: the command is ended once that answers.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "XPYCRO", "VIRTUAL"))}
    out, err = folder / ".out", folder / ".err"
    with open(out, "w") as o, open(err, "w") as e:
        start = time.perf_counter()
        process = subprocess.Popen([str(c) for c in command], cwd=folder, env=clean, stdout=o, stderr=e)
        if until:
            _answering(process, out, until)
            wall = time.perf_counter() - start
            process.terminate()
        _, status, usage = os.wait4(process.pid, 0)
        wall = wall if until else time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    return Step(wall, cpu, usage.ru_maxrss // 1024, process.returncode, out.read_text(), err.read_text())


def _answering(process: subprocess.Popen[bytes], out: Path, pattern: str) -> None:
    while process.poll() is None:
        found = re.search(pattern, out.read_text())
        if found:
            try:
                with urllib.request.urlopen(found[1], timeout=120) as answer:
                    answer.read()
                return
            except OSError:
                pass
        time.sleep(0.05)


def installed(folder: Path) -> list[tuple[str, Step]]:
    """The wheel, and an environment with it and what it needs alone."""
    wheel = folder / "wheel"
    pip = ["-m", "pip", "--disable-pip-version-check"]
    steps = [
        ("build the wheel", step([sys.executable, *pip, "wheel", "-q", "--no-deps", "-w", wheel, ROOT], folder)),
        ("python -m venv", step([sys.executable, "-m", "venv", folder / "env"], folder)),
    ]
    (built,) = wheel.glob("*.whl")
    return [*steps, ("pip install", step([folder / "env/bin/python", *pip, "install", "-q", built], folder))]


def chain(page: Path) -> str:
    """The Python blocks of the ten-minute start as one script that says what each took."""
    text = re.sub(r"<!-- not run[^>]*-->\s*```python.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = ["import time; _start = time.perf_counter()"]
    took = "round(time.process_time(), 1), round(time.perf_counter() - _start, 1), '|', sep=' | ', flush=True"
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
        if blocks:
            title = section.partition("\n")[0]
            lines += [*blocks, f"print('| to the end of {title}', {took})"]
    return "\n".join(lines)


def files(data: Path) -> list[Path]:
    """One file of each family: the first that is no reader's reference table, archive, or numbers beside a header."""
    found = []
    for family in sorted(p for p in data.iterdir() if p.is_dir()):
        inside = sorted(p for p in family.iterdir() if p.suffix not in OTHER)
        if inside:
            found.append(inside[0])
    return found


def row(name: str, steps: Sequence[Step]) -> str:
    """A line of the table: medians."""
    wall, cpu, memory = (statistics.median(getattr(s, field) for s in steps) for field in ("wall", "cpu", "megabytes"))
    return f"| {name} | {cpu:.1f} | {wall:.1f} | {memory:.0f} |"


def said(steps: Sequence[Step]) -> str:
    """What a step wrote to standard error, and its exit code where that is not 0."""
    last = steps[-1]
    return f"  [{last.code}] {last.err.strip()[:600]}" if last.err.strip() or last.code else ""


def main() -> None:
    """Time everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of real files, a folder a family (default: none)")
    parser.add_argument("--environment", type=Path, help="one that was made before (default: make one)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each step, of which the median counts")
    parser.add_argument("--every", action="store_true", help="info and translate on one file of every family too")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="first_run_"))
    try:
        _timed(asked, folder)
    finally:
        shutil.rmtree(folder)


def _timed(asked: argparse.Namespace, folder: Path) -> None:
    print("| step | CPU s | s | MB |\n|---|---|---|---|")
    if asked.environment is None:
        for name, one in installed(folder):
            print(row(name, [one]), said([one]), sep="", flush=True)
    environment = (asked.environment or folder / "env").absolute()
    python, xpycro = environment / "bin/python", environment / "bin/xpycro"

    def show(name: str, command: Sequence[str | Path], *, until: str = "", repeat: int = asked.repeat) -> list[Step]:
        place = Path(tempfile.mkdtemp(dir=folder))
        steps = [step(command, place, until=until) for _ in range(repeat)]
        print(row(name, steps), said(steps), sep="", flush=True)
        return steps

    for module in ("xarray", "xpycro"):
        show(f"`import {module}`", [python, "-c", f"import {module}"])
    show("`xpycro --version`", [xpycro, "--version"])
    show("`xpycro formats`", [xpycro, "formats"])
    (folder / "start.py").write_text(chain(START))
    for again in ("the first time", "once more"):
        (once,) = show(f"docs/start.md, {again}", [python, folder / "start.py"], repeat=1)
        print(*[line for line in once.out.splitlines() if line.startswith("| to")], sep="\n", flush=True)
    for again in ("the first time", "once more"):
        show(f"`xpycro demo`, {again}", [xpycro, "demo", "--output", "here"], repeat=1)
    if asked.data is None:
        return
    data = asked.data.absolute()
    first = data / CHAINS[0]
    address = r"(http://127\.0\.0\.1:\d+)"
    show(f"`xpycro view {first.name}`, until the page answers", [xpycro, "view", first, "--no-show"], until=address)
    for source in (data / name for name in CHAINS):
        show(f"`xpycro info {source.name}`", [xpycro, "info", source])
        show(f"`xpycro translate {source.name}`", [xpycro, "translate", source, "--overwrite", "-o", "out.h5"])
        show(f"`xpycro demo {source.name}`", [xpycro, "demo", source, "--output", "out"], repeat=1)
    if asked.every:
        (once,) = show("all families, in one process", [python, "-c", EVERY, *files(data)], repeat=1)
        print(once.out)


if __name__ == "__main__":
    main()
