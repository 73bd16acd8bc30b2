"""Models of lmfit: what lmfit itself finds in one spectrum is the truth."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import xarray as xr

import xpycro as xp
from xpycro.analysis.fit import fit
from xpycro.engine.results import evaluate

lmfit = pytest.importorskip("lmfit")
from lmfit import models as theirs  # noqa: E402

X = np.linspace(280, 300, 120)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    clean = 40 * np.exp(-0.5 * ((X - np.array([288.0, 290.5, 292.0])[:, None]) / 1.2) ** 2) + 10
    energy = xr.Variable("energy", X, {"units": "eV"})
    da = xr.DataArray(clean + rng.normal(size=clean.shape), {"energy": energy}, ("position", "energy"), "signal")
    return da.assign_attrs(units="counts")


@cache  # one model object is compiled once
def case(name):
    """A model of lmfit and its parameters: compiled, not compilable, with an option, an expression."""
    if name == "compiled":
        model = theirs.GaussianModel(prefix="g_") + theirs.ConstantModel()
        return model, model.make_params(g_amplitude=100, g_center=290, g_sigma=1, c=8)
    if name == "special function, tied by a hint":
        model = theirs.VoigtModel() + theirs.LinearModel()
        return model, model.make_params(amplitude=100, center=290, sigma=1, slope=0.0, intercept=8)
    if name == "option":
        model = theirs.GaussianModel() + theirs.StepModel(prefix="step_", form="erf")
        return model, model.make_params(
            amplitude=100, center=290, sigma=1, step_amplitude=10, step_center=dict(value=270, vary=False),
            step_sigma=dict(value=1, vary=False),
        )  # fmt: skip
    model = theirs.ExpressionModel("height * exp(-((x - middle) / width)**2) + level")
    return model, model.make_params(height=30, middle=290, width=dict(value=2, min=0), level=8)


@pytest.mark.parametrize("name", ["compiled", "special function, tied by a hint", "option", "expression"])
def test_what_lmfit_finds_in_one_spectrum(data, name):
    model, parameters = case(name)
    result = fit(data, model, start=parameters)
    assert result.converged.all()
    for k in range(data.sizes["position"]):
        expected = model.fit(data.values[k], parameters, x=X)
        for parameter in model.param_names:
            found = expected.params[parameter]
            scale = found.stderr or 1.0
            assert float(result[parameter][k]) == pytest.approx(found.value, abs=2e-3 * scale), parameter
            if found.vary or found.expr:
                assert float(result[f"{parameter}_stderr"][k]) == pytest.approx(found.stderr, rel=1e-2), parameter
            else:
                assert float(result[f"{parameter}_stderr"][k]) == 0.0
    best = model.eval(x=X, **{p: float(result[p][1]) for p in model.param_names})
    np.testing.assert_allclose(evaluate(result)[1], best)  # named by this session's model
    np.testing.assert_allclose(evaluate(result, functions={"lmfit_model": model})[1], best)


def test_what_hints_and_parameters_say_holds(data):
    data = data.isel(position=slice(0, 2))
    # a function that calls another is none for numba: nothing is compiled here
    model = theirs.PseudoVoigtModel(prefix="a_") + theirs.PseudoVoigtModel(prefix="b_") + theirs.ConstantModel()
    parameters = model.make_params(a_amplitude=100, a_center=289, a_sigma=1, b_amplitude=5, b_center=296, c=8)
    for name in ("a_fraction", "b_fraction"):
        parameters[name].set(value=0, vary=False)
    parameters["b_sigma"].expr = "a_sigma"
    parameters["c"].set(value=9.5, vary=False)
    parameters["a_amplitude"].set(max=90)
    result = fit(data, model, start=parameters)
    np.testing.assert_array_equal(result.b_sigma, result.a_sigma)
    assert (result.c == 9.5).all() and (result.a_amplitude <= 90).all()
    # what the caller says goes first
    other = fit(data, model, start=parameters, fixed={"c": 10.0}, bounds={"a_amplitude": (None, 95)})
    assert (other.c == 10.0).all() and (other.a_amplitude <= 95).all() and (other.a_amplitude > 90).any()
    parameters["b_amplitude"].expr = "0.5 * a_amplitude"
    with pytest.raises(ValueError, match="text is not evaluated"):
        fit(data, model, start=parameters)
    hinted = theirs.PseudoVoigtModel()
    hinted.set_param_hint("fraction", value=0, vary=False)
    with pytest.raises(ValueError, match="needs start="):
        fit(data - 10, hinted)
    for name, value in {"amplitude": 100, "center": 290, "sigma": 1}.items():
        hinted.set_param_hint(name, value=value)
    assert fit(data - 10, hinted).converged.all()


def test_its_history_is_replayed_with_the_model(data, tmp_path):
    model, parameters = case("compiled")
    path = tmp_path / "scan.h5"
    xp.save(data.to_dataset(), path)
    stored = xp.fit(xp.open(path).signal, model, start=parameters).pycro.save(path, name="peak")
    again = xp.replay(path, "peak", functions={"lmfit_model": model})
    np.testing.assert_array_equal(again.g_center, stored.g_center)
    with pytest.raises(xp.errors.XpycroError, match="lmfit_model"):
        xp.replay(path, "peak")
