"""The command line as a newcomer meets it: exit codes, messages, and what it leaves behind."""

import re

import numpy as np
import pytest
import xarray as xr

import xpycro as xp
from xpycro.cli import chains, main, mass

REAL = {
    "nanonis_3ds/Grid Spectroscopy006.3ds": ("Frequency Shift", "88 of 1024 pixels"),
    "nanonis_3ds/NanonisReader_STS_grid_lockin.3ds": ("LockinX", "5 × 5 nm"),
    "igor_ibw/IgorIBWReader_ImageStack_BTFO_DSO.ibw": ("HeightRetrace", "256 × 256"),
    "nanonis_sxm/Image_445.sxm": ("Frequency_Shift", "2 × 4 nm"),
    "dm/EELS_SI.dm4": ("Energy loss", "2 × 2"),
}


@pytest.fixture
def field(tmp_path):
    """A Gwyddion field written by hand: 2 rows of 3, top row first."""
    header = b"Gwyddion Simple Field 1.0\nXRes = 3\nYRes = 2\nXReal = 3e-9\nYReal = 2e-9\nXYUnits = m\nZUnits = m\n"
    header += b"\0" * (4 - len(header) % 4)
    path = tmp_path / "field.gsf"
    path.write_bytes(header + np.arange(6, dtype="<f4").tobytes())
    return path


def test_demo_simulates_recovers_and_leaves_two_files(tmp_path, capsys):
    assert main(["demo", "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["xpycro_demo.h5", "xpycro_demo.html"]
    assert "xpycro_demo.h5" in said and "xpycro_demo.html" in said
    # recovered against true, with honest error bars: about 68 % of the truths inside one standard error
    for name in ("amplitude", "resonance_frequency", "quality_factor", "phase"):
        inside = float(re.search(rf"^{name} .* (\d+\.\d)$", said, re.MULTILINE)[1])
        assert 60 < inside < 76, name
    stored = xp.open_tree(tmp_path / "xpycro_demo.h5")
    assert set(stored["results"]) == {"svd", "kmeans", "fit_sho"}
    assert "Recovered against true" in (tmp_path / "xpycro_demo.html").read_text()
    assert (tmp_path / "xpycro_demo.html").stat().st_size <= 10_000_000


def test_demo_of_switching_goes_from_a_raw_folder_to_switching_maps(tmp_path, capsys):
    assert main(["demo", "--kind", "band-excitation", "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names[:3] == ["band_excitation_demo.h5", "band_excitation_demo.html", "band_excitation_demo_raw"]
    for name in ("coercive_bias_negative", "coercive_bias_positive", "switchable_polarisation"):
        inside = float(re.search(rf"^{name} .* (\d+\.\d)$", said, re.MULTILINE)[1])
        assert 60 < inside < 76, name
    tree = xp.open_tree(tmp_path / "band_excitation_demo.h5")
    assert {"fit_sho", "loops", "loop_fit"} <= set(tree["results"])
    page = (tmp_path / "band_excitation_demo.html").read_text()
    assert "Map, loop, resonance" in page and "Recovered against true" in page
    assert len(page.encode()) <= 10_000_000


def test_demo_of_a_diffraction_scan_ends_at_strain(tmp_path, capsys):
    film = xp.simulate.xray_map((6, 8))
    xp.simulate.write_nexus_scan(film, tmp_path / "film.nxs")
    assert main(["demo", str(tmp_path / "film.nxs"), "--output", str(tmp_path)]) == 0
    tree = xp.open_tree(tmp_path / "film.h5")
    assert {"reductions", "strain"} <= set(tree["results"].children)
    strain = xp.open_result(tmp_path / "film.h5", "strain")
    offset = strain.strain - film.true_strain  # relative to the median
    assert float(offset.std()) < 6e-6 < 1e-4 < float(film.true_strain.std())
    page = (tmp_path / "film.html").read_text()
    assert "Divided by monitor" in page and "Median standard error" in page


def _stored(path, values, dims, **coords):
    made = xr.Dataset({"signal": xr.DataArray(values, dims=dims, coords=coords, attrs={"units": "V"})})
    return made.pycro.save(path)


def test_demo_takes_few_frames_as_images_and_a_profile_as_a_curve(tmp_path, capsys):
    noise = np.random.default_rng(3).normal(size=(2, 12, 10))
    _stored(tmp_path / "frames.h5", noise, ("time", "y", "x"))
    _stored(tmp_path / "profile.h5", noise[0, 0], ("x",))
    for name, said in (("frames", "leveling and measuring"), ("profile", "plotting")):
        assert main(["demo", str(tmp_path / f"{name}.h5"), "--output", str(tmp_path / "out")]) == 0
        assert said in capsys.readouterr().out


@pytest.mark.parametrize("level", [0.0, 3.7])
def test_demo_of_spectra_that_are_all_the_same_says_so(level, tmp_path, capsys):
    axis = np.linspace(0, 1, 20)
    values = np.broadcast_to(level * np.exp(-axis), (3, 4, 20)).copy()
    _stored(tmp_path / "one.h5", values, ("y", "x", "energy"), energy=axis)
    assert main(["demo", str(tmp_path / "one.h5"), "--output", str(tmp_path / "out")]) == 0
    assert "the same at every pixel" in capsys.readouterr().out
    assert "the same at every pixel" in (tmp_path / "out" / "one.html").read_text()


def test_demo_of_a_mass_image_finds_its_species(tmp_path):
    sim = xp.simulate.mass_image((10, 10), 3, 2000, counts=2000)
    xp.simulate.write_imzml(sim, tmp_path / "a.imzML")
    ds = xp.translate(tmp_path / "a.imzML", tmp_path / "a.h5")
    page = chains.Page(title="a", target=tmp_path / "a.h5")
    mass.run(ds, ds.intensity, mass.table(ds.intensity), page)
    titles = [section.title for section in page.sections]
    assert titles == ["Intensity", "Peaks", "Ion images", "Principal components", "Species", "How it was made"]
    species = xp.open_result(tmp_path / "a.h5", "nmf")
    assert species.sizes["component"] == 3
    truth = sim.true_abundance.values.reshape(3, -1)
    alike = np.corrcoef(truth, species.maps.transpose("component", "y", "x").values.reshape(3, -1))[:3, 3:]
    assert (alike.max(axis=1) > 0.97).all() and set(alike.argmax(axis=1)) == {0, 1, 2}
    assert mass.table(xr.zeros_like(ds.intensity)) is None and mass.table(ds.x) is None


def test_demo_never_overwrites(tmp_path, field, capsys):
    for expected in ("field.h5", "field_2.h5"):
        assert main(["demo", str(field), "--output", str(tmp_path / "out")]) == 0
        assert str(tmp_path / "out" / expected) in capsys.readouterr().out


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_demo_on_real_files(name, data_file, tmp_path, capsys):
    source = data_file(name)
    before = source.stat().st_mtime_ns
    assert main(["demo", str(source), "--output", str(tmp_path)]) == 0
    capsys.readouterr()
    page = next(tmp_path.glob("*.html")).read_text()
    for words in REAL[name]:
        assert words in page
    assert len(page.encode()) <= 10_000_000
    assert source.stat().st_mtime_ns == before


def test_info_names_dims_units_and_channels_without_reading_data(field, capsys):
    assert main(["info", str(field), "--header"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"y +2 +spatial +0 to 1 nm", said)
    assert re.search(r"\(y, x\) +float32 +m", said)
    assert '"XRes"' in said


def test_info_says_the_range_of_a_sweep_and_the_sign_of_the_phase(tmp_path, capsys):
    ds = xp.simulate.band_excitation((2, 3), 16, mode="dc", n_steps=8, bias_amplitude=5)
    xp.simulate.write_band_excitation(ds.assign(response=ds.response.conj()), tmp_path / "be")
    assert main(["info", str(tmp_path / "be")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"bias +\(step\) +between -5 and 5 V", said)
    assert re.search(r"phase_sign: conjugated", said)


def test_translate_one_and_several(field, tmp_path, capsys):
    assert main(["translate", str(field), "-o", str(tmp_path / "one.h5")]) == 0
    assert "-> " in capsys.readouterr().out
    with xr.open_dataset(tmp_path / "one.h5", engine="h5netcdf") as ds:
        np.testing.assert_array_equal(next(iter(ds.data_vars.values())).values, [[3, 4, 5], [0, 1, 2]])
    other = field.with_name("other.gsf")
    other.write_bytes(field.read_bytes())
    assert main(["translate", str(field), str(other), "-o", str(tmp_path / "folder")]) == 0
    assert sorted(p.name for p in (tmp_path / "folder").glob("*.h5")) == ["field.h5", "other.h5"]
    assert main(["translate", str(field), "-o", str(tmp_path / "one.h5")]) == 1
    assert "overwrite" in capsys.readouterr().err


def test_formats_prints_the_table(capsys):
    assert main(["formats"]) == 0
    said = capsys.readouterr().out
    assert "nanonis_3ds" in said and "verified" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["info", "no_such.sxm"], "no file"), (["demo", "no_such.3ds"], "no file"), (["info", "."], "folder")],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_1(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err.strip()
    assert message in error and "Traceback" not in error


def test_an_unknown_format_is_refused_by_name(tmp_path, capsys):
    (tmp_path / "notes.xyz").write_bytes(b"hello")
    assert main(["demo", str(tmp_path / "notes.xyz"), "--output", str(tmp_path / "out")]) == 1
    assert "notes.xyz" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_nothing_typed_shows_the_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "demo" in said and "which files can be read" in said


def test_of_several_files_the_good_ones_are_translated_and_the_others_named(field, tmp_path, capsys):
    (tmp_path / "empty.sxm").touch()
    out = tmp_path / "new folder" / "Größe"
    files = [str(tmp_path / "empty.sxm"), str(field), "no_such.3ds"]
    assert main(["translate", *files, "-o", str(out)]) == 1
    said = capsys.readouterr()
    assert [p.name for p in out.iterdir()] == ["field.h5"] and "field.gsf -> " in said.out
    assert "the file is empty" in said.err and "no_such.3ds" in said.err and "2 of 3 files" in said.err
    assert main(["translate", str(field), "-o", str(out / "field.h5")]) == 1
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert main(["translate", str(field), "-o", str(field / "a.h5")]) == 1
    assert "a file is in its way" in capsys.readouterr().err


def test_two_files_never_become_one(field, tmp_path, capsys, monkeypatch):
    (tmp_path / "night").mkdir()
    for other in (field.with_suffix(".GSF"), tmp_path / "night" / "field.gsf"):
        other.write_bytes(field.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert main(["translate", "field.gsf", "night/field.gsf", "-o", "out"]) == 1
    assert "one by one" in capsys.readouterr().err and not list((tmp_path / "out").iterdir())
    assert main(["translate", "field.*", "-o", "out"]) == 0  # a pattern that the shell left as it is
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["field.GSF.h5", "field.gsf.h5"]


def test_reader_options_and_the_format_are_typed_too(tmp_path, capsys):
    np.arange(24, dtype="<u2").tofile(tmp_path / "numbers.bin")
    typed = ["--format", "raw", "--option", "dtype=<u2", "--option", "shape=2,-1,4", "--option", "dims=z,y,x"]
    assert main(["translate", str(tmp_path / "numbers.bin"), "-o", str(tmp_path / "a.h5"), *typed]) == 0
    ds = xp.open(tmp_path / "a.h5")
    np.testing.assert_array_equal(next(iter(ds.data_vars.values())), np.arange(24).reshape(2, 3, 4))
    assert main(["info", str(tmp_path / "numbers.bin"), *typed]) == 0
    assert re.search(r"z +2 ", capsys.readouterr().out)
    assert main(["info", str(tmp_path / "numbers.bin"), *typed, "--option", "incomplete=True"]) == 1
    assert "no reader option ['incomplete']" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["info", "a", "--option", "incomplete"])
    assert "NAME=VALUE" in capsys.readouterr().err


def test_formats_of_a_word_explain_their_options(capsys):
    assert main(["formats", ".3DS"]) == 0
    said = capsys.readouterr().out
    assert "nanonis_3ds" in said and "imzml" not in said and "ends within a pixel" in said
    assert main(["formats", "no such"]) == 1


def test_ctrl_c_says_so_and_leaves_nothing_half_written(field, tmp_path, capsys, monkeypatch):
    from xpycro.io.store import fill

    def interrupted(*args, **kwargs):
        assert [p.suffix for p in tmp_path.iterdir() if p.name != field.name] == [".part"]
        raise KeyboardInterrupt

    write_all = fill.write_all
    monkeypatch.setattr(fill, "write_all", lambda *args, **kwargs: (write_all(*args, **kwargs), interrupted()))
    assert main(["translate", str(field), "-o", str(tmp_path / "a.h5")]) == 130
    assert "interrupted" in capsys.readouterr().err and [p.name for p in tmp_path.iterdir()] == [field.name]


def test_replay_does_the_same_with_another_measurement(tmp_path, capsys):
    first, second = tmp_path / "first.h5", tmp_path / "second.h5"
    ds = xp.save(xp.simulate.tunnelling_grid((4, 5), 32), first)
    other = xp.save(xp.simulate.tunnelling_grid((4, 5), 32, seed=1), second)
    xp.save(xp.fit(ds.didv, "linear"), first)
    assert main(["replay", str(first), "fit_linear", "--source", str(second)]) == 0
    assert "results/fit_linear" in capsys.readouterr().out
    expected = xp.fit(other.didv.compute(), "linear")
    np.testing.assert_allclose(xp.open_result(second, "fit_linear").slope, expected.slope)
    assert main(["replay", str(first), "fit_sho"]) == 1
    assert "fit_linear" in capsys.readouterr().err


def test_view_serves_the_explorer_on_this_machine_only(field):
    import socket
    import time
    import urllib.error
    import urllib.request

    from xpycro.cli.view import serve

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = serve(str(field), port=port)
    try:
        for _ in range(300):  # the thread needs a moment to listen
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                    page = answer.read()
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        assert b"field.gsf" in page
    finally:
        server.stop()


def test_a_port_that_cannot_be_had_is_one_line(field, capsys):
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for port in (other.getsockname()[1], 99_999):
            assert main(["view", str(field), "--no-show", "--port", str(port)]) == 1
            assert f"--port {port} cannot be had" in capsys.readouterr().err


def test_it_says_its_version_and_each_command_shows_an_example(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out.strip() == xp.__version__
    for command in ("demo", "info", "translate", "view", "replay"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert f"for example: xpycro {command} " in capsys.readouterr().out
