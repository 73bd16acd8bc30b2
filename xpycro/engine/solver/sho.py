"""Simple harmonic oscillator: starts and variable projection in closed form, the fastest path of all.

H(w) = C / (w^2 - i a w - b) with a = w0/Q, b = w0^2 and the complex C = A e^{i phi} w0^2 eliminated. Compiled; may
import numba, numpy and this folder's compiled modules. Bounds and fixed parameters take the general kernel.

References: Levy, IRE Trans. Autom. Control 4, 37 (1959); Sanathanan and Koerner, ibid. 8, 56 (1963); Kaufman, BIT 15,
49 (1975).
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.jit import channel_helper, kernel, wide
from xpycro.engine.solver.problem import Status

__all__ = ["fit_sho", "split"]

MAX_ITERATIONS, CONVERGED, SMALL_STEP, NO_DATA, TOO_FEW, CONSTANT, SINGULAR, NO_SIGNAL, CONJUGATED = map(
    int,
    (Status.MAX_ITERATIONS, Status.COST, Status.STEP, Status.NO_DATA, Status.TOO_FEW, Status.CONSTANT,
     Status.SINGULAR, Status.NO_SIGNAL, Status.CONJUGATED),
)  # fmt: skip


@channel_helper
def _sweep(u, re, im, w2, a, b):  # type: ignore[no-untyped-def]
    """All that a step needs of the channels, in one pass and free of the coefficient.

    With F = 1/(u^2 - i a u - b): the sums of w |F|^2, w F* Z, w F*^2 Z, w u F*^2 Z, w |F|^2 F, w u |F|^2 F, w |F|^4 and
    w u^2 |F|^4.
    """
    wide()
    norm = pr = pi = sr = si = vr = vi = tr = ti = xr = xi = quartic = moment = 0.0
    for i in range(u.size):
        v, x, y = u[i], re[i], im[i]
        dr, di = v * v - b, a * v
        inverse = 1.0 / (dr * dr + di * di)
        f, g = dr * inverse, di * inverse
        w = w2[i]
        wf, wg, size = w * f, w * g, w * inverse
        norm += size
        pr += wf * x + wg * y
        pi += wf * y - wg * x
        qr, qi = wf * f - wg * g, 2.0 * wf * g
        zr, zi = qr * x + qi * y, qr * y - qi * x
        sr += zr
        si += zi
        vr += v * zr
        vi += v * zi
        br, bi = wf * inverse, wg * inverse
        tr += br
        ti += bi
        xr += v * br
        xi += v * bi
        size *= inverse
        quartic += size
        moment += v * v * size
    return norm, pr, pi, sr, si, vr, vi, tr, ti, xr, xi, quartic, moment


@channel_helper
def _squares(u, re, im, w2, a, b, cr, ci):  # type: ignore[no-untyped-def]
    """Squares of the residual, weighted and as they are."""
    wide()
    weighted = plain = 0.0
    for i in range(u.size):
        dr, di = u[i] * u[i] - b, a * u[i]
        inverse = 1.0 / (dr * dr + di * di)
        x = re[i] - (cr * dr - ci * di) * inverse
        y = im[i] - (cr * di + ci * dr) * inverse
        size = x * x + y * y
        plain += size
        weighted += w2[i] * size
    return weighted, plain


@channel_helper
def _point(u, re, im, w2, a, b, power):  # type: ignore[no-untyped-def]
    """Coefficient and cost at (a, b); projected normal matrix and gradient; what joins them to the coefficient."""
    norm, pr, pi, sr, si, vr, vi, tr, ti, xr, xi, quartic, moment = _sweep(u, re, im, w2, a, b)
    cr, ci = pr / norm, pi / norm
    cost = 0.5 * (power - (pr * pr + pi * pi) / norm)
    if cost < 1e-4 * power:  # the difference loses digits that the comparison of costs needs
        cost = 0.5 * _squares(u, re, im, w2, a, b, cr, ci)[0]
    # d/da = i u C F^2, d/db = C F^2, orthogonal but for the projection; the gradient is C* times these, turned
    er, ei = sr - (cr * tr + ci * ti), si - (ci * tr - cr * ti)
    hr, hi = vr - (cr * xr + ci * xi), vi - (ci * xr - cr * xi)
    ga, gb = cr * hi - ci * hr, cr * er + ci * ei
    xar, xai = -(cr * xi + ci * xr), cr * xr - ci * xi
    xbr, xbi = cr * tr - ci * ti, cr * ti + ci * tr
    magnitude = cr * cr + ci * ci
    saa = magnitude * moment - (xar * xar + xai * xai) / norm
    sbb = magnitude * quartic - (xbr * xbr + xbi * xbi) / norm
    sab = -(xar * xbr + xai * xbi) / norm
    return cost, saa, sab, sbb, ga, gb, xar, xai, xbr, xbi, cr, ci, norm


@channel_helper
def _projected_cost(u, re, im, w2, a, b):  # type: ignore[no-untyped-def]
    """What the best coefficient leaves."""
    wide()
    norm = pr = pi = power = 0.0
    for i in range(u.size):
        dr, di = u[i] * u[i] - b, a * u[i]
        inverse = w2[i] / (dr * dr + di * di)
        norm += inverse
        pr += inverse * (dr * re[i] + di * im[i])
        pi += inverse * (dr * im[i] - di * re[i])
        power += w2[i] * (re[i] * re[i] + im[i] * im[i])
    return 0.5 * (power - (pr * pr + pi * pi) / norm)


@channel_helper
def _linear_fit(u, re, im, w2, a, b, reweighted):  # type: ignore[no-untyped-def]
    """Linear fit of Z (u^2 - i a u - b) = C, weighted by 1/|D|^2 at (a, b) if asked; b < 0 where there is none."""
    wide()
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
def _linear_start(u, re, im, w2):  # type: ignore[no-untyped-def]
    """A linear fit, and another one with the weights that it tells."""
    a, b = _linear_fit(u, re, im, w2, 0.0, 0.0, False)
    if b > 0.0:
        a, b = _linear_fit(u, re, im, w2, a, b, True)
    return a, b


@channel_helper
def _second_start(u, re, im, w2, a, b):  # type: ignore[no-untyped-def]
    """(a, b, conjugated): the better of the linear fit's (a, b) and the maximum of the magnitude.

    `conjugated` is what the opposite sign of the damping would cost.
    """
    n = u.size
    low, high = u[0], u[0]
    top, place = 0.0, 0
    for i in range(n):
        low, high = min(low, u[i]), max(high, u[i])
        size = w2[i] * (re[i] * re[i] + im[i] * im[i])
        if size > top:
            top, place = size, i
    # second start: the largest magnitude, its width from where half the power is
    half = 0.5 * (re[place] * re[place] + im[place] * im[place])
    above = 0
    for i in range(n):
        if re[i] * re[i] + im[i] * im[i] > half:
            above += 1
    width = (high - low) / n * max(above, 1)
    best_a, best_b, best = 0.05, 1.0, np.inf
    conjugated = np.inf
    for attempt in range(5):
        own_a, own_b = a, b
        if attempt > 0:
            own_a, own_b = (0.5 if attempt < 3 else 1.5) * width, u[place] * u[place]
            if attempt % 2 == 0:
                own_a = -own_a
        elif not (low * low <= b and b <= high * high):
            continue
        cost = _projected_cost(u, re, im, w2, own_a, own_b)
        if own_a < 0.0:
            conjugated = min(conjugated, cost)
        elif own_a > 0.0 and cost < best:
            best_a, best_b, best = own_a, own_b, cost
    return best_a, best_b, conjugated


@channel_helper
def _sums(re, im):  # type: ignore[no-untyped-def]
    """Power and sums of the quadratures; not finite where a channel is not."""
    wide()
    power = mr = mi = 0.0
    for i in range(re.size):
        power += re[i] * re[i] + im[i] * im[i]
        mr += re[i]
        mi += im[i]
    return power, mr, mi


@channel_helper
def _weighted_sums(re, im, w2):  # type: ignore[no-untyped-def]
    """The same, weighted, and the sum of the weights."""
    wide()
    power = sw = mr = mi = 0.0
    for i in range(re.size):
        power += w2[i] * (re[i] * re[i] + im[i] * im[i])
        sw += w2[i]
        mr += w2[i] * re[i]
        mi += w2[i] * im[i]
    return power, sw, mr, mi


@kernel
def split(values, out):  # type: ignore[no-untyped-def]
    """Rows of real and imaginary parts in turn to rows of real, then imaginary parts."""
    n = out.shape[1] // 2
    for row in range(out.shape[0]):
        for i in range(n):
            out[row, i] = values[row, 2 * i]
            out[row, n + i] = values[row, 2 * i + 1]


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
    scaled, ones = x / reference, np.ones(n_channels)
    u_memory, w2_memory = np.empty(n_channels), np.ones(n_channels)
    re_memory, im_memory = np.empty(n_channels), np.empty(n_channels)
    slope = np.zeros((4, 2))  # of the four parameters by a and b
    for pixel in range(y.shape[0]):
        for j in range(4):
            parameters[pixel, j] = variances[pixel, j] = statistics[pixel, j] = np.nan
            for k in range(4 if keep_all else 0):
                covariance[pixel, j, k] = np.nan
        iterations[pixel] = 0
        n, sw = n_channels, float(n_channels)
        u, re, im, w2 = scaled, y[pixel, :n_channels], y[pixel, n_channels:], ones
        power, mr, mi = _sums(re, im)
        if weighted or not np.isfinite(power):  # some channels are left out: copy the others
            n = 0
            source = weight[pixel if weight.shape[0] > 1 else 0]
            for i in range(n_channels):
                good = np.isfinite(re[i]) and np.isfinite(im[i])
                if good and weighted:
                    good = source[i] > 0.0 and np.isfinite(source[i])
                if good:
                    u_memory[n], re_memory[n], im_memory[n] = scaled[i], re[i], im[i]
                    if weighted:
                        w2_memory[n] = source[i] * source[i]
                    n += 1
            u, re, im, w2 = u_memory[:n], re_memory[:n], im_memory[:n], w2_memory[:n]
            power, sw, mr, mi = _weighted_sums(re, im, w2)
        statistics[pixel, 3] = 2 * n
        if n == 0:
            status[pixel] = NO_DATA
            continue
        if 2 * n < 4:
            status[pixel] = TOO_FEW
            continue
        constant = True
        for i in range(n):
            if re[i] != re[0] or im[i] != im[0]:
                constant = False
                break
        if constant:
            status[pixel] = CONSTANT
            continue
        begin = start[pixel if start.shape[0] > 1 else 0]
        told = np.isfinite(begin[1]) and np.isfinite(begin[2])
        a = b = 0.0
        if told:
            b = (begin[1] / reference) ** 2
            a = begin[1] / reference / begin[2]
        else:
            a, b = _linear_start(u, re, im, w2)
        conjugated = np.inf
        for attempt in range(2):
            if attempt > 0 or not (a > 0.0 and b > 0.0):
                a, b, conjugated = _second_start(u, re, im, w2, a, b)
            cost, saa, sab, sbb, ga, gb, xar, xai, xbr, xbi, cr, ci, norm = _point(u, re, im, w2, a, b, power)
            if (
                told or conjugated < np.inf or cost < 0.2 * power
            ):  # 60 % of the power explained: no other valley is deeper
                break

        damping, growth, last = 1e-4, 2.0, 0.0
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
            # steps shrink so fast that one more, undamped, arrives: it need not be looked at
            if promise <= 1e-7 * cost and promise * promise <= tolerance * cost * last:
                step_a, step_b = (ha - r * hb) / det * da, (hb - r * ha) / det * db
                a, b = a + step_a, b + step_b
                cr -= (xar * step_a + xbr * step_b) / norm
                ci -= (xai * step_a + xbi * step_b) / norm
                cost -= promise
                code = CONVERGED
                break
            last = promise
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
                sums = _point(u, re, im, w2, a + step_a, b + step_b, power)
                ratio = (cost - sums[0]) / predicted if predicted > 0.0 else 0.0
                if sums[0] < cost and ratio > 1e-4:
                    a, b = a + step_a, b + step_b
                    cost, saa, sab, sbb, ga, gb, xar, xai, xbr, xbi, cr, ci, norm = sums
                    damping = max(damping * max(0.05, 1.0 - (2.0 * ratio - 1.0) ** 3), 1e-12)
                    growth = 2.0
                    accepted = True
                    break
                if predicted <= 1e-14 * cost and damping > 1e3:
                    break
                damping *= growth
                growth *= 2.0
            if not accepted:
                code = SMALL_STEP if promise <= 1e-6 * cost else SINGULAR
                break
        iterations[pixel] = iteration

        total = 2.0 * cost
        if weighted:
            total = _squares(u, re, im, w2, a, b, cr, ci)[1]
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
        magnitude2, root = cr * cr + ci * ci, np.sqrt(b)
        amplitude = np.sqrt(magnitude2) / b
        parameters[pixel, 0] = amplitude
        parameters[pixel, 1] = root * reference
        parameters[pixel, 2] = root / a
        parameters[pixel, 3] = np.arctan2(ci, cr)
        variance = 1.0 if absolute else (2.0 * cost / (2 * n - 4) if n > 2 else np.nan)
        det = saa * sbb - sab * sab
        vaa, vab, vbb = variance * sbb / det, -variance * sab / det, variance * saa / det
        # how the logarithm of the coefficient follows a and b, and what it varies by itself
        scale = -1.0 / (norm * magnitude2)
        slope[0, 0] = amplitude * scale * (cr * xar + ci * xai)
        slope[0, 1] = amplitude * (scale * (cr * xbr + ci * xbi) - 1.0 / b)
        slope[3, 0], slope[3, 1] = scale * (cr * xai - ci * xar), scale * (cr * xbi - ci * xbr)
        slope[1, 1] = 0.5 * reference / root
        slope[2, 0], slope[2, 1] = -root / (a * a), 0.5 / (root * a)
        for j in range(4):
            across_a = slope[j, 0] * vaa + slope[j, 1] * vab
            across_b = slope[j, 0] * vab + slope[j, 1] * vbb
            own = across_a * slope[j, 0] + across_b * slope[j, 1]
            if j == 0:
                own -= variance * scale * amplitude * amplitude
            elif j == 3:
                own -= variance * scale
            variances[pixel, j] = own
            for k in range(4 if keep_all else 0):
                covariance[pixel, j, k] = own if j == k else across_a * slope[k, 0] + across_b * slope[k, 1]
