"""Print figures measured: their size, their letters, nothing on top of each other; screenshots of every kind are kept.

The screenshots lie in build/screenshots, which git ignores; they are to be looked at, no test can.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr

from tests.viz import gallery, samples
from xpycro.viz import figure_fonts, figures, plot

MM = 1 / 25.4

STACKED = {"spectrum_complex", "complex_spectrum"}  # two panels below each other on the screen, too

PRINTED = ["fit", "lines"]  # explorers of the most panels, and one with a cursor both ways


def texts(figure):
    """Every text that is drawn: its words, where, and how large its letters are."""
    found = []
    for ax in [*figure.axes, *(bar for panel in figure.axes for bar in panel.child_axes)]:
        if not ax.axison:
            continue
        found += [ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        found += ax.get_legend().get_texts() if ax.get_legend() else []
        for axis, ends in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            places = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
            found += [label for place, label in places if ends[0] <= place <= ends[1] and label.get_visible()]
    renderer = figure.canvas.get_renderer()
    return [(t.get_text(), t.get_window_extent(renderer), t.get_fontsize()) for t in found if t.get_text().strip()]


@pytest.mark.parametrize("name", [*gallery.PICTURES, *PRINTED])
def test_print_figures_have_a_journals_size_and_nothing_overlaps(name):
    """At the width that suits, and what has several panels also in a single column."""
    drawn = gallery.drawn(name)
    wide = figures.draw(drawn, dpi=100)
    assert wide.get_figwidth() == pytest.approx((170 if len(wide.axes) > 1 and name not in STACKED else 85) * MM)
    narrow = [figures.draw(drawn, dpi=100, width_mm=85)] if wide.get_figwidth() > 100 * MM else []
    for figure in (wide, *narrow):
        legible(figure)
        starts = [ax._left_title.get_text()[:3] for ax in figure.axes]
        assert len(starts) == 1 or starts == [f"{chr(97 + i)}\u00a0\u00a0" for i in range(len(starts))]
        for ax in figure.axes:
            for bar in ax.child_axes:  # as tall as its picture, and clear of it
                frame, beside = ax.get_window_extent(), bar.get_window_extent()
                assert (beside.y0, beside.y1) == pytest.approx((frame.y0, frame.y1), abs=0.5)
                assert frame.x1 < beside.x0 < frame.x1 + 2 * MM * figure.dpi


def legible(figure):
    """Every text of a size one can read, inside the page and on none other."""
    figure.canvas.draw()
    assert figure.get_figheight() < 240 * MM  # of a page
    written = texts(figure)
    assert written
    for words, box, size in written:
        assert 6 <= size <= 8, words
        assert box.x0 >= -2 and box.y0 >= -2, f"{words!r} is cut"
        assert box.x1 <= figure.bbox.width + 2 and box.y1 <= figure.bbox.height + 2, f"{words!r} is cut"
    for (one, a, _), (other, b, _) in itertools.combinations(written, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        up = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert not (across > 1.5 and up > 1.5), f"{one!r} lies on {other!r}"


def test_powers_of_ten_stand_beside_the_unit():
    counts = xr.DataArray(np.linspace(0, 4e6, 20), dims="channel", name="intensity", attrs={"units": "counts"})
    axes = figures.draw(plot.spectrum(counts)).axes[0]
    assert axes.get_ylabel() == "Intensity (10⁶ counts)" and not axes.yaxis.offsetText.get_visible()
    assert "4" in [label.get_text() for label in axes.get_yticklabels()]


LONG = "What an instrument calls the X channel of its lock-in amplifier at the second harmonic of the drive"

PHASES = "amorphous_carbon_support_film crystalline_precipitate_of_theta_prime"


@pytest.mark.parametrize(
    "make",
    [
        lambda da: plot.explore(da.assign_attrs(long_name=LONG)),
        lambda da: plot.explore(da * np.nan),
        lambda da: plot.explore(da.isel(x=[0], y=[1])),
        lambda da: plot.image(da.isel(y=[3], bias=0)),
        lambda da: plot.image(da.isel(bias=0).assign_attrs(long_name="$x_{\\frac} & <b>", units="nm**2/(sqrt(Hz)*V)")),
        lambda da: plot.spectrum(da.isel(y=2).assign_coords(x=[f"annealed {i} days long" for i in range(9)])[:8]),
        lambda da: plot.image((da.isel(bias=0) > 0).assign_attrs(flag_values=[0, 1], flag_meanings=PHASES)),
    ],
    ids=["long", "nan", "pixel", "row", "markup", "names", "labels"],
)  # fmt: skip
def test_figures_of_hard_input_are_legible(make):
    legible(figures.draw(make(samples.current()), dpi=100, width_mm=85))


def test_letters_that_the_font_lacks_come_from_another(monkeypatch):
    from matplotlib import font_manager

    name = figure_fonts.families(["Arc ⌒"])[-1]
    path = font_manager.findfont(name)
    assert ord("⌒") in font_manager.get_font(path).get_charmap()
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    with pytest.warns(UserWarning, match="no installed font has the letters '⌒'"):
        assert figure_fonts.families(["Arc ⌒"]) == figure_fonts.families(["µ"])


def test_a_whole_file_is_no_figure(tmp_path):
    held = xr.DataTree.from_dict({"/": samples.current().to_dataset()})
    with pytest.raises(TypeError, match="the view of one node"):
        plot.save(plot.tree(held), tmp_path / "a.pdf")


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_figures_are_written_in_every_format(suffix, tmp_path):
    path = plot.save(gallery.drawn("image"), tmp_path / f"figure{suffix}", width_mm=120)
    content = path.read_bytes()
    assert content[:4] in (b"%PDF", b"\x89PNG", b"<?xm")
    if suffix == ".svg":
        assert b'width="340.157' in content and b"Height (nm)" in content  # points; letters stay letters


@pytest.mark.browser
def test_screenshots_of_every_kind_and_explorer(browser):
    written = gallery.write_pages(gallery.FOLDER, browser)
    assert {path.stem for path in written} == {*gallery.PICTURES, *gallery.EXPLORERS}
    assert all(path.stat().st_size > 5000 for path in written)
