"""Every public estimator keeps the promises of this package, in every setting."""

import pytest
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils._param_validation import validate_parameter_constraints

from tests.contract import fit_checks, input_checks
from tests.contract.instances import ON_ARRAYS, ON_GROUPS

# scikit-learn's checks, and some of these, give no groups.
pytestmark = pytest.mark.filterwarnings("ignore:GroupedModels was given no groups")


def checks_of(module):
    return [check for name, check in vars(module).items() if name.startswith("check_")]


# Trees are blended by how well they predict rows of other folds, and copies of rows, or rows in
# another order, make other folds.
OUT_OF_FOLD = {fit_checks.check_weights_are_repetitions, fit_checks.check_order_of_rows}
# The tree of a group is kept whole, and how large it is depends on what it was fitted to.
SIZES = {fit_checks.check_no_row_is_kept, fit_checks.check_size_grows_with_levels_only}


def checks_for(estimator):
    """Yield the checks that apply to an estimator."""
    for check in checks_of(fit_checks) + checks_of(input_checks):
        params = estimator.get_params()
        trials = params.get("weighting") == "precision" or params.get("family") == "binomial"
        if check is fit_checks.check_weights_are_repetitions and trials:
            continue
        is_tree = isinstance(params.get("estimator"), DecisionTreeClassifier)
        if is_tree and check in OUT_OF_FOLD | SIZES:
            continue
        # A regressor inside another chooses the precision it computes in.
        if check is input_checks.check_single_precision and hasattr(estimator, "regressor"):
            continue
        yield check


# Some of the tables have many small groups, for which Laplace's approximation is coarse.
@pytest.mark.filterwarnings("ignore::skmixed.exceptions.ApproximationWarning")
@pytest.mark.parametrize(
    ("estimator", "check"),
    [(estimator, check) for estimator in ON_GROUPS for check in checks_for(estimator)],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", list(dict.fromkeys(map(type, ON_ARRAYS + ON_GROUPS))))
def test_defaults_are_right(kind):
    # A fit does not look at them again.
    validate_parameter_constraints(kind._parameter_constraints, kind._defaults(), kind.__name__)
