"""Leverage and Cook's distance, against lme4 and refits without a level."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from skmixed import MixedClassifier, MixedGeneralizedRegressor, MixedLinearRegressor, glmer, lmer
from skmixed.datasets import load_sleepstudy
from skmixed.inference import influence
from tests import reference_set

# lme4's hatvalues and cooks.distance of Reaction ~ Days + (Days | Subject), the first rows
# (fits/sleep_slope_reml.json of the reference set), and with weights 1 + Days %% 3
# (fits/sleep_w1_reml.json).
HAT = [0.229303013167, 0.169729262275, 0.126823226047, 0.100584904484, 0.0910142975846]
COOK = [0.00496312473744, 0.0402059540845, 0.226097781257, 0.00731320429628, 0.0505728633223]
WEIGHTED_HAT = [0.150341529982, 0.217445386424, 0.234168072606, 0.0583415229522, 0.0991583789251]
WEIGHTED_COOK = [
    0.000236575949579,
    0.0355661872081,
    0.886533999233,
    0.00409003341965,
    0.0810233182065,
]


@pytest.fixture(scope="module")
def sleep():
    return load_sleepstudy(return_X_y=True)


def test_rows_as_lme4(sleep):
    X, y = sleep
    model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    table = influence(model, X, y).to_frame()
    np.testing.assert_allclose(table["leverage"].head(len(HAT)), HAT, rtol=1e-8)
    np.testing.assert_allclose(table["cooks_distance"].head(len(COOK)), COOK, rtol=1e-7)
    np.testing.assert_allclose(table["residual"], y - model.predict(X), atol=1e-9)
    assert table.index.equals(X.index)
    order = np.random.default_rng(0).permutation(len(y))
    other = influence(model, X.iloc[order], y.iloc[order]).to_frame()
    pd.testing.assert_frame_equal(other, table.iloc[order])


def test_weighted_rows_as_lme4(sleep):
    X, y = sleep
    w = 1.0 + X["Days"] % 3
    model = MixedLinearRegressor("(1 + Days | Subject)", weighting="precision").fit(X, y, w)
    table = influence(model, X, y, w).to_frame()
    np.testing.assert_allclose(table["leverage"].head(len(HAT)), WEIGHTED_HAT, rtol=1e-8)
    np.testing.assert_allclose(table["cooks_distance"].head(len(COOK)), WEIGHTED_COOK, rtol=1e-7)


@pytest.mark.parametrize(
    ("formula", "data", "by"),
    [
        ("Reaction ~ Days + (Days | Subject)", "sleepstudy", "Subject"),
        ("strength ~ 1 + (1 | batch/cask)", "Pastes", "batch"),
        ("strength ~ 1 + (1 | batch/cask)", "Pastes", "cask:batch"),
        ("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin", "sample"),
    ],
)
def test_levels_left_out(formula, data, by):
    table = reference_set.committed_table(data)
    response = formula.split()[0]
    model = lmer(formula, table)
    found = influence(model, table, table[response], by=by).to_frame()
    assert len(found) == model.n_groups_[by]
    covariance = model.coef_covariance_.to_numpy()
    fit = model.fit_
    rows = model._rows_of_fit(model._fitted, table, table[response], None, None)
    names = [index.name for index in fit.products.levels]
    codes = rows.at_levels(fit.products.levels).codes[names.index(by)]
    for level in (0, len(found) - 1):
        without = fit.at(type(fit.products).of(fit.products.layout, _kept(rows, codes != level)))
        change = without.beta - fit.beta
        np.testing.assert_allclose(found.iloc[level, 2:].astype(float), change, atol=1e-8)
        distance = change @ np.linalg.solve(covariance, change) / fit.rank
        assert found["cooks_distance"].iloc[level] == pytest.approx(distance, rel=1e-6)
    by_row = influence(model, table, table[response]).frame["leverage"].sum()
    assert found["leverage"].sum() == pytest.approx(by_row)


def _kept(rows, kept):
    codes, indexes = [], []
    for code, index in zip(rows.codes, rows.indexes, strict=True):
        levels, of_rows = np.unique(code[kept], return_inverse=True)
        codes.append(of_rows.astype(np.intp))
        indexes.append(index.take(levels))
    return type(rows)(rows.columns[kept], tuple(codes), tuple(indexes), None)


def test_a_linear_model_has_the_usual_hat_matrix(sleep):
    X, y = sleep
    X = X[["Days"]]
    table = influence(MixedLinearRegressor().fit(X, y), X, y).to_frame()
    full = np.column_stack([np.ones(len(X)), X])
    hat = np.einsum("ij,jk,ik->i", full, np.linalg.inv(full.T @ full), full)
    np.testing.assert_allclose(table["leverage"], hat)


def test_a_column_may_be_called_as_a_figure_is(sleep):
    X, y = sleep
    model = MixedLinearRegressor("(1 | Subject)").fit(X, y)
    renamed = X.rename(columns={"Days": "leverage"})
    again = MixedLinearRegressor("(1 | Subject)").fit(renamed, y)
    found = influence(again, renamed, y, by="Subject").to_frame()
    wanted = influence(model, X, y, by="Subject").to_frame()
    assert list(found.columns) == ["leverage", "cooks_distance", "(Intercept)", "leverage"]
    np.testing.assert_array_equal(found.to_numpy(), wanted.to_numpy())


def test_what_cannot_be_done_is_said(sleep):
    X, y = sleep
    model = MixedLinearRegressor("(1 | Subject)").fit(X, y)
    with pytest.raises(ValueError, match="no factor of the model"):
        influence(model, X, y, by="Days")
    with pytest.raises(ValueError, match="not the rows"):
        influence(model, X, y + 1)
    with pytest.raises(ValueError, match="needs the rows"):
        influence(model, None, None)


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=800), "g": rng.integers(40, size=800)})
    X["h"] = rng.integers(6, size=800)
    effects = rng.normal(scale=0.6, size=40)[X["g"]]
    return X, rng.poisson(np.exp(0.3 + 0.5 * X["x"] + effects))


@pytest.mark.parametrize("random", ["(1 | g)", "(1 | g) + (1 | h)"])
def test_levels_of_counts_are_near_refits(counts, random):
    X, y = counts
    model = MixedGeneralizedRegressor(random, fixed="x").fit(X, y)
    table = influence(model, X, y, by="g").to_frame()
    changes = []
    for level in table.index[:15]:
        kept = X["g"] != level
        other = MixedGeneralizedRegressor(random, fixed="x").fit(X[kept], y[kept])
        changes.append([other.intercept_ - model.intercept_, other.coef_[0] - model.coef_[0]])
    # refits estimate the variances again, and take more than one step
    np.testing.assert_allclose(table.iloc[:15, 2:], changes, atol=0.003)
    assert np.abs(changes).max() > 0.01


def test_leverages_of_counts_are_of_the_working_hat_matrix(counts):
    X, y = counts
    model = MixedGeneralizedRegressor("(1 | g)", fixed="x", averaging="plug-in").fit(X, y)
    table = influence(model, X, y).to_frame()
    w = model.predict(X)
    fixed = np.column_stack([np.ones(len(y)), X["x"]])
    Z = (X["g"].to_numpy()[:, None] == np.arange(40)).astype(float)
    V = np.diag(1.0 / w) + model.random_covariance_["g"].iloc[0, 0] * Z @ Z.T
    inverse = np.linalg.inv(V)
    projected = inverse @ fixed
    P = inverse - projected @ np.linalg.solve(fixed.T @ projected, projected.T)
    np.testing.assert_allclose(table["leverage"], 1.0 - np.diag(P) / w, atol=1e-7)
    assert table.index.equals(X.index)


def test_shares_equal_rows_and_infinite_coefficients():
    table = reference_set.table("cbpp")
    model = glmer("cbind(incidence, size - incidence) ~ C(period) + (1 | herd)", table)
    shares = table["incidence"] / table["size"]
    found = influence(model, table, shares, table["size"], by="herd").to_frame()
    of_rows = influence(model, table, shares, table["size"]).to_frame()
    assert found["leverage"].sum() == pytest.approx(of_rows["leverage"].sum())
    assert 4.0 < found["leverage"].sum() < 19.0
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.integers(2, size=300), "g": rng.integers(15, size=300)})
    y = rng.random(300) < 0.5
    classes = MixedClassifier("(1 | g)").fit(X, y)  # equal rows of a group are put together
    assert influence(classes, X, y).to_frame()["leverage"].between(0.0, 0.1).all()
    with pytest.raises(ValueError, match="these are not the rows the model was fitted to"):
        influence(classes, X, rng.permutation(y))
    X["rare"] = (X.index < 5).astype(float)
    with pytest.warns(ConvergenceWarning):
        separated = MixedClassifier("(1 | g)").fit(X, y | (X.index < 5))
    with pytest.raises(ValueError, match="influence begins with the estimates"):
        influence(separated, X, y | (X.index < 5))
