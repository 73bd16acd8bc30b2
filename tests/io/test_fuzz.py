"""Damaged and hostile files: every translator refuses them with a TranslationError or reads what is right."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from tests.io import fuzzing, samples
from xpycro.errors import TranslationError
from xpycro.io import formats, translators
from xpycro.io.translators import (
    createc,
    createc_vert,
    gwyddion,
    gwyddion_native,
    igor,
    nanonis,
    nanonis_dat,
    nanonis_sxm,
    nanoscope,
)


def _wave(**kwargs):
    data = np.random.default_rng(0).normal(size=(6, 5, 2)).astype("f4")
    note = "ImagingMode:AC Mode\rScanAngle: 90\rScanSize: 1e-6\r"
    content, header, _ = samples.igor_wave5(
        data, labels=((), (), ("HeightTrace", "HeightRetrace")), note=note, **kwargs
    )
    return content, (header, header + data.nbytes)


CASES = {
    "grid.3ds": (nanonis.grid, lambda: samples.nanonis_grid(6, 5, 7)[:2]),
    "stopped.3ds": (nanonis.grid, lambda: samples.nanonis_grid(6, 5, 7, written=17)[:2]),
    "up.sxm": (nanonis_sxm.scan, lambda: samples.nanonis_scan(7, 6)[:2]),
    "down.sxm": (nanonis_sxm.scan, lambda: samples.nanonis_scan(7, 6, direction="down")[:2]),
    "spectrum.dat": (nanonis_dat.spectrum, lambda: samples.nanonis_spectrum()[:2]),
    "image.spm": (nanoscope.read, lambda: samples.nanoscope_image(9, 7)[:2]),
    "force.spm": (nanoscope.read, lambda: samples.nanoscope_force()[:2]),
    "volume.spm": (nanoscope.read, lambda: samples.nanoscope_force(curves=(3, 2))[:2]),
    "little.ibw": (igor.wave, _wave),
    "big.ibw": (igor.wave, lambda: _wave(order=">")),
    "experiment.pxp": (igor.experiment, lambda: samples.igor_experiment()[:2]),
    "old.ibw": (igor.wave, lambda: (samples.igor_wave2(np.arange(40.0), note="Gain: 3"), (126, 286))),
    "image.dat": (createc.image, lambda: samples.createc_image()[:2]),
    "stopped.dat": (createc.image, lambda: samples.createc_image(lines=2)[:2]),
    "plain.dat": (createc.image, lambda: samples.createc_image(kind="Paramet32")[:2]),
    "integers.dat": (createc.image, lambda: samples.createc_image(kind="Parameter")[:2]),
    "point.vert": (createc_vert.spectrum, lambda: samples.createc_spectrum()[:2]),
    "channel.gwy": (gwyddion_native.container, lambda: samples.gwyddion_native()[:2]),
    "field.gsf": (gwyddion.simple_field, lambda: samples.simple_field(7, 6)[:2]),
}


TEXT = {"spectrum.dat", "point.vert"}


@pytest.mark.parametrize("name", CASES)
def test_mutants_are_refused_or_read_right(tmp_path, name):
    translate, build = CASES[name]
    content, header = build()
    counts = fuzzing.run(translate, content, header, tmp_path, name, text=name in TEXT)
    assert counts["refused"] > 30


@pytest.mark.parametrize("name", CASES)
def test_truncation_at_every_header_length(tmp_path, name):
    translate, build = CASES[name]
    content, header = build()
    header = header if isinstance(header, int) else header[0]
    path = tmp_path / name
    for length in range(0, header, 1 if header < 4000 else 37):
        path.write_bytes(content[:length])
        with pytest.raises(TranslationError):
            translate(str(path))


def test_every_scanning_probe_format_is_fuzzed():
    """Each translator of the table is called by name in a test module that runs mutants of its files."""
    own = {f.name for f in formats.known().values() if f.name in Path(translators.__file__).read_text()} - {"xpycro"}
    modules = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    fuzzed = "\n".join(text for text in modules if re.search(r"fuzzing\.run(_hdf5)?\(", text))
    assert len(own) > 25
    lacking = [n for n in own if not re.search(rf"\b{str(formats.known()[n].function).split(':')[1]}\b", fuzzed)]
    assert lacking == []


BOMBS = {
    "bomb.3ds": samples.nanonis_grid()[0].replace(b'"4 x 3"', b'"1000000 x 1000000"'),
    "points.3ds": samples.nanonis_grid()[0].replace(b"Points=5", b"Points=" + b"9" * 5000),
    "bomb.sxm": samples.nanonis_scan()[0].replace(b"       5       3", b" 1000000 1000000"),
    "bomb.gsf": samples.simple_field()[0].replace(b"XRes = 5", b"XRes = 1000000000000"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_header_bombs_are_refused_at_once(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BOMBS[name])
    found = formats.identify(path)
    found.translator()
    started = time.perf_counter()
    with pytest.raises(TranslationError):
        formats.read_groups(str(path), found, {})
    assert time.perf_counter() - started < 0.05


@pytest.mark.parametrize(
    "name",
    ["igor_ibw/mac-version2.ibw", "igor_ibw/mac-textWave.ibw", "igor_ibw/win-version5.ibw",
     "igor_ibw/IgorIBWReader_ForceCurve.ibw"],
)  # fmt: skip
def test_real_waves_damaged(data_file, tmp_path, name):
    path = data_file(name)
    wave, content = igor.parse(str(path)), path.read_bytes()
    stop = wave.offset + (int(np.prod(wave.shape)) * np.dtype(wave.dtype).itemsize if wave.dtype else 0)
    counts = fuzzing.run(igor.wave, content, (wave.offset, stop), tmp_path, "real.ibw", count=150)
    assert counts["refused"] > 20
