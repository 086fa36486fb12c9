"""Groups as an argument, without metadata routing: what arrives, and what is lost."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.compose import TransformedTargetRegressor
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GroupKFold, cross_val_score, cross_validate
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmixed import MixedLinearRegressor
from skmixed.exceptions import UnknownLevelWarning
from tests.sklearn_tools.shops import (
    FOLDS,
    MIXED,
    NUMBERS,
    PLAIN,
    REGION,
    SHOP,
    WITH_GROUPS,
    WITHOUT,
    X,
    Y,
)

LOST = r"no labels of \['shop'\] are given"


def fitted_pipeline():
    pipe = make_pipeline(StandardScaler(), MixedLinearRegressor())
    return pipe.fit(NUMBERS, Y, mixedlinearregressor__groups=SHOP)


def test_the_estimator_alone():
    model = MixedLinearRegressor().fit(NUMBERS, Y, groups=SHOP)
    assert_allclose(model.predict(NUMBERS, groups=SHOP), MIXED.fit(X, Y).predict(X))
    assert model.score(NUMBERS, Y, groups=SHOP) > WITH_GROUPS
    with pytest.warns(UnknownLevelWarning, match=LOST):
        assert model.score(NUMBERS, Y) < WITHOUT


def test_a_pipeline():
    pipe = fitted_pipeline()
    assert_allclose(pipe.predict(NUMBERS, groups=SHOP), MIXED.fit(X, Y).predict(X), rtol=1e-6)
    with pytest.raises(ValueError, match=r"Pipeline\.fit does not accept the groups parameter"):
        pipe.fit(NUMBERS, Y, groups=SHOP)


def test_the_score_of_a_pipeline_drops_groups_and_the_model_says_so():
    with pytest.warns(UnknownLevelWarning, match=LOST):
        assert fitted_pipeline().score(NUMBERS, Y, groups=SHOP) < WITHOUT
    strict = fitted_pipeline().set_params(mixedlinearregressor__handle_unknown="error")
    with pytest.raises(ValueError, match="240 rows have levels of 'shop' that are"):
        strict.score(NUMBERS, Y, groups=SHOP)


def test_cross_validation_gives_its_groups_to_the_splitter_only():
    # The model sees no groups at all, and is least squares.
    found = cross_val_score(MixedLinearRegressor(), NUMBERS, Y, groups=REGION, cv=GroupKFold(4))
    assert found.max() < WITHOUT
    assert_allclose(found, cross_val_score(PLAIN, NUMBERS, Y, groups=REGION, cv=GroupKFold(4)))
    by_column = cross_val_score(MIXED, X, Y, groups=REGION, cv=GroupKFold(4))
    assert by_column.min() > WITH_GROUPS


def test_parameters_of_the_fit_reach_the_fit_and_not_the_score():
    with pytest.warns(UnknownLevelWarning, match=LOST):
        result = cross_validate(
            MixedLinearRegressor(), NUMBERS, Y, params={"groups": SHOP}, cv=FOLDS
        )
    assert result["test_score"].max() < WITHOUT


def test_meta_estimators_that_hand_groups_to_the_fit_alone():
    both = np.column_stack([Y, -Y])
    several = MultiOutputRegressor(MixedLinearRegressor()).fit(NUMBERS, both, groups=SHOP)
    with pytest.warns(UnknownLevelWarning, match=LOST):
        assert several.score(NUMBERS, both) < WITHOUT
    fitted = MixedLinearRegressor().fit(NUMBERS, Y, groups=SHOP)
    with pytest.warns(UnknownLevelWarning, match=LOST):
        permutation_importance(fitted, NUMBERS, Y, n_repeats=1)


def test_a_transformed_response():
    model = TransformedTargetRegressor(MixedLinearRegressor(), func=np.log, inverse_func=np.exp)
    model.fit(NUMBERS, np.exp(Y / 20.0), groups=SHOP)
    expected = MIXED.fit(X, Y / 20.0).predict(X)
    assert_allclose(np.log(model.predict(NUMBERS, groups=SHOP)), expected)
