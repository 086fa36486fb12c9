"""Leave-one-out predictions from one fit equal those of refits at the same theta."""

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy
from tests.estimators.example import pupils

SLEEP, REACTION = load_sleepstudy(return_X_y=True)
TABLE = pupils()


def test_sleepstudy_without_each_row():
    """One row out hardly moves theta: refits with theta free come close."""
    model = MixedLinearRegressor("(1 + Days | Subject)").fit(SLEEP, REACTION)
    ours = model.loo_predict(SLEEP, REACTION)
    for row in (0, 57, 179):
        kept = np.arange(len(SLEEP)) != row
        refit = MixedLinearRegressor("(1 + Days | Subject)").fit(SLEEP[kept], REACTION[kept])
        np.testing.assert_allclose(refit.predict(SLEEP.iloc[[row]]), ours[row], rtol=0.01)


def test_ordinary_least_squares_has_the_textbook_form():
    X, y = TABLE[["x", "z"]], TABLE["y"]
    model = MixedLinearRegressor().fit(X, y)
    design = np.column_stack([np.ones(len(X)), X])
    hat = design @ np.linalg.pinv(design)
    expected = y - (y - hat @ y) / (1 - np.diag(hat))
    np.testing.assert_allclose(model.loo_predict(X, y), expected, rtol=1e-10)


def test_balanced_groups_left_out_are_predicted_by_the_mean_of_the_others():
    groups = np.repeat(np.arange(6), 5)
    y = np.random.default_rng(0).normal(size=30) + groups
    X = pd.DataFrame({"a": y})
    model = MixedLinearRegressor(fixed="1").fit(X, y, groups=groups)
    means = np.array([y[groups != level].mean() for level in range(6)])
    ours = model.loo_predict(X, y, groups=groups, leave_out="group")
    np.testing.assert_allclose(ours, means[groups], rtol=1e-10)


@pytest.mark.parametrize(
    "random", ["(1 + x | school)", "(1 | school/class)", "(1 | school) + (1 | class)"]
)
def test_order_of_rows_does_not_matter(random):
    X, y = TABLE[["x", "z", "school", "class"]], TABLE["y"]
    model = MixedLinearRegressor(random, group_features=["school", "class"]).fit(X, y)
    order = np.random.default_rng(0).permutation(len(X))
    for leave_out in (None, "school"):
        there = model.loo_predict(X, y, leave_out=leave_out)
        shuffled = model.loo_predict(X.iloc[order], y.iloc[order], leave_out=leave_out)
        np.testing.assert_allclose(shuffled, there[order], rtol=1e-9)


def test_a_row_that_alone_determines_a_coefficient():
    """Without it the coefficient is zero, as in a fit to the others."""
    X = pd.DataFrame({"x": TABLE["x"], "only": np.arange(150) == 7, "school": TABLE["school"]})
    model = MixedLinearRegressor("(1 | school)").fit(X, TABLE["y"])
    ours = model.loo_predict(X, TABLE["y"])
    kept = np.arange(150) != 7
    refit = MixedLinearRegressor("(1 | school)").fit(X[kept], TABLE["y"][kept])
    np.testing.assert_allclose(ours[7], refit.predict(X.iloc[[7]])[0], rtol=1e-2)


def test_what_is_refused():
    model = MixedLinearRegressor("(1 | Subject)").fit(SLEEP, REACTION)
    for X, y in [
        (SLEEP[:50], REACTION[:50]),
        (SLEEP, REACTION + (SLEEP["Days"] == 3)),
        (SLEEP.assign(Subject="other"), REACTION),
    ]:
        with pytest.raises(ValueError, match="not the rows the model was fitted to"):
            model.loo_predict(X, y)
    with pytest.raises(
        ValueError,
        match=r"leave_out='Days' is not a grouping factor of the model, which has \['Subject'\]",
    ):
        model.loo_predict(SLEEP, REACTION, leave_out="Days")
    with pytest.raises(ValueError, match="rows of weight 0 are not part of the fit"):
        model.loo_predict(SLEEP, REACTION, np.arange(180) > 0)
    exact = MixedLinearRegressor().fit(SLEEP[["Days"]], 2.0 * SLEEP["Days"])
    with pytest.raises(ValueError, match="the fixed effects fit the data exactly"):
        exact.loo_predict(SLEEP[["Days"]], 2.0 * SLEEP["Days"])
