"""NeXus files checked with h5py alone, HyperSpy and sidpy objects by their looks, round trips through readers."""

from __future__ import annotations

from types import SimpleNamespace

import dask.array
import h5py
import numpy as np
import pytest
import xarray as xr

from tests.conftest import as_indexed, raise_if_dask_computes
from xpycro import schema
from xpycro.io import export
from xpycro.io.translators import hyperspy, nexus
from xpycro.schema import coordinate


def measurement(complex_data=False):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(3, 4, 5)) + (1j * rng.normal(size=(3, 4, 5)) if complex_data else 0)
    return xr.Dataset(
        {
            "current": (("y", "x", "bias"), data, {"units": "A", "long_name": "Current (A)"}),
            "current_stderr": (("y", "x", "bias"), np.abs(data), {"units": "A", "long_name": "error"}),
            "topography": (("y", "x"), rng.normal(size=(3, 4)), {"units": "m", "long_name": "Z"}),
            "labels": (("y", "x"), np.arange(12).reshape(3, 4), {"units": "1", "long_name": "Labels"}),
        },
        {
            "y": coordinate("y", np.arange(3) * 1e-9),
            "x": coordinate("x", np.arange(4) * 2e-9),
            "bias": coordinate("bias", np.linspace(-1, 1, 5)),
            "dose": coordinate(["y", "x"], rng.normal(size=(3, 4)), name="dose"),
        },
        {"title": "iv", "acquired": "2020-01-02T03:04:05", "original_metadata": schema.encode_metadata({"gain": 1e9})},
    )


@pytest.mark.parametrize("state", ["memory", "dask", "indexed"])
def test_nexus_is_what_the_manual_says(tmp_path, state):
    ds = measurement()
    source = {
        "memory": lambda: ds,
        "dask": lambda: ds.chunk({"y": 2}),
        "indexed": lambda: as_indexed(ds, tmp_path / "a.nc"),
    }
    path = export.to_nexus(source[state](), tmp_path / "a.nxs")
    with h5py.File(path) as file:
        entry = file["entry"]
        assert (file.attrs["default"], entry.attrs["NX_class"], entry.attrs["default"]) == ("entry", "NXentry", "data")
        group = entry["data"]
        assert group.attrs["NX_class"] == "NXdata" and group.attrs["signal"] == "current"
        assert list(group.attrs["axes"]) == ["y", "x", "bias"] and group.attrs["bias_indices"] == [2]
        assert list(group.attrs["dose_indices"]) == [0, 1]
        np.testing.assert_array_equal(group["current"][()], ds.current)
        np.testing.assert_array_equal(group["current_errors"][()], ds.current_stderr)
        assert group["current"].attrs["units"] == "A" and group["bias"].attrs["units"] == "V"
        assert entry["data_2"].attrs["signal"] == "topography"
        assert list(entry["data_2"].attrs["auxiliary_signals"]) == ["labels"]
        assert entry["start_time"][()].decode() == "2020-01-02T03:04:05"


@pytest.mark.parametrize("complex_data", [False, True])
def test_nexus_round_trip(tmp_path, complex_data):
    ds = measurement(complex_data)
    if complex_data:
        ds = ds.drop_vars("current_stderr")
    (back,) = nexus.read(export.to_nexus(ds, tmp_path / "a.nxs")).values()
    np.testing.assert_array_equal(back.current, ds.current)
    np.testing.assert_array_equal(back.z, ds.topography)
    for name in ("y", "x", "bias"):
        np.testing.assert_allclose(back[name], ds[name])
        assert back[name].units == ds[name].units
    np.testing.assert_array_equal(back.dose, ds.dose)
    assert back.attrs["title"] == "iv"


def test_nexus_never_replaces_unasked_and_leaves_no_debris(tmp_path):
    path = tmp_path / "a.nxs"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.to_nexus(measurement(), path)
    bad = measurement().assign(bad=("y", np.array([None, {}, 1], dtype=object)))
    with pytest.raises(ValueError, match="bad: an object"):
        export.to_nexus(bad, path, overwrite=True)

    def boom(block):
        raise RuntimeError("boom")

    failing = xr.DataArray(
        dask.array.zeros((4,), chunks=2).map_blocks(boom, dtype=float, meta=np.zeros(0)), dims="x", name="a"
    )
    with pytest.raises(RuntimeError, match="boom"):
        export.to_nexus(failing, path, overwrite=True)
    assert path.read_bytes() == b"precious" and [p.name for p in tmp_path.iterdir()] == ["a.nxs"]
    export.to_nexus(measurement(), path, overwrite=True)
    assert h5py.is_hdf5(path)


def test_the_dictionary_is_lazy_and_turned():
    ds = measurement()
    with raise_if_dask_computes():
        parts = export.signal_dictionary(ds.chunk().current)
    assert [a["name"] for a in parts["axes"]] == ["y", "x", "bias"]
    assert [a["navigate"] for a in parts["axes"]] == [True, True, False]
    np.testing.assert_array_equal(parts["data"].compute(), ds.current.values[::-1])
    assert parts["axes"][2]["scale"] == pytest.approx(0.5) and parts["axes"][2]["offset"] == -1
    uneven = ds.current.assign_coords(bias=[0.0, 1.0, 2.0, 3.0, 7.0])
    assert list(export.signal_dictionary(uneven)["axes"][2]["axis"]) == [0, 1, 2, 3, 7]


def test_round_trip_through_a_hyperspy_file(tmp_path):
    writer = pytest.importorskip("rsciio.hspy", reason="RosettaSciIO is not installed (extra em)").file_writer
    ds = measurement()
    writer(str(tmp_path / "a.hspy"), export.signal_dictionary(ds.current))
    (back,) = hyperspy.read(str(tmp_path / "a.hspy")).values()
    (da,) = back.data_vars.values()
    np.testing.assert_array_equal(da, ds.current)
    assert da.dims == ("y", "x", "bias") and da.units == "A"
    for name in da.dims:
        np.testing.assert_allclose(back[name], ds[name], atol=1e-15)


def looks_like_hyperspy(da):
    parts = export.signal_dictionary(da)
    axes = [SimpleNamespace(**{k: v for k, v in axis.items() if k != "_type"}) for axis in parts["axes"]]
    return SimpleNamespace(
        data=parts["data"],
        axes_manager=SimpleNamespace(_axes=axes),
        metadata=SimpleNamespace(as_dictionary=lambda: parts["metadata"]),
        original_metadata=SimpleNamespace(as_dictionary=lambda: parts["original_metadata"]),
    )


def test_from_something_that_looks_like_a_hyperspy_signal():
    ds = measurement()
    back = export.from_hyperspy(looks_like_hyperspy(ds.current.chunk()))
    (da,) = back.data_vars.values()
    assert da.chunks is not None
    np.testing.assert_array_equal(da, ds.current)
    np.testing.assert_allclose(back.y, ds.y)
    with pytest.raises(TypeError, match="HyperSpy signal"):
        export.from_hyperspy(np.zeros(3))


def test_hyperspy_itself():
    pytest.importorskip("hyperspy.api", reason="HyperSpy is not installed (extra bench)")
    ds = measurement()
    signal = export.to_hyperspy(ds.current)
    assert signal.axes_manager.signal_dimension == 1
    np.testing.assert_array_equal(next(iter(export.from_hyperspy(signal).data_vars.values())), ds.current)


def test_from_something_that_looks_like_a_sidpy_dataset():
    class Sidpy(dask.array.Array):
        """As sidpy does: an array that carries its axes."""

        __slots__ = (
            "_axes",
            "data_type",
            "metadata",
            "modality",
            "original_metadata",
            "quantity",
            "source",
            "title",
            "units",
        )

    base = dask.array.from_array(np.arange(24.0).reshape(4, 3, 2), chunks=2)
    made = Sidpy(base.dask, base.name, base.chunks, base.dtype)

    def axis(name, units, kind, values):
        return SimpleNamespace(name=name, units=units, values=values, dimension_type=SimpleNamespace(name=kind))

    made._axes = {
        0: axis("x", "nm", "SPATIAL", np.arange(4.0)),
        1: axis("y", "nm", "SPATIAL", np.arange(3.0)),
        2: axis("Energy", "eV", "SPECTRAL", np.array([1.0, 0.0])),
    }
    made.quantity, made.units, made.title, made.data_type = (
        "Current",
        "nA",
        "grid",
        SimpleNamespace(name="SPECTRAL_IMAGE"),
    )
    made.modality, made.source, made.metadata, made.original_metadata = "STS", "generic", {}, {"a": 1}
    with raise_if_dask_computes():
        ds = export.from_sidpy(made)
    assert ds.current.dims == ("y", "x", "energy") and ds.current.units == "A"
    np.testing.assert_allclose(ds.current, np.arange(24.0).reshape(4, 3, 2).transpose(1, 0, 2)[..., ::-1] * 1e-9)
    np.testing.assert_allclose(ds.energy, [0, 1])
    assert ds.attrs["modality"] == "STS" and schema.decode_metadata(ds.attrs["original_metadata"])
    with pytest.raises(TypeError, match=r"sidpy\.Dataset"):
        export.from_sidpy(np.zeros(3))
