"""Cumulative link mixed models against those of R, closed forms, and themselves."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_predict

from skmixed import MixedClassifier, OrdinalMixedClassifier
from skmixed.exceptions import UnidentifiedWarning

TOLERANCE = {"rtol": 5e-5, "atol": 5e-5}  # what the gradients of R's searches leave


def rows():
    rng, n = np.random.default_rng(11), 600
    x, dose = rng.normal(size=n).round(3), rng.integers(0, 3, n)
    g, h = rng.integers(0, 40, n), rng.integers(0, 12, n)
    latent = 0.8 * x + np.array([0.0, 0.7, -0.4])[dose] + rng.normal(0, 0.9, 40)[g]
    latent += rng.normal(0, 0.5, 12)[h] + rng.normal(0, 0.4, 40)[g] * x + rng.logistic(size=n)
    X = pd.DataFrame({"x": x, "dose": np.array(list("abc"))[dose], "g": g, "h": h})
    return X, np.searchsorted([-1.0, 0.4, 2.0], latent)


X, Y = rows()
SHARES = pd.DataFrame({"x": [0.0, 1.0], "dose": ["a", "b"], "g": [3, -1], "h": [0, 0]})

# ordinal 2022.11-16 of R, clmm(ordered(y) ~ x + dose + ...) of the rows above, written as CSV, with
# gradTol = 1e-9: -2 log-likelihood, thresholds, coefficients, errors of both, and variances. What
# clmm calls "loglog" is "cloglog" of clm in the same package, and here.
OF_R = {
    "logit": (
        {"random": "(1 | g)"},
        1543.92933652,
        [-1.21473836350, 0.09698660932, 1.71827914765],
        [0.55019472009, 0.65810505036, -0.54873658683],
        [0.176361924, 0.167947390, 0.184342919],
        [0.082555813, 0.185022073, 0.190749974],
        [0.3817982904],
    ),
    "probit": (
        {"random": "(1 | g)", "link": "probit"},
        1542.49090675,
        [-0.73867906033, 0.04984895515, 1.01450232895],
        [0.33374111036, 0.37754953528, -0.33279332641],
        [0.105355662, 0.101904164, 0.107670227],
        [0.048740825, 0.109079480, 0.112776976],
        [0.1455794609],
    ),
    "cloglog": (
        {"random": "(1 | g)", "link": "cloglog"},
        1555.47430761,
        [-1.3027658079, -0.3405533839, 0.6177426528],
        [0.3319310945, 0.3662065925, -0.3371218524],
        [0.124262174, 0.108849806, 0.105080129],
        [0.050333722, 0.117839514, 0.116841051],
        [0.1537322425],
    ),
    "quadrature": (
        {"random": "(1 | g)", "quadrature": 9},
        1543.70803574,
        [-1.21490696014, 0.09707849299, 1.71861494107],
        [0.55034835502, 0.65812232576, -0.54842470814],
        [0.176713399, 0.168319446, 0.184688833],
        [0.082561131, 0.185038470, 0.190753668],
        [0.3867083467],
    ),
    "crossed": (
        {"random": "(1 | g) + (1 | h)"},
        1530.99229329,
        [-1.2139437706, 0.1481697496, 1.8201775000],
        [0.5551708053, 0.7357470527, -0.5238551209],
        [0.217770625, 0.211515122, 0.226517970],
        [0.084276787, 0.189415409, 0.195262551],
        [0.4216391246, 0.1728996935],
    ),
}


@pytest.mark.parametrize("case", list(OF_R))
def test_estimates_are_those_of_r(case):
    settings, criterion, thresholds, coef, of_thresholds, of_coef, variances = OF_R[case]
    model = OrdinalMixedClassifier(fixed="x + dose", **settings).fit(X, Y)
    assert model.criterion_ <= criterion + 1e-5
    assert model.criterion_ == pytest.approx(criterion, abs=1e-4)
    np.testing.assert_allclose(model.thresholds_, thresholds, **TOLERANCE)
    np.testing.assert_allclose(model.coef_, coef, **TOLERANCE)
    errors = np.sqrt(np.diag(model.coef_covariance_))
    np.testing.assert_allclose(errors, of_coef, rtol=1e-4)
    errors = np.sqrt(np.diag(model.fit_.thresholds_covariance))
    np.testing.assert_allclose(errors, of_thresholds, rtol=1e-4)
    found = [float(omega.iloc[0, 0]) for omega in model.random_covariance_.values()]
    np.testing.assert_allclose(found, variances, rtol=1e-3)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_two_categories_are_classes(link):
    y = np.where(Y > 1, "high", "low")
    ordinal = OrdinalMixedClassifier("(x | g)", link=link, categories=["low", "high"])
    ordinal.fit(X[["x", "g"]], y)
    binary = MixedClassifier("(x | g)", link=link).fit(X[["x", "g"]], (y == "high"))
    assert ordinal.criterion_ == pytest.approx(binary.criterion_, rel=1e-10)
    np.testing.assert_allclose(ordinal.thresholds_, [-binary.intercept_], rtol=1e-6)
    np.testing.assert_allclose(
        ordinal.predict_proba(X[["x", "g"]]), binary.predict_proba(X[["x", "g"]]), rtol=1e-6
    )


def test_without_columns_and_groups_thresholds_are_those_of_the_shares():
    nothing = pd.DataFrame(index=range(len(Y)))
    model = OrdinalMixedClassifier(fixed="1").fit(nothing, Y)
    shares = np.bincount(Y) / len(Y)
    below = np.cumsum(shares)[:-1]
    np.testing.assert_allclose(model.thresholds_, np.log(below / (1.0 - below)), rtol=1e-6)
    assert model.criterion_ == pytest.approx(-2.0 * (np.bincount(Y) @ np.log(shares)), rel=1e-10)
    np.testing.assert_allclose(model.predict_proba(nothing)[0], shares, rtol=1e-6)


def test_the_other_way_round_signs_change():
    model = OrdinalMixedClassifier("(1 | g)", fixed="x").fit(X, Y)
    turned = OrdinalMixedClassifier("(1 | g)", fixed="x").fit(X, -Y)
    assert turned.criterion_ == pytest.approx(model.criterion_, rel=1e-10)
    np.testing.assert_allclose(turned.coef_, -model.coef_, rtol=1e-5)
    np.testing.assert_allclose(turned.thresholds_, -model.thresholds_[::-1], rtol=1e-5)


def test_probabilities_of_new_groups_are_averages():
    model = OrdinalMixedClassifier("(1 | g)", fixed="x").fit(X, Y)
    z, weights = np.polynomial.hermite_e.hermegauss(80)
    weights /= weights.sum()
    deviation = float(np.sqrt(model.random_covariance_["g"].iloc[0, 0]))
    eta = model.coef_[0] + deviation * z
    below = 1.0 / (1.0 + np.exp(-(model.thresholds_[:, None] - eta))) @ weights
    expected = np.diff(np.concatenate([[0.0], below, [1.0]]))
    found = model.predict_proba(SHARES)
    np.testing.assert_allclose(found[1], expected, atol=1e-8)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(SHARES)), found)
    assert (model.predict(SHARES) == found.argmax(axis=1)).all()
    plug_in = OrdinalMixedClassifier("(1 | g)", fixed="x", averaging="plug-in").fit(X, Y)
    at_zero = 1.0 / (1.0 + np.exp(-(model.thresholds_ - model.coef_[0])))
    np.testing.assert_allclose(
        plug_in.predict_proba(SHARES)[1], np.diff(np.concatenate([[0.0], at_zero, [1.0]]))
    )


def test_order_of_the_categories():
    names = np.array(["bad", "poor", "fair", "good"])
    expected = OrdinalMixedClassifier("(1 | g)", fixed="x").fit(X, Y)

    def check(model, y):
        model.fit(X, y)
        assert model.classes_.tolist() == names.tolist()
        np.testing.assert_array_equal(model.thresholds_, expected.thresholds_)
        assert (model.predict(X) == names[expected.predict(X)]).all()

    plain = OrdinalMixedClassifier("(1 | g)", fixed="x")
    ordered = pd.Categorical.from_codes(Y, names, ordered=True)
    check(plain, pd.Series(ordered))
    check(plain, ordered)
    check(plain, pl.Series(names[Y].tolist(), dtype=pl.Enum(names.tolist())))
    check(OrdinalMixedClassifier("(1 | g)", fixed="x", categories=names), names[Y])
    unused = ordered.add_categories(["best"])
    check(plain, pd.Series(unused))
    with pytest.warns(UserWarning, match="text categories are ordered alphabetically"):
        plain.fit(X, names[Y])
    assert plain.classes_.tolist() == sorted(names)
    with pytest.raises(ValueError, match=r"lacks \['fair'\]"):
        OrdinalMixedClassifier(categories=["bad", "poor", "good"]).fit(X[["x"]], names[Y])
    with pytest.raises(ValueError, match="a label twice"):
        OrdinalMixedClassifier(categories=[*names, "bad"]).fit(X[["x"]], names[Y])
    some = pd.Series(ordered)
    weights = np.ones(len(Y))
    weights[0] = 0.0  # the order is not lost with the row
    check(plain, some)
    assert plain.fit(X, some, weights).classes_.tolist() == names.tolist()


def test_weights_are_rows():
    weights = np.random.default_rng(3).integers(0, 4, len(Y))
    weighted = OrdinalMixedClassifier("(x | g)", fixed="x").fit(X, Y, weights)
    repeated = OrdinalMixedClassifier("(x | g)", fixed="x").fit(
        X.loc[X.index.repeat(weights)], np.repeat(Y, weights)
    )
    assert weighted.criterion_ == pytest.approx(repeated.criterion_, rel=1e-11)
    np.testing.assert_allclose(weighted.thresholds_, repeated.thresholds_, rtol=1e-6)


def test_separated_categories_are_said():
    x = np.arange(60.0)
    y = np.repeat([0, 1, 2], 20)
    model = OrdinalMixedClassifier()
    with pytest.warns(ConvergenceWarning, match=r"\['x'\] separate"):
        model.fit(pd.DataFrame({"x": x}), y)
    assert model.separated_ == ["x", "0|1", "1|2"]
    assert np.isnan(model.coef_covariance_.loc["x", "x"])
    assert (model.predict(pd.DataFrame({"x": x})) == y).all()


def test_a_level_for_every_row_does_not_tell_the_variance():
    with pytest.warns(UnidentifiedWarning, match="grouping factor 'row' has a level per row"):
        model = OrdinalMixedClassifier("(1 | row)").fit(X[["x"]].assign(row=np.arange(len(Y))), Y)
    assert model.random_covariance_["row"].iloc[0, 0] == 0.0


def test_what_cannot_be_is_refused_with_the_reason():
    model = OrdinalMixedClassifier("(1 | g)")
    assert not hasattr(model, "predict_interval")
    with pytest.raises(AttributeError, match="a category has no interval"):
        _ = model.predict_interval
    with pytest.raises(AttributeError, match="generalized models cannot be fitted from"):
        _ = model.partial_fit


def test_what_is_wrong_is_said():
    model = OrdinalMixedClassifier("(1 | g)")
    with pytest.raises(ValueError, match="one class only"):
        model.fit(X[["x", "g"]], np.zeros(len(Y)))
    with pytest.raises(ValueError, match="thresholds take the place of an intercept"):
        OrdinalMixedClassifier(fixed="0 + x").fit(X, Y)
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(X[["x", "g"]], X["x"])
    model.fit(X[["x", "g"]], Y)
    assert not hasattr(model, "intercept_")
    assert model.coef_covariance_.shape == (1, 1)
    restored = OrdinalMixedClassifier.from_dict(model.to_dict())
    np.testing.assert_array_equal(
        restored.predict_proba(X[["x", "g"]]), model.predict_proba(X[["x", "g"]])
    )


def test_in_cross_validation():
    model = OrdinalMixedClassifier("(1 | g)")
    found = cross_val_predict(model, X[["x", "g"]], Y, cv=3, method="predict_proba")
    assert found.shape == (len(Y), 4)
    assert np.mean(np.log(found[np.arange(len(Y)), Y])) > -1.36


def test_evaluations_for_derivatives_in_many_thresholds_are_no_steps():
    rng = np.random.default_rng(0)
    g, x = rng.integers(30, size=1000), rng.normal(size=1000)
    latent = x + rng.normal(size=30)[g] + rng.logistic(size=1000)
    cuts = np.quantile(latent, np.linspace(0.0, 1.0, 61)[1:-1])
    X = pd.DataFrame({"x": x, "g": g})
    fine, coarse = (
        OrdinalMixedClassifier("(1 | g)").fit(X, np.searchsorted(thresholds, latent))
        for thresholds in (cuts, cuts[::6])
    )
    assert fine.converged_
    np.testing.assert_allclose(fine.coef_, coarse.coef_, rtol=0.05)
    np.testing.assert_allclose(fine.thresholds_[::6], coarse.thresholds_, atol=0.05)
