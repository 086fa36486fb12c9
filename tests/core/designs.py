"""Random mixed models, as the core sees them and as the dense oracle does.

A design is drawn in *plain units*, columns near zero of size one, in which dense algebra is
accurate. The core gets *raw* columns: plain ones shifted, scaled, with a multiple of a feature
added to the response. Whatever it finds there is brought back to plain units and compared. All
plain values are multiples of small powers of two, so that shifting them rounds nothing.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import block_diag

from skmixed.core.fit import Fit
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.search.report import SolverReport
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from tests.oracle import dense_fit, independent_columns, levels_to_columns

N_FEATURES = 3
OFFSET = 2.0**20
RESPONSE_OFFSET = 2.0**30
UNITS = [1e-6, 2.0**-20, 1.0, 1e6]
DOMINANT = 2.0**20
FAR = 2.0**8

# How a factor lies to the one before it.
RELATIONS = ["nested", "crossed", "partial", "same"]
# (1 + x | g), (1 + x || g), one variance, (0 + x | g), and (1 | g) + (0 + x | g).
TERMS = ["unstructured", "diagonal", "identity", "no intercept", "split"]
TRAITS = [
    "offset",  # a feature lies far from zero
    "scaled",  # another has tiny or huge units
    "collinear",  # a feature is a combination of others
    "response offset",
    "response scale",
    "dominated",  # a feature explains all but a millionth of the response
    "far apart",  # levels differ much more than the rows within them
    "spare factor",  # a factor is summed over, but has no term
]


def on_grid(values, bits):
    """Round to multiples of a power of two."""
    return np.round(values * 2.0**bits) / 2.0**bits


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Columns in plain units: effects of the raw columns are `to_raw` times effects of these."""

    columns: np.ndarray
    to_raw: np.ndarray


@dataclass(frozen=True, eq=False)
class Design:
    """Rows with a model; `features` are plain, raw ones are (features + shift) * scale."""

    layout: Layout
    spec: ModelSpec
    codes: tuple
    labels: tuple
    weights: np.ndarray | None
    features: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    response: np.ndarray
    response_shift: float
    response_scale: float
    dominant: np.ndarray
    recipe: str
    traits: frozenset

    def __repr__(self):
        return self.recipe

    def _repr_pretty_(self, printer, cycle):  # hypothesis would print the arrays
        printer.text(self.recipe)

    @property
    def n_rows(self):
        return len(self.response)

    @property
    def raw_features(self):
        return (self.features + self.shift) * self.scale

    @property
    def columns(self):
        y = self.response + self.response_shift + self.features @ self.dominant
        return np.column_stack([np.ones(self.n_rows), self.raw_features, y * self.response_scale])

    def rows(self, chosen=slice(None)):
        """Return some of the rows, with the levels that occur among them."""
        codes, indexes = [], []
        for factor, code, labels in zip(self.layout.factors, self.codes, self.labels, strict=True):
            levels, of_rows = np.unique(code[chosen], return_inverse=True)
            codes.append(of_rows.astype(np.intp))
            indexes.append(GroupIndex(factor.key, tuple(column[levels] for column in labels)))
        weights = None if self.weights is None else self.weights[chosen]
        columns = np.ascontiguousarray(self.columns[chosen])
        return Rows(columns, tuple(codes), tuple(indexes), weights)

    def products(self, chosen=slice(None)):
        return CrossProducts.of(self.layout, self.rows(chosen))

    def coordinates(self, columns, *, centred, one_unit=False):
        """Return columns of the layout in plain units, centred only if that is the same model."""
        place = {column: n for n, column in enumerate(columns)}
        plain = np.column_stack([np.ones(self.n_rows), self.features])
        raw = np.column_stack([np.ones(self.n_rows), self.raw_features])
        if centred:
            to_raw = np.diag([1.0, *(1.0 / self.scale)])[np.ix_(columns, columns)]
            for column in columns[1:]:
                to_raw[place[0], place[column]] = -self.shift[column - 1]
            return Coordinates(plain[:, columns], to_raw)
        units = np.sqrt(np.mean(raw[:, columns] ** 2, axis=0))
        units[:] = units.max(initial=0.0) if one_unit else units
        units[units == 0.0] = 1.0
        return Coordinates(raw[:, columns] / units, np.diag(1.0 / units))

    @property
    def fixed(self):
        return self.coordinates(list(self.spec.fixed), centred=self.spec.has_intercept)

    def term_coordinates(self, term):
        centred = term.covariance == "unstructured" and term.columns[0] == 0
        return self.coordinates(
            list(term.columns), centred=centred, one_unit=term.covariance == "identity"
        )

    def random(self, factor):
        parts = [self.term_coordinates(term) for term in self.spec.factor_terms(factor)]
        columns = np.concatenate([part.columns for part in parts], axis=1)
        return Coordinates(columns, block_diag(*[part.to_raw for part in parts]))

    def dense_columns(self):
        """Return y, X and the matrices Z in plain units."""
        Zs = [
            levels_to_columns(self.codes[f], self.random(f).columns, self.codes[f].max() + 1)
            for f in self.spec.used_factors
        ]
        return self.response, self.fixed.columns, Zs

    def dense(self, lambdas):
        """Return the dense fit in plain units at given factors."""
        y, X, Zs = self.dense_columns()
        return dense_fit(
            y, X, Zs, lambdas, weights=self.weights,
            reml=self.spec.method == "reml", weighting=self.spec.weighting,
        )  # fmt: skip

    @property
    def n_observations(self):
        frequency = self.spec.weighting == "frequency" and self.weights is not None
        return self.weights.sum() if frequency else self.n_rows

    @property
    def criterion_change(self):
        """Criterion of the raw columns less that of the plain ones."""
        X = self.fixed.columns
        root_weights = 1.0 if self.weights is None else np.sqrt(self.weights)[:, None]
        kept = independent_columns(root_weights * X)
        reml = self.spec.method == "reml"
        nu = self.n_observations - len(kept) * reml
        change = 2.0 * nu * np.log(self.response_scale)
        if reml:
            change -= 2.0 * np.log(np.abs(np.diag(self.fixed.to_raw)[kept])).sum()
        return change

    def scaled_lambdas(self, problem, lambdas):
        """Turn factors in plain units into those that the problem is evaluated at."""
        return [self.to_scaled(problem, n) @ lam for n, lam in enumerate(lambdas)]

    def to_scaled(self, problem, position):
        """Map effects of plain columns to effects of the problem's scaled ones."""
        factor = self.spec.used_factors[position]
        return np.linalg.solve(problem.model.random_maps[position], self.random(factor).to_raw)

    def plain_lambdas(self, fit):
        """Return factors of a fit in plain units."""
        return [
            np.linalg.solve(self.to_scaled(fit.problem, n), lam)
            for n, lam in enumerate(fit.scaled_lambdas)
        ]

    def fit_at(self, lambdas, products=None):
        """Return the core's fit at given factors in plain units."""
        products = self.products() if products is None else products
        scaled = self.scaled_lambdas(Problem.of(products, self.spec), lambdas)
        report = SolverReport("given", True, 0, "the factors are given", ())
        return Fit(products, self.spec, tuple(scaled), report)

    def in_plain_units(self, fit):
        """Return the figures of a fit as `dense` gives them, but for covariance matrices."""
        units, fixed = self.response_scale, self.fixed
        undo = np.linalg.inv(fixed.to_raw)
        beta = undo @ (fit.beta / units)
        beta -= np.array([self.response_shift, *self.dominant])[list(self.spec.fixed)]
        modes = []
        for position, factor in enumerate(self.spec.used_factors):
            back = np.linalg.inv(self.random(factor).to_raw) / units
            order = level_order(fit.products.factors[factor].index, self.labels[factor])
            modes.append(fit.modes[position][order] @ back.T)
        return {
            "criterion": fit.criterion - self.criterion_change,
            "beta": beta,
            "sigma2": fit.sigma2 / units**2,
            "modes": modes,
            "rank": fit.rank,
        }


def level_order(index, labels):
    """Return where the levels that `labels` names stand in an index."""
    places = {row: n for n, row in enumerate(zip(*index.labels, strict=True))}
    return [places[row] for row in zip(*labels, strict=True)]


def draw_codes(rng, n_rows, relations):
    """Draw levels of one factor and of a further one for each relation."""
    shares = rng.dirichlet(np.full(rng.integers(2, 9), 1.5))
    codes = [rng.choice(len(shares), size=n_rows, p=shares)]
    for relation in relations:
        before = codes[-1]
        if relation == "crossed":
            codes.append(rng.integers(rng.integers(2, 6), size=n_rows))
        elif relation == "whole":
            codes.append(np.zeros(n_rows, dtype=int))
        elif relation == "same":
            codes.append(rng.permutation(before.max() + 1)[before])
        else:
            parents = rng.integers(max(2, before.max() // 2), size=before.max() + 1)[before]
            if relation == "partial":
                strays = rng.random(n_rows) < 0.2
                parents = np.where(strays, rng.permutation(parents), parents)
            codes.append(parents)
    return [np.unique(code, return_inverse=True)[1] for code in codes]


def draw_labels(rng, n_levels):
    """Draw numbers, strings, or pairs of strings as labels, in no particular order."""
    kind = rng.integers(3)
    if kind == 0:
        return (rng.permutation(10 * n_levels)[:n_levels],)
    names = np.array([f"L{n}" for n in rng.permutation(n_levels)])
    if kind == 1:
        return (names,)
    return (names, np.array(["a", "b", "a:b"])[rng.integers(3, size=n_levels)])


def draw_terms(factor, kind, slopes):
    """Write the terms of one factor."""
    slopes = tuple(slopes)
    if kind == "split":
        parts = [(0,), slopes] if slopes else [(0,)]
        return [Term(factor, part, "unstructured") for part in parts]
    if kind == "no intercept":
        return [Term(factor, slopes or (0,), "unstructured")]
    return [Term(factor, (0, *slopes), kind)]


def random_design(seed, **options):
    """Draw a design; the keywords are those of `_random_design`."""
    given = "".join(f", {name}={value!r}" for name, value in options.items())
    return replace(_random_design(seed, **options), recipe=f"random_design({seed}{given})")


def _random_design(
    seed,
    *,
    relations=(),
    n_slopes=(0,),
    terms=("unstructured",),
    traits=frozenset(),
    n_rows=28,
    n_fixed=2,
    intercept=True,
    weights=None,
    method="reml",
    weighting="frequency",
):
    rng = np.random.default_rng(seed)
    if "offset" in traits:  # both together leave the dense algebra too few digits
        traits = frozenset(traits) - {"far apart"}
    codes = draw_codes(rng, n_rows, relations)
    if "spare factor" in traits:
        codes.insert(rng.integers(len(codes) + 1), rng.integers(4, size=n_rows))
        codes = [np.unique(code, return_inverse=True)[1] for code in codes]
    used = rng.permutation(len(codes))[: len(relations) + 1]

    features = on_grid(rng.standard_normal((n_rows, N_FEATURES)), 10)
    features[:, 2] = features[:, 2] > 0
    shift, scale = np.zeros(N_FEATURES), np.ones(N_FEATURES)
    if "offset" in traits:
        shift[0] = OFFSET
    if "scaled" in traits:
        scale[1] = rng.choice(UNITS)
    fixed = [int(j) for j in 1 + rng.permutation(N_FEATURES)[:n_fixed]]
    if "collinear" in traits:
        a, b = 2.0 * features[:, fixed[0] - 1 : fixed[0]], features[:, fixed[-1] - 1 : fixed[-1]]
        features = np.concatenate([features, a - b], axis=1)
        shift, scale = np.append(shift, 0.0), np.append(scale, 1.0)
        fixed.insert(int(rng.integers(1, n_fixed + 1)), N_FEATURES + 1)

    term_list, factor_layouts = [], [None] * len(codes)
    for factor, count, kind in zip(used, n_slopes, terms, strict=True):
        slopes = [int(j) for j in 1 + rng.permutation(N_FEATURES)[:count]]
        term_list += draw_terms(int(factor), kind, slopes)
        factor_layouts[factor] = (0, *sorted(slopes))
    labels = [draw_labels(rng, code.max() + 1) for code in codes]
    keys = [tuple(f"g{f}{part}" for part in "ab"[: len(label)]) for f, label in enumerate(labels)]
    factors = tuple(
        FactorLayout(key, columns or (0, 1))
        for key, columns in zip(keys, factor_layouts, strict=True)
    )
    names = ("(Intercept)", *[f"x{j}" for j in range(features.shape[1])], "y")

    w = None
    if weights == "integer":
        w = rng.integers(1, 4, size=n_rows).astype(float)
    elif weights == "fractional":
        w = rng.uniform(0.5, 3.0, size=n_rows)
    design = Design(
        Layout(names, factors),
        ModelSpec(((0,) if intercept else ()) + tuple(fixed), tuple(term_list), method, weighting),
        tuple(codes), tuple(labels), w, features, shift, scale,
        np.zeros(n_rows), 0.0, 1.0, np.zeros(features.shape[1]), "", frozenset(traits),
    )  # fmt: skip
    return with_response(design, rng, traits)


def with_response(design, rng, traits):
    """Draw the response and its units."""
    y = design.features @ rng.standard_normal(design.features.shape[1])
    for factor in design.spec.used_factors:
        columns = design.random(factor).columns
        effects = rng.standard_normal((design.codes[factor].max() + 1, columns.shape[1]))
        if "far apart" in traits:
            effects[:, 0] *= FAR
        y += (columns * effects[design.codes[factor]]).sum(axis=1)
    w = 1.0 if design.weights is None else design.weights
    y = on_grid(y + rng.standard_normal(design.n_rows) / np.sqrt(w), 12)
    design = replace(design, response=y)
    if "response scale" in traits:
        design = replace(design, response_scale=float(rng.choice([2.0**-20, 2.0**20])))
    if not design.spec.has_intercept:
        return design
    leading = design.spec.fixed[1] - 1 if len(design.spec.fixed) > 1 else 0
    if "response offset" in traits:
        design = replace(design, response_shift=RESPONSE_OFFSET)
    elif (
        "dominated" in traits
        and "collinear" not in traits
        and len(design.spec.fixed) > 1
        and not design.shift[leading]
    ):
        dominant = np.zeros(design.features.shape[1])
        dominant[leading] = DOMINANT
        design = replace(design, dominant=dominant)
    return design


def draw_lambdas(design, rng, boundary="inside"):
    """Draw factors in plain units: inside the parameter space, on its boundary, or zero."""
    lambdas = []
    for factor in design.spec.used_factors:
        parts = []
        for term in design.spec.factor_terms(factor):
            k = len(term.columns)
            size = np.exp(rng.normal(0.0, 0.7))
            if term.covariance == "identity":
                parts.append(size * np.eye(k))
            elif term.covariance == "diagonal":
                parts.append(np.diag(rng.uniform(0.2, 1.5, size=k)))
            else:
                parts.append(size * np.tril(rng.standard_normal((k, k))))
        lam = block_diag(*parts)
        if "far apart" in design.traits:
            identity = design.spec.factor_terms(factor)[0].covariance == "identity"
            lam[0, 0] *= 1.0 if identity else FAR ** rng.uniform()
        if boundary == "zero":
            lam[:] = 0.0
        elif boundary == "edge":
            lam[:, rng.integers(len(lam))] = 0.0
            if any(term.covariance == "identity" for term in design.spec.factor_terms(factor)):
                lam[:] = 0.0
        lambdas.append(lam)
    return lambdas
