import numpy as np
import pytest

from skmixed.core.posterior.without_levels import LevelDensities, UndeterminedError
from skmixed.core.rows.leave_out import rows_at_levels
from skmixed.core.sums.summed_rows import SummedRows
from tests.core.posterior.dense_posterior import MODELS, Case


def densities(case, factor=0):
    rows = case.model._rows_of_fit(case.model._fitted, case.X, case.y, case.weights, None)
    rows = rows_at_levels(case.fit, rows)
    place = case.fit.spec.used_factors[factor]
    summed = SummedRows.among(case.fit.products, rows)
    return LevelDensities(case.fit, case.prior, summed, place), rows.codes[place]


@pytest.mark.parametrize("weights", [None, "frequency", "precision"])
@pytest.mark.parametrize("prior", ["flat", "proper", "singular"])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "no factor"])
def test_densities_of_levels_without_themselves_are_dense_ones(name, prior, weights):
    for shift in (0.0, 300.0):
        case = Case(name, prior=prior, weights=weights, shift=shift, seed=5)
        for factor in range(len(case.terms)):
            given, codes = densities(case, factor)
            levels = np.arange(codes.max() + 1)
            lambdas = [np.stack([lam, 0.3 * lam]) for lam in case.lambdas]
            found = given.at(lambdas, np.array([case.sigma, 2.0]), levels)
            assert found.shape == (2, len(levels))
            whole = case.dense_log_likelihood()
            expected = [whole - case.dense_log_likelihood(codes != level) for level in levels]
            np.testing.assert_allclose(found[0], expected, rtol=1e-7, atol=1e-7 * (1 + shift))
            np.testing.assert_array_equal(
                given.at(lambdas, np.array([case.sigma, 2.0]), levels[1:3])[:, 0], found[:, 1]
            )


def test_columns_that_hang_on_one_level_are_found():
    case = Case("one intercept", prior="flat", seed=5)
    case.X["w"] = (case.X["g"] == "2") * case.X["x"].to_numpy()
    case.fit = case.model.fit(case.X, case.y).fit_
    given, _ = densities(case)
    lambdas = [np.stack([lam]) for lam in case.lambdas]
    assert np.isfinite(given.at(lambdas, np.ones(1), np.array([0, 1]))).all()
    with pytest.raises(UndeterminedError):
        given.at(lambdas, np.ones(1), np.array([2]))
