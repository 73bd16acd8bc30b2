"""Simple harmonic oscillator: starts and variable projection in closed form, the fastest path of all.

H(w) = C / (w^2 - i a w - b) with a = w0/Q, b = w0^2 and the complex C = A e^{i phi} w0^2 eliminated. Pixels are fitted
side by side, one in each lane of a vector. Compiled; may import numba, numpy and this folder's compiled modules. Bounds
and fixed parameters take the general kernel.

References: Levy, IRE Trans. Autom. Control 4, 37 (1959); Sanathanan and Koerner, ibid. 8, 56 (1963); Kaufman, BIT 15,
49 (1975).
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.jit import channel_helper, kernel
from xpycro.engine.solver.lanes import COUNT, any_less, load, number, root, single, spread, store, turn, where_less
from xpycro.engine.solver.problem import Status
from xpycro.engine.solver.sho_start import linear_start, linear_sums, second_start

__all__ = ["COUNT", "ROWS", "fit_sho"]

MAX_ITERATIONS, CONVERGED, SMALL_STEP, NO_DATA, TOO_FEW, CONSTANT, SINGULAR, NO_SIGNAL, CONJUGATED = map(
    int,
    (Status.MAX_ITERATIONS, Status.COST, Status.STEP, Status.NO_DATA, Status.TOO_FEW, Status.CONSTANT,
     Status.SINGULAR, Status.NO_SIGNAL, Status.CONJUGATED),
)  # fmt: skip
ROUGH = 1e-4  # of the power: a cost below it, told by a difference, lacks the digits that a comparison needs
UNRESOLVED = 1e-4  # of the spacing: a linewidth below it says that one channel stands out, and nothing of a resonance
ROWS = 27  # of the table between `_fit` and `fit_sho`: 5 given, 22 found


@channel_helper
def _sweep(n_channels, u, u2, re, im, w2, a, b):  # type: ignore[no-untyped-def]
    """All that a step needs of the channels, in one pass and free of the coefficient.

    With D = d - i a u, d = u^2 - b, and F = 1/D: the sums of w |F|^2, of w F*^2 Z times 1, u, d, and of w |F|^4
    times 1, u, d, u d.
    """
    norm = sr = si = vr = vi = tr = ti = p0 = p1 = q0 = q1 = spread(0.0)
    twice = 2.0 * a
    for i in range(n_channels):
        v, x, y = number(u, i), load(re, i), load(im, i)
        d, e = number(u2, i) - b, v * a
        d2, e2 = d * d, e * e
        size = d2 + e2
        inverse = 1.0 / size
        w = load(w2, i) * (inverse * inverse)
        f, g = d2 - e2, d * (v * twice)  # |F|^4 times these is F*^2
        x, y = w * x, w * y
        zr, zi = f * x + g * y, f * y - g * x
        sr += zr
        si += zi
        vr += v * zr
        vi += v * zi
        tr += d * zr
        ti += d * zi
        norm += w * size
        p0 += w
        q0 += d * w
        w = v * w
        p1 += w
        q1 += d * w
    return norm, sr, si, vr, vi, tr, ti, p0, p1, q0, q1


@channel_helper
def _squares(n_channels, u, u2, re, im, w2, a, b, cr, ci):  # type: ignore[no-untyped-def]
    """Squares of the residual, weighted and as they are."""
    weighted = plain = zero = spread(0.0)
    for i in range(n_channels):
        d, e = number(u2, i) - b, number(u, i) * a
        inverse = 1.0 / (d * d + e * e)
        x = load(re, i) - (cr * d - ci * e) * inverse
        y = load(im, i) - (cr * e + ci * d) * inverse
        size = x * x + y * y
        w = load(w2, i)
        weighted += w * size
        plain += where_less(zero, w, size, zero)
    return weighted, plain


@channel_helper
def _point(n_channels, u, u2, re, im, w2, a, b, power):  # type: ignore[no-untyped-def]
    """Cost, projected normal matrix and gradient at (a, b); what joins them to the coefficient; the coefficient."""
    norm, sr, si, vr, vi, tr, ti, p0, p1, q0, q1 = _sweep(n_channels, u, u2, re, im, w2, a, b)
    inverse = 1.0 / norm
    pr, pi = tr - a * vi, ti + a * vr  # the sum of F* Z, for F* = F*^2 (d + i a u)
    cr, ci = pr * inverse, pi * inverse
    cost = 0.5 * (power - (pr * pr + pi * pi) * inverse)
    if any_less(cost, ROUGH * power):
        exact = 0.5 * _squares(n_channels, u, u2, re, im, w2, a, b, cr, ci)[0]
        cost = where_less(cost, ROUGH * power, exact, cost)
    # sums of |F|^2 F and u |F|^2 F, for |F|^2 F = |F|^4 (d + i a u); and of u^2 |F|^4
    moment = q0 + b * p0
    tr, ti, xr, xi = q0, a * p1, q1, a * moment
    # d/da = i u C F^2, d/db = C F^2, orthogonal but for the projection; the gradient is C* times these, turned
    er, ei = sr - (cr * tr + ci * ti), si - (ci * tr - cr * ti)
    hr, hi = vr - (cr * xr + ci * xi), vi - (ci * xr - cr * xi)
    ga, gb = cr * hi - ci * hr, cr * er + ci * ei
    xar, xai = 0.0 - (cr * xi + ci * xr), cr * xr - ci * xi
    xbr, xbi = cr * tr - ci * ti, cr * ti + ci * tr
    magnitude = cr * cr + ci * ci
    saa = magnitude * moment - (xar * xar + xai * xai) * inverse
    sbb = magnitude * p0 - (xbr * xbr + xbi * xbi) * inverse
    sab = 0.0 - (xar * xbr + xai * xbi) * inverse
    return cost, saa, sab, sbb, ga, gb, xar, xai, xbr, xbi, cr, ci, norm


@channel_helper
def _fit(n_channels, u, u2, re, im, w2, sums, reference, weighted, absolute, max_iterations, tolerance, table):  # type: ignore[no-untyped-def]
    """Fit the lanes of `re` and `im` (channel, lane) that `table` says to; what is found goes into its other rows."""
    zero, one, infinity = spread(0.0), spread(1.0), spread(np.inf)
    power, sw, mr, mi = sums[6], sums[8], sums[0], sums[1]
    active, told, n = load(table, 0), load(table, 1), load(table, 2)
    near_a, near_b = linear_start(n_channels, u, u2, re, im, w2, sums)
    near_a, near_b = where_less(zero, told, load(table, 3), near_a), where_less(zero, told, load(table, 4), near_b)
    wants = where_less(zero, near_a, where_less(zero, near_b, zero, active), active)  # another start

    cost = conjugated = infinity
    a = b = saa = sab = sbb = ga = gb = xar = xai = xbr = xbi = cr = ci = norm = zero
    iterations = last = promise = zero
    code, damping, growth, predicted, fresh = spread(float(SINGULAR)), spread(1e-4), spread(2.0), one, one
    while any_less(zero, active):
        if any_less(zero, wants):
            other_a, other_b, opposite = second_start(n_channels, u, u2, re, im, w2, n, near_a, near_b, power)
            near_a, near_b = where_less(zero, wants, other_a, near_a), where_less(zero, wants, other_b, near_b)
            conjugated = where_less(zero, wants, opposite, conjugated)
            told = where_less(zero, wants, one, told)
        here, maa, mab, mbb, da, db, yar, yai, ybr, ybi, kr, ki, size = _point(
            n_channels, u, u2, re, im, w2, near_a, near_b, power
        )
        first = fresh * active
        # 60 % of the power explained: no other valley is deeper
        wants = first * where_less(here, 0.2 * power, zero, one - told)
        better = where_less(here, cost, where_less(zero, predicted, active - first, zero), zero)
        better = where_less(1e-4 * predicted, cost - here, better, zero)
        worse = active - first - better
        bend = 2.0 * (cost - here) / predicted - 1.0
        bend = 1.0 - bend * bend * bend
        softer = damping * where_less(bend, spread(0.05), spread(0.05), bend)
        damping = where_less(zero, better, where_less(softer, spread(1e-12), spread(1e-12), softer), damping)
        stuck = where_less(1e-14 * cost, predicted, zero, where_less(spread(1e3), damping, worse, zero))
        damping = where_less(zero, worse, damping * growth, damping)
        growth = where_less(zero, worse, 2.0 * growth, spread(2.0))
        stuck = where_less(damping, spread(1e14), stuck, worse)
        small = spread(float(SMALL_STEP))
        code = where_less(zero, stuck, where_less(1e-6 * cost, promise, spread(float(SINGULAR)), small), code)
        active -= stuck

        accepted = better + first - wants
        fresh = where_less(zero, accepted, zero, fresh)
        a, b = where_less(zero, accepted, near_a, a), where_less(zero, accepted, near_b, b)
        cost, norm = where_less(zero, accepted, here, cost), where_less(zero, accepted, size, norm)
        saa, sab = where_less(zero, accepted, maa, saa), where_less(zero, accepted, mab, sab)
        sbb = where_less(zero, accepted, mbb, sbb)
        ga, gb = where_less(zero, accepted, da, ga), where_less(zero, accepted, db, gb)
        xar, xai = where_less(zero, accepted, yar, xar), where_less(zero, accepted, yai, xai)
        xbr, xbi = where_less(zero, accepted, ybr, xbr), where_less(zero, accepted, ybi, xbi)
        cr, ci = where_less(zero, accepted, kr, cr), where_less(zero, accepted, ki, ci)

        da, db = 1.0 / root(saa), 1.0 / root(sbb)
        r, ha, hb = sab * da * db, ga * da, gb * db
        det = 1.0 - r * r
        promise = 0.5 * (ha * ha - 2.0 * r * ha * hb + hb * hb) / det
        done = where_less(promise, tolerance * cost, accepted, zero)
        done = where_less(cost, 1e-30 * power, accepted, done)
        code = where_less(zero, done, spread(float(CONVERGED)), code)
        active, accepted = active - done, accepted - done
        done = where_less(promise, 1e-22 * power, accepted, zero)
        code = where_less(zero, done, small, code)
        active, accepted = active - done, accepted - done
        done = where_less(iterations, spread(float(max_iterations)), zero, accepted)
        code = where_less(zero, done, spread(float(MAX_ITERATIONS)), code)
        active, accepted = active - done, accepted - done
        iterations += accepted
        # steps shrink so fast that one more, undamped, arrives: it need not be looked at
        done = where_less(promise, 1e-7 * cost, accepted, zero)
        done = where_less(promise * promise, tolerance * cost * last, done, zero)
        step_a = where_less(zero, done, (ha - r * hb) / det * da, zero)
        step_b = where_less(zero, done, (hb - r * ha) / det * db, zero)
        a, b, cost = a + step_a, b + step_b, cost - where_less(zero, done, promise, zero)
        step_a, step_b = where_less(zero, done, step_a / norm, zero), where_less(zero, done, step_b / norm, zero)
        cr, ci = cr - (xar * step_a + xbr * step_b), ci - (xai * step_a + xbi * step_b)
        code = where_less(zero, done, spread(float(CONVERGED)), code)
        active -= done
        last = where_less(zero, accepted, promise, last)

        d = 1.0 + damping
        det = d * d - r * r
        step_a, step_b = (d * ha - r * hb) / det * da, (d * hb - r * ha) / det * db
        # a and b stay positive: never more than nine tenths of the way to zero
        least_a, least_b = -0.9 * a, -0.9 * b
        step_a, step_b = where_less(step_a, least_a, least_a, step_a), where_less(step_b, least_b, least_b, step_b)
        za, zb = step_a / da, step_b / db
        predicted = za * ha + zb * hb - 0.5 * (za * za + 2.0 * r * za * zb + zb * zb)
        near_a = where_less(zero, wants, near_a, a + step_a)
        near_b = where_less(zero, wants, near_b, b + step_b)

    total = 2.0 * cost
    if weighted:
        total = _squares(n_channels, u, u2, re, im, w2, a, b, cr, ci)[1]
    spread_ = power - (mr * mr + mi * mi) / sw
    r2 = where_less(zero, spread_, 1.0 - 2.0 * cost / spread_, spread(np.nan))
    # (a, b, C) in scaled frequency to (A, w0, Q, phi)
    magnitude, turn = cr * cr + ci * ci, root(b)
    amplitude = root(magnitude) / b
    freedom = 2.0 * n - 4.0
    variance = one if absolute else 2.0 * cost / where_less(zero, freedom, freedom, spread(np.nan))
    det = variance / (saa * sbb - sab * sab)
    vaa, vab, vbb = sbb * det, 0.0 - sab * det, saa * det
    # how the parameters follow a and b, through the logarithm of the coefficient too; and what that varies by itself
    scale = -1.0 / (norm * magnitude)
    own = 0.0 - variance * scale
    a0, b0 = amplitude * scale * (cr * xar + ci * xai), amplitude * (scale * (cr * xbr + ci * xbi) - 1.0 / b)
    b1 = 0.5 * reference / turn
    a2, b2 = 0.0 - turn / (a * a), 0.5 / (turn * a)
    a3, b3 = scale * (cr * xai - ci * xar), scale * (cr * xbi - ci * xbr)
    ca0, cb0 = a0 * vaa + b0 * vab, a0 * vab + b0 * vbb
    ca2, cb2 = a2 * vaa + b2 * vab, a2 * vab + b2 * vbb
    ca3, cb3 = a3 * vaa + b3 * vab, a3 * vab + b3 * vbb
    found = (
        code, iterations, power, conjugated, cost, total, r2, amplitude, turn * reference, turn / a, cr, ci,
        ca0 * a0 + cb0 * b0 + own * amplitude * amplitude, b1 * vbb * b1, ca2 * a2 + cb2 * b2,
        ca3 * a3 + cb3 * b3 + own,
        cb0 * b1, ca0 * a2 + cb0 * b2, ca0 * a3 + cb0 * b3, cb2 * b1, cb3 * b1, ca2 * a3 + cb2 * b3,
    )  # fmt: skip
    for row, value in enumerate(found):
        store(table, 5 + row, value)


@channel_helper
def _split(values, is_single, first, n_rows, n_channels, re, im, room):  # type: ignore[no-untyped-def]
    """Complex rows from `first` on: their parts into `room` (part, channel, lane), the last row repeated."""
    done = 0
    if is_single and first + COUNT <= n_rows:
        done = n_channels - n_channels % COUNT
        for i in range(0, done, COUNT):
            turn(values + 8 * (first * n_channels + i), n_channels, re + 8 * COUNT * i, im + 8 * COUNT * i)
    for lane in range(COUNT):
        row = 2 * n_channels * min(first + lane, n_rows - 1)
        for i in range(done, n_channels):
            k = row + 2 * i
            room[0, i, lane] = single(values, k) if is_single else number(values, k)
            room[1, i, lane] = single(values, k + 1) if is_single else number(values, k + 1)


@channel_helper
def _choose(room, weight, first):  # type: ignore[no-untyped-def]
    """Squares of the weights; none of a channel that is left out, which becomes zero."""
    for lane in range(COUNT):
        row = min(first + lane, weight.shape[0] - 1)
        for i in range(room.shape[1]):
            w = weight[row, i] if weight.shape[1] > 0 else 1.0
            room[2, i, lane] = w * w if w > 0.0 and w < np.inf else 0.0
            if not (abs(room[0, i, lane]) < np.inf and abs(room[1, i, lane]) < np.inf):
                room[0, i, lane] = room[1, i, lane] = room[2, i, lane] = 0.0


@channel_helper
def _verdict(room, lane, n):  # type: ignore[no-untyped-def]
    """What is the matter with a pixel that shows no power beside its mean; -1 is nothing."""
    if n < 2.0:
        return TOO_FEW if n > 0.0 else NO_DATA
    known = -1
    for i in range(room.shape[1]):
        if room[2, i, lane] > 0.0:
            if known < 0:
                known = i
            if room[0, i, lane] != room[0, known, lane] or room[1, i, lane] != room[1, known, lane]:
                return -1
    return CONSTANT


@channel_helper
def _write(table, first, spacing, status, iterations, parameters, variances, statistics, covariance):  # type: ignore[no-untyped-def]
    """What the lanes of the table say to where the pixels' results go."""
    for lane in range(min(COUNT, status.size - first)):
        pixel = first + lane
        n = table[2, lane]
        for j in range(4):
            parameters[pixel, j] = variances[pixel, j] = statistics[pixel, j] = np.nan
            for k in range(4 if covariance.shape[0] > 0 else 0):
                covariance[pixel, j, k] = np.nan
        statistics[pixel, 3] = 2.0 * n
        iterations[pixel] = 0
        if table[0, lane] == 0.0:
            continue
        code, iterations[pixel], power = int(table[5, lane]), int(table[6, lane]), table[7, lane]
        conjugated, cost = table[8, lane], table[9, lane]
        for j in range(3):
            statistics[pixel, j] = table[9 + j, lane]
        if code == CONVERGED or code == SMALL_STEP:
            noise = 2.0 * cost / (2.0 * n - 4.0 if n > 2.0 else 1.0)
            if conjugated < cost * (1.0 - 1e-6) and power - 2.0 * conjugated > 40.0 * noise:
                code = CONJUGATED
            elif power - 2.0 * cost < noise * (2.0 * np.log(2.0 * n) + 14.0):
                code = NO_SIGNAL
            elif not 0.0 < table[12, lane] < np.inf or not table[13, lane] > UNRESOLVED * spacing * table[14, lane]:
                code = SINGULAR
        elif conjugated < cost:
            code = CONJUGATED
        status[pixel] = code
        if code != CONVERGED and code != SMALL_STEP:
            continue
        for j in range(3):
            parameters[pixel, j] = table[12 + j, lane]
        parameters[pixel, 3] = np.arctan2(table[16, lane], table[15, lane])
        for j in range(4):
            variances[pixel, j] = table[17 + j, lane]
        if covariance.shape[0] > 0:
            row = 21
            for j in range(4):
                covariance[pixel, j, j] = variances[pixel, j]
                for k in range(j + 1, 4):
                    covariance[pixel, j, k] = covariance[pixel, k, j] = table[row, lane]
                    row += 1


@kernel
def fit_sho(  # type: ignore[no-untyped-def]
    values, is_single, u, u2, reference, weight, start, absolute, max_iterations, tolerance, room, table, parameters,
    variances, covariance, statistics, status, iterations,
):  # fmt: skip
    """Fit complex rows at the address `values`: amplitude, resonance frequency, quality factor, phase.

    `u` is the axis by its mean `reference`, `u2` its square; `room` (re, im or weight, channel, lane) and `table` (row,
    lane) are there to work in. Both kinds of complex rows come by address so that one compilation serves both.
    """
    n_channels, weighted, changed = u.size, weight.shape[1] > 0, True
    spacing = reference * abs(u[-1] - u[0]) / max(n_channels - 1, 1)
    re = room.ctypes.data
    im, w2 = re + 8 * COUNT * n_channels, re + 16 * COUNT * n_channels
    places = u.ctypes.data, u2.ctypes.data, re, im, w2
    shared, zero = table.ctypes.data, spread(0.0)
    for first in range(0, status.size, COUNT):
        _split(values, is_single, first, status.size, n_channels, re, im, room)
        if changed:
            for i in range(n_channels):
                store(w2, i, spread(1.0))
            changed = False
        choosing = weighted
        for _ in range(2):
            if choosing:
                _choose(room, weight, first)
                changed = True
            sums = linear_sums(n_channels, *places, zero, zero, False)
            choosing = any_less(zero, where_less(sums[6], spread(np.inf), zero, spread(1.0)))  # NaN is not less
            if not choosing:
                break
        power, sw, mr, mi = sums[6], sums[8], sums[0], sums[1]
        store(shared, 0, 1e-12 * power - (power - (mr * mr + mi * mi) / sw))
        for lane in range(COUNT):
            pixel, n = first + lane, float(n_channels)
            if changed:
                n = 0.0
                for i in range(n_channels):
                    n += 1.0 if room[2, i, lane] > 0.0 else 0.0
            known = pixel >= status.size  # what is repeated need not be fitted
            if not known and (n < 2.0 or not table[0, lane] < 0.0):
                verdict = _verdict(room, lane, n)
                known = verdict >= 0
                if known:
                    status[pixel] = verdict
            row = min(pixel, start.shape[0] - 1)
            frequency, quality = start[row, 1] / reference, start[row, 2]
            told = abs(frequency) < np.inf and abs(quality) < np.inf
            table[0, lane], table[1, lane], table[2, lane] = 0.0 if known else 1.0, 1.0 if told else 0.0, n
            table[3, lane], table[4, lane] = frequency / quality, frequency * frequency
        _fit(n_channels, *places, sums, reference, weighted, absolute, max_iterations, tolerance, shared)
        _write(table, first, spacing, status, iterations, parameters, variances, statistics, covariance)
