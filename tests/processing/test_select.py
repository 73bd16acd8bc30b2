"""Cropping and converting, against numbers written by hand."""

import numpy as np
import pytest
import xarray as xr

from tests.conftest import raise_if_dask_computes
from xpycro.errors import DimensionError
from xpycro.processing import select
from xpycro.schema import coordinate


def grid():
    return xr.Dataset(
        {"current": (("x", "step"), np.arange(20.0).reshape(5, 4) * 1e-12, {"units": "A", "long_name": "Current"})},
        coords={
            "x": coordinate("x", np.arange(5) * 1e-9),
            "bias": coordinate("step", [0.0, 1.0, 0.0, -1.0], name="bias"),
        },
    )


def test_crop_takes_numbers_strings_and_open_ends():
    ds = grid()
    assert select.crop(ds, x=("1 nm", 3e-9)).x.values == pytest.approx([1e-9, 2e-9, 3e-9])
    assert select.crop(ds, x=(None, "1000 pm")).sizes["x"] == 2
    # a turning sweep keeps every sample in the range, in order
    np.testing.assert_array_equal(select.crop(ds, bias=(-0.5, 1)).bias, [0, 1, 0])
    np.testing.assert_array_equal(select.crop(ds, bias=("500 mV", None)).bias, [1])


def test_crop_is_lazy():
    with raise_if_dask_computes():
        assert select.crop(grid().chunk(), x=(0, 1e-9)).sizes["x"] == 2


def test_crop_names_what_is_wrong():
    with pytest.raises(DimensionError, match=r"y=.*'x', 'bias'"):
        select.crop(grid(), y=(0, 1))
    with pytest.raises(ValueError, match=r"nothing lies.*0 to 4e-09 m"):
        select.crop(grid(), x=("5 um", "6 um"))
    with pytest.raises(ValueError, match=r"'V'.*'m'"):
        select.crop(grid(), x=("1 V", None))
    with pytest.raises(ValueError, match="two nm"):
        select.crop(grid(), x=("two nm", None))


def test_units_convert_values_and_attributes_only_there():
    ds = grid()
    found = select.to_units(ds, x="nm", current="pA")
    np.testing.assert_allclose(found.x, np.arange(5))
    np.testing.assert_allclose(found.current, np.arange(20.0).reshape(5, 4))
    assert (found.x.attrs["units"], found.current.attrs["units"], found.current.attrs["long_name"]) == (
        "nm",
        "pA",
        "Current",
    )
    assert found.bias.attrs == ds.bias.attrs and ds.x.attrs["units"] == "m"
    assert select.to_units(ds.current, current="fA").attrs["units"] == "fA"


def test_units_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"'A'.*'nm'"):
        select.to_units(grid(), current="nm")
    with pytest.raises(ValueError, match=r"curent.*current"):
        select.to_units(grid(), curent="pA")
