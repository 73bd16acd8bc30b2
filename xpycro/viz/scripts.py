"""What runs in the page: the callbacks of the explorers that work without a server, in JavaScript.

Imports nothing. Each is a constant that viz.static and viz.static_fit hand to Bokeh.
"""

from __future__ import annotations

__all__ = [
    "CLUSTERS", "DIFFRACT", "EXPLORE", "FIT", "LEVELS", "LINES", "PLAY", "POSITIONS", "RANKS", "SLIDE", "SWITCH",
    "SWITCH_MAP",
]  # fmt: skip

# Shared by every explorer: which sample is nearest to where the pointer is, contrast limits, a vertical range.
_HELPERS = """
const nearest = (a, v) => {
  let b = 0;
  for (let j = 1; j < a.length; j++) if (Math.abs(a[j]-v) < Math.abs(a[b]-v)) b = j;
  return b };
const chosen = (x, y) => {
  const px = place.data.x, py = place.data.y; let b = 0, least = Infinity;
  for (let j = 0; j < px.length; j++) { const d = (px[j]-x)**2 + (py[j]-y)**2; if (d < least) { least = d; b = j } }
  return b };
const limits = (v) => {
  const f = Float64Array.from(v).filter(Number.isFinite).sort();
  if (!f.length) return [0, 1];
  const at = (q) => {
    const t = q*(f.length-1), a = Math.floor(t), b = Math.min(a+1, f.length-1);
    return f[a] + (t-a)*(f[b]-f[a]) };
  let lo = at(0.01), hi = at(0.99);
  if (!(hi > lo)) { lo = f[0]; hi = f[f.length-1] }
  if (!(hi - lo > 1e-12*Math.max(Math.abs(lo), Math.abs(hi)))) { const m = Math.abs(lo)/2 || 0.5; lo -= m; hi += m }
  return [lo, hi] };
const fit_range = (range, series) => {
  let lo = Infinity, hi = -Infinity;
  for (const v of series) for (const t of v) if (Number.isFinite(t)) { if (t < lo) lo = t; if (t > hi) hi = t }
  if (lo > hi) { lo = 0; hi = 1 }
  const pad = (hi - lo)*0.06 || Math.abs(lo)/2 || 0.5;
  range.setv({start: lo - pad, end: hi + pad}) };
const words = (label, value, unit) =>
  `${label} = ${Number(value.toPrecision(4))}${unit ? ' ' + unit : ''}`.replace('= -', '= \\u2212');
// Rows that viz.packing packed: three bytes a number, where each row begins, how wide its steps are.
const value_of = (cube, i, k, n) => {
  const [bytes, low, step] = cube, p = 3*(i*n + k), level = bytes[p] | bytes[p+1] << 8 | bytes[p+2] << 16;
  return level === 0xffffff ? NaN : low[i] + step[i]*level };
const row_of = (cube, i, n) => Float64Array.from({length: n}, (_, k) => value_of(cube, i, k, n));
const here = (i) => names ? names[i]
  : words(x_label, place.data.x[i], unit) + ', ' + words(y_label, place.data.y[i], unit);
"""

EXPLORE = (
    _HELPERS
    + """
let i = cursor.data.i[0], k = cursor.data.k[0];
const n = signal.length;
if (maps.includes(cb_obj.origin)) i = chosen(cb_obj.x, cb_obj.y);
else k = nearest(signal, cb_obj.x);
const moved = i !== cursor.data.i[0], swept = k !== cursor.data.k[0];
cursor.data = {x: [place.data.x[i]], y: [place.data.y[i]], i: [i], k: [k]};
if (moved) for (let c = 0; c < cubes.length; c++) {
  const values = row_of(cubes[c], i, n);
  lines[c].data[line_fields[c]] = values;
  lines[c].change.emit();
  fit_range(spectra[c].y_range, [values]);
  spectra[c].title.text = labels[c] + ' at ' + here(i);
}
if (swept) for (let c = 0; c < cubes.length; c++) {
  spans[c].location = signal[k];
  const count = place.data.x.length, plane = new Float64Array(count);
  for (let j = 0; j < count; j++) plane[j] = value_of(cubes[c], j, k, n);
  const target = map_fields[c] === 'image' ? pictures[c].data.image[0] : pictures[c].data[map_fields[c]];
  for (let j = 0; j < count; j++) target[orders[c] ? orders[c][j] : j] = plane[j];
  pictures[c].change.emit();
  if (kinds[c] !== 'phase') {
    let [lo, hi] = limits(plane);
    const signed = kinds[c] !== 'height' && lo < 0 && hi > 0 && Math.min(-lo, hi) > 0.1*(hi - lo);
    if (signed) { hi = Math.max(-lo, hi); lo = -hi }
    mappers[c].setv({low: lo, high: hi, palette: signed ? diverging : palettes[c]});
  }
  maps[c].title.text = titles[c] + ' at ' + words(signal_label, signal[k], signal_unit);
}
"""
)

SLIDE = (
    _HELPERS
    + """
const k = cb_obj.value, count = planes[0].length / 3 / names.length;
const target = field === 'image' ? picture.data.image[0] : picture.data[field];
for (let j = 0; j < count; j++) target[orders.length ? orders[j] : j] = value_of(planes, k, j, count);
picture.change.emit();
figure.title.text = title + ' at ' + names[k];
"""
)

PLAY = """
cb_obj.label = cb_obj.active ? 'Stop' : 'Play';
clearInterval(slider._playing);
if (cb_obj.active) slider._playing = setInterval(() => {
  slider.value = slider.value >= slider.end ? slider.start : slider.value + 1 }, 200);
"""

FIT = (
    _HELPERS
    + """
const i = chosen(cb_obj.x, cb_obj.y);
const n = points[0].data[point_fields[0]].length, m = curves[0].data[curve_fields[0]].length;
cursor.data = {x: [place.data.x[i]], y: [place.data.y[i]], i: [i]};
marks.forEach(mark => { mark.location = place.data.x[i] });
for (let c = 0; c < cubes.length; c++) {
  const measured = row_of(cubes[c], i, n), model = row_of(models[c], i, m);
  points[c].data[point_fields[c]] = measured;
  curves[c].data[curve_fields[c]] = model;
  points[c].change.emit(); curves[c].change.emit();
  fit_range(spectra[c].y_range, [measured, model]);
  spectra[c].title.text = labels[c] + ' at ' + here(i);
}
const said = heads.map((head, c) => `<span style='white-space:nowrap'><b>${head}</b> ${table[c][i]}</span>`);
readout.text = said.join(' &nbsp;· ') + (verdicts[i] ? ` &nbsp; <b style='color:#b00020'>${verdicts[i]}</b>` : '');
"""
)

CLUSTERS = (
    _HELPERS
    + """
let i = -1, c = -1;
const part = figures.indexOf(cb_obj.origin), n = signal.length;
if (cb_obj.event_name === 'doubletap') ;
else if (cb_obj.origin === map) { i = chosen(cb_obj.x, cb_obj.y); c = labels[i] }
else {
  const k = nearest(signal, cb_obj.x); let least = Infinity;
  means[part].forEach((source, j) => {
    const d = Math.abs(source.data[fields[part][j]][k] - cb_obj.y);
    if (d < least) { least = d; c = j } }) }
cursor.data = {x: [i < 0 ? NaN : place.data.x[i]], y: [i < 0 ? NaN : place.data.y[i]], i: [i], c: [c]};
mapper.palette = palettes[c < 0 ? palettes.length - 1 : c];
map.title.text = said[c < 0 ? said.length - 1 : c];
figures.forEach((figure, p) => {
  lines[p].forEach((line, j) => {
    const front = j === c;
    if (line.type === 'Line') line.setv({line_width: front ? 3 : 1.8, line_alpha: c < 0 || front ? 1 : 0.2}) });
  areas[p].forEach((area, j) => area.setv({fill_alpha: c < 0 ? 0.18 : j === c ? 0.3 : 0.02}));
  figure.title.text = titles[p][c < 0 ? titles[p].length - 1 : c];
  if (!cubes.length) return;
  const m = spectra[p].data[spectrum_fields[p]].length;
  const values = i < 0 ? new Float64Array(m).fill(NaN) : row_of(cubes[p], i, m);
  spectra[p].data[spectrum_fields[p]] = values;
  spectra[p].change.emit();
  fit_range(figure.y_range, [values, ...means[p].map((source, j) => source.data[fields[p][j]])]);
  if (i >= 0) figure.title.text = quantities[p] + ' at ' + here(i) + ' (black)\\n'
    + (c < 0 ? 'in no cluster' : `over cluster ${c}${spreads[p]}`) });
"""
)

DIFFRACT = (
    _HELPERS
    + """
const cx = detector.data.x[0], cy = detector.data.y[0];
let i = cursor.data.i[0], x = cx, y = cy;
const on_map = cb_obj.origin === map, on_pattern = cb_obj.origin === pattern;
const n = kx.length, m = kx.length * ky.length, count = place.data.x.length;
if (on_map) {
  let least = Infinity;
  for (let j = 0; j < count; j++) {
    const d = (place.data.x[j]-cb_obj.x)**2 + (place.data.y[j]-cb_obj.y)**2;
    if (d < least) { least = d; i = j } }
  cursor.data = {x: [place.data.x[i]], y: [place.data.y[i]], i: [i]};
  const target = pattern_source.data.image[0];
  for (let j = 0; j < m; j++) target[j] = value_of(cube, i, j, m);
  pattern_source.change.emit();
} else {
  if (on_pattern) { x = cb_obj.x; y = cb_obj.y }
  const [inner, outer] = radii.value;
  detector.data = {x: [x], y: [y], outer: [outer], inner: [inner]};
  const inside = [];
  for (let a = 0; a < ky.length; a++) for (let b = 0; b < n; b++) {
    const r = Math.hypot(kx[b]-x, ky[a]-y);
    if (r >= inner && r <= outer) inside.push(a*n + b) }
  const image = map_source.data.image[0];
  let lo = Infinity, hi = -Infinity;
  for (let j = 0; j < count; j++) {
    let sum = 0;
    for (const p of inside) sum += value_of(cube, j, p, m);
    image[j] = sum;
    if (Number.isFinite(sum)) { if (sum < lo) lo = sum; if (sum > hi) hi = sum } }
  if (!(hi > lo)) { lo -= 0.5; hi = lo + 1 }
  mapper.setv({low: lo, high: hi});
  map_source.change.emit();
}
"""
)

LEVELS = """
const near = Math.abs(low.location - cb_obj.x) <= Math.abs(high.location - cb_obj.x) ? low : high;
near.location = cb_obj.x;
if (low.location > high.location) { const t = low.location; low.location = high.location; high.location = t }
mapper.setv({low: low.location, high: high.location});
"""

LINES = (
    _HELPERS
    + """
const n = signal.length;
const i = nearest(rows, cb_obj.y), k = nearest(signal, cb_obj.x);
across.location = rows[i]; up.location = signal[k]; mark.location = signal[k];
const values = row_of(cube, i, n);
line.data[line_field] = values;
line.change.emit();
fit_range(spectrum.y_range, [values]);
spectrum.title.text = label + ', ' + names[i];
"""
)

POSITIONS = """
let least = Infinity, i = 0;
for (let j = 0; j < x.length; j++) {
  const d = (x[j]-cb_obj.x)**2 + (y[j]-cb_obj.y)**2;
  if (d < least) { least = d; i = j } }
const on = same[i], now = on.indexOf(chosen[0]);
i = now < 0 ? on[0] : on[(now + 1) % on.length];
chosen[0] = i;
const [fx, fy] = ring_fields.map(f => f.field ?? f);
ring.data = {...ring.data, [fx]: [x[i]], [fy]: [y[i]]};
lines.forEach((line, j) => {
  const front = j === i;
  if (line.type === 'Line') line.setv({line_width: front ? 2.4 : 1.2, line_alpha: front ? 1 : 0.55});
});
figure.title.text = titles[i];
"""

RANKS = (
    _HELPERS
    + """
let i = cursor.data.i[0], k = cursor.data.k[0];
if (cb_obj.origin === map) i = chosen(cb_obj.x, cb_obj.y);
else k = Math.min(count - 1, Math.max(0, Math.round(cb_obj.x) - 1));
const pixels = place.data.x.length, n = mre.length;
const a = re.data.values, b = im.data.values, cr = cre.data.values, ci = cim.data.values;
const is_complex = ci.length > 0 || b.length > 0;
if (k !== cursor.data.k[0]) {
  span.location = k + 1;
  const plane = new Float64Array(pixels);
  for (let j = 0; j < pixels; j++) {
    const p = k*pixels + j;
    plane[j] = is_complex ? Math.hypot(a[p], b[p] || 0) : a[p] }
  const target = field === 'image' ? picture.data.image[0] : picture.data[field];
  for (let j = 0; j < pixels; j++) target[orders.length ? orders[j] : j] = plane[j];
  picture.change.emit();
  let [lo, hi] = limits(plane);
  const signed = lo < 0 && hi > 0 && Math.min(-lo, hi) > 0.1*(hi - lo);
  if (signed) { hi = Math.max(-lo, hi); lo = -hi }
  mapper.setv({low: lo, high: hi, palette: signed ? diverging : sequential});
  map.title.text = `Map ${k + 1}` + (unit ? ` (${unit})` : '');
  const series = [cr.slice(k*n, (k+1)*n), ci.slice(k*n, (k+1)*n)].slice(0, loadings.length);
  series.forEach((v, c) => { loadings[c].data[loading_fields[c]] = v; loadings[c].change.emit() });
  fit_range(component.y_range, series);
  component.title.text = `Component ${k + 1}` + (loadings.length > 1 ? ': Re blue, Im orange' : '');
}
cursor.data = {x: [place.data.x[i]], y: [place.data.y[i]], i: [i], k: [k]};
const made = new Float64Array(n);
for (let j = 0; j < n; j++) {
  let x = mre[j], y = mim[j];
  for (let c = 0; c <= k; c++) {
    const s = a[c*pixels+i]*ratio, t = (b[c*pixels+i] || 0)*ratio, u = cr[c*n+j], v = ci[c*n+j] || 0;
    x += s*u - t*v; y += s*v + t*u }
  made[j] = is_complex ? Math.hypot(x, y) : x }
const values = cube[0].length ? row_of(cube, i, n) : new Float64Array(n).fill(NaN);
[values, made].forEach((v, c) => { drawn[c].data[drawn_fields[c]] = v; drawn[c].change.emit() });
fit_range(spectrum.y_range, [values, made]);
spectrum.title.text = `Data (grey), first ${k + 1} (orange) at ${names[i]}`;
"""
)

SWITCH = (
    _HELPERS
    + """
const n = bias.length, m = frequency.length;
let i = cursor.data.i[0], k = cursor.data.k[0];
if (cb_obj.origin === map) i = chosen(cb_obj.x, cb_obj.y);
const values = row_of(loops, i, n), fitted = row_of(fits, i, n);
if (cb_obj.origin === loop) {
  const w = loop.x_range.end - loop.x_range.start, h = loop.y_range.end - loop.y_range.start;
  let least = Infinity;
  for (let j = 0; j < n; j++) {
    const d = ((bias[j]-cb_obj.x)/w)**2 + ((values[j]-cb_obj.y)/h)**2;
    if (d < least) { least = d; k = j } }
}
if (i !== cursor.data.i[0]) {
  dots.data_source.data[dots.glyph.y.field] = values;
  dots.data_source.change.emit();
  line.data = {x: [...bias, bias[0]], y: [...fitted, fitted[0]]};
  fit_range(loop.y_range, [values, fitted]);
  loop.title.text = loop_label + ' at ' + here(i);
}
cursor.data = {x: [place.data.x[i]], y: [place.data.y[i]], i: [i], k: [k]};
mark.data = {x: [bias[k]], y: [values[k]]};
const [a, w0, q, phase] = oscillators.data.values.slice((i*n + k)*4, (i*n + k)*4 + 4);
const series = [[new Float64Array(m), new Float64Array(m)], [new Float64Array(m), new Float64Array(m)]];
for (let j = 0; j < m; j++) {
  const x = value_of(re, i*n + k, j, m), y = value_of(im, i*n + k, j, m), f = frequency[j];
  series[0][0][j] = factor*Math.hypot(x, y); series[1][0][j] = Math.atan2(y, x);
  // a exp(i phase) w0^2 / (f^2 - w0^2 - i f w0 / q)
  const u = f*f - w0*w0, v = -f*w0/q, d = u*u + v*v;
  const p = a*w0*w0*(Math.cos(phase)*u + Math.sin(phase)*v)/d, s = a*w0*w0*(Math.sin(phase)*u - Math.cos(phase)*v)/d;
  series[0][1][j] = factor*Math.hypot(p, s); series[1][1][j] = Math.atan2(s, p);
}
for (let c = 0; c < 2; c++) {
  points[c].data[point_fields[c].field ?? point_fields[c]] = series[c][0];
  curves[c].data[curve_fields[c].field ?? curve_fields[c]] = series[c][1];
  points[c].change.emit(); curves[c].change.emit();
  fit_range(figures[c].y_range, series[c]);
  figures[c].title.text = labels[c] + ' at ' + words(bias_label, bias[k], bias_unit);
}
"""
)

SWITCH_MAP = (
    _HELPERS
    + """
const p = parameters.indexOf(cb_obj.value);
const target = field === 'image' ? picture.data.image[0] : picture.data[field];
const count = planes.data.values.length / parameters.length, plane = planes.data.values.slice(p*count, (p+1)*count);
for (let j = 0; j < count; j++) target[order ? order[j] : j] = plane[j];
picture.change.emit();
let [lo, hi] = limits(plane);
const signed = lo < 0 && hi > 0 && Math.min(-lo, hi) > 0.1*(hi - lo);
if (signed) { hi = Math.max(-lo, hi); lo = -hi }
mapper.setv({low: lo, high: hi, palette: signed ? diverging : sequential});
figure.title.text = titles[p];
"""
)
