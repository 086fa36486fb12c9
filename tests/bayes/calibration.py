"""Simulation-based calibration, and how often intervals of posteriors hold the truth.

Truths drawn from the prior rank anywhere among draws from the posterior given data that were drawn
given them (Talts et al. 2018, arXiv:1804.06788). The log likelihood is ranked too, which finds
posteriors that equal the prior (Modrak et al. 2023, doi:10.1214/23-BA1404). Run as a program it
prints the tables of docs/benchmarks/calibration.md, or the rows of the models named, "intervals"
being the second table:

    python -m tests.bayes.calibration [MODEL ...] [--simulations 400] [--ranks FILE.npz]
"""

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import chi2, norm
from sklearn.base import clone

from skmixed import BayesianMixedRegressor, MixedGeneralizedRegressor, MixedLinearRegressor
from skmixed.bayes import (
    LKJ,
    Exponential,
    Flat,
    Gamma,
    HalfNormal,
    HalfT,
    InverseGamma,
    Normal,
    Prior,
    sample,
)
from skmixed.bayes.priors import ModelPrior
from skmixed.bayes.row_predictions import predictor_quantiles
from skmixed.bayes.scale_distributions import Decov
from skmixed.core.posterior.integrated_likelihood import IntegratedLikelihood

DRAWS = 99  # thinned to these, so that ranks take 100 values
BINS = 10
LEVELS = (0.5, 0.8, 0.95)
TAILS = np.array([(1.0 + side * level) / 2.0 for level in LEVELS for side in (-1, 1)])


@dataclass(frozen=True)
class Model:
    """Random terms, proper distributions of all parameters, and tables drawn for them."""

    name: str
    random: str
    prior: Prior
    table: Callable[[np.random.Generator], pd.DataFrame]  # columns of numbers and of labels
    is_weighted: bool = False


def sized(*sizes):
    """Tables of groups of these sizes, or of sizes drawn anew if given as (low, high, number)."""

    def drawn(rng):
        given = rng.integers(*sizes[0]) if isinstance(sizes[0], tuple) else sizes
        g = np.repeat(np.arange(len(given)), given)
        return pd.DataFrame({"x": rng.standard_normal(len(g)), "g": g.astype(str)})

    return drawn


def with_two_columns(rng):
    return sized(*[8] * 12)(rng).assign(z=rng.uniform(-1.0, 1.0, 96))


def nested(rng):
    school = np.repeat(np.arange(6), 12)
    room = np.concatenate([np.sort(rng.integers(4, size=12)) for _ in range(6)])
    x = rng.standard_normal(72)
    return pd.DataFrame({"x": x, "school": school.astype(str), "room": room.astype(str)})


def crossed(rng):
    g, h = np.repeat(np.arange(6), 5), np.tile(np.arange(5), 6)
    kept = np.sort(rng.permutation(30)[:26])
    table = pd.DataFrame({"x": rng.standard_normal(30), "g": g.astype(str), "h": h.astype(str)})
    return table.iloc[kept].reset_index(drop=True)


COEF = {name: Normal(0, 1) for name in ("(Intercept)", "x")}
WIDE = {name: Normal(0, 50) for name in ("(Intercept)", "x")}
SIGMA = Exponential(1)
MODELS = [
    Model("5 groups of 4", "(1 | g)", Prior(HalfT(3, 1), coef=COEF, sigma=SIGMA), sized(*[4] * 5)),
    Model(
        "8 groups of 1 to 15",
        "(1 | g)",
        Prior(Exponential(1), coef=COEF, sigma=HalfT(3, 1)),
        sized((1, 16, 8)),
    ),
    Model(
        "8 groups of 6, slopes",
        "(x | g)",
        Prior(HalfNormal(1), coef=COEF, sigma=SIGMA),
        sized(*[6] * 8),
    ),
    Model(
        "the same, relative to sigma",
        "(x | g)",
        Prior(Decov(), coef=COEF, sigma=SIGMA),
        sized(*[6] * 8),
    ),
    Model(
        "12 groups of 8, three random columns",
        "(x + z | g)",
        Prior(HalfT(3, 1), LKJ(2), coef={**COEF, "z": Normal(0, 1)}, sigma=SIGMA),
        with_two_columns,
    ),
    Model(
        "10 groups of 2 to 9, uncorrelated slopes",
        "(x || g)",
        Prior(Gamma(2, 0.5), coef=COEF, sigma=InverseGamma(3, 2)),
        sized((2, 10, 10)),
    ),
    Model(
        "8 groups of 3 to 9, weights",
        "(1 | g)",
        Prior(HalfT(3, 1), coef=COEF, sigma=SIGMA),
        sized((3, 10, 8)),
        is_weighted=True,
    ),
    Model(
        "10 groups of 5, little variance",
        "(1 | g)",
        Prior(HalfNormal(0.1), coef=COEF, sigma=SIGMA),
        sized(*[5] * 10),
    ),
    Model(
        "6 groups of 3, wide distributions",
        "(1 | g)",
        Prior(HalfT(3, 20), coef=WIDE, sigma=HalfT(3, 20)),
        sized(*[3] * 6),
    ),
    Model(
        "rooms in 6 schools",
        "(1 | school/room)",
        Prior(HalfNormal(1), coef=COEF, sigma=SIGMA),
        nested,
    ),
    Model(
        "6 and 5 levels, crossed",
        "(1 | g) + (1 | h)",
        Prior(Exponential(1), coef=COEF, sigma=HalfT(3, 1)),
        crossed,
    ),
    Model(
        "the same, slopes over one",
        "(x | g) + (1 | h)",
        Prior(HalfNormal(1), coef=COEF, sigma=HalfT(3, 1)),
        crossed,
    ),
]


@dataclass(frozen=True)
class Simulated:
    """Ranks of truths among draws, by name, and how well the draws were made."""

    ranks: dict[str, int]
    pareto_k: float
    efficiency: float


def simulated(model, seed):
    """Draw truths and data, and rank the truths among draws from the posterior."""
    rng = np.random.default_rng(seed)
    X = model.table(rng)
    weights = rng.uniform(0.2, 5.0, len(X)) if model.is_weighted else None
    estimator = MixedLinearRegressor(model.random, weighting="precision")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a search of one step, whose end does not matter
        blank = clone(estimator).set_params(solver="em", max_iter=1)
        blank = blank.fit(X, rng.standard_normal(len(X)), weights).fit_
    prior = ModelPrior.of(blank, model.prior)  # which does not look at the response
    phi, beta = prior.draw(1, rng), prior.coef.draw(1, rng)[0]
    names = [blank.products.layout.columns[place] for place in blank.spec.fixed]
    every = X.assign(**{"(Intercept)": 1.0})
    deviations = np.exp(phi[0, -1]) / np.sqrt(np.ones(len(X)) if weights is None else weights)
    y = every[names].to_numpy() @ beta + deviations * rng.standard_normal(len(X))
    effects, roots = {}, prior.parametrization.roots(phi)
    for factor, root in zip(blank.spec.used_factors, roots, strict=True):
        index = blank.products.factors[factor].index
        labels = list(zip(*[X[column] for column in index.key], strict=True))
        codes, levels = pd.factorize(pd.MultiIndex.from_tuples(labels))
        columns = [blank.products.layout.columns[c] for c in blank.spec.factor_columns(factor)]
        drawn = rng.standard_normal((len(levels), len(columns))) @ root[0].T
        y += (every[columns].to_numpy() * drawn[codes]).sum(axis=1)
        first = levels[0] if len(index.key) > 1 else levels[0][0]
        effects[index.name] = (first, columns, drawn[0])
    fit = estimator.fit(X, y, weights).fit_
    draws = sample(fit, model.prior, n_draws=250, random_state=rng)
    return ranked(model, fit, draws, phi, beta, effects)


def ranked(model, fit, draws, phi, beta, effects):
    n = draws.sigma.size
    chosen = np.linspace(0, n - 1, DRAWS).astype(int)
    prior = ModelPrior.of(fit, model.prior)
    likelihood = IntegratedLikelihood.of(fit, prior.coef)
    drawn_phi = draws.phi.reshape(n, -1)[chosen]

    def height(at):
        sums = likelihood.sums(prior.parametrization.lambdas(at), len(at))
        return likelihood.given(sums, np.exp(at[:, -1])).log_likelihood

    pairs = {
        name: (drawn, each)
        for name, drawn, each in zip(
            variance_names(prior.parametrization), drawn_phi.T, phi[0], strict=True
        )
    }
    coef = draws.coef.reshape(n, -1)[chosen]
    pairs |= {name: (coef[:, i], beta[i]) for i, name in enumerate(draws.coef_names)}
    pairs["log likelihood"] = (height(drawn_phi), height(phi)[0])
    for name, (level, columns, truth) in effects.items():
        drawn = draws.effects(name, [level])[:, :, 0].reshape(n, -1)[chosen]
        pairs |= {f"{c} of {name}": (drawn[:, i], truth[i]) for i, c in enumerate(columns)}
    ranks = {name: int((drawn < truth).sum()) for name, (drawn, truth) in pairs.items()}
    return Simulated(ranks, draws.pareto_k, draws.efficiency)


def simulated_binomial(seed):
    """The same of shares of three trials, in eight groups of five."""
    rng = np.random.default_rng(seed)
    g, trials = np.arange(40) % 8, np.full(40, 3)
    X = pd.DataFrame({"x": rng.standard_normal(40), "g": g})
    beta, sd = rng.standard_normal(2), abs(rng.standard_normal())
    beta[0] -= beta[1] * X["x"].mean()
    b = sd * rng.standard_normal(8)
    y = rng.binomial(3, expit(beta[0] + beta[1] * X["x"] + b[g])) / 3
    model = MixedGeneralizedRegressor("(1 | g)", family="binomial").fit(X, y, trials)
    rows = {"X": X, "y": y, "sample_weight": trials}
    prior = Prior(HalfNormal(1), coef=COEF)
    draws = sample(model, prior, **rows, n_draws=250, random_state=rng)
    n = draws.log_density.size
    chosen = np.linspace(0, n - 1, DRAWS).astype(int)
    coef, phi = (each.reshape(n, -1)[chosen] for each in (draws.coef, draws.phi))
    effects = draws.effects("g").reshape(n, -1)[chosen]
    truth = np.array([*beta, np.log(sd)])
    points = draws.points(np.vstack([coef, truth[:2]]), np.vstack([phi, truth[2:]]))
    heights = draws.integrals.log_likelihood(points)
    pairs = {
        "(Intercept)": (coef[:, 0], beta[0]),
        "x": (coef[:, 1], beta[1]),
        "sd": (phi[:, 0], truth[2]),
        "first of g": (effects[:, 0], b[0]),
        "log likelihood": (heights[:-1], heights[-1]),
    }
    ranks = {name: int((drawn < each).sum()) for name, (drawn, each) in pairs.items()}
    return Simulated(ranks, draws.pareto_k, draws.efficiency)


def variance_names(parametrization):
    names = []
    for term in parametrization.terms:
        names += [f"sd {term.columns[group[0]]}, {term.factor}" for group in term.deviations]
        names += [f"cor {n + 1}, {term.factor}" for n in range(term.n_correlations)]
    return [*names, "sigma"]


def p_values(found):
    """Return p-values of uniform ranks, by name, by chi-squared of ten bins."""
    expected = len(found) / BINS
    values = {}
    for name in found[0].ranks:
        ranks = np.array([each.ranks[name] for each in found])
        counts = np.bincount(ranks * BINS // (DRAWS + 1), minlength=BINS)
        values[name] = float(chi2.sf(np.square(counts - expected).sum() / expected, BINS - 1))
    return values


PRIORS = {
    "reference": Prior(Flat(), coef=Flat(), sigma=Flat(log=True)),
    "weak": Prior(),
}


def grouped(n_groups, seed):
    """Draw x and two further ones, effects of groups and of a new one, and y, groups being of five.

    The deviation of groups is half of sigma, which is one, as are both coefficients.
    """
    rng = np.random.default_rng([n_groups, seed])
    x, new_x = rng.standard_normal(5 * n_groups), rng.standard_normal(2)
    b = 0.5 * rng.standard_normal(n_groups + 1)
    return x, new_x, b, 1.0 + x + np.repeat(b[:-1], 5) + rng.standard_normal(len(x))


def coverage_at_the_truth(n_groups, n_sets):
    """Return how often intervals for means hold these where variances are known, (2, n_levels)."""
    held = np.zeros((2, len(LEVELS)))
    own = np.eye(n_groups + 1)[np.repeat(np.arange(n_groups), 5)]
    for seed in range(n_sets):
        x, new_x, b, y = grouped(n_groups, seed)
        columns = np.column_stack([np.ones(len(x)), x, own])
        precision = np.diag([0.0, 0.0, *[4.0] * (n_groups + 1)])
        covariance = np.linalg.inv(columns.T @ columns + precision)
        rows = np.column_stack([np.ones(2), new_x, np.eye(n_groups + 1)[[0, -1]]])
        apart = rows @ (covariance @ columns.T @ y) - (1.0 + new_x + b[[0, -1]])
        spread = np.sqrt(((rows @ covariance) * rows).sum(axis=1))
        held += (np.abs(apart) / spread)[:, None] < norm.ppf(TAILS[1::2])
    return held / n_sets


def coverage(n_groups, prior, n_sets):
    """Return how often central intervals hold the truth, (5, n_levels), groups being of five.

    Of a coefficient, the deviation of groups, sigma, and means of a known and of a new group.
    """
    held = np.zeros((5, len(LEVELS)))
    g = np.repeat(np.arange(n_groups), 5)
    for seed in range(n_sets):
        x, new_x, b, y = grouped(n_groups, seed)
        X = pd.DataFrame({"x": x, "g": g.astype(str)})
        model = BayesianMixedRegressor(
            "(1 | g)", prior=PRIORS[prior], n_draws=250, random_state=seed
        )
        draws = model.fit(X, y).posterior_.parameters
        rows = pd.DataFrame({"x": new_x, "g": ["0", "new"]})
        _, read = model._state().predictor.read(model, rows, None, "all")
        ends = (read.rows, read.wanted, None, TAILS)
        limits = predictor_quantiles(model.posterior_, *ends, observation=False)
        names = ("x", "sd_(Intercept)|g", "sigma")
        limits = np.vstack([[np.quantile(draws[name], TAILS) for name in names], limits])
        truth = np.array([1.0, 0.5, 1.0, *(1.0 + new_x + b[[0, n_groups]])])[:, None]
        held += (limits[:, ::2] < truth) & (truth < limits[:, 1::2])
    return held / n_sets


def print_ranks(models, n_sets, file):
    print("| model | quantities | smallest p | p < 0.05 | k > 0.7 | efficiency |")
    print("|---|---|---|---|---|---|")
    kept = {}
    for model in models:
        found = [simulated(model, seed) for seed in range(n_sets)]
        values = p_values(found)
        kept |= {f"{model.name}: {q}": [each.ranks[q] for each in found] for q in values}
        worst = min(values, key=values.__getitem__)
        low = sum(value < 0.05 for value in values.values())
        poor = np.mean([each.pareto_k > 0.7 for each in found])
        efficiency = np.median([each.efficiency for each in found])
        print(
            f"| {model.name} | {len(values)} | {values[worst]:.3f} ({worst}) "
            f"| {low} | {100 * poor:.1f} % | {efficiency:.2f} |",
            flush=True,
        )
        if file:
            np.savez(file, **kept)


def print_coverage(n_sets):
    names = "`x` | sd of groups | sigma | mean, known group | mean, new group"
    print(f"| groups of 5 | prior | {names} |\n|---|---|---|---|---|---|---|")
    for n_groups in (5, 8, 20):
        for prior in PRIORS:
            shares = 100 * coverage(n_groups, prior, n_sets)
            cells = " | ".join(" / ".join(f"{share:.0f}" for share in row) for row in shares)
            print(f"| {n_groups} | {prior} | {cells} |", flush=True)
        shares = 100 * coverage_at_the_truth(n_groups, n_sets)
        cells = " | ".join(" / ".join(f"{share:.0f}" for share in row) for row in shares)
        print(f"| {n_groups} | variances known | | | | {cells} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help="all, and intervals, if none")
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--ranks", help="file for the ranks")
    given = parser.parse_args()
    chosen = [each for each in MODELS if not given.models or each.name in given.models]
    if chosen:
        print_ranks(chosen, given.simulations, given.ranks)
    if not given.models or "intervals" in given.models:
        print_coverage(given.simulations)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights in doubt, which are counted
        main()
