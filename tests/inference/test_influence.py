"""Leverage and Cook's distance, against lme4 and refits without a level."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from skmixed import MixedClassifier, MixedGeneralizedRegressor, MixedLinearRegressor, glmer, lmer
from skmixed.datasets import load_sleepstudy
from skmixed.inference import influence, residuals
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
    weights = None if rows.weights is None else rows.weights[kept]
    return type(rows)(rows.columns[kept], tuple(codes), tuple(indexes), weights)


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
    with pytest.raises(ValueError, match="not a grouping factor of the model"):
        influence(model, X, y, by="Days")
    with pytest.raises(ValueError, match="not the rows"):
        influence(model, X, y + 1)
    with pytest.raises(ValueError, match="requires y to be passed"):
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
    with pytest.raises(ValueError, match="influence starts from the estimates"):
        influence(separated, X, y | (X.index < 5))


# lme4 1.1-31: rstudent of the first rows, without and with weights 1 + Days %% 3
STUDENTISED = [-0.182653763074, -0.627179564318, -1.764473851177, 0.361645518736]
WEIGHTED_STUDENTISED = [0.0517115880903, -0.5059588948176, -2.4080493941066, 0.3633593464420]


def test_studentised_residuals_as_lme4(sleep):
    X, y = sleep
    model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    found = residuals(model, X, y, kind="studentised")
    np.testing.assert_allclose(found[:4], STUDENTISED, rtol=1e-5)
    np.testing.assert_array_equal(found, influence(model, X, y)["studentised"])
    w = 1.0 + X["Days"] % 3
    model = MixedLinearRegressor("(1 + Days | Subject)", weighting="precision").fit(X, y, w)
    found = residuals(model, X, y, w, kind="studentised")
    np.testing.assert_allclose(found[:4], WEIGHTED_STUDENTISED, rtol=1e-4)


def test_studentised_residuals_without_groups(sleep):
    X, y = sleep
    # R: rstandard(lm(Reaction ~ Days, sleepstudy)), and rstudent of the Poisson regression of
    # round(Reaction / 50) on Days
    line = lmer("Reaction ~ Days", X.assign(Reaction=y))
    found = residuals(line, X, y, kind="studentised")
    np.testing.assert_allclose(
        found[:3], [-0.0390460094553, -0.0668511597467, -0.4536338136914], rtol=1e-10
    )
    n = np.round(y / 50)
    counts = MixedGeneralizedRegressor().fit(X[["Days"]], n)
    found = residuals(counts, X[["Days"]], n, kind="studentised")
    expected = [-0.0296333066395, -0.1101288704014, -0.1913065425008, 0.1531567912717]
    np.testing.assert_allclose(found[:4], expected, rtol=1e-5)
    gamma = MixedGeneralizedRegressor(family="gamma").fit(X[["Days"]], y)
    found = residuals(gamma, X[["Days"]], y, kind="studentised")
    assert 0.9 < found.std() < 1.1  # by a deviation of their own


def test_coefficients_without_a_row_are_exact(sleep):
    X, y = sleep
    w = 1.0 + X["Days"] % 3
    for weights, weighting in ((None, "frequency"), (w, "precision"), (w, "frequency")):
        model = MixedLinearRegressor("(1 + Days | Subject)", weighting=weighting)
        model.fit(X, y, weights)
        table = influence(model, X, y, weights).to_frame()
        rows = model._rows_of_fit(model._fitted, X, y, weights, None)
        for row in (0, 57, 179):
            kept = _kept(rows, np.arange(len(y)) != row)
            without = model.fit_.at(type(model.fit_.products).of(model.fit_.products.layout, kept))
            change = table.iloc[row][["(Intercept)", "Days"]].to_numpy(dtype=float)
            np.testing.assert_allclose(
                change, without.beta - model.fit_.beta, rtol=1e-8, atol=1e-10
            )


def test_a_row_that_alone_tells_a_coefficient():
    table = pd.DataFrame(
        {"g": np.repeat(list("abcd"), 5), "only": 0.0, "y": np.arange(20.0) ** 1.5}
    )
    table.loc[3, "only"] = 1.0
    model = lmer("y ~ only + (1 | g)", table)
    found = influence(model, table, table["y"]).to_frame()
    assert found["leverage"][3] == pytest.approx(1.0)
    assert found["only"][3] == pytest.approx(-model.coef_[0])  # without it there is none


def test_refits_without_rows_and_levels(sleep):
    X, y = sleep
    model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    # lme4 1.1-31, update(m, data = sleepstudy[-i, ]) and without a subject: changes of fixef and of
    # the deviations and correlation in VarCorr, by its optimiser, which stops a little early
    names = ["(Intercept)", "Days", "sd_(Intercept)|Subject", "sd_Days|Subject", "sigma"]
    rows = influence(model, X, y, refit=True).to_frame()
    assert rows.index.equals(X.index)
    expected = [0.105562, -0.016668, 0.055136, -0.025891, 0.086431]
    np.testing.assert_allclose(rows.iloc[0][names].to_numpy(float), expected, atol=5e-4)
    expected = [-0.152670, -0.152670, 0.860069, 0.196949, -2.814368]
    np.testing.assert_allclose(rows.iloc[56][names].to_numpy(float), expected, atol=5e-4)
    # cooks.distance(influence(m)) of R, which has (n - p) / n of it
    distance = [0.000156087751192, 0.001132246356579, 0.005170231421768, 0.000114095417196]
    np.testing.assert_allclose(rows["cooks_distance"].iloc[:4] * 178 / 180, distance, rtol=1e-3)
    levels = influence(model, X, y, by="Subject", refit=True).to_frame()
    expected = [2.726480, 0.482677, -2.143931, -0.186706, 0.653800]
    np.testing.assert_allclose(levels.loc["309", names].to_numpy(float), expected, atol=5e-4)
    distance = [0.08214840506941, 0.13202079795776, 0.09824074429175]
    np.testing.assert_allclose(levels["cooks_distance"].iloc[:3] * 16 / 18, distance, rtol=1e-4)


def test_refits_of_a_generalized_model():
    table = reference_set.committed_table("cbpp")
    model = glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", table)
    share = table["incidence"] / table["size"]
    found = influence(model, table, share, table["size"], by="herd", refit=True).to_frame()
    # lme4 1.1-31: glmer without herd 1, 2 and 15
    names = [*model.fixed_effects_.index, "sd_(Intercept)|herd"]
    expected = {
        1: [0.0235630, -0.1701556, -0.3454998, -0.0030229, -0.0176875],
        2: [0.0319380, 0.0042224, 0.0093718, -0.0071401, 0.0164291],
        15: [0.0832312, -0.0563215, -0.0671748, 0.0310604, -0.0221689],
    }
    herds = {str(label): label for label in found.index}
    for herd, changes in expected.items():
        np.testing.assert_allclose(
            found.loc[herds[str(herd)], names].to_numpy(float), changes, atol=5e-4
        )
    rows = influence(model, table, share, table["size"], refit=True).to_frame()
    expected = [0.0815104, -0.1134873, -0.1038271, -0.0921642, 0.0701719]
    np.testing.assert_allclose(rows.iloc[0][names].to_numpy(float), expected, atol=5e-4)


def test_refits_that_cannot_be_made(sleep):
    X, y = sleep
    table = X.assign(Reaction=y)
    series = lmer("Reaction ~ Days + (1 | Subject)", table, residual="var(Days)")
    assert len(influence(series, table, y)["studentised"]) == len(y)
    with pytest.raises(ValueError, match="use refit=False"):
        influence(series, table, y, refit=True)
    one = pd.DataFrame({"g": list("aab"), "y": [1.0, 2.0, 4.0]})
    model = lmer("y ~ 1 + (1 | g)", one)
    found = influence(model, one, one["y"], by="g", refit=True).to_frame()
    assert found.loc["a"].drop("leverage").isna().all()  # one row is left, and nothing to judge by
