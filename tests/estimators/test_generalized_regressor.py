"""Counts, rates, shares and positive numbers: against closed forms and the figures of R."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import d2_tweedie_score
from sklearn.utils._param_validation import InvalidParameterError

from skmixed import MixedGeneralizedRegressor, distributed, glmer, inference
from skmixed.datasets import load_sleepstudy
from skmixed.exceptions import UnidentifiedWarning
from tests import reference_set


def visits(n=400, n_shops=20, seed=0):
    """Counts of visitors over some hours, in shops whose level and slope differ."""
    rng = np.random.default_rng(seed)
    x, hours, shop = rng.normal(size=n), rng.uniform(0.5, 4.0, n), np.arange(n) % n_shops
    level, slope = 0.6 * rng.normal(size=(2, n_shops))
    rate = np.exp(0.8 + (0.3 + slope[shop]) * x + level[shop])
    table = pd.DataFrame({"x": x, "hours": hours, "shop": shop})
    return table, rng.poisson(rate * hours)


X, Y = visits()
NEW = pd.DataFrame({"x": [0.3, -1.5, 2.0], "hours": [1.0, 3.0, 0.5], "shop": [0, 5, 999]})


def test_means_of_a_logarithmic_link_are_averaged():
    model = MixedGeneralizedRegressor("(x | shop)", exposure="hours").fit(X, Y)
    z = np.column_stack([np.ones(3), NEW["x"]])
    effects, given = model.random_effects_["shop"], model.random_effects_covariance_["shop"]
    prior = model.random_covariance_["shop"].to_numpy()
    b = np.array([effects.loc[0], effects.loc[5], [0.0, 0.0]])
    center = model.intercept_ + model.coef_ * NEW["x"] + (z * b).sum(axis=1)
    variance = [z[0] @ given[0] @ z[0], z[1] @ given[5] @ z[1], z[2] @ prior @ z[2]]
    expected = NEW["hours"] * np.exp(center + np.array(variance) / 2.0)
    assert_allclose(model.predict(NEW), expected, rtol=1e-10)
    plain = clone(model).set_params(averaging="plug-in").fit(X, Y)
    assert_allclose(plain.predict(NEW), NEW["hours"] * np.exp(center), rtol=1e-10)
    assert_allclose(
        model.predict(NEW, random="none"),
        NEW["hours"]
        * np.exp(
            model.intercept_ + model.coef_ * NEW["x"] + np.einsum("ij,jk,ik->i", z, prior, z) / 2.0
        ),
        rtol=1e-10,
    )


@pytest.mark.parametrize("family", ["poisson", "gamma", "negative_binomial"])
def test_exposures_are_offsets_of_their_logarithms(family):
    y = Y + 1.0 if family == "gamma" else Y
    model = MixedGeneralizedRegressor("(1 | shop)", family=family, exposure="hours").fit(X, y)
    assert len(model.coef_) == 1
    by_formula = MixedGeneralizedRegressor(
        "(1 | shop)", family=family, fixed="x + offset(log(hours))"
    ).fit(X, y)
    both = MixedGeneralizedRegressor("(1 | shop)", family=family, fixed="x", exposure="hours").fit(
        X[["hours", "shop", "x"]], y
    )
    by_place = MixedGeneralizedRegressor(group_features=[2], family=family, exposure=-2)
    by_place.fit(X.to_numpy(), y)
    for other in (by_formula, both):
        assert_allclose(other.coef_, model.coef_, rtol=1e-8)
        assert_allclose(other.predict(NEW), model.predict(NEW), rtol=1e-8)
    assert_allclose(by_place.predict(NEW.to_numpy()), model.predict(NEW), rtol=1e-8)
    again = MixedGeneralizedRegressor.from_dict(model.to_dict())
    assert_array_equal(again.predict(NEW), model.predict(NEW))


@pytest.mark.filterwarnings("ignore:y has .* not whole numbers")  # rates of no Poisson counts
def test_rates_weighted_by_exposures_are_poisson_counts_but_no_negative_binomial_ones():
    hours = X["hours"].to_numpy()
    settings = {"random": "(1 | shop)", "fixed": "x"}
    found = {}
    for family in ("poisson", "negative_binomial"):
        counts = MixedGeneralizedRegressor(**settings, family=family, exposure="hours").fit(X, Y)
        rates = MixedGeneralizedRegressor(**settings, family=family).fit(X, Y / hours, hours)
        found[family] = rates.coef_[0] / counts.coef_[0]
        if family == "poisson":
            assert_allclose(rates.coef_, counts.coef_, rtol=1e-7)
            assert_allclose(rates.random_covariance_["shop"], counts.random_covariance_["shop"])
    assert abs(found["negative_binomial"] - 1.0) > 1e-4


def test_shares_of_several_trials_tell_the_variance_of_a_level_for_every_row():
    rng = np.random.default_rng(3)
    table, trials = X.assign(row=np.arange(len(X))), np.full(len(X), 20.0)
    chances = 1.0 / (1.0 + np.exp(-rng.normal(0.0, 1.0, len(X))))
    shares = rng.binomial(20, chances) / 20.0
    model = MixedGeneralizedRegressor("(1 | row)", family="binomial").fit(table, shares, trials)
    assert float(model.random_covariance_["row"].iloc[0, 0]) == pytest.approx(1.0, rel=0.3)


def test_without_groups_it_is_poisson_regression():
    model = MixedGeneralizedRegressor().fit(X[["x"]], Y)
    plain = PoissonRegressor(alpha=0.0, tol=1e-10, max_iter=1000).fit(X[["x"]], Y)
    assert_allclose(model.coef_, plain.coef_, rtol=1e-5)
    assert model.score(X[["x"]], Y) == pytest.approx(plain.score(X[["x"]], Y), rel=1e-8)
    assert model.dispersion_ == 1.0


@pytest.mark.parametrize(("family", "power"), [("poisson", 1), ("gamma", 2)])
def test_the_score_is_the_share_of_the_deviance(family, power):
    y, weights = Y + 1.0, np.random.default_rng(0).integers(1, 4, len(Y))
    model = MixedGeneralizedRegressor("(1 | shop)", family=family).fit(X, y)
    expected = d2_tweedie_score(y, model.predict(X), power=power, sample_weight=weights)
    assert model.score(X, y, weights) == pytest.approx(expected, rel=1e-10)


def test_shares_of_trials_are_those_of_lme4():
    table = reference_set.table("cbpp")
    share = table["incidence"] / table["size"]
    model = MixedGeneralizedRegressor("(1 | herd)", family="binomial", fixed="C(period)")
    model.fit(table, share, table["size"])
    # lme4 1.1-31, its optimum polished with the criterion of exactly converged modes.
    assert model.criterion_ == pytest.approx(184.0525637295142, abs=1e-8)
    assert model.aic_ == pytest.approx(194.05256374299, abs=1e-7)
    beta = [-0.9923327348730155, -1.1286720841679938, -1.5803138851795786]
    assert_allclose(model.coef_, beta, rtol=1e-6)
    assert 0.0 < model.score(table, share, table["size"]) < 1.0


def test_positive_times_are_those_of_glmm_tmb():
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedGeneralizedRegressor("(1 | Subject)", family="gamma").fit(X, y)
    # glmmTMB 1.1.5
    assert model.criterion_ == pytest.approx(1767.156673399, abs=1e-8)
    assert model.dispersion_ == pytest.approx(0.09664165008556456**2, rel=1e-4)


def test_counts_with_more_variance_than_their_mean():
    rng = np.random.default_rng(4)
    y = rng.poisson(Y * rng.gamma(2.0, 0.5, len(Y)))
    model = MixedGeneralizedRegressor("(1 | shop)", family="negative_binomial").fit(X, y)
    assert 0.5 < model.dispersion_ < 8.0
    narrow = MixedGeneralizedRegressor("(1 | shop)").fit(X, y)
    assert model.aic_ < narrow.aic_ - 10.0


def test_errors_at_the_door():
    def fit(y=Y, table=X, **params):
        return MixedGeneralizedRegressor("(1 | shop)", **params).fit(table, y)

    with pytest.raises(ValueError, match=r"a poisson response is a count, .* row 3 has y = -1"):
        fit(np.where(np.arange(len(Y)) == 3, -1, Y))
    with pytest.raises(ValueError, match="a gamma response is positive, but row"):
        fit(np.where(np.arange(len(Y)) == 3, 0, Y + 1), family="gamma")
    with pytest.raises(ValueError, match="a binomial response is 0 or 1, or a share"):
        fit(family="binomial")
    with pytest.raises(ValueError, match="link of family 'poisson' must be 'auto' or 'log'"):
        fit(link="logit")
    with pytest.raises(ValueError, match=r"'days', but X has the columns \['x', 'hours'"):
        fit(exposure="days")
    with pytest.raises(ValueError, match="positive, but the column 'hours' has 0 in row 1"):
        fit(table=X.assign(hours=np.arange(len(X)) != 1), exposure="hours")
    with pytest.raises(ValueError, match="'shop' is given both as exposure and for"):
        fit(exposure="shop")
    with pytest.raises(ValueError, match="exposure='hours' requires the link 'log', but that"):
        fit(Y > 3, family="binomial", exposure="hours")
    model = fit(exposure="hours", fixed="x")
    with pytest.raises(ValueError, match=r"'hours' does not exist: X has \['x', 'shop'\]"):
        model.predict(NEW.drop(columns="hours"))


@pytest.mark.parametrize("kind", [pd.Series, np.asarray, pl.Series])
def test_a_column_in_the_place_of_its_name_is_named_by_its_kind(kind):
    hours = kind(X["hours"].to_numpy())
    match = r"'exposure'.*Got a (Series|ndarray) of shape"
    with pytest.raises(InvalidParameterError, match=match) as said:
        MixedGeneralizedRegressor("(1 | shop)", exposure=hours).fit(X, Y)
    assert len(str(said.value)) < 250
    with pytest.raises(
        ValueError, match=r"exposure contains a (Series|ndarray) of shape \(400,\);"
    ):
        glmer("y ~ x + (1 | shop)", X.assign(y=Y), family="poisson", exposure=hours)
    with pytest.raises(InvalidParameterError, match="Got a DataFrame of shape"):
        MixedGeneralizedRegressor(X).fit(X, Y)


def test_counts_of_zero_alone_in_a_category_separate():
    table = X[["shop"]].assign(rare=(np.arange(len(X)) < 6).astype(float))
    y = np.where(table["rare"] == 1, 0, Y)
    with pytest.warns(ConvergenceWarning, match=r"\['rare'\] separate"):
        model = MixedGeneralizedRegressor("(1 | shop)").fit(table, y)
    assert model.separated_ == ["rare"]
    assert model.predict(table)[:6].max() < 0.01


def test_a_response_without_a_residual_is_fitted_all_the_same():
    x = np.arange(8.0)
    model = MixedGeneralizedRegressor(family="gamma").fit(x[:, None], np.exp(1.0 + 0.5 * x))
    assert_allclose(model.coef_, [0.5], rtol=1e-6)
    assert model.dispersion_ < 1e-10


def test_scores_of_what_has_no_mean_and_of_constants():
    model = MixedGeneralizedRegressor("(1 | shop)", handle_unknown="nan").fit(X, Y)
    assert np.isnan(model.predict(NEW)).tolist() == [False, False, True]
    with pytest.raises(ValueError, match="first in row 2"):
        model.score(NEW, [1, 2, 3])
    assert model.score(NEW[:2], [0, 0]) == 0.0
    far = NEW[:2].assign(x=[1e6, 0.0])
    assert model.score(far, [1, 2]) == -np.inf


def test_a_level_for_every_row_is_told_of():
    table = X.assign(row=np.arange(len(X)))
    for family in ("gamma", "negative_binomial"):
        model = MixedGeneralizedRegressor("(1 | row)", family=family)
        with pytest.warns(UnidentifiedWarning, match="'row' has a level per row, and the disp"):
            model.fit(table, Y + 1.0)
        assert float(model.random_covariance_["row"].iloc[0, 0]) == 0.0
    counts = MixedGeneralizedRegressor("(1 | row)").fit(table, Y)  # more than Poisson has
    assert float(counts.random_covariance_["row"].iloc[0, 0]) > 0.1


def test_what_is_not_there_says_so():
    model = MixedGeneralizedRegressor("(1 | shop)").fit(X, Y)
    with pytest.raises(TypeError, match="MixedGeneralizedRegressor"):
        distributed.fit(model, [X.assign(y=Y)], target="y")
    with pytest.raises(ValueError, match="df='satterthwaite' needs a linear mixed model"):
        inference.coefficient_table(model, df="satterthwaite")


@pytest.mark.parametrize("random", ["(1 | g)", "(x | g)"])
def test_deviations_that_zeros_of_large_weight_ask_for_are_said(random):
    group, x = np.repeat(np.arange(6), 2), np.tile([0.0, 0.4], 6)
    x[-6:] = [-0.7, 0.3, -1.0, 1.0, -0.5, 0.8]
    y = np.array([3.0, 0.0, 0.0, 2.0, 4.0, 0.0, 1.0, 2.0, 2.0, 3.0, 1.0, 2.0])
    if random == "(1 | g)":
        y[:4] = 0.0
    table, weights = pd.DataFrame({"x": x, "g": group}), np.full(12, 1e9)
    model = MixedGeneralizedRegressor(random)
    with pytest.warns(UnidentifiedWarning, match=r"\['g'\] have standard deviations above 10"):
        model.fit(table, y, weights)
    assert model.converged_
    MixedGeneralizedRegressor(random).fit(table, y + 1.0, weights)  # every response tells


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.filterwarnings("ignore::UserWarning")  # some variances have no end
def test_what_weights_leave_no_digits_for_is_refused_by_the_fit(seed):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"x": rng.normal(size=30), "g": np.arange(30) % 5})
    mean = np.exp(rng.normal(size=5)[rows["g"]] + 0.3 * rng.normal(size=30))
    y, weights = rng.gamma(2.0, mean / 2.0), np.round(1e9 * rng.uniform(0.5, 2.0, 30))
    model = MixedGeneralizedRegressor("(1 | g)", family="gamma")
    try:
        model.fit(rows, y, weights)
    except ValueError as error:
        assert "too few digits" in str(error)  # noqa: PT017
        assert "rescale the weights" in str(error)  # noqa: PT017
    else:
        assert np.isfinite(model.predict(rows, return_std=True)).all()
        assert np.isfinite(model.random_effects_["g"]).all(axis=None)


@pytest.mark.parametrize(
    ("family", "y", "weights", "says"),
    [
        ("poisson", Y / 4.0, None, r"family='poisson'.* exposure='.*sample_weight"),
        ("poisson", Y / X["hours"], None, "responses that are not whole numbers"),
        ("poisson", Y / X["hours"], 2.0 * X["hours"] + 0.1, "responses that are not whole numbers"),
        ("negative_binomial", Y / 4.0, None, r"family='negative_binomial'.* exposure='[^:]*$"),
        ("binomial", (Y % 5) / 5.0, None, r"numbers of trials as sample_weight"),
        ("binomial", (Y % 5) / 5.0, np.full(len(Y), 3.0), r"numbers of trials as sample_weight"),
    ],
)
def test_responses_between_those_of_the_family_are_warned_of_once(family, y, weights, says):
    model = MixedGeneralizedRegressor("(1 | shop)", family=family)
    with pytest.warns(UserWarning, match=says) as said:
        model.fit(X[["x", "shop"]], y, weights)
    assert [each.filename for each in said if "whole" in str(each.message)] == [__file__]


@pytest.mark.parametrize(
    ("family", "y", "weights"),
    [
        ("poisson", Y, np.full(len(Y), 0.5)),  # rows that count for half
        ("poisson", (Y / X["hours"]).astype(np.float32), X["hours"]),
        ("binomial", (Y % 5) / 5.0, np.full(len(Y), 10)),
        ("binomial", Y > 2, np.full(len(Y), 0.5)),
        ("binomial", (Y % 5) / 5.0, 5.0 * X["hours"]),  # trials by weights
        ("gamma", Y + 0.5, None),
    ],
)
def test_responses_of_the_family_are_not_warned_of(family, y, weights):
    MixedGeneralizedRegressor("(1 | shop)", family=family).fit(X[["x", "shop"]], y, weights)


@pytest.mark.parametrize("family", ["poisson", "negative_binomial", "gamma", "binomial"])
@pytest.mark.parametrize(("name", "size"), [("x", 1e155), ("x", 1e200), ("y", 1e200)])
def test_numbers_whose_squares_overflow_are_refused_in_our_words_alone(family, name, size):
    table, y = X[["x", "shop"]], (Y > 2).astype(float) if family == "binomial" else Y + 1.0
    if name == "x":
        table = table.assign(x=size * table["x"])
    elif family != "binomial":
        y = size * y
    else:
        return
    with pytest.raises(ValueError, match=f"numbers of '{name}' are so large that their squares"):
        MixedGeneralizedRegressor("(x | shop)", family=family).fit(table, y)


def test_numbers_whose_squares_do_not_overflow_are_fitted_or_said_to_be_none():
    small = MixedGeneralizedRegressor("(1 | shop)", family="gamma").fit(X[["x", "shop"]], Y + 1.0)
    tiny = clone(small).fit(X[["x", "shop"]], 1e-200 * (Y + 1.0))
    assert_allclose(tiny.coef_, small.coef_, rtol=1e-6)
    with pytest.warns(ConvergenceWarning):
        clone(small).set_params(family="poisson").fit(X[["x", "shop"]], 1e100 * Y)
