"""The history: steps, parameters by value, and edits in between that show as gaps."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr

from tests.conftest import as_indexed, raise_if_dask_computes
from xpycro import provenance
from xpycro.errors import MissingSource


@dataclasses.dataclass(frozen=True)
class Model:
    width: float

    def describe(self):
        return {"model": "gaussian", "width": self.width}


@provenance.recorded("scale")
def scale(data, factor=2.0, *, mask=None, model=None):
    return xr.Dataset({"scaled": data * factor})


@provenance.recorded("outer")
def outer(data):
    return scale(data).scaled + 1


def measurement():
    return xr.DataArray(np.arange(12.0).reshape(3, 4), dims=("y", "x"), name="current", attrs={"units": "A"})


def test_a_step_holds_operation_parameters_versions_and_fingerprints():
    found = provenance.history(scale(measurement(), 3.0, model=Model(0.5)))
    (step,) = found.steps
    assert step["operation"] == "scale"
    assert step["parameters"] == {"factor": 3.0, "mask": None, "model": {"model": "gaussian", "width": 0.5}}
    assert step["versions"]["xarray"] == xr.__version__
    assert step["inputs"][0]["variable"] == "current"
    assert step["outputs"].keys() == {"scaled"}


def test_the_input_is_left_alone_and_each_variable_knows():
    da = measurement()
    result = scale(da)
    assert da.attrs == {"units": "A"}
    assert result.scaled.attrs[provenance.HISTORY] == result.attrs[provenance.HISTORY]
    json.loads(result.attrs[provenance.HISTORY])


def test_an_operation_inside_another_leaves_one_step():
    assert [s["operation"] for s in provenance.history(outer(measurement())).steps] == ["outer"]


@pytest.mark.parametrize("lazy", [False, True])
def test_unrecorded_edits_show_as_gaps(lazy):
    da = measurement().chunk() if lazy else measurement()
    with raise_if_dask_computes():
        once = scale(da).scaled
        clean = provenance.history(scale(once))
        edited = provenance.history(scale(once * 1.5))
    assert clean.gaps == []
    assert len(edited.gaps) == 1 and "scaled was changed" in edited.gaps[0] and "step 2" in edited.gaps[0]
    assert "not recorded" in repr(edited)


def test_a_single_changed_value_shows():
    once = scale(measurement()).scaled
    copy = once.copy(deep=True)
    copy[1, 2] += 1e-9
    assert provenance.history(scale(copy)).gaps


def test_rechunking_is_no_edit_and_indexing_is_told_from_one():
    once = scale(measurement().chunk({"y": 1})).scaled
    assert provenance.history(scale(once.chunk({"y": 3}).T)).gaps == []
    part = provenance.history(scale(once[:2]))
    assert part.gaps == [] and "part of the data" in repr(part)
    assert "add" in provenance.history(scale(once[:2] + 1)).gaps[0]


def test_loading_in_between_cannot_be_verified_and_says_so():
    once = scale(measurement().chunk()).scaled
    assert "cannot be ruled out" in provenance.history(scale(once.compute())).gaps[0]


def test_further_inputs_bring_their_past_along():
    mask = scale(measurement() > 3).scaled
    step = provenance.history(scale(measurement(), mask=mask)).steps[-1]
    assert [i["argument"] for i in step["inputs"]] == ["data", "mask"]
    assert step["inputs"][1]["history"]["steps"][0]["operation"] == "scale"


def test_parameters_are_described_by_value():
    from sklearn.decomposition import NMF

    describe = provenance._describe
    assert describe(slice(1, None)) == {"$slice": [1, None, None]}
    found = describe(NMF(3))
    assert found["$estimator"].endswith("NMF") and found["parameters"]["n_components"] == 3
    assert "def measurement" in describe(measurement)["source"]
    assert describe(np.arange(100)).keys() == {"$array", "shape"}


def test_large_arrays_are_hashed_in_bounded_time_and_pieces():
    big = np.zeros(1 << 23)
    first = provenance.fingerprint(xr.DataArray(big))
    big[0] = 1
    assert provenance.fingerprint(xr.DataArray(big)) != first


def test_broken_history_reads_as_none():
    assert provenance.history(xr.Dataset(attrs={provenance.HISTORY: "{"})).steps == []


def test_lazily_indexed_input_is_not_read(tmp_path, bytes_read):
    ds = as_indexed(xr.Dataset({"current": ("x", np.zeros(1_000_000))}), tmp_path / "a.nc")
    counter = bytes_read()
    assert provenance.fingerprint(ds.current).startswith("lazy:")
    assert counter.total < 100_000
    assert provenance.fingerprint(ds.current[:5]) != provenance.fingerprint(ds.current)


def test_history_renders_for_notebooks_and_escapes():
    html = provenance.history(scale(measurement(), model=Model("<b>")))._repr_html_()
    assert "<table>" in html and "<b>" not in html


def test_source_data_takes_what_is_given_and_says_what_is_missing():
    result = scale(measurement())
    given = measurement()
    assert provenance.source_data(result, given) is given
    assert provenance.source_data(result, xr.Dataset({"a": given, "current": given})).name == "current"
    with pytest.raises(MissingSource, match="pass data="):
        provenance.source_data(result, purpose="the residual")
    with pytest.raises(ValueError, match=r"a.*b"):
        provenance.source_data(result, xr.Dataset({"a": given, "b": given}))


def test_what_was_simulated_has_no_file_as_source_after_saving(tmp_path):
    import xpycro as xp

    stored = xp.save(xp.simulate.tunnelling_grid((2, 3), 8), tmp_path / "sim.h5")
    content = xp.history(stored)
    assert content.source == {} and content.location["path"] == str(tmp_path / "sim.h5")
    fitted = xp.fit(stored.didv, "linear")
    assert xp.history(fitted).gaps == []
    np.testing.assert_array_equal(provenance.source_data(fitted), stored.didv)
