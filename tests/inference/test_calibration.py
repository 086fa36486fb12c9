"""Nominal intervals cover what they say, within Monte Carlo error.

Takes minutes: python -m pytest -m study tests/inference
"""

import numpy as np
import pytest

from tests.inference.calibration import LEVELS, SCENARIOS, coverage

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
