"""Simple harmonic oscillator: starts and variable projection in closed form, the fastest path of all.

H(w) = C / (w^2 - i a w - b) with a = w0/Q, b = w0^2 and the complex C = A e^{i phi} w0^2 eliminated. Compiled; may
import numba, numpy and this folder's compiled modules. Bounds and fixed parameters take the general kernel.

References: Levy, IRE Trans. Autom. Control 4, 37 (1959); Sanathanan and Koerner, ibid. 8, 56 (1963); Kaufman, BIT 15,
49 (1975).
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.jit import channel_helper, kernel
from xpycro.engine.solver.problem import Status

__all__ = ["fit_sho"]

MAX_ITERATIONS, CONVERGED, SMALL_STEP, NO_DATA, TOO_FEW, CONSTANT, SINGULAR, NO_SIGNAL, CONJUGATED = map(
    int,
    (Status.MAX_ITERATIONS, Status.COST, Status.STEP, Status.NO_DATA, Status.TOO_FEW, Status.CONSTANT,
     Status.SINGULAR, Status.NO_SIGNAL, Status.CONJUGATED),
)  # fmt: skip


@channel_helper
def _basis(u, re, im, w2, a, b, fr, fi):  # type: ignore[no-untyped-def]
    """Basis 1/(u^2 - i a u - b), its best complex coefficient and its squared norm."""
    norm = pr = pi = 0.0
    for i in range(u.size):
        dr = u[i] * u[i] - b
        di = a * u[i]
        inverse = 1.0 / (dr * dr + di * di)
        f, g = dr * inverse, di * inverse
        fr[i], fi[i] = f, g
        norm += w2[i] * inverse
        pr += w2[i] * (f * re[i] + g * im[i])
        pi += w2[i] * (f * im[i] - g * re[i])
    return pr / norm, pi / norm, norm


@channel_helper
def _cost(re, im, w2, cr, ci, fr, fi):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(re.size):
        x = re[i] - (cr * fr[i] - ci * fi[i])
        y = im[i] - (cr * fi[i] + ci * fr[i])
        total += w2[i] * (x * x + y * y)
    return 0.5 * total


@channel_helper
def _projected_cost(u, re, im, w2, a, b, fr, fi):  # type: ignore[no-untyped-def]
    cr, ci, _ = _basis(u, re, im, w2, a, b, fr, fi)
    return _cost(re, im, w2, cr, ci, fr, fi)


@channel_helper
def _step(u, re, im, w2, cr, ci, norm, fr, fi):  # type: ignore[no-untyped-def]
    """Cost; projected normal matrix and gradient in (a, b); what joins them to the coefficient."""
    # d/da = C i u f^2, d/db = C f^2: sums over f^2, weighted by powers of u
    cost = saa = sbb = ga = gb = xar = xai = xbr = xbi = 0.0
    for i in range(u.size):
        f, g = fr[i], fi[i]
        x = re[i] - (cr * f - ci * g)
        y = im[i] - (cr * g + ci * f)
        qr, qi = f * f - g * g, 2.0 * f * g
        br, bi = cr * qr - ci * qi, cr * qi + ci * qr
        w = w2[i]
        wu = w * u[i]
        size = w * (br * br + bi * bi)
        cost += w * (x * x + y * y)
        saa += size * u[i] * u[i]
        sbb += size
        ga += wu * (br * y - bi * x)
        gb += w * (br * x + bi * y)
        xar += wu * (g * br - f * bi)
        xai += wu * (f * br + g * bi)
        xbr += w * (f * br + g * bi)
        xbi += w * (f * bi - g * br)
    saa -= (xar * xar + xai * xai) / norm
    sbb -= (xbr * xbr + xbi * xbi) / norm
    sab = -(xar * xbr + xai * xbi) / norm  # a and b are orthogonal before the projection
    return 0.5 * cost, saa, sab, sbb, ga, gb, xar, xai, xbr, xbi


@channel_helper
def _linear_start(u, re, im, w2, a, b, reweighted):  # type: ignore[no-untyped-def]
    """One linear fit of Z (u^2 - i a u - b) = C, weighted by the last one's 1/|D|^2; b < 0 where there is none."""
    # weighted means take C out, two real unknowns are left
    sw = zr = zi = vr = vi = tr = ti = zz = vv = 0.0
    for i in range(u.size):
        w, x, y, v = w2[i], re[i], im[i], u[i]
        if reweighted:
            dr, di = v * v - b, a * v
            w /= dr * dr + di * di
        wx, wy = w * x, w * y
        size = wx * x + wy * y
        sw += w
        zr += wx
        zi += wy
        vr += v * wx
        vi += v * wy
        tr += v * v * wx
        ti += v * v * wy
        zz += size
        vv += size * v * v
    # columns: i u Z and Z; target: u^2 Z; the mean taken off each
    maa = vv - (vr * vr + vi * vi) / sw
    mbb = zz - (zr * zr + zi * zi) / sw
    mab = -(vr * zi - vi * zr) / sw
    ta = -(vr * ti - vi * tr) / sw
    tb = vv - (zr * tr + zi * ti) / sw
    det = maa * mbb - mab * mab
    if not det > 1e-14 * maa * mbb:
        return 0.0, -1.0
    return (ta * mbb - tb * mab) / det, (tb * maa - ta * mab) / det


@channel_helper
def _second_start(u, re, im, w2, a, b, fr, fi):  # type: ignore[no-untyped-def]
    """(a, b, conjugated): the better of the linear fit's (a, b) and the maximum of the magnitude.

    `conjugated` is what the opposite sign of the damping would cost.
    """
    n = u.size
    low, high = u[0], u[0]
    for i in range(n):
        low, high = min(low, u[i]), max(high, u[i])
    inside = low * low <= b and b <= high * high
    best_a, best_b, best = 0.05, 1.0, np.inf
    if inside and a > 0.0:
        best_a, best_b, best = a, b, _projected_cost(u, re, im, w2, a, b, fr, fi)
    # second start: the largest magnitude, its width from where half the power is
    top, place = 0.0, 0
    for i in range(n):
        size = w2[i] * (re[i] * re[i] + im[i] * im[i])
        if size > top:
            top, place = size, i
    half = 0.5 * (re[place] * re[place] + im[place] * im[place])
    above = 0
    for i in range(n):
        if re[i] * re[i] + im[i] * im[i] > half:
            above += 1
    width = (high - low) / n * max(above, 1)
    conjugated = np.inf
    for factor in (0.5, 1.5):
        for sign in (1.0, -1.0):
            cost = _projected_cost(u, re, im, w2, sign * factor * width, u[place] ** 2, fr, fi)
            if sign < 0.0:
                conjugated = min(conjugated, cost)
            elif cost < best:
                best_a, best_b, best = factor * width, u[place] ** 2, cost
    if inside and a < 0.0:
        conjugated = min(conjugated, _projected_cost(u, re, im, w2, a, b, fr, fi))
    return best_a, best_b, conjugated


@kernel
def fit_sho(  # type: ignore[no-untyped-def]
    x, y, weight, start, absolute, max_iterations, tolerance, parameters, variances, covariance, statistics, status,
    iterations,
):  # fmt: skip
    """Fit every row of `y` (real parts, then imaginary): amplitude, resonance frequency, quality factor, phase."""
    n_channels = x.size
    keep_all = covariance.shape[0] > 0
    weighted = weight.shape[1] > 0
    reference = np.mean(x)
    u_memory, w2_memory = np.empty(n_channels), np.ones(n_channels)
    re_memory, im_memory = np.empty(n_channels), np.empty(n_channels)
    fr_memory, fi_memory = np.empty(n_channels), np.empty(n_channels)
    jacobian, inner = np.zeros((4, 4)), np.zeros((4, 4))
    for pixel in range(y.shape[0]):
        parameters[pixel] = np.nan
        variances[pixel] = np.nan
        statistics[pixel] = np.nan
        iterations[pixel] = 0
        if keep_all:
            covariance[pixel] = np.nan
        n = 0
        source = weight[pixel if weight.shape[0] > 1 else 0]
        for i in range(n_channels):
            good = np.isfinite(y[pixel, i]) and np.isfinite(y[pixel, n_channels + i])
            if good and weighted:
                good = source[i] > 0.0 and np.isfinite(source[i])
            if good:
                u_memory[n] = x[i] / reference
                re_memory[n], im_memory[n] = y[pixel, i], y[pixel, n_channels + i]
                if weighted:
                    w2_memory[n] = source[i] * source[i]
                n += 1
        statistics[pixel, 3] = 2 * n
        if n == 0:
            status[pixel] = NO_DATA
            continue
        if 2 * n < 4:
            status[pixel] = TOO_FEW
            continue
        u, re, im, w2 = u_memory[:n], re_memory[:n], im_memory[:n], w2_memory[:n]
        fr, fi = fr_memory[:n], fi_memory[:n]
        power = sw = mr = mi = 0.0
        constant = True
        for i in range(n):
            power += w2[i] * (re[i] * re[i] + im[i] * im[i])
            sw += w2[i]
            mr += w2[i] * re[i]
            mi += w2[i] * im[i]
            constant = constant and re[i] == re[0] and im[i] == im[0]
        if constant:
            status[pixel] = CONSTANT
            continue
        begin = start[pixel if start.shape[0] > 1 else 0]
        a = b = 0.0
        for reweighting in range(3):
            a, b = _linear_start(u, re, im, w2, a, b, reweighting > 0)
            if not b > 0.0:
                break
        conjugated = np.inf
        told = np.isfinite(begin[1]) and np.isfinite(begin[2])
        if told:
            b = (begin[1] / reference) ** 2
            a = begin[1] / reference / begin[2]
        cost = np.inf
        if a > 0.0 and b > 0.0:
            cr, ci, norm = _basis(u, re, im, w2, a, b, fr, fi)
            cost, saa, sab, sbb, ga, gb, xar, xai, xbr, xbi = _step(u, re, im, w2, cr, ci, norm, fr, fi)
        if not told and not cost < 0.2 * power:  # 60 % of the power explained: no other valley is deeper
            a, b, conjugated = _second_start(u, re, im, w2, a, b, fr, fi)
            cr, ci, norm = _basis(u, re, im, w2, a, b, fr, fi)
            cost, saa, sab, sbb, ga, gb, xar, xai, xbr, xbi = _step(u, re, im, w2, cr, ci, norm, fr, fi)

        damping, growth = 1e-4, 2.0
        code = MAX_ITERATIONS
        iteration = 0
        while True:
            da, db = 1.0 / np.sqrt(saa), 1.0 / np.sqrt(sbb)
            r = sab * da * db
            ha, hb = ga * da, gb * db
            det = 1.0 - r * r
            promise = 0.5 * (ha * ha - 2.0 * r * ha * hb + hb * hb) / det
            if promise <= tolerance * cost or cost <= 1e-30 * power:
                code = CONVERGED
                break
            if promise <= 1e-22 * power:
                code = SMALL_STEP
                break
            if iteration == max_iterations:
                break
            iteration += 1
            accepted = False
            while damping < 1e14:
                d = 1.0 + damping
                det = d * d - r * r
                za, zb = (d * ha - r * hb) / det, (d * hb - r * ha) / det
                step_a, step_b = za * da, zb * db
                # a and b stay positive: never more than nine tenths of the way to zero
                step_a, step_b = max(step_a, -0.9 * a), max(step_b, -0.9 * b)
                za, zb = step_a / da, step_b / db
                predicted = za * ha + zb * hb - 0.5 * (za * za + 2.0 * r * za * zb + zb * zb)
                tr, ti, tn = _basis(u, re, im, w2, a + step_a, b + step_b, fr, fi)
                sums = _step(u, re, im, w2, tr, ti, tn, fr, fi)
                ratio = (cost - sums[0]) / predicted if predicted > 0.0 else 0.0
                if sums[0] < cost and ratio > 1e-4:
                    a, b, cr, ci, norm = a + step_a, b + step_b, tr, ti, tn
                    cost, saa, sab, sbb, ga, gb, xar, xai, xbr, xbi = sums
                    damping = max(damping * max(0.05, 1.0 - (2.0 * ratio - 1.0) ** 3), 1e-12)
                    growth = 2.0
                    accepted = True
                    break
                if predicted <= 1e-14 * cost and damping > 1e3:
                    break
                damping *= growth
                growth *= 2.0
            if not accepted:
                _basis(u, re, im, w2, a, b, fr, fi)  # the failed trials overwrote it
                code = SMALL_STEP if promise <= 1e-6 * cost else SINGULAR
                break
        iterations[pixel] = iteration

        total = 2.0 * cost
        if weighted:
            total = 0.0
            for i in range(n):
                total += (re[i] - (cr * fr[i] - ci * fi[i])) ** 2 + (im[i] - (cr * fi[i] + ci * fr[i])) ** 2
        spread = power - (mr * mr + mi * mi) / sw
        statistics[pixel, 0] = cost
        statistics[pixel, 1] = total
        statistics[pixel, 2] = 1.0 - 2.0 * cost / spread if spread > 0.0 else np.nan
        if code == CONVERGED or code == SMALL_STEP:
            noise = 2.0 * cost / max(2 * n - 4, 1)
            if conjugated < cost * (1.0 - 1e-6) and power - 2.0 * conjugated > 40.0 * noise:
                code = CONJUGATED
            elif power - 2.0 * cost < noise * (2.0 * np.log(2.0 * n) + 14.0):
                code = NO_SIGNAL
        elif conjugated < cost:
            code = CONJUGATED
        status[pixel] = code
        if code != CONVERGED and code != SMALL_STEP:
            continue
        # (a, b, C) in scaled frequency to (A, w0, Q, phi)
        magnitude2 = cr * cr + ci * ci
        magnitude, root = np.sqrt(magnitude2), np.sqrt(b)
        parameters[pixel, 0] = magnitude / b
        parameters[pixel, 1] = root * reference
        parameters[pixel, 2] = root / a
        parameters[pixel, 3] = np.arctan2(ci, cr)
        variance = 1.0 if absolute else (2.0 * cost / (2 * n - 4) if n > 2 else np.nan)
        det = saa * sbb - sab * sab
        vaa, vab, vbb = sbb / det, -sab / det, saa / det
        # how the coefficient follows a and b
        car, cai, cbr, cbi = -xar / norm, -xai / norm, -xbr / norm, -xbi / norm
        inner[0, 0], inner[0, 1], inner[1, 1] = vaa, vab, vbb
        inner[0, 2], inner[0, 3] = car * vaa + cbr * vab, cai * vaa + cbi * vab
        inner[1, 2], inner[1, 3] = car * vab + cbr * vbb, cai * vab + cbi * vbb
        inner[2, 2] = 1.0 / norm + car * inner[0, 2] + cbr * inner[1, 2]
        inner[2, 3] = car * inner[0, 3] + cbr * inner[1, 3]
        inner[3, 3] = 1.0 / norm + cai * inner[0, 3] + cbi * inner[1, 3]
        for j in range(4):
            for k in range(j):
                inner[j, k] = inner[k, j]
        jacobian[0, 1], jacobian[0, 2], jacobian[0, 3] = (
            -magnitude / (b * b),
            cr / (magnitude * b),
            ci / (magnitude * b),
        )
        jacobian[1, 1] = 0.5 * reference / root
        jacobian[2, 0], jacobian[2, 1] = -root / (a * a), 0.5 / (root * a)
        jacobian[3, 2], jacobian[3, 3] = -ci / magnitude2, cr / magnitude2
        for j in range(4):
            for k in range(4):
                if j != k and not keep_all:
                    continue
                value = 0.0
                for s in range(4):
                    for t in range(4):
                        value += jacobian[j, s] * inner[s, t] * jacobian[k, t]
                if j == k:
                    variances[pixel, j] = variance * value
                if keep_all:
                    covariance[pixel, j, k] = variance * value
