"""How often intervals around any learner, and of models a group, hold what they are for.

Run as a program it prints the tables of docs/benchmarks/calibration.md:

    python -m tests.estimators.interval_coverage
"""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import GammaRegressor, LinearRegression, PoissonRegressor, Ridge

from skmixed import GroupedModels, MixedEffectsRegressor
from skmixed.exceptions import UnidentifiedWarning

LEVELS = np.array([0.5, 0.8, 0.95])
COLUMNS = ["known group, mean", "known, observation", "new group, mean", "new, observation"]
N_SETS = 200
N_NEW = 40  # rows of known groups, and of new ones, that are predicted in each set


@dataclass(frozen=True)
class Case:
    """A model, and the data it is fitted to."""

    name: str
    model: Callable[[], Any]
    n_groups: int
    size: int
    deviations: tuple = (1.0,)  # between groups, of the intercept and slopes
    curve: float = 0.0  # how much of the mean is no straight line
    family: str = "gaussian"

    def draw(self, eta, rng):
        """Return responses of linear predictors, (n,)."""
        if self.family == "poisson":
            return rng.poisson(np.exp(eta))
        if self.family == "gamma":
            return rng.gamma(3.0, np.exp(eta) / 3.0)
        return eta + rng.normal(size=len(eta))

    def mean(self, eta):
        """Return the means of responses, (n,)."""
        return eta if self.family == "gaussian" else np.exp(eta)


def _boosting():
    trees = HistGradientBoostingRegressor(max_iter=40, max_leaf_nodes=8, random_state=0)
    return MixedEffectsRegressor(trees, group_features=-1)


def _linear():
    return MixedEffectsRegressor(LinearRegression(), group_features=-1)


def _ridge():
    return MixedEffectsRegressor(Ridge(), group_features=-1)


def _penalised_counts():
    return MixedEffectsRegressor(PoissonRegressor(alpha=0.01), group_features=-1, family="poisson")


def _boosted_counts():
    trees = HistGradientBoostingRegressor(loss="poisson", max_iter=40)
    return MixedEffectsRegressor(trees, group_features=-1, family="poisson")


LEARNERS = [
    Case("least squares, 6 groups of 10", _linear, 6, 10),
    Case("ridge, 6 groups of 10", _ridge, 6, 10),
    Case("ridge, 40 groups of 8", _ridge, 40, 8),
    Case("boosting of a curve, 10 groups of 40", _boosting, 10, 40, curve=1.0),
    Case("boosting of a curve, 60 groups of 10", _boosting, 60, 10, curve=1.0),
    Case("boosting of a curve, 60 groups of 40", _boosting, 60, 40, curve=1.0),
]


def _grouped():
    return GroupedModels(group_features=-1)


def _grouped_ridge():
    return GroupedModels(Ridge(), group_features=-1)


SLOPES = (1.0, 0.5, 0.5)
GROUPED = [
    Case("models of 6 groups of 12", _grouped, 6, 12, SLOPES),
    Case("models of 12 groups of 8", _grouped, 12, 8, SLOPES),
    Case("models of 60 groups of 6", _grouped, 60, 6, SLOPES),
    Case("models of 60 groups of 20, intercepts vary", _grouped, 60, 20),
    Case("models of 20 groups of 10, alike", _grouped, 20, 10, (0.0,)),
    Case("models by ridge, 60 groups of 6", _grouped_ridge, 60, 6, SLOPES),
]


def _grouped_counts():
    return GroupedModels(PoissonRegressor(alpha=0.0), group_features=-1)


def _grouped_positive():
    return GroupedModels(GammaRegressor(alpha=0.0), group_features=-1)


COUNTS = [
    Case("counts by regression", _penalised_counts, 40, 10, (0.6,), family="poisson"),
    Case("counts by boosting", _boosted_counts, 60, 20, (0.6,), 0.5, "poisson"),
]
MODEST = (0.6, 0.3, 0.3)
GROUPED_MEANS = [
    Case("counts of 8 groups of 12", _grouped_counts, 8, 12, (0.6,), family="poisson"),
    Case("counts of 40 groups of 8", _grouped_counts, 40, 8, (0.6,), family="poisson"),
    Case("counts of 40 groups of 20, slopes", _grouped_counts, 40, 20, MODEST, family="poisson"),
    Case("positive, 8 groups of 12", _grouped_positive, 8, 12, (0.6,), family="gamma"),
    Case("positive, 40 groups of 20, slopes", _grouped_positive, 40, 20, MODEST, family="gamma"),
]


class Truth:
    """Effects of known groups, and of the new one that each new row is in."""

    def __init__(self, case, rng):
        self.case, self.rng = case, rng
        deviations = np.zeros(3)
        deviations[: len(case.deviations)] = case.deviations
        self.effects = rng.normal(size=(case.n_groups + N_NEW, 3)) * deviations

    def rows(self, groups):
        """Return columns, the group last, and the linear predictor of their rows."""
        x = self.rng.normal(size=(len(groups), 2))
        effects = self.effects[groups]
        mean = 0.5 * x[:, 0] + self.case.curve * np.sin(2.0 * x[:, 1])
        mean = mean + effects[:, 0] + (effects[:, 1:] * x).sum(axis=1)
        return np.column_stack([x, groups]), mean


def coverage(case, n_sets, seed=0):
    """Return the share of intervals that held what they were for, (kinds, levels)."""
    held = np.zeros((len(COLUMNS), len(LEVELS)))
    for number in range(n_sets):
        rng = np.random.default_rng([seed, number])
        truth = Truth(case, rng)
        X, eta = truth.rows(np.repeat(np.arange(case.n_groups), case.size))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("ignore", UnidentifiedWarning)
            model = case.model().fit(X, case.draw(eta, rng))
        known = rng.integers(case.n_groups, size=N_NEW)
        groups = np.concatenate([known, case.n_groups + np.arange(N_NEW)])
        rows, eta = truth.rows(groups)
        targets = {"mean": case.mean(eta), "observation": case.draw(eta, rng)}
        for at, (kind, target) in enumerate(targets.items()):
            for column, level in enumerate(LEVELS):
                low, high = model.predict_interval(rows, level=level, kind=kind).T
                inside = (low <= target) & (target <= high)
                held[[at, 2 + at], column] += inside.reshape(2, N_NEW).mean(axis=1)
    return held / n_sets


def main(names):
    """Print the coverage of the cases, or of those whose names begin with one of some words."""
    print("| | " + " | ".join(COLUMNS) + " |\n" + "|---" * (1 + len(COLUMNS)) + "|")
    cases = [(300, case) for case in LEARNERS]
    cases += [(N_SETS, case) for case in COUNTS + GROUPED + GROUPED_MEANS]
    for n_sets, case in cases:
        if names and not case.name.startswith(tuple(names)):
            continue
        held = coverage(case, n_sets)
        cells = [" / ".join(f"{100.0 * share:.0f}" for share in shares) for shares in held]
        print(f"| {case.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
