"""Leverage and Cook's distance, against lme4 and refits without a level."""

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedLinearRegressor, lmer
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
