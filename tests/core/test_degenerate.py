"""Random effects that can follow every row: the likelihood has no maximum, and the fit says so.

With fewer rows than fixed and random effects together the residual variance can go to zero and the
criterion to minus infinity. How far a search gets is a matter of rounding; that it ends is not.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmixed.core.elimination.protocol import LostPrecisionError
from skmixed.core.fit import Fit
from tests.core.designs import random_design
from tests.core.strategies import designs, examples

# Drawn at random; each has ended in an error or a warning of numpy or scipy.
FOLLOWING_EVERY_ROW = {
    "log of a negative pivot": (1264, {
        "relations": ("same", "nested"), "n_slopes": (2, 2, 0),
        "terms": ("split", "no intercept", "identity"), "n_rows": 9, "n_fixed": 2,
        "traits": {"scaled", "response offset", "far apart"}, "intercept": False,
        "weights": "fractional",
    }),
    "log of a negative pivot, unweighted": (1534, {
        "relations": ("nested", "same"), "n_slopes": (2, 0, 2),
        "terms": ("no intercept", "unstructured", "identity"), "n_rows": 6, "n_fixed": 2,
        "intercept": False, "weighting": "precision", "method": "ml",
    }),
    "no sign change in the trust region": (1484, {
        "relations": ("nested",), "n_slopes": (0, 2), "terms": ("identity", "identity"),
        "traits": {"collinear", "dominated", "far apart"}, "n_rows": 6, "n_fixed": 1,
        "intercept": False, "weights": "fractional", "method": "ml",
    }),
    "overflow of a step": (1623, {
        "relations": ("same",), "n_slopes": (0, 2), "terms": ("unstructured", "unstructured"),
        "traits": {"response scale", "offset"}, "n_rows": 11, "n_fixed": 2, "method": "ml",
        "weighting": "precision",
    }),
    "digits lost at the start": (112, {
        "n_slopes": (2,), "terms": ("split",), "n_rows": 6, "n_fixed": 2, "weights": "fractional",
    }),
    "digits lost in the complement": (609, {
        "relations": ("partial", "nested"), "n_slopes": (2, 1, 1),
        "terms": ("identity", "no intercept", "split"), "traits": {"spare factor", "offset"},
        "n_rows": 11, "n_fixed": 1, "weights": "integer",
    }),
}  # fmt: skip


def assert_ends(design):
    """Fit; all figures are numbers, or the search says that it ran out of digits."""
    try:
        fit = Fit.of(design.products(), design.spec)
    except LostPrecisionError:
        return
    assert fit.report.message
    assert fit.sigma2 >= 0.0
    assert np.isfinite(fit.beta).all()
    assert np.isfinite(fit.theta).all()
    for position, modes in enumerate(fit.modes):
        assert np.isfinite(modes).all()
        assert np.isfinite(fit.conditional_covariance(position)).all()


@pytest.mark.parametrize("name", FOLLOWING_EVERY_ROW)
def test_known_cases_end_without_numerical_errors(name):
    seed, options = FOLLOWING_EVERY_ROW[name]
    assert_ends(random_design(seed, **options))


@examples(20)
@given(st.data(), st.integers(6, 12))
def test_few_rows_end_without_numerical_errors(data, n_rows):
    assert_ends(data.draw(designs(n_factors=(1, 2), n_rows=n_rows, n_fixed=1)))


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_a_column_for_every_row_of_every_level(method):
    """Two rows a level with an intercept and a slope each: lines through all of them."""
    design = random_design(3, n_slopes=(1,), n_rows=12, n_fixed=1, method=method)
    assert_ends(design)
