"""Generalized linear estimators, pooled by the likelihood of their groups."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor
from sklearn.metrics import log_loss

from skmixed import GroupedModels, MixedClassifier, MixedGeneralizedRegressor
from skmixed.estimators.grouped import _generalized_fits

LOGISTIC = LogisticRegression(C=np.inf, tol=1e-8)


def shops(n_groups=60, size=8, spread=(1.5, 0.0), seed=0):
    """Rows of groups of a few purchases: a table, classes and the true probability of the 1."""
    rng = np.random.default_rng(seed)
    shop = np.repeat(np.arange(n_groups), size)
    x = rng.normal(size=len(shop)) + 3.0
    of_shop = rng.normal(size=(n_groups, 2)) * spread
    eta = of_shop[shop, 0] - 0.5 + (0.8 + of_shop[shop, 1]) * (x - 3.0)
    p = 1.0 / (1.0 + np.exp(-eta))
    return pd.DataFrame({"x": x, "shop": shop}), (rng.random(len(shop)) < p).astype(int), p


def some_known(X):
    """The first rows, every third of them of a shop that was never there."""
    return X.head(30).assign(shop=np.where(np.arange(30) % 3, X["shop"].head(30), -1))


def test_an_intercept_alone_is_the_mixed_classifier():
    X, y, _ = shops()
    labels = X[["shop"]]
    mixed = MixedClassifier("(1 | shop)").fit(labels, y)
    for C in (1.0, np.inf):
        model = GroupedModels(LogisticRegression(C=C), group_features="shop").fit(labels, y)
        new = some_known(labels)
        assert_allclose(model.predict_proba(new), mixed.predict_proba(new), rtol=1e-9)
        assert_allclose(model.decision_function(new), mixed.decision_function(new), rtol=1e-7)
        assert_array_equal(model.predict(new), mixed.predict(new))
        effects = mixed.intercept_ + mixed.random_effects_["shop"]["(Intercept)"]
        assert_allclose(model.coef_table(shrunk=True)["(Intercept)"], effects, rtol=1e-7)
        assert list(model.coef_table().columns[:2]) == ["n", "(Intercept)"]


def test_intercepts_that_vary_beside_a_slope_that_does_not():
    X, y, _ = shops()
    X["x"] -= 3.0
    mixed = MixedClassifier("(1 | shop)").fit(X, y)
    model = GroupedModels(LOGISTIC, group_features="shop").fit(X, y)
    assert_allclose(model.predict_proba(X), mixed.predict_proba(X), rtol=1e-7)
    assert (model.weights_["x"] == 0.0).all()
    assert model.heterogeneity().loc[("shop", "(Intercept)"), "p_value"] < 1e-3


def test_all_coefficients_vary():
    X, y, _ = shops(40, 40, (1.0, 1.0), seed=1)
    X["x"] -= X["x"].mean()  # the intercept varies at the origin
    model = GroupedModels(LOGISTIC, group_features="shop").fit(X, y)
    found = {}
    for covariance in ("diagonal", "unstructured"):
        found[covariance] = MixedClassifier("(1 + x | shop)", covariance=covariance).fit(X, y)
    mixed = min(found.values(), key=lambda each: each.aic_)
    new = some_known(X)
    assert_allclose(model.predict_proba(new), mixed.predict_proba(new), rtol=1e-6)
    sd = np.sqrt(np.diag(mixed.random_covariance_["shop"]))
    assert_allclose(model.heterogeneity()["sd"], sd, rtol=1e-5)


@pytest.mark.parametrize(
    ("estimator", "family"),
    [(PoissonRegressor(alpha=0.0), "poisson"), (GammaRegressor(alpha=0.0), "gamma")],
)
def test_means_are_those_of_the_mixed_model(estimator, family):
    X, _, _ = shops()
    rng = np.random.default_rng(3)
    mean = np.exp(0.5 * rng.normal(size=60)[X["shop"]] + 0.3 * X["x"])
    y = rng.poisson(mean) if family == "poisson" else rng.gamma(3.0, mean)
    mixed = MixedGeneralizedRegressor("(1 | shop)", family=family).fit(X, y)
    model = GroupedModels(estimator, group_features="shop").fit(X, y)
    new = some_known(X)
    assert_allclose(model.predict(new), mixed.predict(new), rtol=1e-6)
    likely = mixed.set_params(averaging="plug-in").predict(X)[24:32]
    assert_allclose(model.estimators_[3].predict(X.loc[X["shop"] == 3, ["x"]]), likely, rtol=1e-6)


def test_a_hierarchy_is_the_nested_model():
    rng = np.random.default_rng(0)
    town, shop = np.repeat(np.arange(20), 40), np.tile(np.repeat(np.arange(4), 10), 20)
    eta = rng.normal(size=20)[town] + 0.7 * rng.normal(size=(20, 4))[town, shop]
    y = (rng.random(800) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    X = pd.DataFrame({"town": town, "shop": shop})
    mixed = MixedClassifier("(1 | town/shop)").fit(X, y)
    model = GroupedModels(LOGISTIC, group_features=["town", "shop"]).fit(X, y)
    assert_allclose(model.predict_proba(X), mixed.predict_proba(X), rtol=1e-5)
    for new in (X.assign(shop=9), X.assign(town=99)):
        assert_allclose(model.predict_proba(new), mixed.predict_proba(new), rtol=1e-5)


def test_the_penalty_is_that_of_all_rows():
    """With groups that are alike it is the penalised fit; otherwise as a dense search says."""
    X, y, _ = shops(spread=(0.0, 0.0), seed=3)
    strict = LogisticRegression(C=0.1, tol=1e-10)
    model = GroupedModels(strict, group_features="shop").fit(X, y)
    alike = clone(strict).fit(X[["x"]], y)
    assert_allclose(model.parent_estimators_[()].coef_, alike.coef_, rtol=1e-5)
    X, y, _ = shops(30, 20, seed=2)
    model = GroupedModels(strict, group_features="shop").fit(X, y)
    free = MixedClassifier("(1 | shop)").fit(X, y)
    sd = float(model.heterogeneity()["sd"].iloc[0])
    x, codes = X["x"].to_numpy() - X["x"].mean(), X["shop"].to_numpy()

    def criterion(place):
        a, b, log_sd = place
        modes = np.zeros(30)
        for _ in range(50):
            p = 1.0 / (1.0 + np.exp(-(a + b * x + modes[codes])))
            w = np.bincount(codes, p * (1 - p)) + np.exp(-2 * log_sd)
            modes += (np.bincount(codes, y - p) - modes * np.exp(-2 * log_sd)) / w
        p = 1.0 / (1.0 + np.exp(-(a + b * x + modes[codes])))
        w = np.bincount(codes, p * (1 - p)) + np.exp(-2 * log_sd)
        fit = -np.log(np.where(y == 1, p, 1 - p)).sum() + 0.5 * (modes**2).sum() * np.exp(
            -2 * log_sd
        )
        return 2 * fit + np.log(w).sum() + 60 * log_sd + b**2 / strict.C

    found = minimize(criterion, [0.0, 0.1, 0.0], method="Nelder-Mead", options={"xatol": 1e-7})
    slope = model.parent_estimators_[()].coef_[0, 0]
    assert_allclose([slope, sd], [found.x[1], np.exp(found.x[2])], rtol=1e-4)
    assert 0.0 < slope < 0.99 * free.coef_[0]


def test_groups_of_one_class_take_part():
    X, y, p = shops()
    pure = pd.Series(y).groupby(X["shop"]).transform("nunique").to_numpy() == 1
    zero = pure & (y == 0)
    assert zero.sum() > 50
    model = GroupedModels(LogisticRegression(), group_features="shop").fit(X, y)
    found = model.predict_proba(X)[:, 1]
    assert abs(found[zero].mean() - p[zero].mean()) < 0.05
    mixed = MixedClassifier("(1 | shop)").fit(X, y).predict_proba(X)[:, 1]
    assert_allclose(found, mixed, atol=0.01)
    assert not len(model.fallback_)
    own = model.coef_table()
    of_pure = own.index.isin(X["shop"][pure])
    assert own.loc[of_pure, "(Intercept)"].isna().all()
    alone = LogisticRegression(tol=1e-10)
    shop = own.index[~of_pure][4]
    rows = X["shop"] == shop
    alone.fit(X.loc[rows, ["x"]], y[rows])
    assert_allclose(own.loc[shop, "x"], alone.coef_[0, 0], rtol=1e-4)


def test_all_groups_of_one_class_each():
    X, _, _ = shops()
    y = (X["shop"] % 2).to_numpy()
    model = GroupedModels(LOGISTIC, group_features="shop").fit(X, y)
    assert model.score(X, y) == 1.0
    assert np.isfinite(model.decision_function(X)).all()


@pytest.mark.parametrize("size", [8, 20, 50])
@pytest.mark.parametrize("C", [1.0, np.inf])
def test_probabilities_are_as_near_the_truth_as_the_mixed_model_s(size, C):
    ratios = []
    for seed in range(3):
        X, y, p = shops(150, size, (2.0, 0.0), seed)
        mixed = MixedClassifier("(1 | shop)").fit(X, y)
        model = GroupedModels(LogisticRegression(C=C), group_features="shop").fit(X, y)
        errors = [np.mean((each.predict_proba(X)[:, 1] - p) ** 2) for each in (model, mixed)]
        ratios.append(errors[0] / errors[1])
    assert max(ratios) < 1.1


def test_weights_are_frequencies():
    X, y, _ = shops(20)
    times = np.random.default_rng(0).integers(1, 4, len(y))
    weighted = GroupedModels(LOGISTIC, group_features="shop").fit(X, y, sample_weight=times)
    many = X.loc[np.repeat(np.arange(len(y)), times)].reset_index(drop=True)
    repeated = GroupedModels(LOGISTIC, group_features="shop").fit(many, np.repeat(y, times))
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-8)
    assert_allclose(weighted.coef_table(), repeated.coef_table(), rtol=1e-5)


def test_units_and_origins_do_not_matter():
    X, y, _ = shops(30, 30, (1.0, 0.7))
    near = GroupedModels(LOGISTIC, group_features="shop").fit(X, y)
    far = X.assign(x=1e3 * X["x"] + 1e5)
    model = GroupedModels(LogisticRegression(C=np.inf, max_iter=3000), group_features="shop")
    found = model.fit(far, y)
    assert_allclose(found.predict_proba(far), near.predict_proba(X), rtol=1e-5)


def test_groups_that_are_too_small_get_what_their_parent_has():
    X, y, _ = shops()
    few = X["shop"].isin([3, 5])
    kept = ~few | (np.arange(len(y)) % 4 == 0)
    model = GroupedModels(LOGISTIC, group_features="shop", min_samples=5)
    model.fit(X[kept], y[kept])
    assert model.fallback_["group"].tolist() == [(3,), (5,)]
    new = X[X["shop"] == 3]
    unknown = model.predict_proba(new.assign(shop=-1))
    assert_allclose(model.predict_proba(new), unknown)
    rest = GroupedModels(LOGISTIC, group_features="shop").fit(X[~few], y[~few])
    assert_allclose(rest.predict_proba(X[~few]), model.predict_proba(X[~few]), rtol=1e-5)


def test_it_travels_and_has_no_rows():
    X, y, _ = shops()
    model = GroupedModels(LOGISTIC, group_features="shop").fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    assert_allclose(copy.predict_proba(X), model.predict_proba(X))
    assert model.predict_proba(X.head(0)).shape == (0, 2)
    assert model.predict(X.head(0)).shape == (0,)
    with pytest.raises(ValueError, match="NaN"):
        model.predict(X.head(2).assign(x=np.nan))


def test_many_coefficients_are_blended(monkeypatch):
    monkeypatch.setattr(_generalized_fits, "_MOST_COEFFICIENTS", 1)
    X, y, _ = shops(10, 40)
    model = GroupedModels(LOGISTIC, group_features="shop").fit(X, y)
    assert list(model.weights_.columns) == ["pooled", "shop"]


def random_design(seed):
    """Rows of groups, new rows of the same groups, and their true probabilities."""
    rng = np.random.default_rng(seed)
    n_groups, p = int(rng.choice([2, 3, 5, 10, 30, 100])), int(rng.integers(1, 6))
    sizes = 1 + rng.poisson(rng.choice([3, 6, 12, 30, 80]), n_groups)
    spread = np.append(rng.choice([0.0, 0.3, 1.0, 2.0]), np.full(p, rng.choice([0.0, 0.0, 0.3, 1])))
    mean = np.append(1.2 * rng.normal(), rng.choice([0.0, 0.5, 1.0]) * rng.normal(size=p))
    coef = mean + spread * rng.normal(size=(n_groups, p + 1))
    groups = np.repeat(np.arange(n_groups), sizes), np.repeat(np.arange(n_groups), 40)
    tables = [rng.normal(size=(len(each), p)) for each in groups]
    truth = [
        1.0 / (1.0 + np.exp(-(coef[g, 0] + np.einsum("ij,ij->i", x, coef[g, 1:]))))
        for g, x in zip(groups, tables, strict=True)
    ]
    y = (rng.random(len(groups[0])) < truth[0]).astype(int)
    return tables, groups, y, truth[1]


def loss_ratios(estimator, seeds):
    """Expected log-loss of new rows, as a share of that of the estimator without groups."""
    ratios = []
    for seed in seeds:
        (X, new), (group, of_new), y, truth = random_design(seed)
        if len(set(y)) < 2:
            continue
        model = GroupedModels(clone(estimator)).fit(X, y, groups=group)
        found = model.predict_proba(new, groups=of_new)[:, 1]
        alike = clone(estimator).fit(X, y).predict_proba(new)[:, 1]
        both = np.r_[np.ones(len(truth)), np.zeros(len(truth))]
        share = np.r_[truth, 1.0 - truth]
        losses = [log_loss(both, np.r_[p, p], sample_weight=share) for p in (found, alike)]
        ratios.append(losses[0] / losses[1])
    return np.array(ratios)


@pytest.mark.parametrize("C", [1.0, np.inf])
def test_it_is_not_worse_than_without_groups(C):
    ratios = loss_ratios(LogisticRegression(C=C), range(12))
    assert ratios.mean() < 0.95
    assert ratios.max() < 1.02


@pytest.mark.study
@pytest.mark.parametrize("C", [1.0, np.inf])
def test_it_is_not_worse_than_without_groups_in_a_hundred_designs(C):
    ratios = loss_ratios(LogisticRegression(C=C), range(100))
    assert ratios.mean() < 0.95
    assert ratios.max() < 1.02
