"""How often intervals of coefficients hold the truth, and how often a test of no variance rejects.

Run as a program it prints the tables of docs/benchmarks/calibration.md:

    python -m tests.inference.coefficient_calibration
"""

import warnings
from dataclasses import dataclass

import numpy as np

from skmixed import MixedLinearRegressor
from skmixed.inference import confidence_intervals, ranova

LEVELS = (0.5, 0.8, 0.95)
SIZES = (0.05, 0.2)


@dataclass(frozen=True)
class Scenario:
    """Groups of equal size; x varies within groups, u between them; sd over sigma."""

    name: str
    n_groups: int
    size: int
    sd: float

    def draws(self, n_sets, seed=0):
        """Yield tables and responses whose coefficients are all zero."""
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(self.n_groups), self.size)
        for _ in range(n_sets):
            x = rng.standard_normal(len(groups))
            u = rng.standard_normal(self.n_groups)[groups]
            effects = self.sd * rng.standard_normal(self.n_groups)
            y = effects[groups] + rng.standard_normal(len(groups))
            yield np.column_stack([x, u]), y, groups


SCENARIOS = [
    Scenario("6 groups of 5", 6, 5, 1.0),
    Scenario("12 groups of 4", 12, 4, 0.5),
    Scenario("60 groups of 4", 60, 4, 0.5),
    Scenario("12 groups of 4, no variance", 12, 4, 0.0),
]


def fitted(X, y, groups):
    return MixedLinearRegressor().fit(X, y, groups=groups)


def coverage(scenario, n_sets, method, **settings):
    """Return how often the intervals of x and of u hold zero, of shape (2, n_levels)."""
    held = np.zeros((2, len(LEVELS)))
    for X, y, groups in scenario.draws(n_sets):
        model = fitted(X, y, groups)
        for n, level in enumerate(LEVELS):
            table = confidence_intervals(model, method=method, level=level, **settings).to_frame()
            limits = table.loc[["x0", "x1"], ["lower", "upper"]].to_numpy()
            held[:, n] += (limits[:, 0] <= 0.0) & (limits[:, 1] >= 0.0)
    return held / n_sets


def rejections(scenario, n_sets):
    """Return how often ranova rejects that the variance is zero, by p_value and p_boundary."""
    found = []
    for X, y, groups in scenario.draws(n_sets, seed=1):
        found.append(ranova(fitted(X, y, groups)).to_frame().iloc[1][["p_value", "p_boundary"]])
    p = np.asarray(found, dtype=np.float64)
    return np.array([(p < size).mean(axis=0) for size in SIZES])


def main(n_sets=1000, n_profiles=200):
    print("| data | interval | " + " | ".join(f"{100 * level:.0f} %" for level in LEVELS) + " |")
    print("|---|---|" + "---|" * len(LEVELS))
    for scenario in SCENARIOS:
        for method, count in (("wald", n_sets), ("profile", n_profiles)):
            for name, row in zip(
                ("within", "between"), coverage(scenario, count, method), strict=True
            ):
                cells = " | ".join(f"{100 * share:.1f}" for share in row)
                print(f"| {scenario.name} | {method}, {name} groups | {cells} |", flush=True)
    print("\n| data | size | `p_value` | `p_boundary` |\n|---|---|---|---|")
    for scenario in SCENARIOS:
        if scenario.sd == 0.0:
            for size, (plain, mixture) in zip(SIZES, rejections(scenario, 2 * n_sets), strict=True):
                print(f"| {scenario.name} | {size} | {plain:.3f} | {mixture:.3f} |")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        main()
