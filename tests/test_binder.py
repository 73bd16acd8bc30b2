"""The Binder: what it asks for exists; on demand (``XPYCRO_BINDER=1``, ten minutes, a network) it is built and used.

Built without Docker: a clean environment from ``binder/`` alone with the Python of its runtime.txt, `postBuild`, each
notebook of the gallery executed headless, its memory taken, and three explorers tapped in a browser inside JupyterLab.
``XPYCRO_BINDER_ENV`` names an environment that was built before.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BINDER = ROOT / "binder"
GALLERY = sorted((ROOT / "docs" / "gallery").glob("[!i]*.md"))
on_demand = pytest.mark.skipif(
    os.environ.get("XPYCRO_BINDER") != "1", reason="builds an environment and drives JupyterLab: XPYCRO_BINDER=1 asks"
)


def test_it_asks_for_a_python_and_extras_that_the_package_has():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = tuple(map(int, re.search(r">=(\d+)\.(\d+)", project["requires-python"]).groups()))
    asked = tuple(map(int, re.fullmatch(r"python-(\d+)\.(\d+)\n", (BINDER / "runtime.txt").read_text()).groups()))
    assert asked >= least
    first, *others = (BINDER / "requirements.txt").read_text().split()
    extras = re.fullmatch(r"\.\[(.+)\]", first)[1].split(",")
    assert set(extras) <= set(project["optional-dependencies"]) and {"jupyterlab", "jupytext"} <= set(others)
    assert os.access(BINDER / "postBuild", os.X_OK)


@on_demand
@pytest.mark.skipif(shutil.which("jupyter-repo2docker") is None, reason="jupyter-repo2docker is not installed")
def test_repo2docker_takes_it(tmp_path):
    """What it would build, written without Docker: our Python, our requirements, postBuild."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    options = ["--no-build", "--debug", "--user-id", "1000", "--user-name", "jovyan"]
    done = subprocess.run(["jupyter-repo2docker", *options, tmp_path], capture_output=True, text=True, timeout=300)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-2000:]
    asked = (BINDER / "runtime.txt").read_text().strip().replace("-", "=")
    for expected in (f"conda environment for {asked}", 'install --no-cache-dir -r "binder/requirements.txt"'):
        assert expected in said
    assert "binder/postBuild" in said


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """An environment with what binder/ asks for and nothing else; its bin folder."""
    given = os.environ.get("XPYCRO_BINDER_ENV")
    if given:
        return Path(given) / "bin"
    python = shutil.which((BINDER / "runtime.txt").read_text().strip().replace("-", ""))
    if python is None or subprocess.run([python, "--version"], capture_output=True).returncode:  # pyenv's shim of none
        pytest.skip("the Python of binder/runtime.txt is not on this machine")
    folder = tmp_path_factory.mktemp("binder") / "env"
    subprocess.run([python, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/pip", "install", "-q", "-r", "binder/requirements.txt"], cwd=ROOT, check=True)
    return folder / "bin"


def variables(environment: Path, home: Path) -> dict[str, str]:
    """As a container of its own would have them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "JUPYTER", "XPYCRO"))}
    return {**kept, "HOME": str(home), "PATH": f"{environment}:{os.environ['PATH']}"}


@pytest.fixture(scope="session")
def home(environment, tmp_path_factory):
    """A home after `postBuild`, with the gallery in it."""
    folder = tmp_path_factory.mktemp("home")
    subprocess.run([BINDER / "postBuild"], cwd=folder, env=variables(environment, folder), check=True, timeout=900)
    shutil.copytree(ROOT / "docs" / "gallery", folder / "gallery")
    return folder


RUN = """
import resource, sys
import jupytext, nbclient
notebook = jupytext.read(sys.argv[1])
nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": sys.argv[2]}}).execute()
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


@on_demand
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("notebook", GALLERY, ids=lambda path: path.stem)
def test_each_notebook_runs_in_less_than_a_gigabyte(environment, home, notebook, tmp_path):
    command = [environment / "python", "-c", RUN, home / "gallery" / notebook.name, tmp_path]
    start = time.perf_counter()
    done = subprocess.run(
        command, env=variables(environment, home), cwd=tmp_path, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    megabytes = int(done.stdout.split()[-1])
    print(f"{notebook.stem}: {time.perf_counter() - start:.0f} s, {megabytes} MB")
    assert megabytes < 1024


EXPLORERS = {
    "explore": "import xpycro as xp\nxp.simulate.tunnelling_grid((8, 8), 41).didv.pycro.plot()",
    "fit": "ds = xp.simulate.tunnelling_grid((8, 8), 64)\n"
    'ds.didv.pycro.fit("gaussian + linear", window=("-100 mV", "250 mV")).pycro.plot(data=ds.didv)',
    "diffraction": "import numpy as np\nimport xarray as xr\n"
    "k = xr.Variable('kx', np.linspace(-1e9, 1e9, 16), {'units': '1/m'})\n"
    "axes = {'y': np.arange(5) * 1e-9, 'x': np.arange(7) * 1e-9, 'ky': ('ky', k.values, k.attrs), 'kx': k}\n"
    "counts = np.random.default_rng(1).poisson(9, (5, 7, 16, 16)).astype('u2')\n"
    "scan = xr.DataArray(counts, axes, ('y', 'x', 'ky', 'kx'), 'counts', {'units': 'counts'})\n"
    "scan.pycro.plot.diffraction()",
}


@on_demand
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_explorers_are_tapped_inside_jupyterlab(environment, home, chromium, tmp_path):
    """A tap on each map moves what is beside it; server and kernel together stay below a gigabyte."""
    import psutil

    page = "---\nkernelspec:\n  name: python3\n  display_name: Python 3\n  language: python\n---\n"
    page += "".join(f"\n```{{code-cell}}\n{cell}\n```\n" for cell in EXPLORERS.values())
    (home / "tap.md").write_text(page)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--port={port}", "--no-browser", "--IdentityProvider.token=", "--ServerApp.open_browser=False"]
    if os.getuid() == 0:
        options.append("--allow-root")
    start = time.perf_counter()
    with open(tmp_path / "lab.log", "w") as log:
        server = subprocess.Popen(
            [environment / "jupyter", "lab", *options], cwd=home, env=variables(environment, home), stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_for(port, tmp_path / "lab.log")
        print(f"server listens after {time.perf_counter() - start:.1f} s")
        found = tapped(f"http://127.0.0.1:{port}/lab/tree/tap.md?reset", chromium, tmp_path)
        every = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        memory = [one.memory_info().rss >> 20 for one in every]
        print(f"server and kernel: {memory} MB; processor {[sum(one.cpu_times()[:2]) for one in every]} s")
    finally:
        server.terminate()
        server.wait(30)
    for name, (before, after) in found.items():
        assert before != after, f"the tap on {name} changed no title"
    assert sum(memory) < 1024


def wait_for(port: int, log: Path) -> None:
    for _ in range(600):  # seconds on a machine of its own, a minute and more on one that others use
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise TimeoutError(log.read_text()[-2000:])


TITLES = (
    "() => Bokeh.documents.flatMap(d => [...d._all_models.values()]).filter(m => m.type == 'Title').map(m => m.text)"
)


def tapped(address: str, chromium: str, folder: Path) -> dict[str, tuple[list[str], list[str]]]:
    """For each explorer the titles of the figures before and after a tap near the corner of its first map."""
    from playwright.sync_api import sync_playwright

    found = {}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1800})
        page.route(re.compile(r"^(?!https?://127\.0\.0\.1|data:|blob:)"), lambda route: route.abort())  # no network
        try:
            start = time.perf_counter()
            page.goto(address, timeout=120_000)
            page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=120_000)
            page.wait_for_timeout(5000)
            question = page.get_by_role("button", name="Select", exact=True)
            if question.is_visible():  # which kernel
                question.click()
            page.get_by_text("| Idle").wait_for(timeout=240_000)
            print(f"page and kernel ready after {time.perf_counter() - start:.1f} s")
            for number, name in enumerate(EXPLORERS):
                cell = page.locator(".jp-Notebook .jp-CodeCell").nth(number)
                cell.locator(".jp-InputArea-editor").click()
                start = time.perf_counter()
                page.keyboard.press("Shift+Enter")
                canvas = cell.locator(".jp-OutputArea-output .bk-Figure").first  # inside shadow roots
                canvas.wait_for(state="visible", timeout=300_000)
                print(f"{name}: drawn after {time.perf_counter() - start:.1f} s")
                canvas.scroll_into_view_if_needed()
                page.wait_for_timeout(6000)
                before = page.evaluate(TITLES)
                box = canvas.bounding_box()
                page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 0.3 * box["height"])
                page.wait_for_timeout(6000)
                found[name] = (before, page.evaluate(TITLES))
                page.screenshot(path=folder / f"lab_{name}.png")
        finally:
            page.screenshot(path=folder / "lab.png")
            browser.close()
    (folder / "titles.json").write_text(json.dumps(found))
    return found
