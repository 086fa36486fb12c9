"""Effects without a row, in closed form, are those of a fit to the other rows."""

import numpy as np
from hypothesis import given

from skmixed.core.rows.row_effects import effects_without_rows
from skmixed.core.sums.summed_rows import SummedRows
from tests.core.designs import draw_lambdas, random_design
from tests.core.strategies import BOUNDARIES, designs, examples
from tests.core.test_leave_out import TAME, drawn


def effects_of(fit, position, label):
    """Mean and variance of the effects of one level, and whether it is there."""
    factor = fit.spec.used_factors[position]
    labels = list(zip(*fit.products.factors[factor].index.labels, strict=True))
    if label not in labels:
        return None
    place = labels.index(label)
    covariance = fit.conditional_covariance(position)[place]
    return fit.modes[position][place], covariance.diagonal()


@examples(30)
@given(designs(traits=TAME), BOUNDARIES)
def test_effects_without_each_row(design, boundary):
    fit, lambdas = drawn(design, boundary)
    rows = design.rows().at_levels(fit.products.levels)
    ours = effects_without_rows(fit, SummedRows.among(fit.products, rows))
    for row in range(0, design.n_rows, 5):
        kept = np.delete(np.arange(design.n_rows), row)
        rest = design.fit_at(lambdas, design.products(kept))
        for position, factor in enumerate(fit.spec.used_factors):
            index = fit.products.factors[factor].index
            label = next(zip(*index.take(rows.codes[factor][[row]]).labels, strict=True))
            found = ours.means[position][row], ours.variances[position][row]
            expected = effects_of(rest, position, label)
            if expected is None:
                assert (found[0] == 0.0).all()
                prior = fit.covariances[position].diagonal()
                np.testing.assert_array_equal(found[1], prior)
                continue
            size = np.sqrt(fit.covariances[position].diagonal()) + np.abs(expected[0])
            assert (np.abs(found[0] - expected[0]) <= 1e-6 * size).all()
            if rest.is_determined:
                np.testing.assert_allclose(
                    found[1], expected[1] * (fit.sigma2 / rest.sigma2), rtol=1e-6, atol=1e-12
                )


def test_a_zero_variance_leaves_exact_zeros():
    design = random_design(0)
    fit = design.fit_at(draw_lambdas(design, np.random.default_rng(0), "zero"))
    if any(lam.any() for lam in fit.lambdas):
        fit = design.fit_at([0.0 * lam for lam in fit.lambdas])
    rows = design.rows().at_levels(fit.products.levels)
    found = effects_without_rows(fit, SummedRows.among(fit.products, rows))
    assert not any(mean.any() for mean in found.means + found.variances)
