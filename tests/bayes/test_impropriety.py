import numpy as np
import pandas as pd
import pytest

from skmixed import MixedLinearRegressor
from skmixed.bayes import Flat, HalfT, Normal, Prior, sample
from skmixed.bayes.impropriety import _flat_columns, _ImproperDeviation, _Ways, check_posterior
from skmixed.bayes.priors import ModelPrior
from skmixed.core.posterior.integrated_likelihood import IntegratedLikelihood
from skmixed.exceptions import SamplingWarning
from tests.oracle import levels_to_columns

# Four classes of rows that three factors of three levels tell apart in pairs.
CELLS = np.tile(np.arange(4), 6)
FACTORS = {"g": [0, 1, 2, 2], "h": [0, 1, 1, 2], "k": [0, 0, 1, 2]}


def table(*names, n=24):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.standard_normal(n)})
    for name in names:
        X[name] = np.array(FACTORS[name])[CELLS].astype(str)
    return X, X["x"].to_numpy() + CELLS + rng.standard_normal(n)


def fitted(random, X, y, **more):
    return MixedLinearRegressor(random).fit(X, y, **more).fit_


def deviations(fit):
    prior = ModelPrior.of(fit, "reference")
    found = []
    for term in prior.terms:
        for group in term.shape.deviations:
            columns = tuple(term.shape.block.start + place for place in group)
            found.append(_ImproperDeviation(term.shape.position, columns, Flat(), ""))
    return prior, found


@pytest.mark.filterwarnings("ignore")  # of variances that can hardly be told apart
@pytest.mark.parametrize(
    "random",
    ["(1 | g)", "(x | g)", "(1 | g) + (1 | h)", "(1 | g) + (1 | h) + (1 | k)", "(x | g/h)"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_likelihood_falls_as_the_number_of_ways(random, weighted):
    X, y = table(*[name for name in FACTORS if name in random.replace("/", " ")])
    w = np.random.default_rng(1).integers(1, 4, len(y)).astype(float) if weighted else None
    fit = fitted(random, X, y, sample_weight=w)
    prior, flat = deviations(fit)
    ways = _Ways(fit, _flat_columns(prior))
    likelihood = IntegratedLikelihood.of(fit, prior.coef)
    d = prior.parametrization.size
    places = np.flatnonzero(prior.parametrization.is_deviation)
    for n, each in enumerate(flat):
        assert ways.of((each,)) == ways.of_one(each)[1]
        for others in ([], flat[n + 1 :]):
            several = (each, *others)
            phi = np.zeros((2, d))
            chosen = places[[n, *range(n + 1, n + 1 + len(others))]]
            phi[:, chosen] = np.log([1e3, 1e4])[:, None]
            lambdas = prior.parametrization.lambdas(phi)
            logs = likelihood.given(likelihood.sums(lambdas, 2), np.ones(2)).log_likelihood
            slope = (logs[1] - logs[0]) / np.log(10.0)
            assert slope == pytest.approx(-ways.of(several), abs=0.01)


def test_number_of_ways_is_the_rank_of_all_columns():
    X, y = table("g", "h")
    fit = fitted("(x | g) + (1 | h)", X, y)
    _, flat = deviations(fit)
    fixed = np.column_stack([np.ones(len(y)), X["x"]])
    g, h = (np.array(FACTORS[name])[CELLS] for name in "gh")
    parts = [
        levels_to_columns(g, np.ones((len(y), 1)), 3),
        levels_to_columns(g, X[["x"]].to_numpy(), 3),
        levels_to_columns(h, np.ones((len(y), 1)), 3),
    ]
    for coef, columns in (
        (Flat(), fixed),
        ({"(Intercept)": Flat(), "x": Normal(0, 1)}, fixed[:, :1]),
        (Normal(0, 1), fixed[:, :0]),
    ):
        if isinstance(coef, Normal):
            coef = {"(Intercept)": coef, "x": coef}
        given = ModelPrior.of(fit, Prior(coef=coef))
        ways = _Ways(fit, _flat_columns(given))
        # the intercept is that at the mean of x, so that a flat one is the constant alone
        for chosen in ([0], [1], [0, 1], [0, 2], [0, 1, 2]):
            together = np.column_stack([columns, *[parts[i] for i in chosen]])
            rank = np.linalg.matrix_rank(together)
            rank -= np.linalg.matrix_rank(columns) if columns.shape[1] else 0
            assert ways.of(tuple(flat[i] for i in chosen)) == rank


@pytest.mark.filterwarnings("ignore")
def test_deviations_that_vary_in_too_few_ways_together_are_refused():
    X, y = table("g", "h", "k")
    two = MixedLinearRegressor("(1 | g) + (1 | h)").fit(X[["x", "g", "h"]], y)
    check_posterior(two.fit_, ModelPrior.of(two.fit_, "reference"))
    three = MixedLinearRegressor("(1 | g) + (1 | h) + (1 | k)").fit(X, y)
    with pytest.raises(
        ValueError, match="have 3 dimensions beyond the fixed columns, and more than 3"
    ):
        sample(three, "reference")
    # one of them with a proper distribution is enough
    mixed = Prior({"g": Flat(), "h": Flat(), "k": HalfT(3, 1)}, coef=Flat(), sigma=Flat(log=True))
    check_posterior(three.fit_, ModelPrior.of(three.fit_, mixed))
    same = MixedLinearRegressor("(1 | g) + (1 | same)").fit(X[["x", "g"]].assign(same=X["g"]), y)
    with pytest.raises(
        ValueError, match=r"over 'g' and the .* over 'same' have an improper posterior"
    ):
        sample(same, "reference")


def test_deviations_without_a_mean_are_warned_of():
    X, y = table("g")
    model = MixedLinearRegressor("(1 | g)").fit(X, y)
    with pytest.warns(SamplingWarning, match="has a posterior without a mean"):
        draws = sample(model, "reference", random_state=0)
    assert draws.efficiency > 0.5


def test_rows_must_leave_more_than_a_flat_sigma_takes():
    X, y = table()
    fit = MixedLinearRegressor().fit(X[:4], y[:4]).fit_
    check_posterior(fit, ModelPrior.of(fit, Prior(coef=Flat(), sigma=Flat())))
    few = MixedLinearRegressor().fit(X[:3], y[:3]).fit_
    check_posterior(few, ModelPrior.of(few, Prior(coef=Flat(), sigma=Flat(log=True))))
    with pytest.raises(ValueError, match="leave 1 of 3 rows, and more than 1 are needed"):
        check_posterior(few, ModelPrior.of(few, Prior(coef=Flat(), sigma=Flat())))
