"""How often prediction intervals hold what they predict, over simulated data sets.

Run as a program it prints the tables of docs/benchmarks/calibration.md:

    python -m tests.inference.calibration
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from skmixed import MixedLinearRegressor
from skmixed.core.batch.refits import refit_responses, refit_without_products
from skmixed.core.batch.responses import ScaledResponses, draw_responses
from skmixed.core.fit import Fit
from skmixed.core.rows.prediction_errors import PredictionErrors, mean_predictions, mean_variances
from skmixed.core.search.report import SolverReport
from skmixed.core.sums.layout import Rows
from skmixed.estimators.reading._prediction_rows import prediction_pivots

LEVELS = np.array([0.5, 0.8, 0.95])
KINDS = ["known mean", "known observation", "new mean", "new observation"]


@dataclass(frozen=True)
class Scenario:
    """One factor; ratios are standard deviations of the random effects over sigma."""

    name: str
    n_groups: int
    sizes: tuple
    ratios: tuple
    seed: int = 0

    def truth(self):
        """Return a fit whose estimates are taken as the truth."""
        rng = np.random.default_rng(self.seed)
        sizes = np.resize(self.sizes, self.n_groups)
        g = np.repeat(np.arange(self.n_groups), sizes)
        x = np.concatenate([np.linspace(-1.0, 1.0, size) for size in sizes])
        random = "(1 | group)" if len(self.ratios) == 1 else "(1 + x0 | group)"
        model = MixedLinearRegressor(random)
        fit = model.fit(x[:, None], x + rng.standard_normal(len(x)), groups=g).fit_
        random_map = fit.problem.model.random_maps[0]
        lam = np.linalg.solve(random_map, np.diag(self.ratios))
        report = SolverReport("none", True, 0, "the truth", ())
        return Fit(fit.products, fit.spec, (lam,), report)


SCENARIOS = [
    Scenario("5 groups of 6", 5, (6,), (1.0,)),
    Scenario("10 groups of 3 to 9", 10, (3, 6, 9), (0.5,)),
    Scenario("100 groups of 5", 100, (5,), (0.5,)),
    Scenario("10 groups, no variance", 10, (5,), (0.0,)),
    Scenario("100 groups, no variance", 100, (5,), (0.0,)),
    Scenario("18 groups of 10, slopes", 18, (10,), (1.0, 0.7)),
    Scenario("100 groups of 2 to 8, slopes", 100, (2, 4, 8), (0.7, 0.7)),
]

# So few groups, or so few that tell anything, that the variance is often estimated by zero.
VERY_FEW = [
    Scenario("4 groups of 3", 4, (3,), (1.0,)),
    Scenario("4 groups of 3, little variance", 4, (3,), (0.5,)),
    Scenario("3 groups of 20", 3, (20,), (1.0,)),
    Scenario("8 groups of 1, 2 and 60", 8, (1, 2, 60), (1.0,)),
    Scenario("30 groups, most of 1 and some of 60", 30, (1, 1, 1, 2, 60), (0.5,)),
    Scenario("5 groups of 4, slopes", 5, (4,), (1.0, 0.7)),
]


def rows_to_predict(truth, n_known=4):
    """Rows to predict: x of -1, 0.5, ... in known groups, and the same in new ones."""
    n_groups = len(truth.products.factors[0].index)
    x = np.resize([-1.0, 0.5, 1.0, 0.0], n_known)
    columns = np.column_stack([np.ones(n_known), x, np.zeros(n_known)])
    known = np.linspace(0, n_groups - 1, n_known).astype(np.intp)
    codes = np.concatenate([known, np.full(n_known, -1)])
    return Rows(np.tile(columns, (2, 1)), (codes,), truth.products.levels, None)


def targets(truth, rows, responses, number, rng):
    """X beta + Z b as drawn; new groups draw theirs here."""
    codes = rows.codes[0]
    drawn = responses.effects[0][:, number].T
    root = np.sqrt(truth.sigma2) * truth.lambdas[0]
    fresh = rng.standard_normal((len(codes), len(root))) @ root.T
    effects = np.where((codes >= 0)[:, None], drawn[codes], fresh)
    z = rows.columns[:, list(truth.spec.factor_columns(0))]
    return rows.columns[:, list(truth.spec.fixed)] @ truth.beta + (z * effects).sum(axis=1)


def interval_ends(fit, rows, observation, method, rng):
    """Lower ends for every level, then upper ones."""
    tails = np.concatenate([(1.0 - LEVELS) / 2.0, (1.0 + LEVELS) / 2.0])
    centre = mean_predictions(fit, rows)
    if method == "analytic":
        accuracy = PredictionErrors.of(fit, fit, rows, observation=observation)
        return centre + stats.t.ppf(tails[:, None], accuracy.degrees) * np.sqrt(accuracy.squares)
    s = np.sqrt(mean_variances(fit, rows) + fit.sigma2 * observation)
    if method == "normal":
        return centre + stats.norm.ppf(tails)[:, None] * s
    pivots = prediction_pivots(fit, rows, observation=observation, n_samples=200, generator=rng)
    return centre + np.quantile(pivots, tails, axis=0) * s


def coverage(scenario, n_sets=1000, method="analytic", seed=1):
    """Return coverage, of shape (kinds, levels), and the share of singular fits."""
    truth = scenario.truth()
    rng = np.random.default_rng(seed)
    rows = rows_to_predict(truth)
    n = len(rows.columns) // 2
    responses = draw_responses(truth, n_sets, rng)
    refits, scaled = refit_responses(truth, responses), ScaledResponses.of(truth, responses)
    held = np.zeros((len(KINDS), len(LEVELS)))
    for number in range(n_sets):
        fit = refit_without_products(truth, scaled, refits, number)
        mean = targets(truth, rows, responses, number, rng)
        noise = np.sqrt(truth.sigma2) * rng.standard_normal(2 * n)
        for observation in (False, True):
            ends = interval_ends(fit, rows, observation, method, rng)
            target = mean + noise * observation
            inside = (ends[: len(LEVELS)] <= target) & (target <= ends[len(LEVELS) :])
            held[0 + observation] += inside[:, :n].mean(axis=1)
            held[2 + observation] += inside[:, n:].mean(axis=1)
    return held / n_sets, refits.singular.mean()


def main():
    """Print the coverage of every scenario."""
    for method, n_sets, scenarios in [
        ("analytic", 1000, SCENARIOS),
        ("analytic", 1000, VERY_FEW),
        ("normal", 1000, SCENARIOS[:2]),
        ("bootstrap", 250, [SCENARIOS[1]]),
    ]:
        print(f"\n| {method}, {n_sets} sets | singular | " + " | ".join(KINDS) + " |")
        print("|---" * (2 + len(KINDS)) + "|")
        for scenario in scenarios:
            held, singular = coverage(scenario, n_sets, method)
            cells = [" / ".join(f"{100 * value:.0f}" for value in row) for row in held]
            print(f"| {scenario.name} | {singular:.0%} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
