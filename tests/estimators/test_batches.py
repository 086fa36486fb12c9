"""Rows in batches: partial_fit equals fit on all of them, update_groups a solve at fixed values."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skmixed import MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy
from skmixed.exceptions import UnidentifiedWarning
from tests.estimators.example import pupils

SLEEP, REACTION = load_sleepstudy(return_X_y=True)
TABLE = pupils()
MODELS = [
    {"random": "(1 + x | school)"},
    {"random": "(1 | school/class)"},
    {"random": "(1 | school) + (0 + x | class)", "covariance": "diagonal"},
    {"random": "(1 | school)", "method": "ml", "weighting": "precision"},
    {"fixed": "x + I(x ** 2) + z", "random": "(1 | school)"},
]


def assert_same_model(first, second, rtol=1e-6):
    np.testing.assert_allclose(first.criterion_, second.criterion_, rtol=1e-10)
    np.testing.assert_allclose(first.coef_, second.coef_, rtol=rtol, atol=1e-8)
    np.testing.assert_allclose(first.intercept_, second.intercept_, rtol=rtol)
    np.testing.assert_allclose(first.residual_variance_, second.residual_variance_, rtol=rtol)
    assert first.n_groups_ == second.n_groups_
    for name, effects in first.random_effects_.items():
        pd.testing.assert_frame_equal(effects, second.random_effects_[name], rtol=1e-5, atol=1e-5)


def batches(n_rows, seed, count):
    rng = np.random.default_rng(seed)
    return [rng.permutation(part) for part in np.array_split(rng.permutation(n_rows), count)]


@settings(max_examples=25, derandomize=True, deadline=None)
@given(st.sampled_from(MODELS), st.integers(0, 99), st.integers(1, 4))
def test_any_split_and_order(params, seed, count):
    X, y = TABLE[["x", "z", "school", "class"]], TABLE["y"]
    weights = 1.0 + np.arange(len(X)) % 3
    params = {"group_features": ["school", "class"], **params}
    whole = MixedLinearRegressor(**params).fit(X, y, weights)
    parts = MixedLinearRegressor(**params)
    for rows in batches(len(X), seed, count):
        parts.partial_fit(X.iloc[rows], y.iloc[rows], weights[rows])
    assert_same_model(parts, whole)
    np.testing.assert_allclose(parts.predict(X), whole.predict(X), rtol=1e-6)


def test_whole_levels_at_a_time():
    first = (SLEEP["Subject"].astype(int) < 340).to_numpy()
    second = ~first
    model = MixedLinearRegressor("(1 + Days | Subject)")
    model.partial_fit(SLEEP[first], REACTION[first])
    assert model.n_groups_ == {"Subject": 10}
    model.partial_fit(SLEEP[second], REACTION[second])
    assert_same_model(model, MixedLinearRegressor("(1 + Days | Subject)").fit(SLEEP, REACTION))


def test_groups_by_argument():
    X, y, groups = SLEEP[["Days"]].to_numpy(), REACTION.to_numpy(), SLEEP["Subject"].to_numpy()
    model = MixedLinearRegressor("(1 + x0 | group)")
    for rows in batches(len(X), 3, 3):
        model.partial_fit(X[rows], y[rows], groups=groups[rows])
    whole = MixedLinearRegressor("(1 + x0 | group)").fit(X, y, groups=groups)
    assert_same_model(model, whole)


def test_settings_of_the_search_may_change_between_batches():
    half = np.arange(len(SLEEP)) < 90
    model = MixedLinearRegressor("(1 | Subject)").partial_fit(SLEEP[half], REACTION[half])
    model.set_params(method="ml").partial_fit(SLEEP[~half], REACTION[~half])
    whole = MixedLinearRegressor("(1 | Subject)", method="ml").fit(SLEEP, REACTION)
    assert_same_model(model, whole)


@pytest.mark.parametrize("method", ["partial_fit", "update_groups", "loo_predict"])
def test_changed_columns_are_refused(method):
    model = MixedLinearRegressor("(1 | Subject)").fit(SLEEP, REACTION)
    model.set_params(random="(1 + Days | Subject)")
    with pytest.raises(
        ValueError, match=r"parameters \['random'\], which .* have changed since fit"
    ):
        getattr(model, method)(SLEEP, REACTION)


@pytest.mark.parametrize("method", ["partial_fit", "update_groups", "loo_predict"])
def test_bad_batches(method):
    model = MixedLinearRegressor().fit(SLEEP[["Days"]], REACTION, groups=SLEEP["Subject"])
    call = getattr(model, method)
    before = model.predict(SLEEP[["Days"]], groups=SLEEP["Subject"])
    with pytest.raises(ValueError, match=r"\['Subject'\] are missing; further rows require"):
        call(SLEEP[["Days"]], REACTION)
    with pytest.raises(ValueError, match="feature names"):
        call(SLEEP[["Days"]].rename(columns={"Days": "day"}), REACTION, groups=SLEEP["Subject"])
    with pytest.raises(ValueError, match="missing in rows 0"):
        call(SLEEP[["Days"]], REACTION, groups=SLEEP["Subject"].where(SLEEP.index > 0))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        call(SLEEP[["Days"]], REACTION[:5], groups=SLEEP["Subject"])
    after = model.predict(SLEEP[["Days"]], groups=SLEEP["Subject"])
    np.testing.assert_array_equal(before, after)


def test_transforms_that_learn_from_all_rows():
    half = np.arange(len(SLEEP)) % 2 == 0
    stateful = MixedLinearRegressor("(1 | Subject)", fixed="poly(Days, 2)")
    stateful.partial_fit(SLEEP[half & (SLEEP["Days"] < 8)], REACTION[half & (SLEEP["Days"] < 8)])
    with pytest.raises(ValueError, match=r"'poly\(Days, 2\)' has a transform that learns"):
        stateful.partial_fit(SLEEP[~half], REACTION[~half])
    given = "bs(Days, knots=[3, 6], lower_bound=0, upper_bound=9)"
    model = MixedLinearRegressor("(1 | Subject)", fixed=given)
    for rows in (half, ~half):
        model.partial_fit(SLEEP[rows], REACTION[rows])
    assert_same_model(
        model, MixedLinearRegressor("(1 | Subject)", fixed=given).fit(SLEEP, REACTION)
    )


def full_solve(model, X, y, groups):
    """Solve Henderson's equations for b at the coefficients and variances of a model."""
    labels = sorted(set(groups))
    place = np.array([labels.index(group) for group in groups])
    n, k = len(y), 2
    Z = np.zeros((n, k * len(labels)))
    Z[np.arange(n), k * place] = 1.0
    Z[np.arange(n), k * place + 1] = X
    covariance = model.random_covariance_["Subject"].to_numpy()
    G = np.kron(np.eye(len(labels)), covariance)
    V = Z @ G @ Z.T + model.residual_variance_ * np.eye(n)
    residual = y - model.intercept_ - X * model.coef_[0]
    return labels, (G @ Z.T @ np.linalg.solve(V, residual)).reshape(-1, k)


def test_updated_effects_are_those_of_a_full_solve():
    old = (SLEEP["Subject"].astype(int) < 350).to_numpy() & (SLEEP["Days"] < 6).to_numpy()
    model = MixedLinearRegressor("(1 + Days | Subject)").fit(SLEEP[old], REACTION[old])
    before = (model.criterion_, model.residual_variance_, model.coef_.copy(), str(model.summary()))
    new = np.flatnonzero(~old)
    for rows in (new[::2], new[1::2]):
        model.update_groups(SLEEP.iloc[rows], REACTION.iloc[rows])
    labels, effects = full_solve(
        model, SLEEP["Days"].to_numpy(float), REACTION.to_numpy(), SLEEP["Subject"].to_numpy()
    )
    ours = model.random_effects_["Subject"]
    assert ours.index.tolist() == labels
    np.testing.assert_allclose(ours.to_numpy(), effects, rtol=1e-8, atol=1e-8)
    after = (model.criterion_, model.residual_variance_, model.coef_, str(model.summary()))
    assert before[:2] == after[:2]
    np.testing.assert_array_equal(before[2], after[2])
    assert before[3] == after[3]
    covariances = model.random_effects_covariance_["Subject"]
    assert covariances.shape == (18, 2, 2)
    z = np.array([1.0, 7.0])
    unseen = model.random_covariance_["Subject"].to_numpy()
    assert (z @ covariances @ z < z @ unseen @ z).all()


def test_update_with_the_rows_of_the_fit_twice_is_precise():
    """Rows given twice weigh twice: the effects move from the prior towards the data."""
    model = MixedLinearRegressor("(1 | Subject)").fit(SLEEP, REACTION)
    once = model.random_effects_["Subject"].to_numpy()
    model.update_groups(SLEEP, REACTION)
    twice = model.random_effects_["Subject"].to_numpy()
    ratio = model.residual_variance_ / model.random_covariance_["Subject"].iloc[0, 0]
    np.testing.assert_allclose(twice, once * (10 + ratio) / 10 * 20 / (20 + ratio), rtol=1e-8)


def test_partial_fit_after_an_update_counts_its_rows():
    thirds = np.arange(len(SLEEP)) % 3
    model = MixedLinearRegressor("(1 + Days | Subject)")
    model.fit(SLEEP[thirds == 0], REACTION[thirds == 0])
    model.update_groups(SLEEP[thirds == 1], REACTION[thirds == 1])
    model.partial_fit(SLEEP[thirds == 2], REACTION[thirds == 2])
    assert_same_model(model, MixedLinearRegressor("(1 + Days | Subject)").fit(SLEEP, REACTION))


def test_formula_models_take_batches():
    table = SLEEP.assign(Reaction=REACTION)
    model = lmer("Reaction ~ Days + (1 + Days | Subject)", table[:100])
    model.partial_fit(table[100:], table["Reaction"][100:])
    assert_same_model(model, lmer("Reaction ~ Days + (1 + Days | Subject)", table))
    assert model.formula_ == "Reaction ~ Days + (1 + Days | Subject)"


def test_labels_of_another_kind_are_refused():
    numbers = SLEEP.assign(Subject=SLEEP["Subject"].astype(int))
    model = MixedLinearRegressor("(1 | Subject)").fit(numbers, REACTION)
    for method in (model.partial_fit, model.update_groups):
        with pytest.raises(ValueError, match="'Subject' are text, but were numbers in fit"):
            method(SLEEP, REACTION)


def test_warnings_point_at_the_call():
    for method in ("fit", "partial_fit"):
        with pytest.warns(UnidentifiedWarning) as caught:
            getattr(MixedLinearRegressor("(1 | Subject)"), method)(SLEEP[:3], REACTION[:3])
        assert caught[0].filename == __file__
    start = MixedLinearRegressor("(1 | Subject)")
    with pytest.warns(UnidentifiedWarning) as caught:
        start.partial_fit(SLEEP[:3], REACTION[:3]).partial_fit(SLEEP[3:6], REACTION[3:6])
    assert {warning.filename for warning in caught} == {__file__}
