"""Random small generalized models of every kind: each ends with an answer that is right."""

import numpy as np
import pytest

from skmixed.core.families.catalogue import family_of
from skmixed.core.generalized.approximation.laplace import evaluate_laplace
from skmixed.core.generalized.approximation.modes import Point
from skmixed.core.generalized.generalized_fitting import fit_rows
from skmixed.core.generalized.joint_search.joint_newton import JointNewton, JointSearch
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from tests.core.generalized.drawn import LINKS, Drawn, respond

LOWER = 1e-6
ROUNDING = 1e-11
ABSURD = 2.0
STRUCTURES = ["unstructured", "diagonal", "identity"]


def draw_any(rng):
    """A model of a few rows, often without a finite or an inner optimum."""
    name, link = LINKS[rng.integers(len(LINKS))]
    family, n = family_of(name, link), int(rng.integers(12, 150))
    p, k = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 3))])
    if rng.random() < 0.4:
        X[:, 1] = rng.random(n) < 0.2
    if rng.random() < 0.3:
        X[:, 1] *= 10.0 ** rng.integers(-6, 7)
    if rng.random() < 0.2:
        X[:, 2] += 10.0 ** rng.integers(0, 5)
    n_factors = 2 if rng.random() < 0.3 else 1
    codes, terms = [], []
    for factor in range(n_factors):
        n_levels = int(rng.integers(2, max(3, n // 3)))
        own = np.unique(rng.integers(0, n_levels, n), return_inverse=True)[1]
        if rng.random() < 0.1:
            own = np.arange(n)
        codes.append(own)
        width = k if factor == 0 else 1
        structure = STRUCTURES[rng.integers(3)]
        terms.append(Term(factor, tuple(range(width)), structure))
    units = X / np.maximum(np.abs(X).max(axis=0), 1e-300)
    eta = units @ rng.normal(0.0, 0.7, 4) - rng.choice([0.0, 0.0, 2.5])
    for own in codes:
        eta = eta + rng.normal(0.0, rng.choice([0.0, 0.5, 1.5]), n)[own]
    weights = rng.integers(1, 5, n).astype(float) if rng.random() < 0.5 else None
    y = respond(rng, family, np.minimum(eta, 4.0), np.ones(n) if weights is None else weights)
    layout = Layout(
        ("1", "a", "b", "c", "y"),
        tuple(FactorLayout((f"g{f}",), term.columns) for f, term in enumerate(terms)),
    )
    indexes = tuple(GroupIndex((f"g{f}",), (np.arange(o.max() + 1),)) for f, o in enumerate(codes))
    rows = Rows(np.column_stack([X, y]), tuple(codes), indexes, weights)
    offset = rng.normal(0.0, 0.5, n) if rng.random() < 0.3 else None
    if rng.random() < 0.15 and weights is not None:
        rows.weights[:] *= 10.0 ** rng.uniform(-3.0, 3.0)
    if rng.random() < 0.1 and offset is not None:
        offset *= 6.0
    return Drawn(layout, rows, ModelSpec(tuple(range(p)), tuple(terms), "ml"), family, offset)


def check(seed):
    rng = np.random.default_rng(seed)
    drawn = draw_any(rng)
    found = fit_rows(drawn.layout, drawn.rows, drawn.spec, drawn.family, offset=drawn.offset)
    assert np.isfinite(found.criterion), seed
    assert np.isfinite(found.beta).all(), seed
    assert found.report.converged or found.separated or found.report.is_unbounded, seed
    errors = np.diag(found.beta_covariance)
    assert (np.delete(errors, list(found.separated)) >= 0.0).all(), seed
    assert all(np.isfinite(modes).all() for modes in found.modes), seed
    if found.report.is_unbounded or found.unidentified or found.separated:
        return
    observations = drawn.observations()
    structures = observations.structures
    coordinates = Coordinates.natural(structures)
    theta = coordinates.theta([1.5 * np.eye(s.size) for s in structures])
    point = Point(
        np.zeros(observations.rank), coordinates.lambdas(theta), observations.family.first_phi
    )
    search = JointSearch(
        observations,
        lambda where, before, tolerance, _: evaluate_laplace(
            observations, where, None if before is None else before.remembered, tolerance
        ),
        JointNewton(),
        is_exact=len(structures) == 1,
    )
    other = search.solve(point)
    largest = max(float(np.abs(lam).max()) for lam in other.evaluation.point.lambdas)
    if largest < ABSURD:  # where the approximation can have minima of its own
        least = other.evaluation.criterion
        assert found.criterion < least + LOWER + ROUNDING * abs(least), seed


@pytest.mark.parametrize("seed", range(12))
def test_a_few_random_models(seed):
    check(seed)


def test_the_limit_of_a_dispersion_is_left_where_the_optimum_is_before_it():
    check(470)


@pytest.mark.study
@pytest.mark.parametrize("seed", range(100, 600))
def test_many_random_models(seed):
    check(seed)
