"""The data model: which dims are the signal, which errors name what, and that metadata survive."""

import datetime

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xpycro import schema
from xpycro.errors import DimensionError, XpycroError


def array(*dims, **coords):
    return xr.DataArray(np.zeros([2 + i for i in range(len(dims))]), dims=dims, coords=coords, name="data")


@pytest.mark.parametrize(
    ("dims", "signal"),
    [(("y", "x", "frequency"), ("frequency",)), (("y", "x", "ky", "kx"), ("ky", "kx")), (("y", "x", "time"), ("time",)),
     (("y", "x", "time", "bias"), ("bias",)), (("position", "energy"), ("energy",)),
     (("y", "step", "frequency"), ("step", "frequency"))],
)  # fmt: skip
def test_no_dim_means_the_signal_dims(dims, signal):
    assert schema.resolve_dims(array(*dims)) == signal


def test_the_coordinate_has_the_last_word():
    swept = array("y", "x", "z").assign_coords(z=schema.coordinate("z", np.arange(4.0), dimension_type="spectral"))
    assert schema.resolve_dims(swept) == ("z",)
    assert schema.dimension_type(swept, "y") == "spatial"


def test_a_coordinate_stands_for_its_dim():
    loop = array("y", "step").assign_coords(bias=("step", [0.0, 1.0, 0.0]))
    assert schema.resolve_dims(loop, "bias") == ("step",)


def test_dims_come_in_the_order_of_the_array():
    assert schema.resolve_dims(array("kx", "y", "ky"), ["ky", "kx"]) == ("kx", "ky")


@pytest.mark.parametrize(
    ("dims", "dim", "ndim", "match"),
    [(("y", "x"), None, None, r"pass dim=.*'y', 'x'"), (("y", "energy"), "enregy", None, "'enregy'.*'energy'"),
     (("ky", "kx"), None, 1, r"1 dimension .*\['ky', 'kx'\]"), (("y", "energy"), [], None, "no such")],
)  # fmt: skip
def test_undecidable_dims_name_the_candidates(dims, dim, ndim, match):
    with pytest.raises(DimensionError, match=match):
        schema.resolve_dims(array(*dims), dim, ndim=ndim)


def test_pick():
    ds = xr.Dataset({"response": array("y", "frequency"), "height": array("y"), "true_q": array("y", "frequency")})
    assert schema.pick(ds).name == "response"
    assert schema.pick(ds, "height").name == "height"
    two = ds.assign(current=ds.response)
    with pytest.raises(ValueError, match=r"variable=.*'response', 'current'"):
        schema.pick(two)
    with pytest.raises(ValueError, match=r"'hieght'.*'height'"):
        schema.pick(ds, "hieght")
    with pytest.raises(DimensionError, match="energy"):
        schema.pick(ds, dim="energy")
    with pytest.raises(TypeError, match="ndarray"):
        schema.pick(np.zeros(3))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("LI Demod 1 X (A)", "li_demod_1_x"), ("Z", "z"), ("HeightRetrace", "height_retrace"), ("ZSnsr", "zsnsr"),
     ("Vert. Deflection", "vert_deflection"), ("2nd Harmonic", "channel_2nd_harmonic"), ("µ", "channel"),
     ("dI/dV", "di_dv")],
)  # fmt: skip
def test_identifiers_are_python_names(name, expected):
    assert schema.identifier(name) == expected


@given(st.lists(st.text(max_size=8), max_size=8))
def test_identifiers_are_unique_and_usable(names):
    found = schema.identifiers(names, taken=["x", "y"])
    assert len({*found, "x", "y"}) == len(names) + 2
    assert all(name.isidentifier() for name in found)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4).filter(lambda k: not k.startswith("$")), json_like, max_size=4))
def test_metadata_survive(metadata):
    def clean(value):
        if isinstance(value, str):
            return value.encode("utf-8", "replace").decode()
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items()}
        return [clean(v) for v in value] if isinstance(value, list) else value

    assert schema.decode_metadata(schema.encode_metadata(metadata)) == clean(metadata)


def test_metadata_beyond_json():
    found = schema.decode_metadata(
        schema.encode_metadata(
            {"c": 1 - 2j, "n": np.float32(1.5), "a": np.arange(3), "d": datetime.date(2020, 1, 2), "i": np.inf}
        )
    )
    assert found == {"c": 1 - 2j, "n": 1.5, "a": [0, 1, 2], "d": "2020-01-02", "i": np.inf}


def test_a_result_is_marked_checked_and_free_of_encoding():
    labels = xr.Variable("y", np.zeros(3), encoding={"dtype": "int16", "scale_factor": 0.1})
    found = schema.new_result("clustering", {"labels": labels, "counts": ("cluster", [3])})
    assert schema.result_kind(found) == "clustering"
    assert found.labels.encoding == {}
    with pytest.raises(XpycroError, match="counts"):
        schema.new_result("clustering", {"labels": labels})


def test_problems_are_found():
    good = xr.Dataset({"a": ("x", [1.0, 2.0], {"units": "A", "long_name": "A"})}, {"x": schema.coordinate("x", [0, 1])})
    assert schema.problems(good) == []
    bad = good.assign_coords(x=schema.coordinate("x", [1.0, 0.0])).assign_attrs(original_metadata="{")
    bad["b"] = ("quux", [1.0])
    text = " ".join(schema.problems(bad))
    for word in ("ascending", "quux", "b: no units", "b: no long_name", "original_metadata"):
        assert word in text
