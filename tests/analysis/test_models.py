"""Models: names, sums, units, description; compiled shapes against the formulas and their finite differences."""

from __future__ import annotations

import ctypes
import pickle

import numpy as np
import pytest

from xpycro.analysis import models

ALL = models.list()


def rows_of(model, x, p):
    """What the compiled shape fills, called as the kernel calls it: by its C signature."""
    component = model.component()
    n = x.shape[-1]
    rows = np.zeros((len(component.linear) + component.unit, n * (2 if model.is_complex else 1)))
    x, p = np.ravel(x).copy(), np.asarray(p, dtype=float)
    pointers = (array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in (x, p, rows))
    x_pointer, p_pointer, rows_pointer = pointers
    callback(component.shape).ctypes(x_pointer, n, p_pointer, rows_pointer, rows.shape[1])
    return rows


def callback(shape):
    import importlib

    from xpycro.engine.solver.jit import compiled

    module, _, name = shape.partition(":")
    return compiled(getattr(importlib.import_module(module), name), True)


def sample(model, seed):
    """Plausible parameters: positive where bounded, centres inside the axis."""
    rng = np.random.default_rng(seed)
    p = []
    for parameter in model.own_parameters:
        value = rng.uniform(0.5, 2.0)
        if parameter.name in ("center", "resonance_frequency", "center_x", "center_y"):
            value = rng.uniform(3.0, 7.0)
        p.append(np.clip(value, parameter.lower, parameter.upper))
    return np.array(p)


def stacked(values):
    return np.concatenate([values.real, values.imag]) if np.iscomplexobj(values) else np.asarray(values, float)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("seed", range(3))
def test_shape_is_the_formula_and_rows_its_derivatives(name, seed):
    model = models.parse(name)
    x = np.linspace(0.5, 10, 40)
    if model.ndim == 2:
        x = np.stack([m.ravel() for m in np.meshgrid(np.linspace(0, 8, 6), np.linspace(1, 9, 7))])
    p = sample(model, seed)
    component = model.component()
    rows = rows_of(model, x, p)
    total = sum(p[j] * rows[j] for j, linear in enumerate(component.linear) if linear)
    if component.unit:
        total = total + rows[-1]
    np.testing.assert_allclose(total, stacked(model(x, *p)), rtol=1e-11, atol=1e-12)
    for j in range(p.size):
        h = 1e-5 * max(abs(p[j]), 0.1)
        high, low = p.copy(), p.copy()
        high[j] += h
        low[j] -= h
        numeric = (stacked(model(x, *high)) - stacked(model(x, *low))) / (2 * h)
        factor = 1.0 if component.linear[j] or component.owner[j] < 0 else p[component.owner[j]]
        np.testing.assert_allclose(factor * rows[j], numeric, rtol=1e-5, atol=1e-6 * np.abs(numeric).max() + 1e-9)


@pytest.mark.parametrize("sigma", [0.0, 1e-7, 0.9e-3, 1.1e-3])
def test_voigt_without_a_gaussian_part(sigma):
    from scipy.special import voigt_profile

    model, x = models.Voigt(), np.linspace(-4, 6, 41)
    rows = rows_of(model, x, np.array([1.0, 0.7, sigma * 1.3, 1.3]))

    def truth(center, sigma, gamma):
        return voigt_profile(x - center, sigma, gamma) / voigt_profile(0.0, sigma, gamma)

    np.testing.assert_allclose(rows[0], truth(0.7, sigma * 1.3, 1.3), rtol=1e-10)
    h = 1e-4
    by_center = (truth(0.7 + h, sigma * 1.3, 1.3) - truth(0.7 - h, sigma * 1.3, 1.3)) / (2 * h)
    by_gamma = (truth(0.7, sigma * 1.3, 1.3 + h) - truth(0.7, sigma * 1.3, 1.3 - h)) / (2 * h)
    np.testing.assert_allclose(rows[1], by_center, atol=1e-7)
    np.testing.assert_allclose(rows[3], by_gamma, atol=1e-7)
    # even in sigma: its slope is sigma times the second derivative, here of a sigma that can be seen
    second = 2 * (truth(0.7, 0.01, 1.3) - truth(0.7, 0.0, 1.3)) / 0.01**2
    np.testing.assert_allclose(rows[2], sigma * 1.3 * second, atol=max(1e-3 * sigma, 1e-15))


@pytest.mark.parametrize("name", ALL)
def test_description_restores_the_model(name):
    model = models.parse(name)
    assert models.restore(model.describe()) == model
    assert pickle.loads(pickle.dumps(model)) == model
    assert type(model).__doc__ and model.formula in repr(model)


def test_sum_prefixes():
    model = models.Gaussian(name="pi") + models.Lorentzian() + models.Lorentzian() + models.Linear()
    assert [n for n in model.parameters if n.endswith("center")] == [
        "pi_center",
        "lorentzian_center",
        "lorentzian_2_center",
    ]
    assert models.restore(model.describe()) == model
    assert "pi: " in repr(model) and "linear: intercept + slope x" in repr(model)
    assert model.terms == (model.parts[0] + model.parts[1] + model.parts[2] + model.parts[3]).terms


def test_sum_of_a_list():
    parts = [models.Gaussian(name="a"), models.Gaussian(name="b"), models.Linear()]
    assert sum(parts) == parts[0] + parts[1] + parts[2]


def test_call_by_name_and_mistakes():
    model = models.Gaussian()
    np.testing.assert_allclose(model(1.0, amplitude=2, center=1, sigma=3), 2.0)
    with pytest.raises(TypeError, match="missing"):
        model(1.0, 2.0)
    with pytest.raises(TypeError, match="unknown"):
        model(1.0, amplitude=2, center=1, sigma=3, gamma=1)


def test_units():
    parameters = models.parse("gaussian + linear").parameters
    assert {n: p.unit("V", "A") for n, p in parameters.items()} == {
        "gaussian_amplitude": "A", "gaussian_center": "V", "gaussian_sigma": "V", "linear_intercept": "A",
        "linear_slope": "A/V",
    }  # fmt: skip


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"gausian.*gaussian"):
        models.parse("gausian + linear")
    with pytest.raises(TypeError, match="not 3"):
        models.parse(3)
    with pytest.raises(ValueError, match="same name"):
        models.Gaussian(name="a") + models.Gaussian(name="a")
    with pytest.raises(ValueError, match="all real or all complex"):
        models.HarmonicOscillator() + models.Linear()
    with pytest.raises(ValueError, match="signature"):
        models.parse(lambda *args: 0).parameters  # noqa: B018
    with pytest.raises(ValueError, match="unknown model"):
        models.restore({"model": "os.system"})
    with pytest.raises(ValueError, match="never run"):
        models.restore(models.parse(lambda x, a: a * x).describe())


def test_a_first_argument_is_no_name():
    assert models.Polynomial(3).degree == 3 and models.Polynomial(3).name is None
    with pytest.raises(TypeError, match="positional"):
        models.Gaussian("pi")


def test_what_is_not_defined_is_no_warning():
    with np.errstate(all="raise"):
        assert np.isinf(models.PowerLaw().evaluate(np.zeros(1), 1.0, 2.0))
        assert np.isnan(models.HarmonicOscillator().evaluate(np.zeros(1), 1.0, 0.0, 0.0, 0.0))
