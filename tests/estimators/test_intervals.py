"""Standard errors and intervals of predictions, and simulated responses, through the estimator."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from skmixed import MixedLinearRegressor, lmer
from skmixed.core.batch.refits import refit_responses
from skmixed.datasets import load_sleepstudy, make_schools
from skmixed.estimators.reading import _prediction_rows
from skmixed.exceptions import UnknownLevelWarning

SLEEP = "(1 + Days | Subject)"
# sigma^2 and the standard errors of lme4's fit of Reaction ~ Days + (Days | Subject): the standard
# error of a population mean is a matter of the coefficients alone, vcov(fit) of the reference set.
SE_INTERCEPT, SE_DAYS = 6.82455653, 1.545788896


@pytest.fixture(scope="module")
def sleep():
    X, y = load_sleepstudy(return_X_y=True)
    return MixedLinearRegressor(SLEEP).fit(X, y), X, y


@pytest.fixture(scope="module")
def schools():
    data = make_schools(random_state=0)
    return lmer("extro ~ open + (1 | school/class)", data), data


def mixed_rows():
    return pd.DataFrame(
        {"Days": [0.0, 9.0, 3.0, 9.0, 0.0], "Subject": ["308", "new", None, "372", "other"]}
    )


def test_the_default_is_the_array_alone(sleep):
    model, X, _ = sleep
    means, errors = model.predict(X, return_std=True)
    np.testing.assert_array_equal(model.predict(X), means)
    assert errors.shape == means.shape


def test_population_means_have_the_errors_of_the_coefficients(sleep):
    model = sleep[0]
    rows = pd.DataFrame({"Days": [0.0, 1.0]})
    _, errors = model.predict(rows, random="none", return_std=True)
    assert errors[0] == pytest.approx(SE_INTERCEPT, rel=1e-6)
    covariance = model.coef_covariance_.to_numpy()
    assert errors[1] == pytest.approx(np.sqrt(covariance.sum()), rel=1e-10)
    assert np.sqrt(covariance[1, 1]) == pytest.approx(SE_DAYS, rel=1e-6)


def test_a_new_level_adds_the_variance_of_its_effects(sleep):
    model = sleep[0]
    rows = pd.DataFrame({"Days": [4.0], "Subject": ["new"]})
    _, new = model.predict(rows, return_std=True)
    _, population = model.predict(rows, random="none", return_std=True)
    z = np.array([1.0, 4.0])
    prior = z @ model.random_covariance_["Subject"].to_numpy() @ z
    np.testing.assert_allclose(new**2, population**2 + prior)


def test_a_new_class_in_a_known_school(schools):
    model, data = schools
    row = data.head(1)
    _, known = model.predict(row, return_std=True)
    _, new_class = model.predict(row.assign(**{"class": "z"}), return_std=True)
    _, school = model.predict(row, random=["school"], return_std=True)
    _, new = model.predict(row.assign(school="?"), return_std=True)
    between = {name: frame.to_numpy()[0, 0] for name, frame in model.random_covariance_.items()}
    np.testing.assert_allclose(new_class**2, school**2 + between["class:school"])
    assert known < new_class < new


@settings(max_examples=25, derandomize=True)
@given(st.permutations(range(5)), st.integers(1, 4), st.sampled_from(["analytic", "bootstrap"]))
def test_rows_may_be_mixed_and_split(order, cut, method):
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor(SLEEP).fit(X, y)
    rows = mixed_rows()
    options = {"method": method, "n_samples": 5, "random_state": 0}
    whole = model.predict_interval(rows, **options)
    shuffled = rows.iloc[list(order)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownLevelWarning)
        parts = [model.predict_interval(part, **options) for part in
                 (shuffled.iloc[:cut], shuffled.iloc[cut:])]  # fmt: skip
    np.testing.assert_allclose(np.concatenate(parts), whole[list(order)], rtol=1e-8)


def test_intervals_nest(sleep):
    model, X, _ = sleep
    rows = X.head(20)
    means = model.predict(rows)
    narrow, wide = (model.predict_interval(rows, level=level) for level in (0.5, 0.95))
    mean = model.predict_interval(rows, kind="mean")
    assert narrow.shape == (20, 2)
    assert (wide[:, 0] < narrow[:, 0]).all()
    assert (wide[:, 0] < mean[:, 0]).all()
    np.testing.assert_allclose(wide.mean(axis=1), means)


def test_without_groups_it_is_the_interval_of_least_squares(sleep):
    """In R: predict(lm(Reaction ~ Days), data.frame(Days = 0), interval = "prediction")."""
    _, X, y = sleep
    model = MixedLinearRegressor().fit(X[["Days"]], y)
    rows = pd.DataFrame({"Days": [0.0]})
    observation = model.predict_interval(rows)
    np.testing.assert_allclose(observation, [[156.3465339, 346.4636757]], rtol=1e-8)
    mean, error = model.predict(rows, return_std=True)
    half = stats.t.ppf(0.975, 178) * error
    np.testing.assert_allclose(
        model.predict_interval(rows, kind="mean"), [[mean[0] - half[0], mean[0] + half[0]]]
    )


def test_both_methods_agree_where_variances_are_well_known():
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(200), 10)
    X = rng.standard_normal((2000, 1))
    y = X[:, 0] + rng.standard_normal(200)[g] + rng.standard_normal(2000)
    model = MixedLinearRegressor().fit(X, y, groups=g)
    rows, labels = X[:2], np.array([0, 999])
    analytic = model.predict_interval(rows, labels)
    boot = model.predict_interval(rows, labels, method="bootstrap", random_state=1)
    np.testing.assert_allclose(boot, analytic, atol=0.25)


def test_a_bootstrap_of_which_nothing_is_left_says_so(sleep, monkeypatch):
    def refits_of_nothing(fit, responses):
        found = refit_responses(fit, responses)
        return replace(found, sigma2=np.full_like(found.sigma2, np.nan))

    monkeypatch.setattr(_prediction_rows, "refit_responses", refits_of_nothing)
    with pytest.raises(ValueError, match="any of 3 bootstrap samples: use method='analytic'"):
        sleep[0].predict_interval(mixed_rows(), method="bootstrap", n_samples=3)


def test_after_update_groups_known_rows_count(sleep):
    _, X, y = sleep
    known = X["Subject"].isin(X["Subject"].unique()[:12])
    model = MixedLinearRegressor(SLEEP).fit(X[known], y[known])
    rows = X[~known].head(10)
    before = model.predict(rows, return_std=True)[1]
    model.update_groups(X[~known], y[~known])
    after = model.predict(rows, return_std=True)[1]
    assert (after < before).all()
    half = np.diff(model.predict_interval(rows, kind="mean"), axis=1)[:, 0] / 2
    assert (half > 1.9 * after).all()
    with pytest.raises(ValueError, match="partial_fit"):
        model.predict_interval(rows, method="bootstrap")


@pytest.mark.parametrize("weighting", ["frequency", "precision"])
def test_weights(sleep, weighting):
    _, X, y = sleep
    w = np.resize([1.0, 2.0], len(y))
    model = MixedLinearRegressor(SLEEP, weighting=weighting).fit(X, y, w)
    _, errors = model.predict(X, return_std=True)
    if weighting == "frequency":
        twice = np.repeat(np.arange(len(y)), w.astype(int))
        other = MixedLinearRegressor(SLEEP).fit(X.iloc[twice], y.iloc[twice])
        np.testing.assert_allclose(other.predict(X, return_std=True)[1], errors, rtol=1e-6)
    assert np.isfinite(errors).all()


def test_unknown_levels_under_nan_and_error(sleep):
    _, X, y = sleep
    rows = mixed_rows()
    model = MixedLinearRegressor(SLEEP, handle_unknown="nan").fit(X, y)
    means, errors = model.predict(rows, return_std=True)
    ends = model.predict_interval(rows)
    unknown = np.array([False, True, True, False, True])
    for values in (means, errors, ends[:, 0]):
        np.testing.assert_array_equal(np.isnan(values), unknown)
    model.set_params(handle_unknown="error")
    with pytest.raises(ValueError, match="not seen in fit"):
        model.predict_interval(rows)


def test_wrong_arguments(sleep):
    model, X, _ = sleep
    for options, message in [
        ({"level": 95}, "level"),
        ({"kind": "sum"}, "neither"),
        ({"method": "exact"}, "neither"),
        ({"n_samples": 0}, "n_samples"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.predict_interval(X, **options)
    with pytest.raises(ValueError, match="neither"):
        model.simulate(X, random="old")
    by_argument = MixedLinearRegressor().fit(
        X[["Days"]], np.arange(len(X)) % 7, groups=X["Subject"]
    )
    with (
        pytest.warns(UnknownLevelWarning),
        pytest.raises(ValueError, match="must be known to draw"),
    ):
        by_argument.simulate(X[["Days"]])
    exact = MixedLinearRegressor().fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(ValueError, match="exactly"):
        exact.predict([[0.0]], return_std=True)


def test_simulated_responses_have_the_moments_of_the_model(sleep):
    model, X, _ = sleep
    n = 4000
    rows = X.head(12)
    drawn = model.simulate(rows, n_samples=n, random_state=0)
    assert drawn.shape == (12, n)
    z = np.column_stack([np.ones(12), rows["Days"]])
    same = rows["Subject"].to_numpy()[:, None] == rows["Subject"].to_numpy()
    V = (z @ model.random_covariance_["Subject"].to_numpy() @ z.T) * same
    V += model.residual_variance_ * np.eye(12)
    unit = np.sqrt(np.diag(V))
    assert np.abs((np.cov(drawn) - V) / np.outer(unit, unit)).max() < 0.12
    means = model.predict(rows, random="none")
    np.testing.assert_allclose(drawn.mean(axis=1), means, atol=5 * unit.max() / np.sqrt(n))


def test_fitted_effects_are_kept_in_simulated_responses(sleep):
    model = sleep[0]
    rows = pd.concat([mixed_rows(), mixed_rows()], ignore_index=True)
    drawn = model.simulate(rows, n_samples=6000, random_state=0, random="fitted")
    sigma2 = model.residual_variance_
    known = rows["Subject"].isin(["308", "372"]).to_numpy()
    np.testing.assert_allclose(drawn[known].var(axis=1), sigma2, rtol=0.1)
    np.testing.assert_allclose(drawn[known].mean(axis=1), model.predict(rows)[known], atol=2.0)
    correlation = np.corrcoef(drawn)
    assert correlation[1, 6] > 0.5  # the same new label
    assert abs(correlation[2, 7]) < 0.06  # a missing label is shared with no row
    assert abs(correlation[0, 5]) < 0.06  # nothing but noise about a known level
    again = model.simulate(rows, n_samples=6000, random_state=0, random="fitted")
    np.testing.assert_array_equal(drawn, again)


def test_offsets_are_in_everything():
    X, y = load_sleepstudy(return_X_y=True)
    data = X.assign(Reaction=y)
    plain = lmer("Reaction ~ Days + (Days | Subject)", data)
    moved = lmer("Reaction ~ Days + offset(2 * Days) + (Days | Subject)", data)
    np.testing.assert_allclose(
        moved.predict_interval(data, kind="mean"),
        plain.predict_interval(data, kind="mean"),
        rtol=1e-5,
    )
    drawn = moved.simulate(data, n_samples=2, random_state=0)
    np.testing.assert_allclose(drawn, plain.simulate(data, n_samples=2, random_state=0), rtol=1e-4)
