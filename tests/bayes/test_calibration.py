"""Simulation-based calibration: truths drawn from the prior rank anywhere among posterior draws.

The log likelihood is ranked too, which finds posteriors that equal the prior (Modrak et al. 2023,
doi:10.1214/23-BA1404).
"""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from skmixed import MixedLinearRegressor
from skmixed.bayes import Exponential, HalfNormal, HalfT, Normal, Prior, sample
from skmixed.bayes.priors import ModelPrior
from skmixed.core.posterior.integrated_likelihood import IntegratedLikelihood

N, DRAWS = 400, 99
COEF = {"(Intercept)": Normal(0, 1), "x": Normal(0, 1)}
MODELS = {
    "few groups": ("(1 | g)", 5, 4, Prior(scales=HalfT(3, 1), coef=COEF, sigma=Exponential(1))),
    "slopes": ("(x | g)", 8, 6, Prior(scales=HalfNormal(1), coef=COEF, sigma=Exponential(1))),
    "crossed": (
        "(1 | g) + (1 | h)",
        6,
        5,
        Prior(scales=Exponential(1), coef=COEF, sigma=HalfT(3, 1)),
    ),
}


def ranks(name, seed):
    random, n_groups, per, given = MODELS[name]
    rng = np.random.default_rng(seed)
    n = n_groups * per
    x = rng.standard_normal(n)
    g, h = np.repeat(np.arange(n_groups), per), np.tile(np.arange(per), n_groups)
    X = pd.DataFrame({"x": x, "g": g.astype(str), "h": h.astype(str)})
    X = X[["x", *[c for c in "gh" if f"| {c}" in random]]]
    blank = MixedLinearRegressor(random).fit(X, rng.standard_normal(n)).fit_
    prior = ModelPrior.of(blank, given)
    phi = prior.draw(1, rng)
    beta = rng.standard_normal(2)
    # the intercept's distribution is that of the mean at the mean of x
    beta[0] -= beta[1] * x.mean()
    y = beta[0] + beta[1] * x + np.exp(phi[0, -1]) * rng.standard_normal(n)
    for codes, root in zip((g, h), prior.parametrization.roots(phi), strict=False):
        b = rng.standard_normal((codes.max() + 1, root.shape[1])) @ root[0].T
        y += (b[codes] * np.column_stack([np.ones(n), x])[:, : root.shape[1]]).sum(axis=1)
    fit = MixedLinearRegressor(random).fit(X, y).fit_
    draws = sample(fit, given, n_draws=250, random_state=rng)
    chosen = np.linspace(0, 999, DRAWS).astype(int)
    drawn = draws.phi.reshape(1000, -1)[chosen]
    likelihood = IntegratedLikelihood.of(fit, ModelPrior.of(fit, given).coef)

    def height(at):
        sums = likelihood.sums(prior.parametrization.lambdas(at), len(at))
        return likelihood.given(sums, np.exp(at[:, -1])).log_likelihood[:, None]

    coef = draws.coef.reshape(1000, -1)[chosen]
    known = np.concatenate([drawn, coef, height(drawn)], axis=1)
    truth = np.concatenate([phi[0], beta, height(phi)[0]])
    return (known < truth).sum(axis=0)


@pytest.mark.study
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_ranks_of_truths_are_uniform(name):
    found = np.array([ranks(name, seed) for seed in range(N)])
    for column in found.T:
        counts = np.bincount(column // 10, minlength=10)
        statistic = np.square(counts - N / 10).sum() / (N / 10)
        assert chi2.sf(statistic, 9) > 1e-4
