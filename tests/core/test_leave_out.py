"""Rows left out in closed form are rows left out by a refit at the same variance components."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skmixed.core.rows.leave_out import leave_levels_out, leave_rows_out
from tests.core.designs import draw_lambdas, random_design
from tests.core.strategies import BOUNDARIES, designs, examples

TAME = ["offset", "scaled", "spare factor"]


def refit_without(design, lambdas, chosen):
    """Predict rows from a model of the other rows alone: no algebra is shared."""
    kept = np.setdiff1d(np.arange(design.n_rows), chosen)
    fit = design.fit_at(lambdas, design.products(kept))
    rows = design.rows()
    prediction = rows.columns[chosen][:, list(design.spec.fixed)] @ fit.beta
    for factor, effects in zip(design.spec.used_factors, fit.modes, strict=True):
        levels = list(zip(*fit.products.factors[factor].index.labels, strict=True))
        effect = dict(zip(levels, effects, strict=True))
        labels = list(zip(*rows.indexes[factor].labels, strict=True))
        for n, row in enumerate(chosen):
            known = effect.get(labels[rows.codes[factor][row]])
            if known is not None:
                z = rows.columns[row, list(design.spec.factor_columns(factor))]
                prediction[n] += z @ known
    return prediction


def drawn(design, boundary="inside"):
    lambdas = draw_lambdas(design, np.random.default_rng(1), boundary)
    fit = design.fit_at(lambdas)
    assume(fit.is_determined)
    return fit, lambdas


@examples(60)
@given(designs(traits=TAME), BOUNDARIES)
def test_rows_left_out(design, boundary):
    fit, lambdas = drawn(design, boundary)
    ours = leave_rows_out(fit, design.rows())
    theirs = [refit_without(design, lambdas, np.array([row]))[0] for row in range(design.n_rows)]
    scale = np.ptp(design.rows().columns[:, -1])
    np.testing.assert_allclose(ours, theirs, atol=1e-7 * scale)


@examples(60)
@given(designs(traits=TAME), BOUNDARIES, st.integers(0, 2))
def test_levels_left_out(design, boundary, which):
    fit, lambdas = drawn(design, boundary)
    factor = design.spec.used_factors[which % len(design.spec.used_factors)]
    codes = design.rows().codes[factor]
    assume(codes.max() > 0)
    ours = leave_levels_out(fit, design.rows(), factor)
    theirs = np.empty(design.n_rows)
    for level in range(codes.max() + 1):
        chosen = np.flatnonzero(codes == level)
        theirs[chosen] = refit_without(design, lambdas, chosen)
    scale = np.ptp(design.rows().columns[:, -1])
    np.testing.assert_allclose(ours, theirs, atol=1e-7 * scale)


def test_other_rows_are_refused():
    design = random_design(0)
    fit, rows = design.fit_at([np.eye(1)]), design.rows()
    fewer = rows.take(np.arange(10))
    moved = rows.take(np.arange(design.n_rows))
    moved.columns[3, -1] += 1.0
    for other in (fewer, moved):
        with pytest.raises(ValueError, match="not the rows the model was fitted to"):
            leave_rows_out(fit, other)
