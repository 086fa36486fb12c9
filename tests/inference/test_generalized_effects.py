"""Random effects of generalized models: tables, draws, tests and pictures."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from skmixed import MixedClassifier, MixedGeneralizedRegressor, glmer
from skmixed.display import CoefficientDisplay, RandomEffectsDisplay, ShrinkageDisplay
from skmixed.inference import (
    coefficient_table,
    confidence_intervals,
    random_effects_table,
    ranova,
    sim,
)
from tests import reference_set

FORMULA = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
# lme4 1.1-31, ranef(m, condVar = TRUE), herds 1, 10 and 11: modes and roots of postVar.
MODES = [0.590016526306355, -0.540932882772073, -0.084636880520528]
ERRORS = [0.34826447321072, 0.37067747908356, 0.30912179317176]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    table = reference_set.committed_table("cbpp")
    return table.assign(row=np.arange(len(table)).astype(str))


@pytest.fixture(scope="module")
def cattle(table) -> MixedGeneralizedRegressor:
    return glmer(FORMULA, table, family="binomial")


@pytest.fixture(scope="module")
def slopes() -> tuple[MixedGeneralizedRegressor, pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(12), 15)
    X = pd.DataFrame({"x": rng.normal(size=180) + 2.0, "group": group})
    effects = rng.normal(size=(12, 2)) * [0.5, 0.3]
    eta = 0.5 + effects[group, 0] + (0.2 + effects[group, 1]) * X["x"]
    y = rng.poisson(np.exp(eta))
    return MixedGeneralizedRegressor("(1 + x | group)").fit(X, y), X, y


def working(model, X):
    """Return fixed and random columns and the working weights of a Poisson model, densely."""
    groups = pd.get_dummies(X["group"]).to_numpy(float)
    fixed = np.column_stack([np.ones(len(X)), X["x"]])
    random = np.concatenate([groups * fixed[:, [0]], groups * fixed[:, [1]]], axis=1)
    effects = model.random_effects_["group"].to_numpy()
    eta = fixed @ [model.intercept_, *model.coef_] + random @ effects.T.ravel()
    return fixed, random, np.exp(eta)


def conditional(model, X):
    """Return the covariance of random effects given the coefficients, and their slopes in them."""
    fixed, random, weights = working(model, X)
    prior = np.kron(np.linalg.inv(model.random_covariance_["group"]), np.eye(12))
    covariance = np.linalg.inv(random.T @ (weights[:, None] * random) + prior)
    return covariance, -covariance @ random.T @ (weights[:, None] * fixed)


def test_effects_are_those_of_lme4(cattle):
    found = random_effects_table(cattle).frame.xs("herd").droplevel("column")
    assert found.loc[["1", "10", "11"], "estimate"].tolist() == pytest.approx(MODES, rel=3e-5)
    assert found.loc[["1", "10", "11"], "std_error"].tolist() == pytest.approx(ERRORS, rel=3e-5)
    assert found["expected_rank"].sum() == pytest.approx(15 * 16 / 2)
    half = stats.norm.ppf(0.975) * found["std_error"]
    np.testing.assert_allclose(found["upper"], found["estimate"] + half)


def test_errors_of_effects_are_conditional(slopes):
    model, X, _ = slopes
    covariance, _ = conditional(model, X)
    found = random_effects_table(model, ranks=False).frame["std_error"].to_numpy().reshape(12, 2)
    expected = np.sqrt(np.diag(covariance)).reshape(2, 12).T
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_draws_have_the_covariance_of_the_estimates(slopes):
    model, X, _ = slopes
    n = 40_000
    draws = sim(model, n, random_state=1)
    of_fixed = model.coef_covariance_.to_numpy()
    covariance, by_fixed = conditional(model, X)
    expected = np.block(
        [
            [of_fixed, of_fixed @ by_fixed.T],
            [by_fixed @ of_fixed, covariance + by_fixed @ of_fixed @ by_fixed.T],
        ]
    )
    effects = draws.random_effects["group"].transpose(0, 2, 1).reshape(n, -1)
    found = np.cov(np.column_stack([draws.coef, effects]), rowvar=False)
    sizes = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        found / np.outer(sizes, sizes), expected / np.outer(sizes, sizes), atol=6.0 / np.sqrt(n)
    )
    np.testing.assert_allclose(
        draws.coef.mean(), [model.intercept_, *model.coef_], atol=6.0 * sizes[0] / np.sqrt(n)
    )
    assert draws.sigma is None
    assert draws.to_frame().index.tolist() == ["(Intercept)", "x"]
    assert len(draws.random_effects_table().frame) == 24


def test_draws_leave_infinite_coefficients():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=300), "group": rng.integers(0, 15, 300)})
    y = rng.integers(0, 2, 300)
    X["only"] = ((X["group"] == 3) & (y == 1)).astype(float)
    with pytest.warns(UserWarning, match="only"):
        model = MixedClassifier("(1 | group)").fit(X, y)
    draws = sim(model, 50, random_state=0)
    assert draws.coef["only"].nunique() == 1
    assert draws.coef["x"].nunique() == 50


def test_draws_after_further_rows_are_refused(slopes):
    model, X, y = slopes
    later = MixedGeneralizedRegressor("(1 + x | group)").fit(X, y)
    later.update_groups(X.assign(group=20).iloc[:5], y[:5])
    with pytest.raises(ValueError, match="which update_groups does not provide"):
        sim(later)
    assert 20 in random_effects_table(later).frame.index.get_level_values("level")
    pd.testing.assert_frame_equal(coefficient_table(later).frame, coefficient_table(model).frame)


def test_random_terms_are_tested_by_their_likelihood_ratio(cattle, table):
    share, size = table["incidence"] / table["size"], table["size"]
    found = ranova(cattle, X=table, y=share, sample_weight=size)
    # R: logLik(glm(...)) = -99.029199489363; half the tail of chi-squared with one degree.
    frame = found.to_frame()
    assert frame["log_likelihood"].iloc[1] == pytest.approx(-99.029199489363, rel=1e-9)
    assert frame["p_boundary"].iloc[1] == pytest.approx(9.11220889628e-05, rel=1e-6)
    assert list(frame.index) == ["<none>", "(1 | herd)"]
    with pytest.raises(ValueError, match="a test of the random terms needs the training data"):
        ranova(cattle)
    with pytest.raises(ValueError, match="not the rows the model was fitted to"):
        ranova(cattle, X=table, y=1.0 - share, sample_weight=size)


def test_slopes_are_taken_out_as_models_without_them(slopes):
    model, X, y = slopes
    found = ranova(model, X=X, y=y).to_frame().iloc[1]
    smaller = MixedGeneralizedRegressor("(1 | group)").fit(X, y)
    assert found.name == "x in (x | group)"
    assert found["statistic"] == pytest.approx(smaller.criterion_ - model.criterion_, abs=1e-7)
    assert found["df"] == 2
    both = [stats.chi2.sf(found["statistic"], df) for df in (1, 2)]
    assert found["p_boundary"] == pytest.approx(np.mean(both))


def test_quadrature_is_kept_in_reductions(table):
    model = glmer(FORMULA, table, family="binomial", quadrature=9)
    share, size = table["incidence"] / table["size"], table["size"]
    found = ranova(model, X=table, y=share, sample_weight=size).to_frame()
    assert found["log_likelihood"].iloc[0] == pytest.approx(model.log_likelihood_)
    assert found["log_likelihood"].iloc[1] == pytest.approx(-99.029199489363, rel=1e-9)


def test_pictures_of_coefficients_and_effects(cattle):
    display = CoefficientDisplay.from_estimator(cattle)
    expected = confidence_intervals(cattle).frame.iloc[2:]
    np.testing.assert_allclose(display.coefficients["lower"], expected["lower"])
    assert display.response == "logit(cbind(incidence, size - incidence))"
    display = RandomEffectsDisplay.from_estimator(cattle)
    expected = random_effects_table(cattle, ranks=False).frame
    np.testing.assert_allclose(display.effects["estimate"], expected["estimate"])


def test_arrows_begin_where_groups_alone_have_their_maximum(slopes):
    model, X, y = slopes
    display = ShrinkageDisplay.from_estimator(model, X, y)
    for group in (0, 7):
        mine = X["group"] == group
        columns = np.column_stack([np.ones(mine.sum()), X.loc[mine, "x"]])

        def loss(beta, columns=columns, y=y[mine]):
            eta = columns @ beta
            return np.exp(eta).sum() - y @ eta

        expected = optimize.minimize(loss, np.zeros(2), tol=1e-12).x
        np.testing.assert_allclose(display.own.loc[group], expected, atol=1e-4)
    shrunk = model.random_effects_["group"] + [model.intercept_, *model.coef_]
    np.testing.assert_allclose(display.shrunk, shrunk)


def test_groups_of_one_class_have_no_estimate_of_their_own():
    rng = np.random.default_rng(2)
    X = pd.DataFrame({"x": rng.normal(size=200), "group": np.repeat(np.arange(10), 20)})
    y = rng.integers(0, 2, 200)
    y[X["group"] == 4] = 1
    model = MixedClassifier("(1 | group)").fit(X, y)
    own = ShrinkageDisplay.from_estimator(model, X, y).own.iloc[:, 0]
    assert own.index[own.isna()].tolist() == [4]
    rest = X.loc[X["group"] == 2, "x"].to_numpy() * model.coef_[0]
    hits = y[X["group"] == 2].sum()
    middle = optimize.brentq(lambda a: (1 / (1 + np.exp(-rest - a))).sum() - hits, -9, 9)
    assert own[2] == pytest.approx(middle, abs=1e-8)
