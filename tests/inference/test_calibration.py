"""Nominal intervals cover what they say, within Monte Carlo error.

Takes minutes: python -m pytest -m study tests/inference
"""

import numpy as np
import pytest

from tests.inference import coefficient_calibration as coefficients
from tests.inference import generalized_calibration as generalized
from tests.inference.calibration import LEVELS, SCENARIOS, VERY_FEW, coverage

N_SETS = 1000
# Few groups estimate their variance badly, and a standard deviation is not known to be zero: both
# leave an interval for a mean too wide rather than too narrow.
TOO_WIDE = {"no variance": 0.25, "5 groups": 0.06, "10 groups of": 0.06}


@pytest.mark.study
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_intervals_cover_what_they_say(scenario):
    held, _ = coverage(scenario, N_SETS)
    # Four rows a set, not independent of each other: the error of a single one.
    error = 3.0 * np.sqrt(LEVELS * (1.0 - LEVELS) / N_SETS)
    above = max((extra for name, extra in TOO_WIDE.items() if name in scenario.name), default=0.0)
    assert (held >= LEVELS - error).all()
    assert (held <= LEVELS + error + above).all()
    observations = held[[1, 3]]
    assert (np.abs(observations - LEVELS) <= error).all()


@pytest.mark.study
@pytest.mark.parametrize("scenario", VERY_FEW, ids=lambda scenario: scenario.name)
def test_intervals_of_very_few_groups_hold_about_what_they_say(scenario):
    """A variance that is estimated by zero is taken for one: docs/benchmarks/calibration.md."""
    held, _ = coverage(scenario, N_SETS)
    assert (held[:, LEVELS == 0.95] >= 0.89).all()
    observations = held[[1, 3]]
    assert (observations[:, LEVELS == 0.95] >= 0.93).all()


@pytest.mark.study
@pytest.mark.parametrize("scenario", generalized.SCENARIOS, ids=lambda scenario: scenario.name)
def test_intervals_of_generalized_models_cover_at_least_what_they_say(scenario):
    held = generalized.coverage(scenario)  # of counts they hold more: there is nothing between two
    error = 3.0 * np.sqrt(LEVELS * (1.0 - LEVELS) / scenario.n_sets)
    assert (held >= LEVELS - error).all()


@pytest.mark.study
@pytest.mark.parametrize("scenario", coefficients.SCENARIOS, ids=lambda scenario: scenario.name)
def test_satterthwaite_intervals_of_coefficients_cover(scenario):
    held = coefficients.coverage(scenario, N_SETS, "wald")
    error = 3.5 * np.sqrt(LEVELS * (1.0 - LEVELS) / N_SETS)
    assert (held >= LEVELS - error).all()
    # A variance is not known to be zero.
    above = 0.05 if scenario.sd == 0.0 else 0.0
    assert (held <= LEVELS + error + above).all()


@pytest.mark.study
def test_profile_intervals_of_coefficients_cover_with_many_groups():
    n_sets = 200
    held = coefficients.coverage(coefficients.SCENARIOS[2], n_sets, "profile")
    assert (np.abs(held - LEVELS) <= 3.5 * np.sqrt(LEVELS * (1.0 - LEVELS) / n_sets)).all()


@pytest.mark.study
def test_size_of_the_test_of_a_variance_on_the_boundary():
    n_sets, sizes = 2 * N_SETS, np.array(coefficients.SIZES)
    plain, mixture = coefficients.rejections(coefficients.SCENARIOS[3], n_sets).T
    error = 3.5 * np.sqrt(sizes * (1.0 - sizes) / n_sets)
    assert (mixture <= sizes + error).all()
    assert (plain < mixture).all()
    assert (np.abs(mixture - sizes) < np.abs(plain - sizes)).all()
