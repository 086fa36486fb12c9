// The arithmetic of the explorer: it multiplies the arrays of `tables`, which are named and explained
// in _explorer_tables.py. No number is estimated here.

const NEW = -1; // the group that is not known

// Bokeh hands mappings over as Map.
function plain(value) {
  if (!(value instanceof Map)) return Array.isArray(value) ? value.map(plain) : value;
  return Object.fromEntries([...value].map(([name, each]) => [name, plain(each)]));
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

// Half the width of the interval of the linear predictor, for all but posteriors.
function halfWidth(t, at, group, kind, variance) {
  let spread = t.base;
  for (let n = 0; n < t.n_slopes; n++) {
    const slope = quadratic(t, at, "slope" + n, group, kind);
    if (variance > 0) spread += (slope / variance) ** 2;
  }
  const square = variance + quadratic(t, at, "excess", group, kind);
  return quantile(t, spread / 2) * Math.sqrt(Math.max(square, 0));
}

// The prediction of a group with the ends of its interval.
function predicted(t, at, group, kind) {
  const center = at.center + groupPart(t, at, group);
  const variance = Math.max(quadratic(t, at, "variances", group, kind), 0);
  const spread = t.averages ? quadratic(t, at, "spread", group, "mean") : 0;
  const value = averagedMean(t.link, center, spread);
  if (t.quantiles) {
    const place = 2 * (group === NEW ? t.labels.length : group), ends = t.quantiles[kind];
    const [low, high] = [0, 1].map((end) => center + ends[place + end] * Math.sqrt(variance));
    return { value, low, high };
  }
  const half = halfWidth(t, at, group, kind, variance);
  if (kind === "observation" && t.observed !== null) {
    const [low, high] = observationLimits(t.observed, t.level, center, half / t.t[0]);
    return { value, low, high };
  }
  const mean = MEANS[t.link];
  return { value, low: mean(center - half), high: mean(center + half) };
}

// What columns add to the linear predictor, from the reference on, by terms, and the groups to it.
function contributions(t, at, usual, groups) {
  const terms = t.terms.map(({ name, columns }) => ({
    name, part: columns.reduce((sum, c) => sum + t.coefficients[c] * (at.u[c] - usual.u[c]), 0),
  }));
  const own = groups.map((group) => groupPart(t, at, group));
  return { start: usual.center, terms, total: at.center, own };
}
