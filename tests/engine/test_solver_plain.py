"""What the kernel is compiled by, held against Python: the same functions, run as they stand."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest

from tests.engine.test_solver import problem_of
from xpycro.analysis import models
from xpycro.engine.solver import memory as at
from xpycro.engine.solver import native as room
from xpycro.engine.solver import solve
from xpycro.engine.solver.native import compiled, native, wide

LIMIT, SHARE = 3, 0.25


@pytest.fixture(autouse=True)
def _not_from_the_disk(monkeypatch):
    monkeypatch.setattr(room, "_code", room._compile)


def same(function, *arguments):
    """Compiled and as Python, NaN and infinity included."""
    with np.errstate(all="ignore"):
        expected = function(*(np.float64(a) if isinstance(a, float) else a for a in arguments))
    np.testing.assert_allclose(compiled(function)(*arguments), expected, rtol=1e-14, err_msg=str(arguments))


NUMBERS = (0.0, -1.5, 2.0, 1e300, np.inf, -np.inf, np.nan)


@native("float(float, float)")
def _reals(a, b):  # type: ignore[no-untyped-def]
    first = (a - b) / b
    if np.isnan(first) or not np.isfinite(first):
        first = min(a, b) if a < b else max(a, -b)
    return first + abs(a) ** 2 - b**3 + np.sqrt(abs(b)) + abs(a) ** 1.5


@native("float(float)")
def _curves(a):  # type: ignore[no-untyped-def]
    return np.exp(-a) + np.log(a) * np.log1p(a)


@native("int(int, int)")
def _integers(i, j):  # type: ignore[no-untyped-def]
    total = i // j * 1000 + i % j
    total += (i > j) + min(i, j) - max(i, LIMIT) * abs(j)
    return -total if i != j and not j > LIMIT else total


@native("int(float, int)")
def _decisions(a, i):  # type: ignore[no-untyped-def]
    inside = -1.0 < a <= 2.0
    either = inside or (i >= 0 and a > SHARE)
    found = 1 if either else 2 if i == 2 else 3
    return found + 10 * (a != a) + 100 * (inside and i == 2)


@native("float(int)")
def _loops(n):  # type: ignore[no-untyped-def]
    widened = 0
    last = i = -1
    for i in range(n):
        if i == 1:
            continue
        if i > 6:
            break
        for k in range(i, 2 * i):
            widened += 0.5 * k
        last = i
    for j in range(n - 1, -1, -2):
        for sign in (1, -1, 3):
            widened += sign * j
    while True:
        if last <= 0:
            break
        last -= 2
    a, b = widened, last
    a, b = b, a
    return a + 3 * b + i


@native("float(int)")
def _widened(i):  # type: ignore[no-untyped-def]
    i += 0.5
    return i


@native("float(floats, integers, int)")
def _elements(x, k, n):  # type: ignore[no-untyped-def]
    wide()
    total = 0.0
    for i in range(n):
        k[i] += i
        x[i] = x[i] * 2
        total -= x[i] + k[i]
    i = 0
    while i < n and x[i] > 0.0:  # the second is not looked at beyond the end
        i += 1
    return total + i + _reals(total, 1)


def test_numbers_and_decisions():
    for a, b in itertools.product(NUMBERS, NUMBERS):
        same(_reals, a, b)
    for a in (0.1, 3.0, np.inf, np.nan):
        same(_curves, a)
    for i, j in itertools.product((-7, -2, 0, 3, 8), (-3, 1, 4)):
        same(_integers, i, j)
    for a, i in itertools.product(NUMBERS, (-1, 0, 2)):
        same(_decisions, a, i)
    for n in (0, 1, 2, 5, 12):
        same(_loops, n)
        same(_widened, n)


def test_pointers():
    mine, theirs = ([np.array([1.0, 2.5, -3.0]), np.array([4, 5, 6])] for _ in range(2))
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in mine]
    assert compiled(_elements)(*pointers, 3) == pytest.approx(_elements(*theirs, 3), rel=1e-14)
    np.testing.assert_array_equal(mine[0], theirs[0])
    np.testing.assert_array_equal(mine[1], theirs[1])


@native("float(int)")
def _views(table):  # type: ignore[no-untyped-def]
    gram, low, counts = at.matrix(table, at.GRAM), at.square(table, at.COVARIANCE, 1), at.integers(table, at.COUNTS)
    data, second = at.numbers(table, at.DATA), at.row(table, at.ROWS, 1)
    low[1, 0] = gram[0, 1] = data[2] + second[0]
    low[0, 1] += gram[1, 2]
    counts[at.STEPS] = at.length(table, at.ROWS) * 10 + at.columns(table, at.ROWS)
    return at.address_of(table, at.DATA) - at.address_of(table, at.GRAM) + low[0, 1]


def test_views_of_the_table():
    def pieces():
        return {
            at.GRAM: np.arange(6.0).reshape(2, 3), at.COVARIANCE: np.arange(8.0).reshape(4, 2),
            at.COUNTS: np.zeros(at.N_COUNTS, dtype=np.int64), at.DATA: np.arange(3.0),
            at.ROWS: np.arange(8.0).reshape(2, 4),
        }  # fmt: skip

    mine, theirs = pieces(), pieces()
    for run, held in ((compiled(_views), mine), (_views, theirs)):
        table = at.Table(held)
        made = run(table.address)
        assert made == held[at.DATA].ctypes.data - held[at.GRAM].ctypes.data + 5.0 + 5.0
    for piece, array in mine.items():
        np.testing.assert_array_equal(array, theirs[piece])
    assert mine[at.GRAM][0, 1] == mine[at.COVARIANCE][3, 0] == 6.0 and mine[at.COUNTS][at.STEPS] == 24


@native("float(float)")
def _of_a_list(a):  # type: ignore[no-untyped-def]
    return [a][0]


@native("float(float)")
def _of_a_text(a):  # type: ignore[no-untyped-def]
    return a + "1"


@native("float(float)")
def _by_name(a):  # type: ignore[no-untyped-def]
    b = 1.0
    return _reals(a=a, b=b)


@native("float(float)")
def _too_few(a):  # type: ignore[no-untyped-def]
    return _reals(a)


@native("int(float)")
def _narrowed(a):  # type: ignore[no-untyped-def]
    return a


@native("float(float)")
def _late(a):  # type: ignore[no-untyped-def]
    for _ in range(2):
        a += b  # noqa: F821
        b = a  # noqa: F841
    return a


@native("float(float)")
def _foreign(a):  # type: ignore[no-untyped-def]
    return np.sin(a)


@native("float(float)")
def _with_else(a):  # type: ignore[no-untyped-def]
    for _ in range(3):
        a += 1.0
    else:
        a = 0.0
    return a


@pytest.mark.parametrize(
    ("function", "line", "said"),
    [
        (_of_a_list, 2, "no list"),
        (_of_a_text, 2, "no number"),
        (_by_name, 3, "by position"),
        (_too_few, 2, "takes 2 arguments, not 1"),
        (_narrowed, 2, "real where integer"),
        (_late, 3, "b is not known"),
        (_foreign, 2, "np.sin cannot be called"),
        (_with_else, 2, "no else of a loop"),
    ],
)
def test_what_is_not_of_the_subset_is_refused_with_its_line(function, line, said):
    first = function.python.__code__.co_firstlineno
    with pytest.raises(TypeError, match=f"line {first + line}: .*{said}"):
        compiled(function)


@pytest.mark.parametrize("loss", ["linear", "huber"])
def test_the_kernel_run_as_python_gives_the_same(monkeypatch, loss):
    from xpycro.engine.solver.problem import Loss

    rng = np.random.default_rng(0)
    x = np.linspace(0.0, 10.0, 20)
    y = 5 * np.exp(-0.5 * ((x - [[3.0], [6.5]]) / 1.2) ** 2) + 0.3 * x + 0.1 * rng.normal(size=(2, 20))
    y[1, 4] = np.nan
    problem = problem_of(models.parse("gaussian + linear"), loss=Loss[loss.upper()], covariance=True)
    monkeypatch.undo()
    ours = solve(problem, x, y)
    monkeypatch.setattr(room, "call", lambda function, table: function(table.address))
    with np.errstate(all="ignore"):
        python = solve(problem, x, y)
    np.testing.assert_array_equal(ours.status, python.status)
    np.testing.assert_allclose(ours.parameters, python.parameters, rtol=1e-6)
    np.testing.assert_allclose(ours.errors, python.errors, rtol=1e-5)
    np.testing.assert_allclose(ours.cost, python.cost, rtol=1e-10)
