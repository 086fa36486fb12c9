// Where observations of a family lie whose linear predictor eta is normal: quantiles of the mixture,
// as core/generalized/after_fit/predictive.py has them, by fewer nodes.

const REACH = 8.5; // deviations of eta: the probability beyond is below rounding
const CERTAIN = 1e-9; // from which a probability counts as none
const HALVINGS = 8; // to find where the distribution function changes with eta
const MOST_STEPS = 200; // of any iteration here; a few dozen are usual

const STIRLING = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188];
const LOG_GAMMAS = new Map(); // of shapes and counts, which recur at every node

function logGamma(x) {
  if (!LOG_GAMMAS.has(x)) LOG_GAMMAS.set(x, stirlingLogGamma(x));
  return LOG_GAMMAS.get(x);
}

function stirlingLogGamma(x) {
  let shift = 0;
  for (; x < 10; x++) shift += Math.log(x);
  const series = STIRLING.reduce((sum, c, n) => sum + c / x ** (2 * n + 1), 0);
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series - shift;
}

// Continued fractions a1/(b1 + a2/(b2 + ...)) by Lentz's algorithm.
function continuedFraction(term, most) {
  const tiny = 1e-300;
  let value = tiny, c = value, d = 0;
  for (let n = 1; n <= most; n++) {
    const [a, b] = term(n);
    d = 1 / (b + a * d || tiny);
    c = b + a / c || tiny;
    value *= c * d;
    if (Math.abs(c * d - 1) < 1e-13) break;
  }
  return value;
}

// The distribution function of a gamma variable of a shape, of scale one.
function gammaCdf(shape, x) {
  if (!(x > 0)) return 0;
  if (x === Infinity) return 1;
  const front = Math.exp(shape * Math.log(x) - x - logGamma(shape)), most = 200 + 10 * Math.sqrt(shape);
  if (x < shape + 1) {
    let term = 1 / shape, sum = term;
    for (let n = 1; n < most && term > 1e-15 * sum; n++) sum += term *= x / (shape + n);
    return front * sum;
  }
  const tail = (n) => (n === 1 ? [1, x + 1 - shape] : [(n - 1) * (shape - n + 1), x + 2 * n - 1 - shape]);
  return 1 - front * continuedFraction(tail, most);
}

// The regularised incomplete beta function, of x and of 1 - x, which may be tiny.
function betaCdf(a, b, x, rest) {
  if (!(x > 0)) return 0;
  if (!(rest > 0)) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - betaCdf(b, a, rest, x);
  const front = a * Math.log(x) + b * Math.log(rest) + logGamma(a + b) - logGamma(a) - logGamma(b);
  const term = (n) => {
    const m = Math.floor((n - 1) / 2);
    if (n === 1) return [1, 1];
    if (n % 2) return [(m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)), 1];
    return [(-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)), 1];
  };
  return (Math.exp(front) / a) * continuedFraction(term, 200 + 10 * Math.sqrt(a + b));
}

// P(Y <= y) given eta; it falls with eta.
const GIVEN = {
  poisson: (y, eta) => (y < 0 ? 0 : 1 - gammaCdf(y + 1, Math.exp(eta))),
  "negative binomial": (y, eta, phi) => {
    if (y < 0) return 0;
    const odds = Math.exp(phi[0] - eta);
    return betaCdf(Math.exp(phi[0]), y + 1, odds / (1 + odds), 1 / (1 + odds));
  },
  gamma: (y, eta, phi) => gammaCdf(Math.exp(phi[0]), y * Math.exp(phi[0] - eta)),
};

// P(Y <= y), eta being normal.
function mixtureCdf(observed, center, deviation, y) {
  const given = (eta) => GIVEN[observed.family](y, eta, observed.phi);
  if (!(deviation > 1e-10)) return given(center);
  const [low, high] = [1 - CERTAIN, CERTAIN].map((bound, end) => {
    let left = center - REACH * deviation, right = center + REACH * deviation;
    for (let n = 0; n < HALVINGS; n++) {
      const middle = 0.5 * (left + right);
      if (given(middle) >= bound) left = middle; else right = middle;
    }
    return end === 0 ? left : right;
  });
  const middle = 0.5 * (low + high), half = 0.5 * (high - low);
  let total = normalCdf((low - center) / deviation);
  const share = half / (Math.sqrt(2 * Math.PI) * deviation);
  observed.nodes.forEach((node, n) => {
    const eta = middle + half * node;
    total += share * observed.weights[n] * Math.exp(-0.5 * ((eta - center) / deviation) ** 2) * given(eta);
  });
  return total;
}

// The least response up to which the probability is at least as given: of counts among whole
// numbers, of others among logarithms less the linear predictor. The search begins `near` the last
// quantile, since points of a curve follow one another.
function mixtureQuantile(observed, center, deviation, probability, near) {
  const isCount = observed.family !== "gamma", gap = isCount ? 1 : 1e-5;
  const response = (place) => (isCount ? place : Math.exp(center + place));
  const above = (place) => mixtureCdf(observed, center, deviation, response(place)) >= probability;
  let high = near, low, step = isCount ? 1 : 1e-3;
  for (let n = 0; n < MOST_STEPS && !above(high); n++) [low, high, step] = [high, high + step, 2 * step];
  if (low === undefined) {
    low = high - step;
    for (let n = 0; n < MOST_STEPS && !(isCount && low < 0) && above(low); n++) {
      step *= 2;
      [low, high] = [low - step, low];
    }
    if (isCount) low = Math.max(low, -1);
  }
  for (let n = 0; n < MOST_STEPS && high - low > gap; n++) {
    const middle = isCount ? Math.floor(0.5 * (low + high)) : 0.5 * (low + high);
    if (above(middle)) high = middle; else low = middle;
  }
  return { place: high, response: response(high) };
}

// The ends of an interval of an observation.
function observationLimits(observed, level, center, deviation) {
  observed.last ??= [0, 0];
  return [0, 1].map((end) => {
    const probability = end === 0 ? (1 - level) / 2 : (1 + level) / 2;
    const found = mixtureQuantile(observed, center, deviation, probability, observed.last[end]);
    observed.last[end] = found.place;
    return found.response;
  });
}
