"""Random models for the study of optima, and independent searches to compare with."""

import numpy as np
from scipy.optimize import minimize

from skmixed.core.elimination.protocol import LostPrecisionError
from skmixed.core.model.evaluation import evaluate
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.search.coordinates import Coordinates, theta_gradient
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows

KINDS = ["unstructured", "unstructured", "diagonal", "identity"]


def draw_features(rng, n):
    """Draw columns, some badly scaled and some off centre."""
    features = rng.standard_normal((n, 3))
    if rng.random() < 0.3:
        features *= 10.0 ** rng.uniform(-4, 4, 3)
    if rng.random() < 0.3:
        features += rng.uniform(-5, 5, 3) * features.std(axis=0)
    return features


def draw_codes(rng, n, n_factors):
    """Draw levels of factors that are nested, crossed, or nested but for a tenth of the rows."""
    sizes = [int(np.clip(rng.choice([3, 6, 12, 40, n // 8]), 2, n // 4)) for _ in range(n_factors)]
    relation = rng.choice(["nested", "crossed", "partial"])
    codes = []
    for size in sizes:
        if not codes or relation == "crossed":
            code = rng.integers(0, size, n)
        else:
            code = codes[-1] % max(2, min(size, codes[-1].max() // 2))
            if relation == "partial":
                code = np.where(rng.random(n) < 0.1, rng.integers(0, size, n), code)
        codes.append(np.unique(code, return_inverse=True)[1])
    return codes


def draw_terms(rng, factor, n_slopes):
    """Draw the random terms of one factor: one, or two independent ones."""
    columns = tuple(range(1 + n_slopes))
    kind = str(rng.choice(KINDS))
    if n_slopes and kind == "unstructured" and rng.random() < 0.2:
        return [Term(factor, (0,)), Term(factor, columns[1:])]
    without_intercept = n_slopes and rng.random() < 0.1
    return [Term(factor, columns[1:] if without_intercept else columns, kind)]


def draw_effects(rng, features, code, n_slopes):
    """Draw what a factor adds to the response: often nothing, or singular."""
    size = rng.choice([0, 0.1, 0.3, 1, 3, 10])
    effects = size * rng.standard_normal((code.max() + 1, 1 + n_slopes))
    if n_slopes and rng.random() < 0.4:
        effects[:, 1:] = effects[:, :1] * rng.standard_normal(n_slopes) + 0.05 * effects[:, 1:]
    if n_slopes and rng.random() < 0.3:
        effects[:, 0] = 0.0
    slopes = features[:, :n_slopes] / features[:, :n_slopes].std(axis=0)
    return (np.column_stack([np.ones(len(code)), slopes]) * effects[code]).sum(axis=1)


def draw_problem(seed):
    """Draw cross-products and a model with fewer random effects than rows."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([40, 60, 150, 400]))
    features = draw_features(rng, n)
    codes = draw_codes(rng, n, int(rng.integers(1, 4)))
    terms, factors, response = [], [], rng.standard_normal(n)
    for factor, code in enumerate(codes):
        room = min(3, (n // 3) // (code.max() + 1) - 1)
        n_slopes = max(0, min(int(rng.integers(0, 4)), room if factor == 0 else min(room, 1)))
        terms += draw_terms(rng, factor, n_slopes)
        factors.append(FactorLayout((f"g{factor}",), tuple(range(1 + n_slopes))))
        response += draw_effects(rng, features, code, n_slopes)
    p = int(rng.integers(0, 4))
    response += features[:, :p] @ rng.standard_normal(p)
    weights, weighting = None, "frequency"
    if rng.random() < 0.15:
        weights = rng.integers(1, 4, n).astype(float)
    elif rng.random() < 0.2:
        weights, weighting = rng.uniform(0.2, 3, n), "precision"
    layout = Layout(("(Intercept)", "x0", "x1", "x2", "y"), tuple(factors))
    indexes = tuple(
        GroupIndex(factor.key, (np.arange(code.max() + 1),))
        for factor, code in zip(factors, codes, strict=True)
    )
    columns = np.column_stack([np.ones(n), features, response])
    products = CrossProducts.of(layout, Rows(columns, tuple(codes), indexes, weights))
    method = str(rng.choice(["reml", "ml"]))
    return products, ModelSpec(tuple(range(p + 1)), tuple(terms), method, weighting)


def draw_scarce_problem(seed):
    """Draw cross-products of few rows and a model that may have as many random effects."""
    rng = np.random.default_rng([seed, 1])
    n = int(rng.integers(6, 31))
    features = draw_features(rng, n)
    terms, factors, codes, response = [], [], [], rng.standard_normal(n)
    for factor in range(int(rng.integers(1, 4))):
        n_levels = int(rng.integers(2, max(3, n // 2)))
        parent = rng.random() < 0.3 and codes
        code = codes[-1] // 2 if parent else rng.integers(0, n_levels, n)
        code = np.unique(code, return_inverse=True)[1]
        n_slopes = int(rng.integers(0, 3))
        codes.append(code)
        terms += draw_terms(rng, factor, n_slopes)
        factors.append(FactorLayout((f"g{factor}",), tuple(range(1 + n_slopes))))
        response += draw_effects(rng, features, code, n_slopes)
    p = int(rng.integers(0, 3))
    indexes = tuple(
        GroupIndex(factor.key, (np.arange(code.max() + 1),))
        for factor, code in zip(factors, codes, strict=True)
    )
    columns = np.column_stack([np.ones(n), features, response])
    layout = Layout(("(Intercept)", "x0", "x1", "x2", "y"), tuple(factors))
    products = CrossProducts.of(layout, Rows(columns, tuple(codes), indexes, None))
    method = str(rng.choice(["reml", "ml"]))
    return products, ModelSpec(tuple(range(p + 1)), tuple(terms), method)


def best_of_other_searches(problem, seed, n_starts=6):
    """Return the lowest criterion that bounded-memory quasi-Newton finds from several starts."""
    coordinates = Coordinates.natural(problem.structures)
    start = coordinates.theta([np.eye(s.size) for s in problem.structures])

    def objective(theta):
        try:
            evaluation = evaluate(problem, coordinates.lambdas(theta))
        except LostPrecisionError:
            return 1e10, np.zeros_like(theta)
        return evaluation.criterion, theta_gradient(evaluation, coordinates, theta)

    rng = np.random.default_rng(seed)
    best = np.inf
    for number in range(n_starts):
        theta = start if number == 0 else start * 10.0 ** rng.uniform(-1.5, 1)
        theta = theta + (number > 0) * 0.3 * rng.standard_normal(len(theta))
        options = {"maxiter": 500, "ftol": 1e-14, "gtol": 1e-9}
        end = minimize(objective, theta, jac=True, method="L-BFGS-B", options=options)
        if end.fun < best and has_digits(problem, coordinates.lambdas(end.x)):
            best = end.fun
    return best


def has_digits(problem, lambdas):
    """Tell whether the criterion at some lambdas is more than what rounding leaves."""
    try:
        return evaluate(problem, lambdas).relative_rounding < 1e-6
    except LostPrecisionError:
        return False
