"""Digits survive where the response is dominated by its groups, a covariate or an offset."""

from fractions import Fraction

import numpy as np
import pytest

from skmixed import MixedLinearRegressor
from skmixed.exceptions import LostPrecisionWarning

N_LEVELS, N_EACH = 30, 8
GROUPS = np.repeat(np.arange(N_LEVELS), N_EACH)
RNG = np.random.default_rng(0)
EFFECTS, ERRORS = RNG.standard_normal(N_LEVELS)[GROUPS], RNG.standard_normal(len(GROUPS))
NO_COLUMNS = np.ones((len(GROUPS), 1))


def closed_form(y):
    """Residual and between variance of a balanced one-way layout, in rational arithmetic."""
    table = [[Fraction(float(v)) for v in y[level == GROUPS]] for level in range(N_LEVELS)]
    means = [sum(row) / N_EACH for row in table]
    grand = sum(means) / N_LEVELS
    within = sum((v - m) ** 2 for row, m in zip(table, means, strict=True) for v in row)
    between = N_EACH * sum((m - grand) ** 2 for m in means)
    residual = within / (N_LEVELS * (N_EACH - 1))
    return float(residual), float((between / (N_LEVELS - 1) - residual) / N_EACH)


@pytest.mark.parametrize("ratio", 10.0 ** np.arange(8))
def test_between_to_within_ratio(ratio):
    y = ratio * EFFECTS + ERRORS
    model = MixedLinearRegressor().fit(NO_COLUMNS, y, groups=GROUPS)
    residual, between = closed_form(y)
    assert model.residual_variance_ == pytest.approx(residual, rel=1e-9)
    assert model.random_covariance_["group"].iloc[0, 0] == pytest.approx(between, rel=1e-8)
    assert model.converged_


@pytest.mark.parametrize("size", 10.0 ** np.arange(1, 8))
def test_dominating_covariate(size):
    x = np.random.default_rng(1).standard_normal(len(GROUPS))
    y = size * x + EFFECTS + ERRORS
    rest = [
        float(Fraction(float(v)) - Fraction(size) * Fraction(float(u)))
        for v, u in zip(y, x, strict=True)
    ]
    model = MixedLinearRegressor().fit(x[:, None], y, groups=GROUPS)
    other = MixedLinearRegressor().fit(x[:, None], np.array(rest), groups=GROUPS)
    assert model.residual_variance_ == pytest.approx(other.residual_variance_, rel=1e-8)
    assert model.criterion_ == pytest.approx(other.criterion_, abs=1e-6)
    assert model.coef_[0] - size == pytest.approx(other.coef_[0], abs=1e-15 * size + 1e-8)


def test_a_warning_where_digits_are_lost():
    x = np.random.default_rng(2).standard_normal(len(GROUPS))
    slopes = 1e6 * np.random.default_rng(3).standard_normal(N_LEVELS)[GROUPS]
    with pytest.warns(LostPrecisionWarning, match="digits"):
        MixedLinearRegressor("(x0 | group)").fit(x[:, None], slopes * x + ERRORS, groups=GROUPS)
