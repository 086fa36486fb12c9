"""Tables for random effects of every covariance structure, and R's figures for them.

Figures are those of glmmTMB 1.1.5 (``optCtrl = list(rel.tol = 1e-14)``) and, of one variance with
equal correlations, nlme 3.1.162 (``pdCompSymm``, ``msTol = 1e-14``): -2 log-likelihood, restricted
where it is said, or with Laplace's approximation.
"""

import numpy as np
import pandas as pd

# Productivity of six workers on three machines, three times each: Machines of nlme, taken from
# Milliken & Johnson (1992), Analysis of Messy Data, volume I.
_SCORES = {
    "A": "52 52.8 53.1 51.8 52.8 53.1 60 60.2 58.4 51.1 52.3 50.3 50.9 51.8 51.4 46.4 44.8 49.2",
    "B": "62.1 62.6 64 59.7 60 59 68.6 65.8 69.7 63.2 62.8 62.2 64.8 65 65.4 43.7 44.2 43",
    "C": "67.5 67.2 66.9 61.5 61.7 62.3 70.8 70.6 71 64.1 66.2 64 72.1 72 71.1 62 61.4 60.5",
}
# lmer("score ~ Machine + ...(0 + Machine | Worker)"), restricted
MACHINES = {
    "cs": 209.22044231,
    "homcs": 215.68756801,
    "toep": 208.33485653,
    "ar1": 216.23911078,
    "diagonal": 217.65107858,
}
# lmer("y ~ x + ...(0 + f | g)") of `visits`: restricted or not, coefficients, deviations,
# correlations with the first visit
VISITS = {
    ("cs", True): (
        1795.29322498,
        [0.9756132, 0.5631768],
        [0.821901, 1.547549, 0.644839, 1.304309, 2.043560],
        [0.457245, 0.457245, 0.457245, 0.457245],
    ),
    ("toep", True): (
        1768.56076749,
        [1.0208304, 0.5588987],
        [0.857765, 1.624512, 0.591122, 1.293922, 1.979037],
        [0.742014, 0.484320, 0.246942, -0.028202],
    ),
    ("ar1", True): (
        1825.35877415,
        [0.8910326, 0.5721974],
        [1.398385] * 5,
        [0.632498, 0.400053, 0.253033, 0.160043],
    ),
    ("cs", False): (
        1788.63788689,
        [0.9754760, 0.5630881],
        [0.814126, 1.543775, 0.636273, 1.299850, 2.040501],
        [0.454375, 0.454375, 0.454375, 0.454375],
    ),
    ("toep", False): (
        1761.77758910,
        [1.0204728, 0.5588717],
        [0.850785, 1.621691, 0.582040, 1.289030, 1.976468],
        [0.742250, 0.480574, 0.242143, -0.033642],
    ),
    ("ar1", False): (
        1819.35141234,
        [0.8907378, 0.5722262],
        [1.390843] * 5,
        [0.627585, 0.393863, 0.247183, 0.155128],
    ),
}
# lmer("z ~ x + rr(0 + f | g, d = ...)"): rank and whether restricted
LATENT = {
    (1, True): (
        1407.28305639,
        [1.0227540, 0.5382224],
        [0.787536, 0.839006, 0.844524, 0.919196, 0.377442],
        [1.0, 1.0, 1.0, 1.0],
    ),
    (2, True): (
        1293.03582572,
        [1.0450585, 0.5396961],
        [1.101614, 0.909490, 0.882488, 1.101613, 0.569213],
        [0.915423, 0.538211, 0.248065, -0.063883],
    ),
    (1, False): (
        1399.62943990,
        [1.0226175, 0.5380937],
        [0.783243, 0.834689, 0.839722, 0.914462, 0.369439],
        [1.0, 1.0, 1.0, 1.0],
    ),
    (2, False): (
        1284.80629033,
        [1.0451974, 0.5396888],
        [1.098881, 0.906109, 0.878922, 1.098871, 0.565088],
        [0.914927, 0.535109, 0.243829, -0.074860],
    ),
}
# glmer("hit ~ x + ...") and "count ~ x + ...": what is not here glmmTMB ends with an error for
RESPONSES = {
    ("hit", "cs(0 + f | g)"): (
        633.36860818,
        [-0.4764529, 0.7269819],
        [2.032426, 2.135808, 1.128513, 0.958183, 0.565287],
        [0.327656] * 4,
    ),
    ("hit", "ar1(0 + f | g)"): (
        640.91094709,
        [-0.4604908, 0.6684834],
        [1.051626] * 5,
        [0.600789, 0.360947, 0.216853, 0.130283],
    ),
    ("count", "cs(0 + f | g)"): (
        1557.39055055,
        [0.2608351, 0.3361852],
        [0.086633, 0.480172, 0.422964, 0.448174, 0.753532],
        [0.663389] * 4,
    ),
    ("count", "ar1(0 + f | g)"): (
        1570.75553261,
        [0.2291168, 0.3406062],
        [0.529750] * 5,
        [0.692604, 0.479701, 0.332243, 0.230113],
    ),
    ("count", "rr(0 + f | g, d = 1)"): (
        1561.72361719,
        [0.2842327, 0.3357344],
        [0.042120, 0.266284, 0.364351, 0.411696, 0.761040],
        [1.0] * 4,
    ),
}


def machines() -> pd.DataFrame:
    """Return the table of nlme, (54, 3)."""
    scores = {machine: text.split() for machine, text in _SCORES.items()}
    rows = [
        (f"w{number // 3 + 1}", machine, float(score))
        for machine, values in scores.items()
        for number, score in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["Worker", "Machine", "score"])


def visits() -> pd.DataFrame:
    """Draw responses of sixty subjects g at five visits t, twice each but for a sixth of the rows.

    Effects of the visits are autoregressive with deviations of their own in y, hit and count, and
    combinations of two latent ones in z. Numbers are rounded, so that R reads the same.
    """
    rng, n_groups, n_times = np.random.default_rng(18), 60, 5
    g = np.repeat(np.arange(n_groups), 2 * n_times)
    t = np.tile(np.repeat(np.arange(1, n_times + 1), 2), n_groups)
    lags = np.abs(np.subtract.outer(np.arange(n_times), np.arange(n_times)))
    root = np.array([1.0, 1.4, 0.8, 1.2, 1.6])[:, None] * np.linalg.cholesky(0.7**lags)
    u = (rng.standard_normal((n_groups, n_times)) @ root.T)[g, t - 1]
    loadings = np.array([[1.0, 0.0], [0.8, 0.4], [0.5, 0.8], [0.2, 0.9], [0.0, 0.5]])
    v = (rng.standard_normal((n_groups, 2)) @ loadings.T)[g, t - 1]
    x = np.round(rng.standard_normal(len(g)), 3)
    y = 1.0 + 0.5 * x + u + rng.standard_normal(len(g))
    z = 1.0 + 0.5 * x + v + 0.7 * rng.standard_normal(len(g))
    count = rng.poisson(np.exp(0.3 + 0.3 * x + 0.4 * u))
    hit = (rng.random(len(g)) < 1.0 / (1.0 + np.exp(0.3 - 0.5 * x - u))).astype(int)
    table = pd.DataFrame({"g": g, "t": t, "x": x, "y": y.round(3), "z": z.round(3)})
    table = table.assign(hit=hit, count=count, f=pd.Categorical(t))
    return table[rng.random(len(g)) < 0.85].reset_index(drop=True)
