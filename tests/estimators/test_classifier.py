"""The classifier: probabilities against integrals done by hand, labels, errors, and warnings."""

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, special, stats
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, cross_val_predict, cross_val_score
from sklearn.multiclass import OneVsRestClassifier

from skmixed import MixedClassifier, MixedLinearRegressor, distributed, inference
from skmixed.exceptions import ApproximationWarning, UnidentifiedWarning, UnknownLevelWarning
from skmixed.model_selection import cross_validate
from tests import reference_set

MEANS = {
    "logit": special.expit,
    "probit": stats.norm.cdf,
    "cloglog": lambda eta: -np.expm1(-np.exp(eta)),
}


def shoppers(n=480, n_shops=24, seed=0, spread=1.2):
    """Whether people bought, in shops whose level and slope differ."""
    rng = np.random.default_rng(seed)
    shop, x, z = rng.permutation(np.arange(n) % n_shops), rng.normal(size=n), rng.normal(size=n)
    level, slope = spread * rng.normal(size=(2, n_shops))
    eta = 0.4 - 0.7 * z + (0.5 + 0.6 * slope[shop]) * x + level[shop]
    table = pd.DataFrame({"x": x, "z": z, "shop": shop, "street": rng.integers(6, size=n)})
    return table, np.where(rng.random(n) < special.expit(eta), "yes", "no")


X, Y = shoppers()
NEW = pd.DataFrame(
    {"x": [0.3, -1.5, 2.0, 0.0], "z": [1.0, 0.0, -2.0, 0.5], "shop": [0, 5, 999, 999], "street": 1}
)


def by_hand(center, deviation, link):
    """Integrate the inverse link over a normal variable."""

    def value(u):
        return MEANS[link](center + deviation * u) * stats.norm.pdf(u)

    return integrate.quad(value, -12, 12, epsabs=1e-13, limit=400, points=[0.0])[0]


def parts(model, rows):
    """Means and variances of eta of rows, from public attributes, one factor with slopes."""
    z = np.column_stack([np.ones(len(rows)), rows["x"]])
    effects, prior = model.random_effects_["shop"], model.random_covariance_["shop"].to_numpy()
    given = model.random_effects_covariance_["shop"]
    center = model.intercept_ + rows[["x", "z"]].to_numpy() @ model.coef_
    variance = np.empty(len(rows))
    for row, shop in enumerate(rows["shop"]):
        known = shop in effects.index
        covariance = given[effects.index.get_loc(shop)] if known else prior
        variance[row] = z[row] @ covariance @ z[row]
        center[row] += z[row] @ effects.loc[shop].to_numpy() if known else 0.0
    return center, variance


@pytest.mark.parametrize("link", list(MEANS))
def test_probabilities_are_averaged_over_what_is_not_known(link):
    model = MixedClassifier("(x | shop)", link=link, fixed="x + z").fit(X, Y)
    center, variance = parts(model, NEW)
    expected = [by_hand(m, np.sqrt(v), link) for m, v in zip(center, variance, strict=True)]
    found = model.predict_proba(NEW)
    assert_allclose(found[:, 1], expected, rtol=1e-10)
    assert_allclose(found.sum(axis=1), 1.0, rtol=1e-14)
    assert_allclose(model.decision_function(NEW), special.logit(expected), rtol=1e-9)
    assert_allclose(np.exp(model.predict_log_proba(NEW)), found, rtol=1e-12)
    assert_array_equal(model.predict(NEW), np.where(found[:, 1] > 0.5, "yes", "no"))
    plain = clone(model).set_params(averaging="plug-in").fit(X, Y)
    assert_allclose(plain.predict_proba(NEW)[:, 1], MEANS[link](center), rtol=1e-12)


def test_factors_that_are_not_looked_at_are_averaged_over():
    model = MixedClassifier("(1 | shop) + (x | street)").fit(X, Y)
    rows = NEW.iloc[:1]
    prior = model.random_covariance_["street"].to_numpy()
    z = np.array([1.0, rows["x"].iloc[0]])
    shops, fixed = model.random_effects_["shop"], rows[["x", "z"]].to_numpy() @ model.coef_
    of_shop = float(model.random_covariance_["shop"].iloc[0, 0])
    center = model.intercept_ + fixed[0]
    whole = by_hand(center, np.sqrt(of_shop + z @ prior @ z), "logit")
    for table in (rows, rows.drop(columns=["shop", "street"])):
        found = model.predict_proba(table, random="none")[0, 1]
        assert found == pytest.approx(whole, rel=1e-10)
    unknown = rows.assign(shop=-1, street=-1)
    assert model.predict_proba(unknown)[0, 1] == pytest.approx(whole, rel=1e-10)
    given = float(model.random_effects_covariance_["shop"][0, 0, 0])
    known = by_hand(center + shops.loc[0].iloc[0], np.sqrt(given + z @ prior @ z), "logit")
    # the two factors' effects covary given the data, but not with a street of which none is known
    assert model.predict_proba(rows.assign(street=-1))[0, 1] == pytest.approx(known, rel=1e-10)
    assert model.predict_proba(rows, random=["shop"])[0, 1] == pytest.approx(known, rel=1e-10)


def test_probabilities_of_new_groups_are_calibrated():
    X, y = shoppers(8_000, 400, seed=3, spread=2.0)
    is_new = X["shop"] >= 200
    errors = {}
    for averaging in ("integrate", "plug-in"):
        model = MixedClassifier("(x | shop)", averaging=averaging).fit(X[~is_new], y[~is_new])
        hit = model.predict_proba(X[is_new])[:, 1]
        errors[averaging] = log_loss(y[is_new], hit)
    assert errors["integrate"] < errors["plug-in"] - 0.01


def test_it_is_lme4s_on_the_cattle_of_zebu_herds():
    table = reference_set.table("cbpp")
    rows = pd.concat([table.assign(ill=1), table.assign(ill=0)], ignore_index=True)
    healthy = table["size"] - table["incidence"]
    weights = np.concatenate([table["incidence"], healthy]).astype(float)
    model = MixedClassifier("(1 | herd)", fixed="C(period)").fit(rows, rows["ill"], weights)
    # lme4 1.1-31, its optimum polished with the criterion of exactly converged modes.
    beta = [-0.9923327348730155, -1.1286720841679938, -1.5803138851795786]
    assert_allclose(model.coef_, beta, rtol=1e-6)
    assert model.intercept_ == pytest.approx(-1.3985321423739652, rel=1e-6)
    assert_allclose(model.theta_, [0.6422614484429205], rtol=1e-6)
    errors = [0.23247199232249, 0.30664249797638, 0.32663785055805, 0.42743658661551]
    assert_allclose(np.sqrt(np.diag(model.coef_covariance_)), errors, rtol=1e-5)


def test_without_groups_it_is_logistic_regression():
    numbers = X[["x", "z"]]
    model = MixedClassifier().fit(numbers, Y)
    plain = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(numbers, Y)
    assert_allclose(model.coef_, plain.coef_[0], rtol=1e-5)
    assert_allclose(model.predict_proba(numbers), plain.predict_proba(numbers), rtol=1e-4)
    assert model.criterion_ == pytest.approx(
        2 * log_loss(Y, plain.predict_proba(numbers), normalize=False), rel=1e-8
    )
    assert model.random_effects_ == {}


def test_an_offset_moves_the_predictor():
    model = MixedClassifier("(1 | shop)", fixed="x + offset(0.5 * z)").fit(X, Y)
    plain = clone(model).set_params(averaging="plug-in").fit(X, Y)
    low = plain.decision_function(NEW)
    high = plain.decision_function(NEW.assign(z=NEW["z"] + 2.0))
    assert_allclose(high - low, 1.0, rtol=1e-10)


LABELS = {
    "text": np.array(["a", "b"], dtype=object),
    "numbers": np.array([3, 7]),
    "floats": np.array([-1.0, 1.0]),
    "truth": np.array([False, True]),
}


@pytest.mark.parametrize("kind", list(LABELS))
def test_labels_of_any_type(kind):
    labels = LABELS[kind]
    y = labels[(Y == "yes").astype(int)]
    model = MixedClassifier("(1 | shop)").fit(X, y)
    assert_array_equal(model.classes_, labels)
    assert model.predict(X).dtype == y.dtype
    again = MixedClassifier("(1 | shop)").fit(X, pd.Series(y).convert_dtypes())
    assert_array_equal(again.predict(X), model.predict(X))
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert model.score(X, y) == np.mean(model.predict(X) == y) > 0.6
    restored = MixedClassifier.from_dict(model.to_dict())
    assert_array_equal(restored.predict(X), model.predict(X))
    assert restored.classes_.dtype == model.classes_.dtype


def test_errors_at_the_door():
    model = MixedClassifier("(1 | shop)")
    with pytest.raises(ValueError, match="y has one class only, 'yes', among rows with a weight"):
        model.fit(X, np.full(len(X), "yes"))
    with pytest.raises(ValueError, match="y has one class only, 'no'"):
        model.fit(X, Y, sample_weight=(Y == "no").astype(float))
    with pytest.raises(ValueError, match=r"Only binary .* y has 3 classes: .*OneVsRestClassifier"):
        model.fit(X, np.where(X["z"] > 1, "much", Y))
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(X, X["x"])
    for missing in (None, np.nan):
        y = pd.Series(Y, dtype=object)
        y[7] = missing
        with pytest.raises(ValueError, match="y contains NaN: row 7 has no label"):
            model.fit(X, y)
    with pytest.raises(ValueError, match="quadrature=3 needs one grouping factor"):
        MixedClassifier("(1 | shop) + (1 | street)", quadrature=3).fit(X, Y)
    with pytest.raises(ValueError, match="use at most 31"):
        MixedClassifier("(x | shop)", quadrature=32).fit(X, Y)
    with pytest.raises(ValueError, match="'link' parameter"):
        MixedClassifier("(1 | shop)", link="log").fit(X, Y)
    assert not hasattr(model, "classes_")


def test_more_classes_one_against_the_rest():
    y = np.where(X["z"] + np.random.default_rng(1).normal(size=len(X)) > 1, "much", Y)
    several = OneVsRestClassifier(MixedClassifier("(x0 | x2)", group_features=[3]))
    shares = several.fit(X.to_numpy(), y).predict_proba(X.to_numpy())
    assert shares.shape == (len(X), 3)


def test_unknown_levels_have_no_class_if_they_have_no_probability():
    model = MixedClassifier("(1 | shop)", handle_unknown="nan").fit(X, Y)
    assert np.isnan(model.predict_proba(NEW)).all(axis=1).tolist() == [False, False, True, True]
    with pytest.raises(ValueError, match="2 rows have group labels that are missing"):
        model.predict(NEW)
    model = MixedClassifier("(1 | shop)", handle_unknown="error").fit(X, Y)
    with pytest.raises(ValueError, match="'shop' that are missing or were not seen"):
        model.predict(NEW)
    by_argument = MixedClassifier("(1 | shop)").fit(X[["x", "z"]], Y, groups=X["shop"])
    with pytest.warns(UnknownLevelWarning, match="no labels of"):
        by_argument.predict(NEW[["x", "z"]])


def test_columns_that_separate_are_named():
    table = X[["x", "shop"]].assign(rare=(np.arange(len(X)) < 6).astype(float))
    y = np.where(table["rare"] == 1, "yes", Y)
    model = MixedClassifier("(1 | shop)")
    with pytest.warns(ConvergenceWarning, match=r"columns \['rare'\] separate"):
        model.fit(table, y)
    assert model.separated_ == ["rare"]
    assert not model.converged_
    assert model.coef_[1] > 3.0
    errors = np.diag(model.coef_covariance_)
    assert np.isnan(errors).tolist() == [False, False, True]
    assert np.isfinite(model.predict_proba(table)).all()
    assert (model.predict(table[table["rare"] == 1]) == "yes").all()


def test_levels_of_one_class_each_have_no_largest_variance():
    y = np.where(X["shop"] % 3 == 0, "yes", "no")
    with pytest.warns(UnidentifiedWarning, match=r"\['shop'\] .* held at 100"):
        model = MixedClassifier("(1 | shop)").fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict_proba(NEW), model.predict_proba(NEW))
    assert (model.predict(X) == y).all()


def few_rows(seed):
    """Two slopes by two factors, for forty rows."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(40, 2)), columns=["a", "b"])
    table["g"], table["h"] = np.arange(40) % 13, rng.integers(0, 9, 40)
    effects = 2.0 * rng.normal(size=13)[table["g"]]
    return table, rng.random(40) < 1.0 / (1.0 + np.exp(-table["a"] - effects))


def test_more_random_effects_than_rows_tell_of_is_said():
    with pytest.warns(UnidentifiedWarning, match="grow without end.*many random effects"):
        MixedClassifier("(b | g) + (a | h)", max_iter=50).fit(*few_rows(5))


@pytest.mark.parametrize(
    ("random", "quadrature", "seed"),
    [
        ("(b | g) + (a | h)", 1, 0),
        ("(b | g) + (a | h)", 1, 4),
        ("(b | g)", 1, 6),
        ("(b | g)", 9, 1),
    ],
)
def test_deviations_that_responses_do_not_tell_are_said(random, quadrature, seed):
    model = MixedClassifier(random, quadrature=quadrature)
    with pytest.warns(
        UnidentifiedWarning, match="the link scale, where counts of zero, proportions of 0 or 1"
    ):
        model.fit(*few_rows(seed))
    assert model.converged_
    assert np.isfinite(model.predict_proba(few_rows(seed)[0])).all()


@pytest.mark.filterwarnings("ignore::skmixed.exceptions.ApproximationWarning")
@pytest.mark.parametrize("seed", [9, 12, 15])
def test_deviations_that_are_large_and_told_are_not_warned_of(seed):
    MixedClassifier("(b | g) + (a | h)").fit(*few_rows(seed))


def test_a_level_for_every_row_has_no_variance():
    table = X.assign(shop=np.arange(len(X)))
    with pytest.warns(UnidentifiedWarning, match="'shop' has a level per row, and binary"):
        model = MixedClassifier("(1 | shop)").fit(table, Y)
    assert float(model.random_covariance_["shop"].iloc[0, 0]) == 0.0
    assert model.is_singular_


def test_a_coarse_approximation_is_told_of_and_quadrature_mends_it():
    table, y = shoppers(6_000, 1_500, seed=5, spread=2.0)
    with pytest.warns(ApproximationWarning, match=r"standard errors\. Fit with quadrature=9"):
        model = MixedClassifier("(1 | shop)").fit(table, y)
    assert model.approximation_shift_ > 0.5
    better = MixedClassifier("(1 | shop)", quadrature=9).fit(table, y)
    assert not hasattr(better, "approximation_shift_")
    low, high = (float(m.random_covariance_["shop"].iloc[0, 0]) for m in (model, better))
    assert high > 1.1 * low


def test_a_weight_stands_for_rows():
    weights = np.random.default_rng(2).integers(0, 4, len(X))
    rows = np.repeat(np.arange(len(X)), weights)
    weighted = MixedClassifier("(x | shop)").fit(X, Y, weights)
    repeated = MixedClassifier("(x | shop)").fit(X.iloc[rows], Y[rows])
    assert weighted.criterion_ == pytest.approx(repeated.criterion_, rel=1e-10)
    assert_allclose(weighted.predict_proba(NEW), repeated.predict_proba(NEW), rtol=1e-6)


def test_among_the_tools_of_scikit_learn():
    model = MixedClassifier("(1 | shop)")
    folds = GroupKFold(4)
    scores = cross_val_score(model, X, Y, groups=X["shop"], cv=folds, scoring="neg_log_loss")
    assert scores.mean() > -np.log(2)
    shares = cross_val_predict(model, X, Y, groups=X["shop"], cv=folds, method="predict_proba")
    assert shares.shape == (len(X), 2)
    found = cross_validate(model, X, Y, cv=3)
    assert found["test_score"].mean() > 0.6


def test_threads_may_ask_for_standard_errors_at_once():
    expected = MixedClassifier("(1 | shop) + (1 | street)").fit(X, Y).coef_covariance_
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(3):
            model, start = MixedClassifier("(1 | shop) + (1 | street)").fit(X, Y), Barrier(4)

            def ask(model=model, start=start):
                start.wait()
                return model.coef_covariance_

            with ThreadPoolExecutor(4) as pool:
                found = [future.result() for future in [pool.submit(ask) for _ in range(4)]]
            for each in found:
                assert_allclose(each, expected, rtol=1e-12)
    finally:
        sys.setswitchinterval(before)


def test_what_is_not_there_says_so():
    model = MixedClassifier("(1 | shop)").fit(X, Y)
    assert not hasattr(model, "partial_fit")
    assert not hasattr(model, "residual_variance_")
    with pytest.raises(TypeError, match="MixedClassifier"):
        distributed.fit(model, [X.assign(y=Y)], target="y")
    with pytest.raises(ValueError, match="df='satterthwaite' needs a linear mixed model"):
        inference.coefficient_table(model, df="satterthwaite")
    with pytest.raises(ValueError, match="needs the training data, which the model does not"):
        inference.bootstrap(model, 3)
    plain = MixedLinearRegressor("(1 | shop)").fit(X, Y == "yes")
    with pytest.raises(ValueError, match="likelihood-ratio tests need models of one kind"):
        inference.compare_models(plain, model)


@pytest.mark.parametrize("random", [None, "(1 | g)"])
def test_columns_of_which_separated_classes_say_nothing_have_no_error(random):
    rng = np.random.default_rng(0)
    side = np.where(np.arange(60) % 2, 1.0, -1.0) * (1.0 + rng.random(60))
    table = pd.DataFrame({"side": side, "x": rng.normal(size=60), "g": np.arange(60) // 10})
    model = MixedClassifier(random)
    with pytest.warns(ConvergenceWarning, match="separate"):
        model.fit(table if random else table[["side", "x"]], side > 0.0)
    errors = inference.coefficient_table(model).to_frame()["std_error"]
    assert errors.isna().all()
    half = np.where(np.arange(60) < 30, side > 0.0, rng.random(60) < 0.5)  # x is told by the rest
    table["side"] = np.where(np.arange(60) < 30, side, 0.0)
    with pytest.warns(ConvergenceWarning, match=r"\['side'\] separate"):
        model.fit(table if random else table[["side", "x"]], half)
    errors = inference.coefficient_table(model).to_frame()["std_error"]
    assert errors.isna().tolist() == [False, True, False]
