import numpy as np
import pandas as pd
import pytest

from skmixed import (
    BayesianMixedRegressor,
    MixedClassifier,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
)
from skmixed.bayes import loo, posterior_predictive_check, sample
from skmixed.datasets import load_sleepstudy


@pytest.fixture(scope="module")
def sleepstudy():
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    return X, y, model, sample(model, random_state=0)


def test_draws_have_the_moments_of_the_posterior(sleepstudy):
    X, y, _, _ = sleepstudy
    model = BayesianMixedRegressor("(Days | Subject)", random_state=0).fit(X, y)
    check = posterior_predictive_check(model, model.posterior_, X, y, n_draws=4000, random_state=1)
    mean, std = model.predict(X, return_std=True)
    variance = std**2 + model.residual_variance_
    error = np.sqrt(variance / 4000)
    assert np.abs((check.replicated.mean(axis=1) - mean) / error).max() < 4.5
    np.testing.assert_allclose(check.replicated.var(axis=1), variance, rtol=0.15)
    # those of new groups vary by the effects, and share them within a group
    new = posterior_predictive_check(
        model, model.posterior_, X, y, random="new", n_draws=4000, random_state=1
    )
    unknown = X.assign(Subject="new " + X["Subject"].astype(str))
    _, std = model.predict(unknown, return_std=True)
    np.testing.assert_allclose(
        new.replicated.var(axis=1), std**2 + model.residual_variance_, rtol=0.2
    )
    same, apart = np.corrcoef(new.replicated[[0, 1, 10]])[0, 1:]
    assert same > apart + 0.2


def test_statistics_and_shares_are_those_of_the_draws(sleepstudy):
    X, y, model, draws = sleepstudy
    check = posterior_predictive_check(
        model,
        draws,
        X,
        y,
        statistics={"mean": "mean", "high": lambda v: float(np.quantile(v, 0.9))},
    )
    assert check.observed_statistics["mean"][0] == pytest.approx(y.mean())
    assert check.observed_statistics["high"][0] == pytest.approx(np.quantile(y, 0.9))
    drawn = np.quantile(check.replicated, 0.9, axis=0)
    np.testing.assert_allclose(check.replicated_statistics["high"][0], drawn)
    assert check.p_values["high"][0] == pytest.approx((drawn > np.quantile(y, 0.9)).mean())
    table = check.to_frame()
    assert list(table.index) == ["mean", "high"]
    assert table.loc["mean", "mean"] == pytest.approx(check.replicated.mean())
    assert "Posterior predictive check, 500 draws" in str(check)


@pytest.mark.parametrize("by", ["name", "labels"])
def test_statistics_of_groups_are_those_of_pandas(sleepstudy, by):
    X, y, model, draws = sleepstudy
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X.iloc[order], y.iloc[order]
    names = ["mean", "sd", "min", "max"]
    check = posterior_predictive_check(
        model,
        draws,
        X,
        y,
        by="Subject" if by == "name" else X["Subject"],
        statistics=[*names, np.ptp],
    )
    assert check.by == "Subject"
    of_groups = y.groupby(X["Subject"].astype(str).to_numpy())
    expected = of_groups.agg(["mean", "std", "min", "max"]).loc[[str(x) for x in check.labels]]
    for name, column in zip(names, expected, strict=True):
        np.testing.assert_allclose(check.observed_statistics[name], expected[column])
    first = check.replicated[(X["Subject"] == check.labels[3]).to_numpy()]
    np.testing.assert_allclose(check.replicated_statistics["sd"][3], first.std(axis=0, ddof=1))
    np.testing.assert_allclose(check.replicated_statistics["ptp"][3], np.ptp(first, axis=0))
    assert check.to_frame().index.names == ["statistic", "Subject"]
    assert check.to_frame().shape == (18 * 5, 5)


def test_levels_of_several_columns_and_single_rows_are_groups():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.integers(3, size=40), "b": rng.integers(3, size=40)})
    X.loc[39] = [3, 3]
    y = rng.standard_normal(40)
    model = MixedLinearRegressor("(1 | a/b)").fit(X, y)
    draws = sample(model, n_draws=100, random_state=0)
    check = posterior_predictive_check(model, draws, X, y, by="b:a", statistics=["sd", "max"])
    assert set(check.labels) == set(zip(X["b"], X["a"], strict=True))
    alone = list(check.labels).index((3, 3))
    assert np.isnan(check.p_values["sd"][alone])
    assert check.observed_statistics["max"][alone] == y[39]


def test_a_model_that_is_wrong_is_found():
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"g": np.repeat(np.arange(20), 10)})
    y = rng.standard_t(1.5, 200)
    model = MixedLinearRegressor("(1 | g)").fit(X, y)
    draws = sample(model, random_state=0)
    check = posterior_predictive_check(model, draws, X, y, random_state=0)
    p = {name: value[0] for name, value in check.p_values.items()}
    assert min(p["max"], 1 - p["min"]) < 0.01
    assert 0.2 < p["mean"] < 0.8


def test_weights_that_are_precisions_divide_the_noise():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"g": np.repeat(np.arange(10), 6)})
    w = np.where(np.arange(60) % 2, 25.0, 1.0)
    y = rng.standard_normal(10)[X["g"]] + rng.standard_normal(60) / np.sqrt(w)
    model = MixedLinearRegressor("(1 | g)", weighting="precision").fit(X, y, w)
    draws = sample(model, random_state=0)
    check = posterior_predictive_check(model, draws, X, y, w, n_draws=3000, random_state=0)
    ratio = check.replicated[::2].std(axis=1).mean() / check.replicated[1::2].std(axis=1).mean()
    assert 2.5 < ratio < 5.0
    counted = MixedLinearRegressor("(1 | g)").fit(X, y, w)
    with pytest.raises(ValueError, match="repeat the rows instead"):
        posterior_predictive_check(counted, sample(counted, n_draws=50), X, y, w)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"statistics": "median"}, ValueError, "'median' is neither a function nor one of"),
        ({"statistics": []}, ValueError, "statistics is empty"),
        ({"statistics": [3.0]}, ValueError, "3.0 is neither a function"),
        (
            {"statistics": [lambda v: v, lambda v: v]},
            ValueError,
            "two statistics have the same name",
        ),
        ({"statistics": lambda v: v[:2]}, ValueError, "must return one number"),
        ({"statistics": lambda v: "much"}, ValueError, "must return one number"),
        ({"by": "Days"}, ValueError, "by='Days' is not a grouping column of the model"),
        ({"by": ["a"]}, ValueError, "by has 1 labels, but there are 180 rows"),
        ({"by": [None] * 180}, ValueError, "by has no label for row 0"),
        ({"random": "old"}, ValueError, "random='old' is neither"),
        ({"n_draws": 0}, ValueError, "n_draws=0 must be a whole number"),
        ({"n_draws": True}, ValueError, "n_draws=True must be a whole number"),
        ({"y": [1.0, 2.0]}, ValueError, "inconsistent numbers of samples"),
        ({"draws": None}, TypeError, "draws is a NoneType: pass the result of sample"),
        ({"random_state": "seed"}, TypeError, "seed"),
    ],
)
def test_stray_arguments_are_refused(sleepstudy, wrong, error, message):
    X, y, model, draws = sleepstudy
    given = {"draws": draws, "X": X, "y": y, **wrong}
    with pytest.raises(error, match=message):
        posterior_predictive_check(model, **given)


def test_draws_of_another_model_are_refused(sleepstudy):
    X, y, _, draws = sleepstudy
    other = MixedLinearRegressor("(1 | Subject)").fit(X, y)
    with pytest.raises(ValueError, match="belong to another model or fit"):
        posterior_predictive_check(other, draws, X, y)


def test_responses_of_families_are_drawn_and_counted():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.standard_normal(120), "g": np.repeat(np.arange(12), 10)})
    eta = 0.5 + X["x"] + rng.standard_normal(12)[X["g"]]
    counts = rng.poisson(np.exp(eta))
    model = MixedGeneralizedRegressor("(1 | g)", family="poisson").fit(X, counts)
    draws = sample(model, X=X, y=counts, random_state=0)
    check = posterior_predictive_check(
        model, draws, X, counts, statistics=["mean", "max"], n_draws=1000, random_state=0
    )
    assert (check.replicated == np.round(check.replicated)).all()
    mean = draws.predict(X)
    error = check.replicated.std(axis=1) / np.sqrt(1000)
    assert np.abs((check.replicated.mean(axis=1) - mean) / error).max() < 5
    assert 0.05 < check.p_values["mean"][0] < 0.95
    answers = np.where(rng.random(120) < 1 / (1 + np.exp(-eta)), "yes", "no")
    model = MixedClassifier("(1 | g)").fit(X, answers)
    draws = sample(model, X=X, y=answers, random_state=0)
    check = posterior_predictive_check(
        model, draws, X, answers, statistics="mean", by="g", random_state=0
    )
    assert set(np.unique(check.replicated)) == {0.0, 1.0}
    assert check.observed_statistics["mean"][3] == (answers[30:40] == "yes").mean()
    assert np.mean(np.abs(check.p_values["mean"] - 0.5) < 0.45) > 0.8
    with pytest.raises(ValueError, match="random='new' needs a linear model"):
        posterior_predictive_check(model, draws, X, answers, random="new")
    assert loo(model, draws, X, answers, leave_out="g", random_state=0).elpd.max() < 0.0
    y = eta + rng.standard_normal(120)
    linear = MixedLinearRegressor("(1 | g)").fit(X, y)
    with pytest.raises(ValueError, match="belong to another model or fit"):
        posterior_predictive_check(linear, draws, X, y)
