"""Rows left out in closed form are rows left out by a refit at the same variance components."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skmixed.core.rows import leave_out
from skmixed.core.rows.leave_out import (
    coefficients_without_levels,
    leave_levels_out,
    leave_rows_out,
)
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


@pytest.mark.parametrize("boundary", ["inside", "zero"])
@pytest.mark.parametrize("relations", [("whole",), ("nested", "whole"), ("same", "whole")])
@pytest.mark.parametrize("seed", range(3))
def test_levels_left_out_beside_a_factor_of_one_level(seed, relations, boundary, monkeypatch):
    counts = (1,) * len(relations) + (3,)
    design = random_design(
        seed,
        relations=relations,
        n_slopes=counts,
        terms=("unstructured",) * len(counts),
        weights="fractional",
        weighting="precision",
        n_rows=80,
        n_fixed=1,
    )
    lambdas = draw_lambdas(design, np.random.default_rng(1), boundary)
    fit = design.fit_at(lambdas)
    rows, used = design.rows(), design.spec.used_factors
    sizes = {factor: rows.codes[factor].max() + 1 for factor in used}
    factor = min((f for f in used if sizes[f] > 1), key=sizes.get)
    theirs, betas = np.empty(design.n_rows), []
    for level in range(sizes[factor]):
        chosen = np.flatnonzero(rows.codes[factor] == level)
        theirs[chosen] = refit_without(design, lambdas, chosen)
        kept = np.setdiff1d(np.arange(design.n_rows), chosen)
        betas.append(design.fit_at(lambdas, design.products(kept)).beta)
    monkeypatch.setattr(leave_out, "predict_without", None)  # no level has its own evaluation
    scale = np.ptp(rows.columns[:, -1])
    np.testing.assert_allclose(leave_levels_out(fit, rows, factor), theirs, atol=1e-7 * scale)
    ours = coefficients_without_levels(fit, rows, factor)
    np.testing.assert_allclose(ours, betas, rtol=1e-6, atol=1e-7 * scale)


def test_other_rows_are_refused():
    design = random_design(0)
    fit, rows = design.fit_at([np.eye(1)]), design.rows()
    fewer = rows.take(np.arange(10))
    moved = rows.take(np.arange(design.n_rows))
    moved.columns[3, -1] += 1.0
    for other in (fewer, moved):
        with pytest.raises(ValueError, match="not the rows the model was fitted to"):
            leave_rows_out(fit, other)
