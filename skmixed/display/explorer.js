// What the explorer does when a control is moved: it multiplies the arrays of `tables`, which are
// named and explained in _explorer_tables.py, and draws. No number is estimated here.

const NEW = -1; // the group that is not known

function plain(value) {
  if (!(value instanceof Map)) return Array.isArray(value) ? value.map(plain) : value;
  return Object.fromEntries([...value].map(([name, each]) => [name, plain(each)]));
}

function escaped(text) {
  const marks = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return String(text).replace(/[&<>"']/g, (mark) => marks[mark]);
}

function shown(number) {
  if (!Number.isFinite(number)) return "–";
  const size = Math.abs(number);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return number.toExponential(3);
  const digits = size >= 1 ? Math.max(0, 4 - Math.floor(Math.log10(size))) : 4;
  return number.toFixed(Math.min(digits, 4)).replace("-", "−");
}

function normalCdf(x) {
  if (x < 0) return 1 - normalCdf(-x);
  const density = Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
  if (x < 4) {
    let term = x, sum = x;
    for (let n = 3; Math.abs(term) > 1e-17 * sum; n += 2) sum += term *= (x * x) / n;
    return 0.5 + density * sum;
  }
  let fraction = x;
  for (let n = 60; n > 0; n--) fraction = x + n / fraction;
  return 1 - density / fraction;
}

const MEANS = {
  identity: (eta) => eta,
  log: (eta) => Math.exp(eta),
  logit: (eta) => 1 / (1 + Math.exp(-eta)),
  probit: normalCdf,
  cloglog: (eta) => -Math.expm1(-Math.exp(eta)),
};

function averagedMean(link, center, variance) {
  if (link === "identity" || !(variance > 0)) return MEANS[link](center);
  if (link === "log") return Math.exp(center + variance / 2);
  if (link === "probit") return normalCdf(center / Math.sqrt(1 + variance));
  const deviation = Math.sqrt(variance), nodes = Math.ceil(60 * Math.max(1, Math.min(deviation, 20)));
  let total = 0, weights = 0;
  for (let n = -nodes; n <= nodes; n++) {
    const x = (8.5 * n) / nodes, weight = Math.exp(-0.5 * x * x);
    weights += weight;
    total += weight * MEANS[link](center + x * deviation);
  }
  return total / weights;
}

// The columns of the model, about their center and scaled, at a place of every moved column.
function scaledColumns(t, places) {
  const u = Float64Array.from(t.constants);
  t.moved.forEach((column, number) => {
    const width = column.touched.length, start = places[number] * width;
    for (let c = 0; c < width; c++) u[column.touched[c]] *= column.factors[start + c];
  });
  const constant = u[0];
  for (let c = 0; c < u.length; c++) u[c] = (u[c] - t.center[c] * constant) / t.scale[c];
  return u;
}

// What is the same for all groups at these columns.
function row(t, u) {
  const n = t.first.length, products = new Float64Array(n), common = {};
  for (let p = 0; p < n; p++) products[p] = u[t.first[p]] * u[t.second[p]];
  for (const [name, form] of Object.entries(t.forms)) {
    let total = 0;
    for (let p = 0; p < n; p++) total += products[p] * form.common[p];
    common[name] = total;
  }
  let center = 0;
  for (let c = 0; c < u.length; c++) center += u[c] * t.coefficients[c];
  return { u, products, common, center };
}

function groupPart(t, at, group) {
  let total = 0;
  const k = t.varying.length;
  if (group !== NEW) for (let j = 0; j < k; j++) total += at.u[t.varying[j]] * t.own[group * k + j];
  return total;
}

function quadratic(t, at, name, group, kind) {
  const form = t.forms[name];
  let total = at.common[name];
  if (group !== NEW) {
    for (const part of form.parts) {
      const width = part.places.length, start = group * width;
      for (let p = 0; p < width; p++) {
        total += at.products[part.places[p]] * part.scale[p] * part.own[start + p];
      }
    }
  }
  return total + (kind === "observation" ? (t.noise[name] ?? 0) : 0);
}

function quantile(t, degreesInverse) {
  const last = t.t.length - 1, x = Math.min(1, degreesInverse) * last;
  const low = Math.min(Math.floor(x), last - 1);
  return t.t[low] + (x - low) * (t.t[low + 1] - t.t[low]);
}

// The prediction of a group with the ends of its interval, and what is on the scale of the link.
function predicted(t, at, group, kind) {
  const center = at.center + groupPart(t, at, group);
  const variance = Math.max(quadratic(t, at, "variances", group, kind), 0);
  let low, high;
  if (t.quantiles) {
    const place = 2 * (group === NEW ? t.labels.length : group), ends = t.quantiles[kind];
    low = center + ends[place] * Math.sqrt(variance);
    high = center + ends[place + 1] * Math.sqrt(variance);
  } else {
    let spread = t.base;
    for (let n = 0; n < t.n_slopes; n++) {
      const slope = quadratic(t, at, "slope" + n, group, kind);
      if (variance > 0) spread += (slope / variance) ** 2;
    }
    const square = variance + quadratic(t, at, "excess", group, kind);
    const half = quantile(t, spread / 2) * Math.sqrt(Math.max(square, 0));
    [low, high] = [center - half, center + half];
  }
  const mean = MEANS[t.link];
  const spread = t.averages ? quadratic(t, at, "spread", group, "mean") : 0;
  return { value: averagedMean(t.link, center, spread), low: mean(low), high: mean(high), center };
}

// ---- controls ----------------------------------------------------------------------------------

const t = (tables.read ??= plain(tables));
tables.indices ??= new Map(t.labels.map((label, number) => [label, number]));

if (cb_obj === adding) {
  const label = adding.value;
  if (label === "") return;
  if (tables.indices.has(label) && !chosen.labels.includes(label)) {
    const labels = [...chosen.labels, label].slice(-colours.length);
    chosen.setv({ labels, active: labels.map((_, n) => n) });
  }
  adding.value = "";
  return;
}
if (cb_obj === chosen && chosen.active.length < chosen.labels.length) {
  const labels = chosen.labels.filter((_, n) => chosen.active.includes(n));
  chosen.setv({ labels, active: labels.map((_, n) => n) });
  return;
}

const places = t.moved.map((column, number) => {
  const control = controls[number];
  if (control.step === undefined) return Number(control.value);
  let best = 0;
  column.numbers.forEach((value, n) => {
    if (Math.abs(value - control.value) < Math.abs(column.numbers[best] - control.value)) best = n;
  });
  return best;
});
const at = row(t, scaledColumns(t, places));
const kind = kinds === null ? "mean" : kinds.value;
const slots = chosen.labels.map((label, n) => ({
  label, group: tables.indices.get(label), colour: colours[n], dash: dashes[n],
}));
if (with_new.active.includes(0)) {
  slots.push({ label: "new group", group: NEW, colour: "#000000", dash: "dashed" });
}

// ---- ranks -------------------------------------------------------------------------------------

const n_groups = t.labels.length, effect = Number(ranked_by.value);
const values = new Float64Array(n_groups), lows = new Float64Array(n_groups);
const highs = new Float64Array(n_groups), n_effects = t.effect_names.length;
for (let group = 0; group < n_groups; group++) {
  if (effect < 0) {
    const own = predicted(t, at, group, kind);
    [values[group], lows[group], highs[group]] = [own.value, own.low, own.high];
  } else {
    const start = 2 * (group * n_effects + effect);
    values[group] = t.effects[start];
    lows[group] = t.effects[start] - t.effects[start + 1];
    highs[group] = t.effects[start] + t.effects[start + 1];
  }
}
const order = Int32Array.from(values.keys()).sort((a, b) => values[a] - values[b]);
const rank = new Int32Array(n_groups);
order.forEach((group, place) => (rank[group] = place + 1));
const known = slots.filter((slot) => slot.group !== NEW);
ranks.data = {
  x: Array.from(order, (_, place) => place + 1),
  value: Array.from(order, (group) => values[group]),
  low: Array.from(order, (group) => lows[group]),
  high: Array.from(order, (group) => highs[group]),
  label: Array.from(order, (group) => t.labels[group]),
};
marked.data = {
  x: known.map((slot) => rank[slot.group]),
  value: known.map((slot) => values[slot.group]),
  low: known.map((slot) => lows[slot.group]),
  high: known.map((slot) => highs[slot.group]),
  label: known.map((slot) => slot.label),
  colour: known.map((slot) => slot.colour),
};
rank_axis.axis_label = effect < 0 ? t.response : `effect of ${t.effect_names[effect]}`;

// ---- predictions -------------------------------------------------------------------------------

const found = slots.map((slot) => ({ ...slot, ...predicted(t, at, slot.group, kind) }));
const percent = +(100 * t.level).toFixed(4);
const cells = found.map((each) => {
  const standing = each.group === NEW ? "–" : rank[each.group].toLocaleString("en");
  const mark = `<span aria-hidden="true" style="color:${each.colour}">●</span>`;
  return (
    `<tr><th scope="row">${mark} ${escaped(each.label)}</th><td>${shown(each.value)}</td>` +
    `<td>${shown(each.low)}</td><td>${shown(each.high)}</td><td>${standing}</td></tr>`
  );
});
const style =
  "<style>table{border-collapse:collapse;width:100%;font-size:clamp(12px,3.4vw,15px)}" +
  "th,td{padding:4px 6px;text-align:right;border-bottom:1px solid #ddd}" +
  "th:first-child{text-align:left;font-weight:500;max-width:16em;overflow-wrap:break-word}" +
  "p{margin:8px 0;font-size:14px}</style>";
summary.text =
  `${style}<table><thead><tr><th scope="col">${escaped(t.factor)}</th>` +
  `<th scope="col">prediction</th><th scope="col">lower</th><th scope="col">upper</th>` +
  `<th scope="col">rank of ${n_groups.toLocaleString("en")}</th></tr></thead><tbody>${cells.join("")}</tbody></table>` +
  `<p>${percent}% intervals of ${kind === "mean" ? "the mean of a group" : "an observation"}` +
  `${slots.length ? "" : "; choose a group to see its prediction"}.</p>`;

// ---- contributions -----------------------------------------------------------------------------

const usual = row(t, scaledColumns(t, t.moved.map((column) => column.place)));
const bars = t.terms.map((term) => {
  let part = 0;
  for (const c of term.columns) part += t.coefficients[c] * (at.u[c] - usual.u[c]);
  return { name: term.name, part, colour: "#8C8C8C" };
});
const of_groups = known.map((slot) => (
  { name: slot.label, part: groupPart(t, at, slot.group), colour: slot.colour }
));
const all = [...bars, ...of_groups].reverse();
const written = all.map((bar, n) => (
  bar.name.length > 22 ? bar.name.slice(0, 21) + "…" + " ".repeat(n) : bar.name
));
const unique = written.map((name, n) => (written.indexOf(name) === n ? name : name + " ".repeat(n)));
contribution_range.factors = unique;
contributions.data = {
  y: unique, right: all.map((bar) => bar.part), colour: all.map((bar) => bar.colour),
};
base.text =
  `${style}<p>${t.link === "identity" ? "" : `On the scale of the ${t.link} link: `}` +
  `${shown(usual.center)} in an average group at the reference values, and what is added:</p>`;

// ---- curves ------------------------------------------------------------------------------------

const along = Number(axis_column.value), column = t.moved[along];
const is_line = column !== undefined && column.numbers !== null && column.numbers.length > 1;
const lines = { xs: [], ys: [], colour: [], dash: [], label: [] };
const areas = { xs: [], ys: [], colour: [] };
const dots = { x: [], y: [], low: [], high: [], colour: [], label: [] };
if (column !== undefined) {
  const n = column.texts.length;
  const rows = Array.from({ length: n }, (_, place) => (
    row(t, scaledColumns(t, places.map((own, number) => (number === along ? place : own))))
  ));
  found.forEach((slot, number) => {
    const own = rows.map((each) => predicted(t, each, slot.group, kind));
    const x = is_line ? Array.from(column.numbers) : own.map((_, place) => place);
    if (is_line) {
      lines.xs.push(x);
      lines.ys.push(own.map((each) => each.value));
      lines.colour.push(slot.colour);
      lines.dash.push(slot.dash);
      lines.label.push(slot.label);
      areas.xs.push([...x, ...[...x].reverse()]);
      areas.ys.push([...own.map((each) => each.low), ...own.map((each) => each.high).reverse()]);
      areas.colour.push(slot.colour);
    } else {
      const shift = 0.5 * ((number + 0.5) / found.length - 0.5);
      own.forEach((each, place) => {
        dots.x.push(place + shift);
        dots.y.push(each.value);
        dots.low.push(each.low);
        dots.high.push(each.high);
        dots.colour.push(slot.colour);
        dots.label.push(slot.label);
      });
    }
    if (is_line) {
      dots.x.push(column.numbers[places[along]]);
      dots.y.push(slot.value);
      dots.low.push(slot.value);
      dots.high.push(slot.value);
      dots.colour.push(slot.colour);
      dots.label.push(slot.label);
    }
  });
  curve_axis.axis_label = column.name;
  if (is_line) {
    curve_axis.ticker = number_ticker;
    curve_axis.major_label_orientation = "horizontal";
  } else {
    category_ticker.ticks = column.texts.map((_, place) => place);
    curve_axis.ticker = category_ticker;
    curve_axis.major_label_overrides = new Map(column.texts.map((text, place) => [place, text]));
    curve_axis.major_label_orientation = n > 6 ? 0.9 : "horizontal";
  }
  if (is_line) curve_axis.major_label_overrides = new Map();
}
curves.data = lines;
bands.data = areas;
points.data = dots;
// For programs that read the page.
window.explored = {
  label: found.map((each) => each.label),
  value: found.map((each) => each.value),
  low: found.map((each) => each.low),
  high: found.map((each) => each.high),
  rank: found.map((each) => (each.group === NEW ? null : rank[each.group])),
};
