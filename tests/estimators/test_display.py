"""What an estimator tells scikit-learn's tools about itself."""

import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr, get_tags

from skmixed import GroupedModels, MixedEffectsRegressor, MixedLinearRegressor
from skmixed.estimators._estimator import DOCUMENTATION
from tests.contract.instances import ON_ARRAYS, ON_GROUPS
from tests.estimators.example import pupils

TABLE = pupils()
X, Y = TABLE[["x", "z", "school"]], TABLE["y"]


def is_mixed(estimator):
    return isinstance(estimator, MixedLinearRegressor)


def link_to(estimator):
    return f'href="{DOCUMENTATION.format(name=type(estimator).__name__)}"'


@pytest.mark.parametrize("estimator", [*ON_ARRAYS, *ON_GROUPS], ids=str)
def test_the_diagram_links_to_the_documentation(estimator):
    assert link_to(estimator) in estimator_html_repr(estimator)
    assert link_to(estimator) in estimator._repr_html_()
    assert "Not fitted" in estimator._repr_html_()


def test_the_diagram_of_a_fitted_model():
    model = MixedLinearRegressor("(x | school)").fit(X, Y)
    html = model._repr_html_()
    assert link_to(model) in html
    assert "Documentation for MixedLinearRegressor" in html
    assert "Not fitted" not in html
    assert "(x | school)" in html


@pytest.mark.filterwarnings("ignore:GroupedModels was given no groups")
@pytest.mark.parametrize("estimator", [GroupedModels(), MixedEffectsRegressor(LinearRegression())])
def test_the_diagram_of_a_model_without_groups(estimator):
    numbers = X[["x", "z"]].to_numpy()
    assert not [name for name in dir(estimator) if name.endswith("_") and name[0] != "_"]
    html = estimator.fit(numbers, Y)._repr_html_()
    assert "n_features_in_" in dir(estimator)
    assert "feature_names_in_" not in dir(estimator)
    assert "FittedAttribute" not in html


def test_the_diagram_of_a_pipeline():
    scaler = make_column_transformer((StandardScaler(), ["x", "z"]), remainder="passthrough")
    pipe = make_pipeline(scaler, MixedLinearRegressor(group_features=[-1]))
    for _ in range(2):
        assert link_to(pipe[-1]) in pipe._repr_html_()
        pipe.fit(X, Y)


@pytest.mark.parametrize("estimator", [*filter(is_mixed, [*ON_ARRAYS, *ON_GROUPS])], ids=str)
def test_tags(estimator):
    tags = get_tags(estimator)
    encodes = hasattr(estimator, "transform")
    assert tags.estimator_type == (None if encodes else "regressor")
    assert tags.target_tags.required
    assert tags.target_tags.single_output
    assert not tags.target_tags.multi_output
    assert not tags.target_tags.two_d_labels
    assert encodes or not tags.regressor_tags.poor_score
    assert not tags.input_tags.sparse
    assert tags.input_tags.categorical is encodes
    if hasattr(estimator, "regressor"):
        inner = get_tags(estimator.regressor).input_tags
        assert tags.input_tags.allow_nan is inner.allow_nan
    elif encodes:
        assert tags.input_tags.allow_nan is (estimator.slopes is None)
    else:
        assert not tags.input_tags.allow_nan
    assert not tags.array_api_support
    assert not tags.no_validation
    assert not tags.non_deterministic
    assert tags.requires_fit


@pytest.mark.parametrize(
    ("params", "string", "array"),
    [
        ({}, False, True),
        ({"group_features": [0]}, True, True),
        ({"random": "(1 | x0)"}, True, True),
        ({"fixed": "x"}, True, False),
        ({"fixed": "x", "random": "(1 | school)"}, True, False),
    ],
)
def test_tags_of_what_x_may_hold(params, string, array):
    tags = get_tags(MixedLinearRegressor(**params)).input_tags
    assert tags.string is string
    assert tags.two_d_array is array
