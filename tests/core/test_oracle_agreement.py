"""At a fixed theta every figure of a fit equals the dense textbook's, for random designs.

Nothing is searched for here, so only rounding separates the two.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from skmixed.core.elimination import coupling
from skmixed.core.elimination.chain import Chain
from skmixed.core.elimination.crossed import Crossed
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import Term
from skmixed.core.sums.layout import FactorLayout
from tests.core.designs import (
    FAR,
    TERMS,
    draw_lambdas,
    level_order,
    on_grid,
    random_design,
)
from tests.core.strategies import BOUNDARIES, SEEDS, designs, examples

# In units of the size of each figure.
ROUNDING = 1e-9
# Where lambda is large, dense algebra loses lambda^2 of these, in conditional variances lambda^4.
OF_LAMBDA = 1e-13
# Where the response is dominated by an offset or a feature, beta has no more digits than this.
OF_DOMINANT = 1e-14


def assert_agrees(design, lambdas, rtol=ROUNDING):
    largest = max((np.abs(lam).max() for lam in lambdas), default=0.0)
    rtol = max(rtol, OF_LAMBDA * largest**2)
    fit = design.fit_at(lambdas)
    ours, dense = design.in_plain_units(fit), design.dense(lambdas)
    assert ours["rank"] == dense.rank
    np.testing.assert_allclose(ours["criterion"], dense.criterion, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(ours["sigma2"], dense.sigma2, rtol=rtol)
    size = max(1.0, np.abs(dense.beta).max(initial=0.0))
    dominant = max(np.abs(design.dominant).max(), abs(design.response_shift))
    atol = rtol * size + OF_DOMINANT * dominant
    np.testing.assert_allclose(ours["beta"], dense.beta, rtol=0, atol=atol)
    for mine, theirs in zip(ours["modes"], dense.modes, strict=True):
        size = max(np.sqrt(dense.sigma2), np.abs(theirs).max(initial=0.0))
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=rtol * size)
    assert_same_covariances(design, fit, dense, max(rtol, OF_LAMBDA * largest**4))


def assert_same_covariances(design, fit, dense, rtol):
    """Compare in raw units, entry by entry relative to the standard deviations."""
    raw, units = design.fixed.to_raw, design.response_scale
    assert_close_covariance(
        fit.beta_covariance, units**2 * raw @ dense.beta_covariance @ raw.T, rtol
    )
    for position, factor in enumerate(design.spec.used_factors):
        raw = units * design.random(factor).to_raw
        order = level_order(fit.products.factors[factor].index, design.labels[factor])
        ours = fit.conditional_covariance(position)[order]
        theirs = raw @ dense.mode_covariances[position] @ raw.T
        floor = dense.sigma2 * np.diag(raw @ raw.T)
        assert_close_covariance(ours, theirs, rtol, floor)


def assert_close_covariance(ours, theirs, rtol, floor=0.0):
    variances = np.maximum(np.diagonal(theirs, axis1=-2, axis2=-1), floor)
    deviations = np.sqrt(variances)
    unit = deviations[..., :, None] * deviations[..., None, :]
    assert (np.abs(ours - theirs) <= rtol * unit).all(), np.max(np.abs(ours - theirs) / unit)


@examples(100)
@given(designs(), SEEDS, BOUNDARIES)
def test_any_design(design, seed, boundary):
    assert_agrees(design, draw_lambdas(design, np.random.default_rng(seed), boundary))


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("length", [1, 2, 3])
def test_chain(length, terms):
    for seed in range(4):
        design = random_design(
            seed, relations=("nested",) * (length - 1), n_slopes=(2, 1, 2)[:length],
            terms=(terms,) * length, weights="fractional", method=["reml", "ml"][seed % 2],
        )  # fmt: skip
        assert isinstance(Problem.of(design.products(), design.spec).elimination, Chain)
        assert_agrees(design, draw_lambdas(design, np.random.default_rng(seed)))


@pytest.fixture(params=["dense", "pairs", "sparse"])
def storage(request, monkeypatch):
    """Choose how the eliminated factor's products with the others are stored."""
    monkeypatch.setattr(coupling, "_DENSE_ABOVE", -1.0 if request.param == "dense" else 2.0)
    monkeypatch.setattr(coupling, "_MOST_PAIRS", 1e9 if request.param == "pairs" else -1)
    return request.param


@pytest.mark.parametrize("n_slopes", [(0, 0, 0), (2, 2, 1)])
@pytest.mark.parametrize("relations", [("crossed",), ("crossed", "crossed"), ("partial", "nested")])
def test_crossed(storage, relations, n_slopes):
    for seed, terms in enumerate(TERMS):
        count = len(relations) + 1
        design = random_design(
            seed, relations=relations, n_slopes=n_slopes[:count], terms=(terms,) * count,
            weights="integer", n_rows=40, method=["reml", "ml"][seed % 2],
        )  # fmt: skip
        elimination = Problem.of(design.products(), design.spec).elimination
        assert isinstance(elimination, Crossed)
        assert (elimination.coupling.pattern is None) == (storage == "dense")
        expect_pairs = storage == "pairs" and len(elimination.coupling) == 1
        assert (elimination.coupling.pairs is not None) == expect_pairs
        for boundary in ["inside", "edge", "zero"]:
            assert_agrees(design, draw_lambdas(design, np.random.default_rng(seed), boundary))


def test_levels_in_chunks(monkeypatch):
    monkeypatch.setattr(coupling, "_WORK_BYTES", 100)
    design = random_design(5, relations=("crossed",), n_slopes=(1, 0), terms=("unstructured",) * 2)
    assert_agrees(design, draw_lambdas(design, np.random.default_rng(0)))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_crossed_factors_of_equal_size_with_levels_far_apart(order):
    first, second = np.repeat(np.arange(5), 8), np.tile(np.arange(5), 8)
    design = random_design(
        0, relations=("same",), n_slopes=(0, 0), terms=("unstructured",) * 2, n_rows=40
    )
    rng = np.random.default_rng(0)
    y = on_grid(FAR * rng.standard_normal(5)[first] + rng.standard_normal(40), 12)
    labels = tuple((np.arange(5),) for _ in order)
    keys = (("a",), ("b",))
    layout = replace(design.layout, factors=tuple(FactorLayout(key, (0,)) for key in keys))
    spec = replace(design.spec, terms=tuple(Term(f, (0,)) for f in order))
    design = replace(
        design, layout=layout, spec=spec, codes=(first, second), labels=labels, response=y
    )
    assert_agrees(design, [[np.array([[FAR]]), np.eye(1)][f] for f in order])


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("relations", [(), ("nested",), ("crossed",)])
def test_no_fixed_column(relations, method, capfd):
    design = random_design(
        3, relations=relations, n_slopes=(1, 0)[: len(relations) + 1],
        terms=("unstructured",) * (len(relations) + 1), n_fixed=0, intercept=False, method=method,
    )  # fmt: skip
    assert design.spec.fixed == ()
    assert_agrees(design, draw_lambdas(design, np.random.default_rng(0)))
    assert capfd.readouterr() == ("", "")  # LAPACK complains there


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_order_of_terms_decides_order_of_figures(order):
    design = random_design(2, relations=("nested",), n_slopes=(1, 0), terms=("unstructured",) * 2)
    terms = tuple(design.spec.terms[n] for n in order)
    design = replace(design, spec=replace(design.spec, terms=terms))
    assert design.spec.used_factors == tuple(term.factor for term in terms)
    assert_agrees(design, draw_lambdas(design, np.random.default_rng(0)))


def test_two_terms_with_the_same_column():
    design = random_design(4, n_slopes=(1,), n_rows=40)
    terms = (Term(0, (0,)), Term(0, (0, *design.layout.factors[0].columns[1:]), "diagonal"))
    design = replace(design, spec=replace(design.spec, terms=terms))
    assert_agrees(design, draw_lambdas(design, np.random.default_rng(0)))


@examples(60)
@given(designs(traits=["scaled", "collinear", "spare factor"]), SEEDS, BOUNDARIES)
def test_criterion_at_takes_theta_in_raw_units(design, seed, boundary):
    lambdas = draw_lambdas(design, np.random.default_rng(seed), boundary)
    fit = design.fit_at(lambdas)
    np.testing.assert_allclose(fit.criterion_at(fit.theta), fit.criterion, rtol=ROUNDING)
    elsewhere = design.fit_at(draw_lambdas(design, np.random.default_rng(seed + 1)))
    np.testing.assert_allclose(
        fit.criterion_at(elsewhere.theta), elsewhere.criterion, rtol=ROUNDING
    )


@pytest.mark.parametrize("weights", ["fractional", "integer"])
def test_meaning_of_weights_differs_by_their_logarithms_alone(weights):
    frequency = random_design(6, weights=weights, method="ml")
    products = frequency.products()
    precision = replace(frequency, spec=replace(frequency.spec, weighting="precision"))
    lambdas = draw_lambdas(frequency, np.random.default_rng(0))
    ours, theirs = frequency.fit_at(lambdas, products), precision.fit_at(lambdas, products)
    np.testing.assert_allclose(ours.beta, theirs.beta, rtol=1e-12)
    n, total = frequency.n_rows, frequency.weights.sum()
    np.testing.assert_allclose(ours.sigma2 * total, theirs.sigma2 * n, rtol=1e-12)


def test_response_dominated_by_a_feature_beside_an_offset_column_outside_the_model():
    design = random_design(0, traits={"offset", "dominated"}, n_fixed=1)
    assert design.spec.fixed == (0, 2)  # column 1 has the offset
    assert design.dominant[1]
    assert_agrees(design, draw_lambdas(design, np.random.default_rng(0)))
