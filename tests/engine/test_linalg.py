"""engine/linalg.py against LAPACK: moments, merging, bases, projections, and the thread guard."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from xpycro.engine import blas, cross, linalg


def matrix(n: int, p: int, *, complex_: bool = False, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * np.linspace(1, 5, p) + 2
    return x + 1j * rng.normal(size=(n, p)) if complex_ else x


@given(
    n=st.integers(1, 30),
    p=st.integers(1, 12),
    cuts=st.lists(st.integers(0, 30), max_size=4),
    complex_=st.booleans(),
    center=st.booleans(),
    factor=st.booleans(),
)
def test_moments_of_pieces_are_those_of_the_whole(n, p, cuts, complex_, center, factor):
    x = matrix(n, p, complex_=complex_)
    edges = sorted({0, n, *(c for c in cuts if c < n)})
    parts = [linalg.moments(x[a:b], center=center, factor=factor) for a, b in itertools.pairwise(edges)]
    total = parts[0]
    for part in parts[1:]:
        total = linalg.merge(total, part)
    shifted = x - x.mean(axis=0) if center else x
    expected = shifted.conj().T @ shifted
    square = total.square.conj().T @ total.square if factor else total.square
    np.testing.assert_allclose(square, expected, atol=1e-10 * np.abs(x).max() ** 2 * n)
    np.testing.assert_allclose(total.mean, x.mean(axis=0), atol=1e-12)
    assert total.count == n


def test_a_large_mean_costs_no_digits():
    rng = np.random.default_rng(1)
    exact = rng.integers(-8, 8, size=(4096, 5)).astype(float)  # sums of these are exact
    x = exact + 2.0**40
    found = linalg.moments(x, center=True)
    shifted = exact - exact.mean(axis=0)
    np.testing.assert_allclose(found.square, shifted.T @ shifted, rtol=1e-9, atol=1e-6)


def test_weights_and_row_scaling():
    x = np.abs(matrix(20, 4)) + 0.1
    w = np.linspace(0.5, 2, 20)
    found = linalg.moments(x, None, w, center=True)
    mean = (w[:, None] * x).sum(axis=0) / w.sum()
    np.testing.assert_allclose(found.mean, mean)
    np.testing.assert_allclose(found.square, (x - mean).T @ (w[:, None] * (x - mean)))
    scaled = linalg.moments(x, row_scaling="poisson")
    np.testing.assert_allclose(scaled.square, x.T @ (x / x.mean(axis=1)[:, None]))


def test_rows_with_nan_and_skipped_rows_are_left_out_and_counted():
    x = matrix(10, 3)
    x[2, 1] = np.nan
    x[5] = np.nan
    x[7, 0] = np.inf
    skip = np.zeros(10, bool)
    skip[0] = True
    found = linalg.moments(x, skip)
    good = [i for i in range(10) if i not in (0, 2, 5, 7)]
    np.testing.assert_allclose(found.square, x[good].T @ x[good])
    assert found.count == 6
    assert found.missing.tolist() == [1, 2, 1]
    assert found.infinite == 1


def test_columns_left_out_may_hold_anything():
    x = matrix(10, 3)
    x[:, 1] = np.nan
    found = linalg.moments(x, columns=np.array([True, False, True]))
    np.testing.assert_allclose(found.square, x[:, [0, 2]].T @ x[:, [0, 2]])
    assert found.count == 10


def test_a_finite_row_whose_sum_overflows_is_kept():
    x = np.array([[1e308, 1e308], [1.0, 1.0]])
    assert linalg.moments(x).count == 2
    with pytest.raises(ValueError, match="exceed the range of float64"):
        linalg.basis(linalg.moments(x).square, 1)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("factor", [False, True])
@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e9])
def test_basis_against_lapack(complex_, factor, unit):
    x = matrix(200, 12, complex_=complex_) * unit
    _, s, vh = np.linalg.svd(x, full_matrices=False)
    found = linalg.basis(linalg.moments(x, factor=factor).square, 5, factor=factor)
    np.testing.assert_allclose(found.singular_values, s, rtol=1e-12)
    product = np.abs(np.einsum("ij,ji->i", vh[:5], found.vectors))
    np.testing.assert_allclose(product, 1, atol=1e-10)


def test_graded_spectrum_is_resolved_as_documented():
    """1e-8 for the leading values, 1e-6 at 1e-5 of the first; the factor goes down to rounding."""
    rng = np.random.default_rng(3)
    true = 10.0 ** -np.arange(0, 13)
    u, _ = np.linalg.qr(rng.normal(size=(500, 13)))
    v, _ = np.linalg.qr(rng.normal(size=(13, 13)))
    x = (u * true) @ v.T
    plain = linalg.basis(linalg.moments(x).square, 13).singular_values
    refined = linalg.basis(linalg.moments(x, factor=True).square, 13, factor=True).singular_values
    error = np.abs(plain / true - 1)
    assert error[:3].max() < 1e-8
    assert error[:6].max() < 1e-6
    assert np.abs(refined / true - 1)[:9].max() < 1e-6
    np.testing.assert_allclose(refined, true, atol=1e-14)


@given(n=st.integers(1, 8), p=st.integers(2, 20), cut=st.integers(1, 19), complex_=st.booleans(), factor=st.booleans())
def test_cross_moments_of_pieces(n, p, cut, complex_, factor):
    x = matrix(n, p, complex_=complex_)
    cut = min(cut, p - 1)
    pieces = [cross.cross_moments(part, factor=factor) for part in (x.T[:cut], x.T[cut:])]
    total = cross.merge_cross(*pieces)
    square = total.square.conj().T @ total.square if factor else total.square
    np.testing.assert_allclose(square, (x @ x.conj().T).conj(), atol=1e-10 * np.abs(x).max() ** 2 * p)


def test_signs_do_not_hang_on_the_last_bit():
    v = np.array([[0.5, -0.5], [-0.5, 0.5], [0.5, 0.1]])
    nudged = v.copy()
    nudged[1, 0] = -np.nextafter(0.5, 1)
    assert linalg.fix_signs(v).tolist() == linalg.fix_signs(nudged).tolist() == [1.0, -1.0]
    phase = linalg.fix_signs(np.array([[1j], [0.1]]))
    assert phase[0] == -1j
    assert linalg.fix_signs(np.zeros((3, 1))).tolist() == [1.0]


def test_orthonormal_keeps_directions_and_fills_zeros():
    v = np.array([[2.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    q = linalg.orthonormal(v)
    np.testing.assert_allclose(q.T @ q, np.eye(3), atol=1e-12)
    assert q[0, 0] == pytest.approx(1.0)
    assert v[:, 2] @ q[:, 2] >= 0


def blas_threads() -> list[int]:
    return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]


def test_overlapping_thread_limits_leave_the_process_as_it_was():
    np.ones((4, 4)) @ np.ones((4, 4))
    before = blas_threads()
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def first():
        with blas.single_threaded_blas():
            first_in.set()
            second_in.wait(5)
        first_out.set()

    def second():
        first_in.wait(5)
        with blas.single_threaded_blas():
            second_in.set()
            first_out.wait(5)
            seen.append(blas_threads())

    threads = [threading.Thread(target=t) for t in (first, second)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(n == 1 for n in seen[0])
    assert blas_threads() == before


def test_the_limit_is_lifted_after_an_error():
    before = blas_threads()
    with pytest.raises(RuntimeError), blas.single_threaded_blas():
        raise RuntimeError
    assert blas_threads() == before
