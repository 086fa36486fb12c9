"""The estimators pass scikit-learn's own checks, all of them."""

import pytest
import sklearn
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.fixes import parse_version

from skmixed import MixedClassifier, MixedEffectsClassifier
from tests.contract.instances import ON_ARRAYS

# scikit-learn's checks, and some of these, give no groups.
pytestmark = pytest.mark.filterwarnings("ignore:GroupedModels was given no groups")

# How many checks there are for a regressor of one response and for a transformer, by version of
# scikit-learn, and how many more for other kinds.
N_CHECKS = {
    "regressor": {(1, 6): 58, (1, 7): 58, (1, 8): 58, (1, 9): 59},
    "transformer": {(1, 6): 54, (1, 7): 55, (1, 8): 55, (1, 9): 55},
}
SEVERAL_RESPONSES, CLASSES, TWO_CLASSES, MISSING_VALUES = 1, 3, 1, -1
VERSION = parse_version(sklearn.__version__).release[:2]


# The checks make data in which every row has a label of its own, or weights of any size, or
# levels that explain the response without a rest, where the likelihood has no maximum.
@pytest.mark.filterwarnings("ignore::skmixed.exceptions.UnidentifiedWarning")
@pytest.mark.filterwarnings("ignore::skmixed.exceptions.LostPrecisionWarning")
@pytest.mark.filterwarnings("ignore:sample weights are not whole numbers:UserWarning")
@pytest.mark.filterwarnings("ignore:y has .* not whole numbers:UserWarning")
# Their clusters are told apart by a line, for which a logistic regression has no maximum.
@pytest.mark.filterwarnings("ignore:the columns .* separate:sklearn.exceptions.ConvergenceWarning")
# They have groups of a row or two, for which Laplace's approximation is coarse.
@pytest.mark.filterwarnings("ignore::skmixed.exceptions.ApproximationWarning")
# A regressor with a penalty and random effects to share go on trading for some time.
@pytest.mark.filterwarnings("ignore:the criterion was still decreasing")
# Their data have no form of a curve.
@pytest.mark.filterwarnings("ignore:the search did not converge. max_iter")
@pytest.mark.filterwarnings("ignore:the coefficients .* are not identified")
@parametrize_with_checks(ON_ARRAYS)
def test_check(estimator, check):
    # A check of 1.6 tells the two classes of shuffled rows by the first of them, so that where
    # there can be but two its fits are of different responses.
    mixed_up = VERSION == (1, 6) and isinstance(estimator, MixedClassifier | MixedEffectsClassifier)
    if not mixed_up or check.func.__name__ != "check_sample_weight_equivalence_on_dense_data":
        check(estimator)


@pytest.mark.parametrize("estimator", ON_ARRAYS, ids=str)
def test_number_of_checks(estimator):
    number = len(list(estimator_checks_generator(estimator)))
    tags = get_tags(estimator)
    known = N_CHECKS["regressor" if tags.estimator_type else "transformer"]
    further = SEVERAL_RESPONSES * tags.target_tags.multi_output
    further += CLASSES * (tags.estimator_type == "classifier")
    classes = tags.classifier_tags
    further += TWO_CLASSES * (classes is not None and not classes.multi_class)
    further += MISSING_VALUES * tags.input_tags.allow_nan
    further += VERSION == (1, 6) and parse_version(sklearn.__version__) > parse_version("1.6.0")
    if VERSION in known:
        assert number == known[VERSION] + further
    else:
        assert max(known) < VERSION
        assert number >= known[max(known)] + further
