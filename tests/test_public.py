"""The public surface itself: every exported name exists, every accessor method is the plain function of that name."""

import inspect
import re

import numpy as np
import pytest
import xarray as xr

import xpycro as xp
from xpycro import accessor

NAMESPACES = {
    name: type(getattr(xr.DataArray([0.0]).pycro, name))
    for name in dir(accessor.DataArrayAccessor)
    if isinstance(getattr(accessor.DataArrayAccessor, name), property) and name != "history"
}


def methods():
    """Pairs of (path under xp, accessor method)."""
    for kind in (accessor.DataArrayAccessor, accessor.DatasetAccessor):
        for name in dir(kind):
            if not name.startswith("_") and inspect.isfunction(getattr(kind, name)):
                yield name, getattr(kind, name)
    for namespace, kind in NAMESPACES.items():
        for name in dir(kind):
            if inspect.isfunction(getattr(kind, name)) and (not name.startswith("_") or name == "__call__"):
                yield f"{namespace}.{name}", getattr(kind, name)


METHODS = dict(methods())
CALLED = {
    "plot": "auto",
    "filter": "apply",
    "diffraction": "run",
}  # what calling a namespace runs; else its general form, `estimator`


def plain(path):
    found = xp
    for part in path.split("."):
        if part == "__call__":
            part = CALLED.get(path.split(".")[0], "estimator")
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("path", METHODS)
def test_every_accessor_method_is_the_plain_function_of_that_name(path):
    method, function = METHODS[path], plain(path)
    assert method.__wrapped__ is function
    assert method.__doc__ == function.__doc__
    assert list(inspect.signature(method).parameters)[1:] == list(inspect.signature(function).parameters)[1:]


@pytest.mark.parametrize("path", METHODS)
def test_every_method_is_documented_as_promised(path):
    text = METHODS[path].__doc__
    for heading in ("Parameters", "Returns", "*Laziness*", "Examples"):
        assert heading in text, f"{path}: no {heading}"


def test_the_accessor_only_holds_the_object():
    da = xr.DataArray(np.zeros(3), dims="x")
    assert da.pycro._obj is da
    with pytest.raises(AttributeError):
        da.pycro.something = 1


def test_every_exported_name_exists_and_no_other_is_public():
    assert sorted(xp.__all__) == sorted(set(xp.__all__))
    for name in xp.__all__:
        assert getattr(xp, name) is not None
    for name in [*NAMESPACES, "models", "simulate"]:
        module = getattr(xp, name)
        for public in module.__all__:
            assert hasattr(module, public), f"xp.{name}.{public}"


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_operation_of_a_namespace_is_reached_by_the_accessor(namespace):
    # what does not take a measurement or result first
    others = {"plot": {"auto", "chosen", "save", "selection", "tree"}, "filter": {"apply"}, "diffraction": {"run"}}
    apart = others.get(namespace, set()) | {"estimator"}
    module = getattr(xp, namespace)
    functions = {name for name in module.__all__ if inspect.isfunction(getattr(module, name))}
    reached = {path.split(".")[1] for path in METHODS if path.startswith(f"{namespace}.")}
    assert functions - apart == reached - {"__call__"}


@pytest.mark.parametrize("name", [n for n in xp.__all__ if callable(getattr(xp, n)) and not n[0].isupper()])
def test_every_plain_function_has_a_docstring_with_types(name):
    function = getattr(xp, name)
    assert function.__doc__ and len(function.__doc__) > 80
    signature = inspect.signature(function)
    untyped = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    assert not untyped, f"xp.{name}: {untyped} have no type"


def test_a_tree_says_what_to_use_instead():
    tree = xr.DataTree.from_dict(
        {"/": xr.Dataset({"a": ("x", [1.0])}), "/results/fit": xr.Dataset({"b": ("x", [2.0])})}
    )
    with pytest.raises(AttributeError, match=r"node's dataset.*/results/fit"):
        tree.pycro.decompose.svd()
    changed = tree.pycro.map(lambda ds: ds * 2, where=lambda node: node.name == "fit")
    assert changed["/results/fit"].b.item() == 4.0 and changed.a.item() == 1.0
    assert set(tree.pycro.history) == {"/", "/results/fit"}


def test_type_checkers_see_the_same_names():
    import ast
    from pathlib import Path

    tree = ast.parse(Path(xp.__file__).with_suffix(".pyi").read_text())
    seen = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                seen[alias.asname or alias.name] = (node.module, alias.name)
    assert set(seen) == set(xp.__all__)
    for public, home in xp._HOMES.items():
        module, _, attribute = home.partition(":")
        assert seen[public] == ((module, attribute) if attribute else tuple(module.rsplit(".", 1))), public


def test_the_accessor_shows_what_it_offers_and_where_the_object_is_from():
    ds = xp.simulate.tunnelling_grid((2, 3), 8)
    shown = ds.pycro._repr_html_()
    assert (
        "simulate.tunnelling_grid" in shown and "<code>fit(...)</code>" in shown and "<code>decompose</code>" in shown
    )
    assert re.search(r"^  fit\(\.\.\.\) +Fit a model along", repr(ds.pycro), re.MULTILINE)
    assert re.search(r"^  svd\(\.\.\.\) +Singular value", repr(ds.didv.pycro.decompose), re.MULTILINE)


def test_a_notebook_shows_units_before_the_long_texts():
    ds = xp.simulate.tunnelling_grid((2, 3), 8).assign_attrs(original_metadata="{}").pycro.crop(bias=(-1, 1))
    assert list(ds.attrs)[-2:] == ["original_metadata", "pycro_history"]
    first, *_, last = ds.didv.attrs
    assert first != last == "pycro_history"
