"""Many responses to the same rows, side by side and one by one; and cluster-robust errors.

Usage: python benchmarks/many_responses.py
"""

from __future__ import annotations

import statistics

import numpy as np
import pandas as pd
from timing import seconds

from skmixed import MixedGeneralizedRegressor, MixedLinearRegressor, fit_many
from skmixed.inference import robust_covariance

RESPONSES = [(10_000, 500, 200), (1_000, 100, 1_000)]  # rows, levels, responses
SINGLE = 20  # responses that are fitted one by one, of which the time of all is told


def drawn(rows, levels, responses):
    """Return columns with labels, and responses with random intercepts, (rows, responses)."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.standard_normal((rows, 3)), columns=["a", "b", "c"])
    X["g"] = rng.permutation(np.arange(rows) % levels)
    effects = rng.standard_normal((levels, responses))
    Y = X[["a", "b", "c"]].to_numpy() @ rng.standard_normal((3, responses))
    return X, Y + effects[X["g"]] + rng.standard_normal((rows, responses))


def side_by_side(repeats=3):
    """Compare `fit_many` with single fits of the same responses."""
    print(
        "| rows | levels | responses | fit_many | one by one | times |\n|---|---|---|---|---|---|"
    )
    estimator = MixedLinearRegressor("(1 | g)")
    for rows, levels, responses in RESPONSES:
        X, Y = drawn(rows, levels, responses)
        together, many = seconds(lambda X=X, Y=Y: fit_many(estimator, X, Y), repeats)
        singly, last = seconds(
            lambda X=X, Y=Y: [estimator.fit(X, Y[:, place]) for place in range(SINGLE)][-1].coef_,
            repeats,
        )
        found = many.model(many.coefficients.index[SINGLE - 1]).coef_
        assert np.allclose(found, last, rtol=1e-6), "both are to have the same estimates"
        both = min(together), min(singly) * responses / SINGLE
        print(
            f"| {rows} | {levels} | {responses} | {both[0]:.2f} | {both[1]:.2f} "
            f"| {both[1] / both[0]:.1f} |",
            flush=True,
        )


def robust(rows=1_000_000, levels=100_000, repeats=3):
    """Time robust errors beside the fit that they are of."""
    print("\n| 1e6 rows | kind | fit | robust_covariance | share |\n|---|---|---|---|---|")
    X, Y = drawn(rows, levels, 1)
    y = Y[:, 0]
    counts = np.random.default_rng(1).poisson(np.exp(0.3 * y))
    models = {
        "linear": (MixedLinearRegressor("(1 | g)"), y, ["CR0", "CR2"]),
        "counts": (MixedGeneralizedRegressor("(1 | g)", family="poisson"), counts, ["CR0"]),
    }
    for name, (model, response, kinds) in models.items():
        fits, _ = seconds(lambda m=model, r=response: m.fit(X, r), repeats)
        for kind in kinds:
            times, _ = seconds(
                lambda m=model, r=response, k=kind: robust_covariance(m, X, r, kind=k), repeats
            )
            fit, own = statistics.median(fits), statistics.median(times)
            print(f"| {name} | {kind} | {fit:.2f} | {own:.2f} | {own / fit:.1f} |", flush=True)


if __name__ == "__main__":
    side_by_side()
    robust()
