"""Effects of groups that come after the fit: against the modes by a plain minimisation."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize

from skmixed import MixedClassifier, MixedGeneralizedRegressor, glmer

SLOPES, MEAN = np.array([1.0, 0.5]), np.array([0.3, 0.5])


def drawn(family, eta, rng):
    """Responses of a family, (n,)."""
    if family == "binomial":
        return (rng.random(len(eta)) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    if family == "gamma":
        return rng.gamma(3.0, np.exp(eta) / 3.0)
    return rng.poisson(np.exp(eta)).astype(float)


def rows(n, first, last, rng):
    """A covariate, groups, exposures and weights."""
    columns = {"x": rng.normal(size=n), "g": rng.integers(first, last, n)}
    return pd.DataFrame({**columns, "days": rng.uniform(0.5, 3.0, n), "w": rng.integers(1, 4, n)})


def modes(family, phi, base, Z, y, weights, precision):
    """The most likely effects and their covariance, by minimising the joint density."""

    def objective(b):
        f, g, w = family.derivatives(base + Z @ b, y, weights, phi)
        return f.sum() + 0.5 * b @ precision @ b, Z.T @ g + precision @ b, (Z.T * w) @ Z + precision

    found = optimize.minimize(
        lambda b: objective(b)[0],
        np.zeros(Z.shape[1]),
        jac=lambda b: objective(b)[1],
        hess=lambda b: objective(b)[2],
        method="trust-exact",
        options={"gtol": 1e-10},
    ).x
    _, slope, curvature = objective(found)
    covariance = np.linalg.inv(curvature)
    return found - covariance @ slope, covariance


@pytest.mark.parametrize("family", ["poisson", "binomial", "gamma", "negative_binomial"])
def test_effects_of_new_groups_are_their_modes(family):
    rng = np.random.default_rng(3)
    old, new = rows(600, 0, 30, rng), rows(40, 30, 36, rng)
    effects = rng.normal(size=(36, 2)) * SLOPES
    offset = 0.0 if family == "binomial" else np.log(old["days"])
    etas = [
        MEAN[0] + effects[t["g"], 0] + (MEAN[1] + effects[t["g"], 1]) * t["x"] for t in (old, new)
    ]
    exposure = None if family == "binomial" else "days"
    model = MixedGeneralizedRegressor("(x | g)", fixed="x", family=family, exposure=exposure)
    model.fit(old, drawn(family, (etas[0] + offset).to_numpy(), rng), sample_weight=old["w"])
    kept = {name: effect.copy() for name, effect in model.random_effects_.items()}
    criterion, y = model.criterion_, drawn(family, etas[1].to_numpy(), rng)
    model.update_groups(new, y, sample_weight=new["w"])
    precision = np.linalg.inv(model.random_covariance_["g"].to_numpy())
    found, given = model.random_effects_["g"], model.random_effects_covariance_["g"]
    for group in np.unique(new["g"]):
        own = new[new["g"] == group]
        base = model.intercept_ + model.coef_[0] * own["x"].to_numpy()
        if exposure is not None:
            base = base + np.log(own["days"].to_numpy())
        Z = np.column_stack([np.ones(len(own)), own["x"]])
        weights = own["w"].to_numpy(float)
        fit = model.fit_
        b, covariance = modes(
            fit.family, fit.phi, base, Z, y[new["g"] == group], weights, precision
        )
        assert_allclose(found.loc[group], b, atol=1e-9)
        assert_allclose(given[found.index.get_loc(group)], covariance, atol=1e-9)
    assert_allclose(found.loc[kept["g"].index], kept["g"], atol=1e-9)
    assert model.criterion_ == criterion


def test_crossed_groups_that_are_all_new_have_their_joint_mode():
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"rater": rng.integers(0, 12, 400), "item": rng.integers(0, 15, 400)})
    raters, items = 0.8 * rng.normal(size=12), rng.normal(size=15)
    y = drawn("poisson", (raters[table["rater"]] + items[table["item"]]), rng)
    model = MixedGeneralizedRegressor("(1 | rater) + (1 | item)").fit(table, y)
    new = pd.DataFrame({"rater": rng.integers(20, 23, 30), "item": rng.integers(30, 34, 30)})
    counts = rng.poisson(2.0, 30).astype(float)
    model.update_groups(new, counts)
    Z = np.column_stack(
        [new["rater"] == level for level in range(20, 23)]
        + [new["item"] == level for level in range(30, 34)]
    ).astype(float)
    between = [model.random_covariance_[name].to_numpy()[0, 0] for name in ("rater", "item")]
    precision = np.diag(1.0 / np.repeat(between, [3, 4]))
    base = np.full(30, model.intercept_)
    b, covariance = modes(model.fit_.family, model.fit_.phi, base, Z, counts, None, precision)
    found = [model.random_effects_["rater"].iloc[-3:], model.random_effects_["item"].iloc[-4:]]
    assert_allclose(np.concatenate(found)[:, 0], b, atol=1e-9)
    given = model.random_effects_covariance_["item"][-4:, 0, 0]
    assert_allclose(given, np.diag(covariance)[3:], atol=1e-9)


def test_what_the_fit_knew_of_a_group_is_a_quadratic():
    rng = np.random.default_rng(7)
    table = rows(400, 0, 20, rng)
    y = drawn("poisson", 0.5 + rng.normal(size=20)[table["g"]], rng)
    model = MixedGeneralizedRegressor("(1 | g)", fixed="1").fit(table, y)
    before = model.random_effects_["g"].loc[0].to_numpy()
    given = model.random_effects_covariance_["g"][0]
    counts = np.array([9.0, 7.0])
    model.update_groups(pd.DataFrame({"g": [0, 0], "x": [0.0, 0.0]}), counts)
    base = np.full(2, model.intercept_) + before  # a normal distribution about the old mode
    moved, covariance = modes(
        model.fit_.family, model.fit_.phi, base, np.ones((2, 1)), counts, None, np.linalg.inv(given)
    )
    assert_allclose(model.random_effects_["g"].loc[0], before + moved, atol=1e-9)
    assert_allclose(model.random_effects_covariance_["g"][0], covariance, atol=1e-9)
    own = y[table["g"] == 0]
    both = np.concatenate([own, counts])
    exact, _ = modes(
        model.fit_.family,
        model.fit_.phi,
        np.full(len(both), model.intercept_),
        np.ones((len(both), 1)),
        both,
        None,
        np.linalg.inv(model.random_covariance_["g"].to_numpy()),
    )
    assert abs(moved[0]) > 0.05
    assert_allclose(model.random_effects_["g"].loc[0], exact, atol=0.2 * abs(moved[0]))


def test_counts_far_beyond_the_model_are_found():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"g": np.repeat(np.arange(30), 5)})
    model = MixedGeneralizedRegressor("(1 | g)").fit(table, rng.poisson(1.0, 150) + 0.0)
    wide = MixedGeneralizedRegressor("(1 | g)").fit(
        table, drawn("poisson", rng.normal(size=30)[table["g"]], rng)
    )
    for each in (model, wide):
        each.update_groups(pd.DataFrame({"g": [99, 99, 98]}), [1e6, 2e6, 0.0])
        b, _ = modes(
            each.fit_.family,
            each.fit_.phi,
            np.full(2, each.intercept_),
            np.ones((2, 1)),
            np.array([1e6, 2e6]),
            None,
            np.linalg.inv(each.random_covariance_["g"].to_numpy() + 1e-12),
        )
        assert_allclose(each.random_effects_["g"].loc[99], b, rtol=1e-6, atol=1e-5)


def test_a_classifier_learns_a_group_of_one_class():
    rng = np.random.default_rng(1)
    table = rows(800, 0, 40, rng)
    p = 1.0 / (1.0 + np.exp(-table["x"] - 1.5 * rng.normal(size=40)[table["g"]]))
    y = np.where(rng.random(800) < p, "yes", "no")
    model = MixedClassifier("(1 | g)", fixed="x").fit(table, y)
    new = pd.DataFrame({"x": np.zeros(5), "g": [77] * 5})
    before = model.predict_proba(new)[0, 1]
    model.update_groups(new, ["yes"] * 5)
    assert model.predict_proba(new)[0, 1] > before + 0.1
    again = MixedClassifier.from_dict(model.to_dict())
    assert_array_equal(again.predict_proba(new), model.predict_proba(new))
    assert_array_equal(again.classes_, ["no", "yes"])
    with pytest.raises(
        ValueError, match=r"'maybe' in row 1, but the classes seen in fit are \['no', 'yes'\]"
    ):
        model.update_groups(new.head(2), ["yes", "maybe"])
    with pytest.raises(ValueError, match="1 in row 0, but the classes seen in fit"):
        model.update_groups(new.head(1), [1])
    with pytest.raises(ValueError, match="row 1 has no label"):
        model.update_groups(new.head(2), np.array(["yes", None], dtype=object))
    model.fit(table, y)  # and all is forgotten
    assert 77 not in model.random_effects_["g"].index


def test_further_rows_are_checked_as_those_of_the_fit():
    rng = np.random.default_rng(2)
    table = rows(200, 0, 10, rng)
    model = MixedGeneralizedRegressor("(1 | g)", fixed="x", exposure="days")
    model.fit(table, rng.poisson(2.0, 200))
    new = table.head(2).assign(g=50)
    with pytest.raises(ValueError, match="a poisson response is a count"):
        model.update_groups(new, [1.0, -1.0])
    with pytest.raises(ValueError, match=r"'days' does not exist: X has \['x', 'g'"):
        model.update_groups(new.drop(columns="days"), [1.0, 1.0])
    with pytest.raises(ValueError, match="grouping columns"):
        model.update_groups(new.drop(columns="g"), [1.0, 1.0])
    assert 50 not in model.random_effects_["g"].index


def test_a_formula_of_shares():
    rng = np.random.default_rng(4)
    table = pd.DataFrame({"g": np.arange(60) % 12, "tries": rng.integers(2, 9, 60)})
    table["hits"] = rng.binomial(table["tries"], 0.1 + 0.8 * rng.random(12)[table["g"]])
    model = glmer("cbind(hits, tries - hits) ~ (1 | g)", table)
    new = pd.DataFrame({"g": [100]})
    before = model.predict(new)
    model.update_groups(new, [1.0], sample_weight=[6.0])
    assert model.predict(new) > before
