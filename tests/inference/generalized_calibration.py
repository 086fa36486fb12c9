"""How often intervals of predictions of generalized models hold what they predict, by simulation.

Run as a program it prints the table of docs/benchmarks/calibration.md:

    python -m tests.inference.generalized_calibration
"""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skmixed import MixedGeneralizedRegressor

LEVELS = np.array([0.5, 0.8, 0.95])
KINDS = ["known group, mean", "known, observation", "new group, mean", "new, observation"]
INTERCEPT, SLOPE = 0.5, 0.5
MOST_ROWS = 10  # predicted of known groups, and of new ones


@dataclass(frozen=True)
class Scenario:
    """Groups of one size, whose intercepts vary, and slopes too if there are two deviations."""

    family: str
    n_groups: int
    size: int
    deviations: tuple
    trials: int = 10
    seed: int = 0
    n_sets: int = 200

    @property
    def name(self):
        """How the table calls it."""
        slopes = ", slopes" if len(self.deviations) > 1 else ""
        return f"{self.family.replace('_', ' ')}, {self.n_groups} groups of {self.size}{slopes}"

    def draw(self, eta, rng):
        """Responses at linear predictors, (n,)."""
        mean = np.exp(eta)
        if self.family == "binomial":
            return rng.binomial(self.trials, mean / (1.0 + mean)) / self.trials
        if self.family == "gamma":
            return rng.gamma(4.0, mean / 4.0)
        noise = rng.gamma(3.0, 1.0 / 3.0, len(eta)) if self.family == "negative_binomial" else 1.0
        return rng.poisson(mean * noise)

    def weights(self, n):
        """Numbers of trials, of shares."""
        return np.full(n, self.trials) if self.family == "binomial" else None


SCENARIOS = [
    Scenario("poisson", 8, 6, (0.6,)),
    Scenario("poisson", 40, 5, (0.6,)),
    Scenario("poisson", 20, 8, (0.6, 0.3)),
    Scenario("negative_binomial", 15, 8, (0.6,)),
    Scenario("gamma", 10, 6, (0.5,), n_sets=100),
    Scenario("gamma", 60, 4, (0.5,), n_sets=100),
    Scenario("binomial", 8, 4, (0.8,), n_sets=100),
    Scenario("binomial", 40, 4, (0.8,), n_sets=100),
]


def coverage(scenario):
    """Shares of intervals that held what they were for, (4, 3): `KINDS` by `LEVELS`."""
    rng = np.random.default_rng(scenario.seed)
    held = np.zeros((4, len(LEVELS)))
    k, n_groups = len(scenario.deviations), scenario.n_groups
    random = "(1 | g)" if k == 1 else "(x | g)"
    for _ in range(scenario.n_sets):
        effects = np.zeros((2 * n_groups, 2))
        effects[:, :k] = rng.normal(size=(2 * n_groups, k)) * scenario.deviations
        X = pd.DataFrame({"g": np.repeat(np.arange(n_groups), scenario.size)})
        X["x"] = rng.normal(size=len(X))
        n_rows = min(n_groups, MOST_ROWS)
        rows = pd.DataFrame({"g": np.append(np.arange(n_rows), n_groups + np.arange(n_rows))})
        rows["x"] = rng.normal(size=len(rows))

        def eta(table, effects=effects):
            of = effects[table["g"]]
            return (INTERCEPT + of[:, 0] + (SLOPE + of[:, 1]) * table["x"]).to_numpy()

        model = MixedGeneralizedRegressor(random, family=scenario.family)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model.fit(X, scenario.draw(eta(X), rng), scenario.weights(len(X)))
        family, weights = model.fit_.family, scenario.weights(len(rows))
        y = scenario.draw(eta(rows), rng)
        for place, level in enumerate(LEVELS):
            mean = model.predict_interval(rows, level=level, kind="mean")
            both = model.predict_interval(rows, level=level, sample_weight=weights)
            for kind, (limits, truth) in enumerate(((mean, family.mean(eta(rows))), (both, y))):
                inside = (limits[:, 0] <= truth) & (truth <= limits[:, 1])
                held[kind, place] += inside[:n_rows].mean()
                held[kind + 2, place] += inside[n_rows:].mean()
    return held / scenario.n_sets


def main():
    """Print the table."""
    print("| data | " + " | ".join(KINDS) + " |")
    print("|---" * (len(KINDS) + 1) + "|")
    for scenario in SCENARIOS:
        held = coverage(scenario)
        cells = [" / ".join(f"{100 * share:.0f}" for share in kind) for kind in held]
        print(f"| {scenario.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
