"""Variants of the HDF5 dialects that their writers produce, built here with h5py from the facts of each."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io import formats
from xpycro.io.translators import edax, emd, hyperspy, nexus, nsid
from xpycro.io.translators._axes import axis_units


def checked(groups):
    for ds in groups.values():
        assert schema.problems(ds) == []
    return groups


@pytest.mark.parametrize(
    ("written", "factor", "base"),
    [("$A^{-1}$", 1e10, "1/m"), (r"$\AA^{-1}$", 1e10, "1/m"), (r"$\mathrm{nm}^{-1}$", 1e9, "1/m"),
     ("inch", 0.0254, "m"),
     ("\\u00B5m", 1e-6, "m"), ("microns", 1e-6, "m"), ("pixels", 1, ""), ("1/px", 1, ""), ("Degrees", 1, "degree"),
     ("Arb. U.", 1, ""), ("Celsius", 1, "degC"), ("Sec", 1, "s"), ("KeV", 1e3, "eV"), ("mm", 1e-3, "m")],
)  # fmt: skip
def test_spellings_of_units(written, factor, base):
    assert axis_units(written) == (pytest.approx(factor), base)


# ------------------------------------------------------------------------------------------------------------- EMD


def _emd_array(group, name, data, dims):
    made = group.create_group(name)
    made.attrs.update(emd_group_type="array", python_class="Array")
    made.create_dataset("data", data=data).attrs["units"] = "pixel intensity"
    for number, (label, units, values) in enumerate(dims):
        made.create_dataset(f"dim{number}", data=values).attrs.update(name=label, units=units)
    return made


def test_py4dstem_since_version_14(tmp_path):
    """A root with its calibration, a datacube, an image made of it in its group, and an array with named slices."""
    data = np.random.default_rng(0).integers(0, 9, (2, 3, 4, 5)).astype("u2")
    slices = np.random.default_rng(1).normal(size=(4, 5, 2))
    real = [("Rx", "A", np.array([0.0, 5.0])), ("Ry", "A", np.array([0.0, 5.0]))]
    reciprocal = [("Qx", "A^-1", np.array([0.0, 0.02])), ("Qy", "A^-1", np.array([0.0, 0.02]))]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs.update(emd_group_type="file", version_major=1, version_minor=0, authoring_program="py4DSTEM")
        root = file.create_group("datacube_root")
        root.attrs["emd_group_type"] = "root"
        bundle = root.create_group("metadatabundle")
        bundle.attrs["emd_group_type"] = "metadatabundle"
        bundle.create_group("calibration").create_dataset("Q_pixel_size", data=0.02)
        cube = _emd_array(root, "datacube", data, [*real, *reciprocal])
        _emd_array(cube, "bright", data.sum((2, 3)).astype("f8"), real)
        _emd_array(root, "probes", slices, [*reciprocal, ("_labels_", "", np.array([b"mean", b"max"]))])
    assert formats.identify(tmp_path / "a.h5").name == "emd"
    groups = checked(emd.read(str(tmp_path / "a.h5")))
    cube, probes = groups["datacube"], groups["probes"]
    np.testing.assert_array_equal(cube.datacube, data[::-1, :, ::-1])  # the first axes of images go down
    np.testing.assert_array_equal(cube.bright, data.sum((2, 3))[::-1])
    np.testing.assert_allclose([cube.x[1], cube.kx[1], cube.ky[-2]], [5e-10, 2e8, -2e8])
    assert probes.probes.dims == ("channel", "ky", "kx") and list(probes.channel.values) == ["mean", "max"]
    np.testing.assert_array_equal(probes.probes.sel(channel="max"), slices[::-1, :, 1])
    assert schema.decode_metadata(cube.attrs["original_metadata"])["datacube_root"]["metadatabundle"]


def test_emd_of_the_ncem(tmp_path):
    """Version 0.2: numbers as marks, units in brackets and as bytes, full dim vectors."""
    data = np.random.default_rng(0).normal(size=(5, 6, 7)).astype("f4")
    with h5py.File(tmp_path / "a.emd", "w") as file:
        file.attrs.update(version_major=0, version_minor=2)
        group = file.create_group("data/SI")
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", data=data)
        for number, (label, units, values) in enumerate(
            (
                ("x", "[n_m]", np.arange(5) * 2.0),
                ("y", "[n_m]", np.arange(6) * 2.0),
                ("E", "[e_V]", 100 + np.arange(7.0)),
            )
        ):
            dim = group.create_dataset(f"dim{number + 1}", data=values)
            dim.attrs.update(name=np.bytes_(label), units=np.bytes_(units))
        file.create_group("microscope").attrs["voltage"] = 300
    (ds,) = checked(emd.read(str(tmp_path / "a.emd"))).values()
    assert ds.si.dims == ("y", "x", "energy")
    np.testing.assert_array_equal(ds.si, data.transpose(1, 0, 2)[::-1])
    np.testing.assert_allclose([ds.x[1], ds.energy[0]], [2e-9, 100])


# -------------------------------------------------------------------------------------------------------- HyperSpy


def _experiment(experiments, name, data, axes, **signal):
    group = experiments.create_group(name)
    if data is None:
        ragged = group.create_dataset("data", (2, 3), dtype=h5py.vlen_dtype(np.dtype("f8")))
        for place in np.ndindex(2, 3):
            ragged[place] = np.arange(1.0 + place[1])
    else:
        group.create_dataset("data", data=data, chunks=True)
    for number, (label, units, step, navigate) in enumerate(axes):
        group.create_group(f"axis-{number}").attrs.update(
            name=label, units=units, scale=step, offset=0.0, size=(2, 3, 4, 5)[number], navigate=navigate,
            _type="UniformDataAxis", is_binned=False,
        )  # fmt: skip
    metadata = group.create_group("metadata")
    metadata.create_group("General").attrs["title"] = name
    metadata.create_group("Signal").attrs.update(signal)
    group.create_group("attributes").attrs.update(_lazy=True, ragged=data is None)
    for other in ("original_metadata", "learning_results"):
        group.create_group(other)


SCAN = [("y", "nm", 1.0, True), ("x", "nm", 1.0, True)]


def test_hyperspy_experiments_of_all_kinds(tmp_path):
    rng = np.random.default_rng(0)
    spectra, patterns = rng.normal(size=(2, 3, 4)), rng.integers(0, 9, (2, 3, 4, 5)).astype("u2")
    picture = np.zeros((2, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    picture["R"], picture["B"] = np.arange(6).reshape(2, 3), 7
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        file.attrs.update(file_format="HyperSpy", file_format_version="3.3")
        experiments = file.create_group("Experiments")
        _experiment(experiments, "si", spectra, [*SCAN, ("Energy loss", "eV", 0.5, False)], signal_type="EELS")
        _experiment(experiments, "peaks", None, SCAN, signal_type="", ragged=True)
        axes = [*SCAN, ("ky", "$A^{-1}$", 0.1, False), ("kx", "$A^{-1}$", 0.1, False)]
        _experiment(experiments, "patterns", patterns, axes, signal_type="electron_diffraction")
        _experiment(experiments, "photo", picture, [(n, u, s, False) for n, u, s, _ in SCAN], signal_type="")
    groups = checked(hyperspy.read(str(tmp_path / "a.hspy")))
    assert sorted(groups) == ["patterns", "photo", "si"]
    np.testing.assert_array_equal(groups["si"].si, spectra[::-1])
    np.testing.assert_array_equal(groups["patterns"].patterns, patterns[::-1, :, ::-1])
    np.testing.assert_allclose(float(groups["patterns"].kx[1]), 1e9)
    photo = groups["photo"].photo
    assert photo.dims == ("y", "x", "channel") and list(photo.channel.values) == ["red", "green", "blue"]
    np.testing.assert_array_equal(photo.sel(channel="red"), picture["R"][::-1])
    np.testing.assert_array_equal(photo[1, ::2, 2:].values, [[7], [7]])


def test_hyperspy_of_ragged_arrays_only(tmp_path):
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        file.attrs.update(file_format="HyperSpy", file_format_version="3.3")
        _experiment(file.create_group("Experiments"), "peaks", None, SCAN, signal_type="")
    with pytest.raises(UnsupportedVariant, match="ragged"):
        hyperspy.read(str(tmp_path / "a.hspy"))


# ------------------------------------------------------------------------------------------------------------ NSID


def _nsid(file, where, data, axes, **attrs):
    group = file.create_group(f"Measurement_000/{where}")
    name = where.rsplit("/", 1)[-1]
    main = group.create_dataset(name, data=data)
    for number, (label, values, units, kind, quantity) in enumerate(axes):
        scale = group.create_dataset(label, data=values)
        scale.make_scale(label)
        scale.attrs.update(name=label, quantity=quantity, units=units, dimension_type=kind)
        main.dims[number].attach_scale(scale)
        main.dims[number].label = label
    main.attrs.update(main_data_name=name, quantity="intensity", units="counts", source="generic", **attrs)


def test_nsid_of_electron_microscopes(tmp_path):
    """sidpy orders x before y, u before v."""
    rng = np.random.default_rng(0)
    spectra, patterns = rng.normal(size=(3, 4, 5)), rng.normal(size=(2, 3, 4, 5))
    x, y = (
        (lambda n: ("x", np.arange(n) * 1.0, "nm", "SPATIAL", "distance")),
        (lambda n: ("y", np.arange(n) * 1.0, "nm", "SPATIAL", "distance")),
    )
    loss = ("energy_scale", 100 + np.arange(5.0), "eV", "SPECTRAL", "energy-loss")
    u, v = ((name, np.arange(n) - 2.0, "1/nm", "RECIPROCAL", "reciprocal distance") for name, n in (("u", 4), ("v", 5)))
    with h5py.File(tmp_path / "a.hf5", "w") as file:
        _nsid(file, "Channel_000/SI", spectra, [x(3), y(4), loss], data_type="SPECTRAL_IMAGE", modality="EELS")
        _nsid(file, "Channel_001/Scan", patterns, [x(2), y(3), u, v], data_type="IMAGE_4D", modality="generic")
    first, second = checked(nsid.read(str(tmp_path / "a.hf5"))).values()
    assert first.intensity.dims == ("y", "x", "energy_loss")
    np.testing.assert_array_equal(first.intensity, spectra.transpose(1, 0, 2))
    assert second.intensity.dims == ("y", "x", "ky", "kx")
    np.testing.assert_array_equal(second.intensity, patterns.transpose(1, 0, 3, 2))
    np.testing.assert_allclose(second.kx, (np.arange(4) - 2) * 1e9)


# ----------------------------------------------------------------------------------------------------------- NeXus


def test_nexus_scaling_factor_links_and_a_scan(tmp_path):
    stored = np.arange(12, dtype="i2").reshape(3, 4)
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        detector = entry.create_group("instrument/detector")
        detector.attrs["NX_class"] = "NXdetector"
        detector.create_dataset("frames", data=stored).attrs["units"] = "nA"
        plot = entry.create_group("plot")
        plot.attrs.update(NX_class="NXdata", signal="frames", axes=["sy", "sx"], sy_indices=0, sx_indices=[1])
        plot["frames"] = h5py.SoftLink("/entry/instrument/detector/frames")
        plot["frames_scaling_factor"], plot["frames_offset"] = 0.5, 3.0
        plot.create_dataset("frames_errors", data=np.ones((3, 4)))
        plot.create_dataset("sy", data=np.arange(3.0)).attrs["units"] = "um"
        plot.create_dataset("sx", data=np.arange(4.0)).attrs["units"] = "um"
    (ds,) = checked(nexus.read(str(tmp_path / "a.nxs"))).values()
    assert ds.plot.dims == ("y", "x") if "plot" in ds else ds.frames.dims == ("y", "x")
    values, errors = list(ds.data_vars.values())
    np.testing.assert_allclose(values, (stored * 0.5 + 3.0) * 1e-9)
    np.testing.assert_allclose(errors, 0.5e-9)
    np.testing.assert_allclose(ds.x[1], 1e-6)


# ------------------------------------------------------------------------------------------------------------ EDAX


def _row(**values):
    return np.array([tuple(values.values())], [(name, "f4") for name in values])


def test_edax_live_map_with_its_pictures(tmp_path):
    rng = np.random.default_rng(0)
    spectra, picture, element = rng.integers(0, 9, (3, 4, 6)).astype("u2"), rng.normal(size=(3, 4)), np.ones((3, 4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        project = file.create_group("Project 1")
        project.attrs["Company"] = "EDAX, LLC"
        area = project.create_group("Sample 1/Area 1")
        area["FOVIMAGE"], area["FOVIPR"] = np.zeros((5, 7)), _row(MicronsPerPixelX=2.0, MicronsPerPixelY=2.0)
        live = area.create_group("Live Map 1")
        live["SPD"], live["SPC"] = spectra, _row(evPerChannel=10.0, StartEnergy=0.0)
        live["SPD"].attrs.update(MicronPerPixelX=0.5, MicronPerPixelY=0.25)
        live["MAPIMAGE"], live["MAPIMAGEIPR"] = picture, _row(MicronsPerPixelX=0.5, MicronsPerPixelY=0.25)
        live["ROIs/Si K.dat"], live["ROIs/Si K.ipr"] = element, _row(MicronsPerPixelX=0.5, MicronsPerPixelY=0.25)
    assert formats.identify(tmp_path / "a.h5").name == "edax_h5"
    groups = checked(edax.read(str(tmp_path / "a.h5")))
    field, live = sorted(groups.values(), key=lambda ds: len(ds.data_vars))
    assert live.x_rays.dims == ("y", "x", "energy") and live.si_k.units == "counts"
    np.testing.assert_array_equal(live.x_rays, spectra[::-1])
    np.testing.assert_array_equal(live.image, picture[::-1])
    np.testing.assert_allclose([live.x[1], live.y[1], live.energy[1]], [5e-7, 2.5e-7, 10])
    np.testing.assert_allclose(field.x[1], 2e-6)
    assert field.field_of_view.shape == (5, 7)


def test_edax_of_the_wrong_shape(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("Project").attrs["Company"] = "EDAX, LLC"
        file["Project/Area/Live Map 1/SPD"] = np.zeros((3, 4))
    with pytest.raises(CorruptFile, match="expected 3"):
        edax.read(str(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_group("Project").attrs["Company"] = "EDAX, LLC"
    with pytest.raises(NotThisFormat, match="no live map"):
        edax.read(str(tmp_path / "b.h5"))
