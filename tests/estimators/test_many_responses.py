"""Many responses in one call are as many single fits."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from skmixed import MixedClassifier, MixedLinearRegressor, Relationship, fit_many
from skmixed.inference import coefficient_table, confidence_intervals, ranova

N, LEVELS, RESPONSES = 240, 24, 9


def table():
    rng = np.random.default_rng(3)
    g = rng.integers(0, LEVELS, N)
    X = pd.DataFrame({"x": rng.normal(size=N), "z": 5.0 + rng.normal(size=N), "g": g})
    X["room"], X["wave"] = g * 3 + rng.integers(0, 3, N), rng.integers(0, 6, N)
    between = rng.normal(size=(LEVELS, RESPONSES)) * np.linspace(0.0, 2.0, RESPONSES)
    slopes = 0.4 * rng.normal(size=(LEVELS, RESPONSES)) + np.arange(RESPONSES)
    Y = between[g] + slopes[g] * X[["x"]].to_numpy() + rng.normal(size=(N, RESPONSES))
    Y = Y * 10.0 ** np.arange(-4, 5) + [0, 0, 0, 0, 0, 1e3, 0, -1e5, 0]
    names = [f"gene{number}" for number in range(RESPONSES)]
    return X, pd.DataFrame(Y, columns=names), rng.integers(1, 4, N).astype(float)


X, Y, W = table()
CASES = {
    "one intercept": ({"random": "(1 | g)"}, None),
    "slopes": ({"random": "(x | g)"}, None),
    "apart, by ML": ({"random": "(x || g)", "method": "ml"}, None),
    "nested": ({"random": "(1 | g/room)"}, None),
    "crossed": ({"random": "(1 | g) + (1 | wave)"}, None),
    "frequency weights": ({"random": "(1 | g)"}, W),
    "precision weights": ({"random": "(x | g)", "weighting": "precision"}, 1.0 / W),
    "a formula": ({"random": "(1 | g)", "fixed": "x * z"}, None),
    "no intercept": ({"random": "(1 | g)", "fixed": "0 + x + z"}, None),
    "known variance": ({"random": "(1 | g)", "residual_variance": 0.8}, None),
    "a prior": ({"random": "(x | g)", "prior": "wishart"}, None),
    "no random effects": ({"fixed": "x + z"}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_estimates_are_those_of_single_fits(case):
    params, weights = CASES[case]
    columns = ["x", "z"] if "no random" in case else ["x", "z", *_grouping(params["random"])]
    responses = Y[["gene4", "gene5"]] if "known" in case else Y
    many = fit_many(MixedLinearRegressor(**params), X[columns], responses, weights)
    assert list(many.coefficients.index) == list(responses)
    for name in responses:
        one = MixedLinearRegressor(**params, tol=1e-14).fit(X[columns], Y[name], weights)
        beta, error = one.fit_.beta, np.sqrt(np.diag(one.coef_covariance_))
        assert many.criterion[name] == pytest.approx(one.criterion_, rel=1e-12, abs=1e-8), name
        assert_allclose((many.coefficients.loc[name] - beta) / error, 0.0, atol=1e-7)
        assert_allclose(many.std_errors.loc[name], error, rtol=1e-7)
        assert many.singular[name] == one.is_singular_
        wanted = confidence_intervals(one).to_frame()["estimate"]
        sizes = 1e-5 * (one.residual_variance_**0.5)
        for part in many.components:
            scale = 1.0 if part.startswith("cor") else sizes
            if not one.is_singular_:
                rel = 1e-6 if len(one.n_groups_) == 1 else 3e-5  # as far as searches go on
                assert many.components.loc[name, part] == pytest.approx(
                    wanted[part], rel=rel, abs=1e-6 * scale
                )
    assert many.converged.all()


def _grouping(random):
    return [name for name in ("g", "room", "wave") if name in random]


@pytest.mark.parametrize("random", ["(x | g)", "(1 | g) + (1 | wave)"])
def test_a_model_of_one_response_is_a_whole_one(random):
    many = fit_many(MixedLinearRegressor(random), X, Y)
    for name in ("gene5", "gene8"):
        model = many.model(name)
        one = MixedLinearRegressor(random, tol=1e-14).fit(X, Y[name])
        size = one.residual_variance_**0.5
        assert_allclose(model.predict(X) / size, one.predict(X) / size, atol=1e-6)
        assert model.criterion_ == pytest.approx(one.criterion_, abs=1e-7)
        assert_allclose(
            model.random_effects_["g"] / size, one.random_effects_["g"] / size, atol=1e-6
        )
        found, wanted = (coefficient_table(each).to_frame() for each in (model, one))
        assert_allclose(found["df"], wanted["df"], rtol=1e-4)
        # A ratio of zero or next to nothing is on either side of a step of p_boundary.
        tests = (ranova(each).to_frame().drop(columns="p_boundary") for each in (model, one))
        assert_allclose(*tests, rtol=1e-5, atol=1e-6)
        assert model.score(X, Y[name]) == pytest.approx(one.score(X, Y[name]), rel=1e-7)
        assert model.loo_predict(X, Y[name]).shape == (N,)
        again = pickle.loads(pickle.dumps(model))
        assert_allclose(again.predict(X), model.predict(X), rtol=1e-12)


def test_related_levels_and_offsets():
    K = np.exp(-np.abs(np.subtract.outer(np.arange(LEVELS), np.arange(LEVELS))) / 3.0)
    related = {"g": Relationship(pd.DataFrame(K, range(LEVELS), range(LEVELS)))}
    params = {"random": "(1 | g)", "fixed": "x + offset(z)", "relationship": related}
    many = fit_many(MixedLinearRegressor(**params), X, Y.iloc[:, 3:6])
    for name in many.coefficients.index:
        one = MixedLinearRegressor(**params).fit(X, Y[name])
        assert many.criterion[name] == pytest.approx(one.criterion_, abs=1e-7)
        assert_allclose(many.coefficients.loc[name], one.fit_.beta, rtol=1e-6)
        assert_allclose(many.model(name).predict(X), one.predict(X), rtol=1e-5, atol=1e-7)


def test_arrays_and_tables_of_other_libraries():
    params = {"group_features": [2]}
    plain = X[["x", "z", "g"]].to_numpy()
    whole = fit_many(MixedLinearRegressor(**params), plain, Y.to_numpy())
    assert list(whole.coefficients.index) == list(range(RESPONSES))
    groups = fit_many(MixedLinearRegressor(), X[["x", "z"]], pl.from_pandas(Y), groups=X["g"])
    assert list(groups.coefficients.index) == list(Y)
    assert_allclose(groups.coefficients, whole.coefficients, rtol=1e-10)
    assert whole.model(3).fit_.products.n_rows == N


def test_dependent_columns_are_nan():
    data = X.assign(double=2.0 * X["x"])[["x", "double", "z", "g"]]
    many = fit_many(MixedLinearRegressor("(1 | g)"), data, Y)
    assert many.coefficients["double"].isna().all()
    assert many.std_errors["double"].isna().all()
    one = fit_many(MixedLinearRegressor("(1 | g)"), X[["x", "z", "g"]], Y)
    assert_allclose(many.coefficients.drop(columns="double"), one.coefficients, rtol=1e-8)


def test_a_response_that_leaves_nothing_does_not_keep_others():
    constant = Y.assign(same=1.0)[["same", "gene4", "gene6"]]
    with pytest.warns(ConvergenceWarning, match="1 of 3 responses"):
        many = fit_many(MixedLinearRegressor("(1 | g)"), X[["x", "g"]], constant)
    assert np.isnan(many.criterion["same"])
    assert not many.converged["same"]
    one = MixedLinearRegressor("(1 | g)").fit(X[["x", "g"]], Y["gene6"])
    assert many.criterion["gene6"] == pytest.approx(one.criterion_, abs=1e-7)
    with pytest.raises(ValueError, match="'same' could not be fitted"):
        many.model("same")
    with pytest.raises(KeyError, match="'other' is not one of the 3 responses"):
        many.model("other")


def test_what_it_does_not_take():
    model = MixedLinearRegressor("(1 | g)")
    gap = Y.copy()
    gap.iloc[3, 2] = np.nan
    cases = [
        (lambda: fit_many(model, X, gap), ValueError, "gene2"),
        (lambda: fit_many(model, X, Y["gene1"]), ValueError, "2-dimensional"),
        (lambda: fit_many(model, X, Y.iloc[:, :0]), ValueError, "no columns"),
        (lambda: fit_many(model, X, Y.iloc[:5]), ValueError, "inconsistent"),
        (
            lambda: fit_many(model, X, Y, W * (W > 1)),
            ValueError,
            "rows of weight 0 are not part of the fit",
        ),
        (lambda: fit_many(model, X, Y.iloc[:, [1, 1]]), ValueError, "unique column names"),
        (lambda: fit_many(MixedClassifier(), X, Y), TypeError, "MixedClassifier"),
        (
            lambda: fit_many(MixedLinearRegressor(residual="var(wave)"), X, Y),
            ValueError,
            "residual structure",
        ),
        (lambda: fit_many(MixedLinearRegressor(solver="em"), X, Y), ValueError, "'newton'"),
        (
            lambda: fit_many(model, X, pd.DataFrame({"a": np.ones(N)})),
            ValueError,
            "the fixed effects fit every response exactly",
        ),
    ]
    for call, kind, reason in cases:
        with pytest.raises(kind, match=reason):
            call()
