"""Small generalized models of random rows, and Laplace's approximation written out densely."""

from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.families.catalogue import FAMILIES, family_of
from skmixed.core.generalized.approximation.modes import Point
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.model.penalty import Penalty, VariancePenalty
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows

LINKS = [(name, family.link) for name, families in FAMILIES.items() for family in families]

# Numbers of levels and of random columns of every factor; of nested ones each is the remainder.
DESIGNS = {
    "none": [],
    "one column": [(15, 1)],
    "two columns": [(12, 2)],
    "three columns": [(10, 3)],
    "nested": [(16, 1), (4, 2)],
    "nested, coarse first": [(3, 2), (6, 1), (18, 1)],
    "crossed": [(12, 1), (5, 2)],
    "crossed, two columns": [(6, 2), (8, 2), (4, 1)],
}
ONE_FACTOR = ["none", "one column", "two columns", "three columns"]


@dataclass
class Drawn:
    """A model with its rows."""

    layout: Layout
    rows: Rows
    spec: ModelSpec
    family: object
    offset: np.ndarray | None

    def observations(self):
        return Observations.of(self.layout, self.rows, self.spec, self.family, self.offset)


def draw(
    rng, design, name="binomial", link="auto", *, n=120, weights=True, offset=True, structure=None
):
    """Rows of a design in DESIGNS, three fixed columns, of which the first ones vary."""
    family, factors = family_of(name, link), DESIGNS[design]
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    finest = max((size for size, _ in factors), default=1)
    drawn = np.concatenate([np.arange(finest), rng.integers(0, finest, n - finest)])
    codes = []
    for size, _ in factors:
        own = np.concatenate([np.arange(size), rng.integers(0, size, n - size)])
        codes.append(drawn % size if "nested" in design else rng.permutation(own))
    eta = X @ rng.normal(0.0, 0.4, 3)
    for (size, _), own in zip(factors, codes, strict=True):
        eta = eta + rng.normal(0.0, 0.7, size)[own]
    w = rng.integers(1, 4, n).astype(float) if weights else np.ones(n)
    y = respond(rng, family, eta, w)
    layout = Layout(
        ("1", "x", "z", "y"),
        tuple(FactorLayout((f"g{f}",), tuple(range(k))) for f, (_, k) in enumerate(factors)),
    )
    indexes = tuple(
        GroupIndex((f"g{f}",), (np.arange(size),)) for f, (size, _) in enumerate(factors)
    )
    rows = Rows(np.column_stack([X, y]), tuple(codes), indexes, w if weights else None)
    terms = tuple(
        Term(f, tuple(range(k)), structure or "unstructured") for f, (_, k) in enumerate(factors)
    )
    shift = rng.normal(0.0, 0.3, n) if offset else None
    return Drawn(layout, rows, ModelSpec((0, 1, 2), terms, "ml"), family, shift)


def penalised(drawn):
    """Return the same model with a penalty of every covariance, with all kinds of parts."""
    terms = []
    for term in drawn.spec.terms:
        parts = [VariancePenalty(group, 0.3, 0.7, 0.5) for group in term.structure.deviations]
        terms.append(replace(term, penalty=Penalty(1.2, tuple(parts), 0.4)))
    return replace(drawn, spec=replace(drawn.spec, terms=tuple(terms)))


def respond(rng, family, eta, w):
    mean = family.mean(eta)
    if family.name == "binomial":
        return rng.binomial(w.astype(int), mean) / w
    if family.name == "gamma":
        return rng.gamma(2.0, mean / 2.0)
    if family.name == "negative binomial":
        mean = mean * rng.gamma(2.0, 0.5, len(mean))
    return rng.poisson(mean).astype(float)


def random_point(rng, observations, boundary=()):
    """Parameters in scaled units; factors on the boundary have singular covariances."""
    lambdas = []
    for factor, structure in enumerate(observations.structures):
        root = 0.6 * np.eye(structure.size) + 0.1 * rng.normal(size=(structure.size,) * 2)
        theta = structure.theta(structure.projected(root @ root.T), structure.natural_order)
        lam = structure.lam(theta, structure.natural_order)
        if factor in boundary:
            lam[:, -1] = 0.0
        lambdas.append(lam)
    phi = np.full(observations.family.n_dispersions, 0.4)
    return Point(rng.normal(0.0, 0.3, observations.rank), lambdas, phi)


def dense_laplace(drawn, beta, lambdas, phi):
    """-2 log-likelihood by Laplace's approximation at parameters in raw units."""
    rows, spec, family = drawn.rows, drawn.spec, drawn.family
    X, y = rows.columns[:, list(spec.fixed)], rows.columns[:, -1]
    w = np.ones(len(y)) if rows.weights is None else rows.weights
    shift = 0.0 if drawn.offset is None else drawn.offset
    parts = [np.zeros((len(y), 0))]
    for factor, lam in zip(spec.used_factors, lambdas, strict=True):
        z = rows.columns[:, list(spec.factor_columns(factor))] @ lam
        size, k = len(rows.indexes[factor]), z.shape[1]
        Z = np.zeros((len(y), size, k))
        Z[np.arange(len(y)), rows.codes[factor]] = z
        parts.append(Z.reshape(len(y), size * k))
    Z = np.concatenate(parts, axis=1)
    u = np.zeros(Z.shape[1])

    def at(u):
        f, g, v = family.derivatives(X @ beta + shift + Z @ u, y, w, phi)
        return f.sum() + 0.5 * u @ u, Z.T @ g + u, (Z.T * v) @ Z + np.eye(len(u))

    for _ in range(200):
        h, slope, hessian = at(u)
        step = np.linalg.solve(hessian, slope)
        while at(u - step)[0] > h + 1e-12 * abs(h):
            step = step / 2.0
        u = u - step
        if slope @ step < 1e-26:
            break
    h, _, hessian = at(u)
    return 2.0 * (h + family.constant(y, w, phi)) + np.linalg.slogdet(hessian)[1]


def raw(observations, point):
    """Coefficients and lambdas of scaled units, in those of the data."""
    units = observations.units
    beta = np.zeros(len(observations.spec.fixed))
    coefficients = units.to_raw[:, :-1] @ point.beta
    beta[:] = coefficients[list(observations.spec.fixed)]
    return beta, [R @ lam for R, lam in zip(units.random_maps, point.lambdas, strict=True)]
