"""Laws of the conditional modes and of the factors they rest on."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from skmixed.core.fit import Fit
from skmixed.core.model.spec import Term
from tests.core.designs import draw_lambdas, random_design
from tests.core.strategies import SEEDS, designs, examples


@pytest.mark.parametrize("relation", ["nested", "crossed", "partial"])
def test_modes_sum_to_zero_where_the_intercept_is_fixed(relation):
    """The normal equations of a fixed intercept beside random intercepts alone."""
    design = random_design(
        2, relations=(relation,), n_slopes=(0, 0), terms=("unstructured",) * 2, n_rows=60
    )
    terms = tuple(Term(factor, (0,)) for factor in design.spec.used_factors)
    fit = Fit.of(design.products(), replace(design.spec, terms=terms))
    for modes, covariance in zip(fit.modes, fit.covariances, strict=True):
        unit = max(np.sqrt(covariance[0, 0]), 1e-6)
        assert abs(modes.sum()) <= 1e-8 * unit * len(modes)


@pytest.mark.parametrize("size", [0.0, 0.5, 2.0, 100.0])
def test_conditional_variances_are_at_most_the_prior_one(size):
    design = random_design(1, n_rows=50)
    fit = design.fit_at([np.array([[size]])])
    prior = fit.covariances[0][0, 0]
    variances = fit.conditional_covariance(0)[:, 0, 0]
    assert (variances >= 0.0).all()
    assert (variances <= prior * (1 + 1e-12)).all()
    if size == 0.0:
        assert (fit.modes[0] == 0.0).all()


def test_modes_of_a_balanced_layout_are_shrunken_towards_zero():
    """By 1 / (1 + 1 / (n lambda^2)) of the deviations of the level means, so less the larger."""
    codes = np.repeat(np.arange(6), 5)
    design = random_design(0, n_rows=30, n_fixed=0)
    design = replace(design, codes=(codes,), labels=((np.arange(6),),))
    means = np.bincount(codes, design.response) / 5
    for lam in [0.1, 0.5, 2.0, 50.0]:
        modes = design.fit_at([np.array([[lam]])]).modes[0][:, 0]
        expected = (means - means.mean()) / (1 + 1 / (5 * lam**2))
        np.testing.assert_allclose(modes, expected, rtol=1e-9, atol=1e-12)


@examples(60)
@given(designs(), SEEDS)
def test_factors_are_lower_triangular_in_raw_units(design, seed):
    fit = design.fit_at(
        [np.where(np.eye(len(lam), dtype=bool), np.abs(lam), lam)
         for lam in draw_lambdas(design, np.random.default_rng(seed))]
    )  # fmt: skip
    for lam, covariance in zip(fit.lambdas, fit.covariances, strict=True):
        np.testing.assert_array_equal(lam, np.tril(lam))
        assert (np.diag(lam) >= 0.0).all()
        np.testing.assert_allclose(covariance, fit.sigma2 * lam @ lam.T, rtol=1e-12)
