"""Intervals around any learner, and of models of groups, hold about what they say.

Takes minutes: python -m pytest -m study tests/estimators
"""

import numpy as np
import pytest

from tests.estimators.interval_coverage import GROUPED, LEARNERS, LEVELS, N_SETS, coverage

# Rows of a set are not independent of each other: the error of ten rows a set.
ERROR = 3.5 * np.sqrt(LEVELS * (1.0 - LEVELS) / N_SETS) / np.sqrt(10.0) + 0.02


@pytest.mark.study
@pytest.mark.parametrize("case", LEARNERS + GROUPED, ids=lambda case: case.name)
def test_intervals_of_observations_hold_what_they_say(case):
    held = coverage(case, N_SETS)
    assert (np.abs(held[[1, 3]] - LEVELS) <= ERROR).all()


@pytest.mark.study
@pytest.mark.parametrize("case", GROUPED[:3], ids=lambda case: case.name)
def test_intervals_of_the_mean_of_groups_hold_what_they_say(case):
    held = coverage(case, N_SETS)
    assert (held[[0, 2]] >= LEVELS - ERROR).all()
    assert (held[[0, 2]] <= LEVELS + ERROR + 0.05).all()
