"""The estimators pass scikit-learn's own checks, all of them."""

import pytest
import sklearn
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.fixes import parse_version

from tests.contract.instances import ON_ARRAYS

# How many checks there are, by kind of estimator and version of scikit-learn.
N_CHECKS = {
    "regressor": {(1, 6): 58, (1, 7): 58, (1, 8): 58, (1, 9): 59},
    "regressor with another": {(1, 6): 59, (1, 7): 58, (1, 8): 58, (1, 9): 59},
    "regressor with another of missing values": {(1, 6): 58, (1, 7): 57, (1, 8): 57, (1, 9): 58},
    "transformer": {(1, 6): 48, (1, 7): 48, (1, 8): 48, (1, 9): 48},
    "transformer of missing values": {(1, 6): 47, (1, 7): 47, (1, 8): 47, (1, 9): 47},
}
VERSION = parse_version(sklearn.__version__).release[:2]


# The checks make data in which every row has a label of its own, or weights of any size, or
# levels that explain the response without a rest, where the likelihood has no maximum.
@pytest.mark.filterwarnings("ignore::skmixed.exceptions.UnidentifiedWarning")
@pytest.mark.filterwarnings("ignore::skmixed.exceptions.LostPrecisionWarning")
@pytest.mark.filterwarnings("ignore:sample weights that are not whole numbers:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(ON_ARRAYS)
def test_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ON_ARRAYS, ids=str)
def test_number_of_checks(estimator):
    number = len(list(estimator_checks_generator(estimator)))
    tags = get_tags(estimator)
    kind = tags.estimator_type or "transformer"
    if hasattr(estimator, "regressor"):
        kind += " with another"
    if tags.input_tags.allow_nan:
        kind += " of missing values"
    known = N_CHECKS[kind]
    if VERSION in known:
        assert number == known[VERSION]
    else:
        assert max(known) < VERSION
        assert number >= known[max(known)]
