import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp

from skmixed import BayesianMixedRegressor, MixedLinearRegressor
from skmixed.bayes import Exponential, Flat, HalfT, Normal, Prior, loo, sample, stack
from skmixed.bayes.priors import ModelPrior
from skmixed.core.posterior.integrated_likelihood import IntegratedLikelihood
from skmixed.datasets import load_sleepstudy
from tests.reference_set import committed_table


def by_grid(prior, phi, model, X, y):
    """Log of the marginal likelihood of rows, by the trapezoidal rule over two coordinates."""
    fit = model.fit(X, y).fit_
    distributions = ModelPrior.of(fit, prior)
    likelihood = IntegratedLikelihood.of(fit, distributions.coef)
    sums = likelihood.sums(distributions.parametrization.lambdas(phi), len(phi))
    given = likelihood.given(sums, np.exp(phi[:, 1]))
    return logsumexp(given.log_likelihood + distributions.log_density(phi))


def yields():
    table = committed_table("Dyestuff")
    return table.drop(columns="Yield"), table["Yield"].to_numpy(float)


@pytest.mark.parametrize("moved", [0.0, 1500.0])
def test_levels_are_predicted_as_by_integrals_without_them(moved):
    X, y = yields()
    y = y + moved * (X["Batch"] == "C").to_numpy()
    prior = Prior(
        scales=HalfT(3, 60.0), coef={"(Intercept)": Normal(1500.0, 300.0)}, sigma=Exponential(60.0)
    )
    model = MixedLinearRegressor("(1 | Batch)")
    grids = np.meshgrid(np.linspace(-3.0, 9.0, 400), np.linspace(2.8, 6.5, 250))
    phi = np.column_stack([each.ravel() for each in grids])
    whole = by_grid(prior, phi, model, X, y)
    exact = {}
    for label in sorted(set(X["Batch"])):
        kept = (X["Batch"] != label).to_numpy()
        exact[label] = whole - by_grid(prior, phi, model, X[kept], y[kept])
    model.fit(X, y)
    order = np.random.default_rng(0).permutation(len(y))  # in which rows come does not matter
    found = loo(
        model,
        sample(model, prior, random_state=0),
        X.iloc[order],
        y[order],
        leave_out="Batch",
        random_state=0,
    )
    assert list(found.levels) == list("ABCDEF")
    # weights with a tail of shape 0.5 leave errors of some hundredths
    np.testing.assert_allclose(found.elpd, list(exact.values()), atol=0.12)
    assert found.is_refitted[2] == (moved > 0)
    assert found.total == pytest.approx(sum(exact.values()), abs=0.2)
    assert "Leave-one-out cross-validation over levels of Batch" in str(found)


@pytest.mark.parametrize("random", ["(1 | g) + (1 | h)", "(x | g/h)"])
def test_levels_of_several_factors_are_those_of_exact_refits(random):
    rng = np.random.default_rng(2)
    X = pd.DataFrame(
        {
            "x": rng.standard_normal(80),
            "g": rng.integers(5, size=80).astype(str),
            "h": rng.integers(4, size=80).astype(str),
        }
    )
    y = 1 + X["x"] + rng.standard_normal(5)[X["g"].astype(int)] + rng.standard_normal(80)
    prior = Prior(
        HalfT(3, 1), coef={"(Intercept)": Normal(0, 3), "x": Normal(0, 3)}, sigma=HalfT(3, 1)
    )
    model = MixedLinearRegressor(random).fit(X, y)
    draws = sample(model, prior, random_state=0)
    found = loo(model, draws, X, y, leave_out="g", random_state=0)
    for label in ("0", "3"):
        kept = (X["g"] != label).to_numpy()
        # the intercept's distribution is that of the mean at the mean of x of all rows
        other = MixedLinearRegressor(random).fit(X[kept], y[kept])
        moved = ModelPrior.of(model.fit_, prior).beside(other.fit_)
        without = sample(other, moved, random_state=0)
        exact = draws.log_evidence - without.log_evidence
        assert found.elpd[list(found.levels).index(label)] == pytest.approx(exact, abs=0.1)


def test_weights_that_count_rows_are_repeated_rows():
    X, y = yields()
    w = np.random.default_rng(1).integers(1, 4, len(y)).astype(float)
    twice = np.repeat(np.arange(len(y)), w.astype(int))
    one = MixedLinearRegressor("(1 | Batch)").fit(X, y, w)
    two = MixedLinearRegressor("(1 | Batch)").fit(X.iloc[twice], y[twice])
    found = loo(one, sample(one, random_state=0), X, y, w, leave_out="Batch", random_state=0)
    alike = loo(
        two, sample(two, random_state=0), X.iloc[twice], y[twice], leave_out="Batch", random_state=0
    )
    np.testing.assert_allclose(found.elpd, alike.elpd, atol=1e-4)


def test_models_are_stacked_by_levels_and_estimators_leave_them_out():
    X, y = load_sleepstudy(return_X_y=True)
    results = {}
    for random in ("(Days | Subject)", "(1 | Subject)"):
        model = BayesianMixedRegressor(random, random_state=0, n_draws=400).fit(X, y)
        results[random] = model.loo(X, y, leave_out="Subject")
    table = stack(results).to_frame()
    assert table.index[0] == "(Days | Subject)"
    # a new group is predicted worse than rows of known ones
    assert results["(1 | Subject)"].total < -890


def test_what_cannot_be_left_out_is_refused():
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor("(1 | Subject)").fit(X, y)
    draws = sample(model, n_draws=100, random_state=0)
    with pytest.raises(ValueError, match="'subject' is not a factor of the model"):
        loo(model, draws, X, y, leave_out="subject")
    with pytest.raises(TypeError, match="draws is a DataFrame: pass the result of sample"):
        loo(model, X, X, y)
    alone = X.assign(first=(X["Subject"] == "308") * X["Days"])
    model = MixedLinearRegressor("(1 | Subject)").fit(alone, y)
    draws = sample(model, Prior(coef=Flat()), n_draws=100, random_state=0)
    with pytest.raises(ValueError, match="do not determine all coefficients"):
        loo(model, draws, alone, y, leave_out="Subject")


def test_refits_under_flat_distributions_average_densities():
    X, y = yields()
    y = y + 1500.0 * (X["Batch"] == "C").to_numpy()
    model = MixedLinearRegressor("(1 | Batch)").fit(X, y)
    wide = Prior(HalfT(3, 60.0), coef={"(Intercept)": Normal(1500.0, 3000.0)}, sigma=HalfT(3, 60))
    flat = Prior(HalfT(3, 60.0), coef={"(Intercept)": Flat()}, sigma=HalfT(3, 60))
    one, two = (
        loo(model, sample(model, prior, random_state=0), X, y, leave_out="Batch", random_state=0)
        for prior in (wide, flat)
    )
    assert one.is_refitted[2]
    assert two.is_refitted[2]
    np.testing.assert_allclose(one.elpd, two.elpd, atol=0.5)
