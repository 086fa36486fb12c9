"""What must not matter to a fit, and what a fit must leave alone."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.utils import get_tags

from tests.contract.data import (
    GROUPS,
    NUMBERS,
    TABLE,
    X,
    Y,
    answer,
    assert_same_answer,
    by_column,
    fitted,
    many_levels,
    response,
    same_rows,
)


def assert_same_optimum(model, other):
    """Compare two searches: the criterion to ten digits, where it is flat to fewer."""
    if hasattr(model, "criterion_"):
        assert model.criterion_ == pytest.approx(other.criterion_, rel=1e-10)
    assert_allclose(answer(model), answer(other), rtol=1e-6)


def check_groups_as_columns_or_by_argument(estimator):
    by_name = fitted(estimator)
    by_argument = clone(estimator).fit(X[NUMBERS], response(estimator), groups=X[GROUPS])
    found = answer(by_argument, X[NUMBERS], groups=X[GROUPS])
    assert_allclose(found, answer(by_name), rtol=1e-10)
    if hasattr(by_name, "criterion_"):
        assert by_argument.criterion_ == pytest.approx(by_name.criterion_, rel=1e-10)


def check_weights_are_repetitions(estimator):
    copies = np.random.default_rng(0).integers(1, 4, size=len(X))
    rows = np.repeat(np.arange(len(X)), copies)
    weighted = fitted(estimator, sample_weight=copies)
    assert_same_optimum(weighted, fitted(estimator, X.iloc[rows], response(estimator).iloc[rows]))


def check_rows_of_weight_zero_are_not_there(estimator):
    weights = (np.arange(len(X)) % 3).astype(float)
    weights[X["school"] == "mid"] = 0.0
    kept = weights > 0
    weighted = fitted(estimator, sample_weight=weights)
    other = fitted(estimator, X[kept], response(estimator)[kept], weights[kept])
    assert_allclose(answer(weighted, X[kept]), answer(other, X[kept]), rtol=1e-10)


def check_order_of_rows(estimator):
    order = np.random.default_rng(1).permutation(len(X))
    model = fitted(estimator, X.iloc[order], response(estimator).iloc[order])
    assert_same_optimum(model, fitted(estimator))
    assert_allclose(answer(model, X.iloc[order]), answer(model)[order], rtol=1e-12)


def check_copies(estimator):
    model = fitted(estimator)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert_array_equal(answer(other), answer(model))
        assert vars(other).keys() == vars(model).keys()
    assert_same_answer(answer(clone(model).fit(X, response(estimator))), answer(model))


def check_a_failed_fit_changes_nothing(estimator):
    model = fitted(estimator)
    state, before = dict(vars(model)), answer(model)
    rows = [
        (X, response(estimator).where(Y < 5)),
        (X.assign(school=None), response(estimator)),
    ]
    if not get_tags(estimator).input_tags.allow_nan:
        rows.append((X.assign(x=np.nan), response(estimator)))
    for table, y in rows:
        with pytest.raises(ValueError, match=r"NaN|missing"):
            model.fit(table, y)
        assert vars(model).keys() == state.keys()
        assert all(vars(model)[name] is value for name, value in state.items())
        assert_array_equal(answer(model), before)
        new = by_column(estimator)
        with pytest.raises(ValueError, match=r"NaN|missing"):
            new.fit(table, y)
        assert vars(new).keys() == new.get_params(deep=False).keys()


def check_a_fit_forgets_the_one_before(estimator):
    numbers = {"random": None, "fixed": None, "group_features": None, "residual": None}
    plain = {name: None for name in numbers if name in estimator.get_params()}
    fresh, bare = fitted(estimator), clone(estimator).set_params(**plain)
    bare.fit(X[NUMBERS].to_numpy(), response(estimator))
    again = clone(bare).fit(X[NUMBERS].to_numpy(), response(estimator))
    again.set_params(**fresh.get_params()).fit(X, response(estimator))
    assert vars(again).keys() == vars(fresh).keys()
    assert_allclose(answer(again), answer(fresh), rtol=1e-8)
    again.set_params(**bare.get_params()).fit(X[NUMBERS].to_numpy(), response(estimator))
    assert vars(again).keys() == vars(bare).keys()
    assert_array_equal(answer(again, X[NUMBERS].to_numpy()), answer(bare, X[NUMBERS].to_numpy()))


def check_parameters(estimator):
    model = by_column(estimator)
    params = model.get_params(deep=False)
    assert type(estimator)(**params).get_params(deep=False) == params
    assert type(estimator)().set_params(**params).get_params(deep=False) == params
    before = repr(copy.deepcopy(params))
    model.fit(X, response(estimator))
    assert repr(model.get_params(deep=False)) == before
    assert all(getattr(model, name) is value for name, value in params.items())
    assert vars(clone(model)).keys() == params.keys()


def check_arguments_are_left_alone(estimator):
    table, y, weights = X.copy(), response(estimator).copy(), np.ones(len(X))
    groups = TABLE[GROUPS].copy()
    numbers = X[NUMBERS].to_numpy(copy=True)
    for array in (numbers, weights):
        array.flags.writeable = False
    model = fitted(estimator, table, y, weights)
    answer(model, table)
    if estimator.get_params().get("fixed") is None and not estimator.get_params().get("random"):
        model = clone(estimator).fit(numbers, y.to_numpy(), weights, groups=groups)
        answer(model, numbers, groups=groups)
    pd.testing.assert_frame_equal(table, X)
    pd.testing.assert_frame_equal(groups, TABLE[GROUPS])
    pd.testing.assert_series_equal(y, response(estimator))
    assert_array_equal(numbers, X[NUMBERS])
    assert (weights == 1.0).all()


def check_no_row_is_kept(estimator):
    sizes = []
    for n in (20, 60):  # enough for all to choose the same covariance where they choose
        model = fitted(estimator, *same_rows(estimator, n))
        inner = getattr(model, "mixed_model_", model)
        trace = inner.fit_.report.trace if hasattr(inner, "fit_") else ()  # some take longer
        sizes.append(len(pickle.dumps(model)) - len(pickle.dumps(trace)))
    assert max(sizes) - min(sizes) < 300  # counts and sums need more digits


def check_size_grows_with_levels_only(estimator):
    """Room for O(p^2 + levels x k x p + pairs of levels), and a small factor."""
    small, large = 100, 1_000
    sizes = [
        len(pickle.dumps(fitted(estimator, *many_levels(estimator, n)))) for n in (small, large)
    ]
    columns, varying, pairs = 5, 2, 3  # [1, x, z, x:z, y], [1, x], classes of a school
    if hasattr(estimator, "shrinkage"):
        columns, varying = 4, 4  # [1, x, z, y], all of which vary
    numbers = columns * varying + pairs * (columns * varying + 1)
    per_level = (sizes[1] - sizes[0]) / (large - small)
    assert per_level < 11 * numbers  # bytes of a number, and what says of which kind it is
    assert sizes[0] < 10 * (columns**2 + small * numbers) + 6_000
