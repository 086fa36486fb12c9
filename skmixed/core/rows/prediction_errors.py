"""How far predictions of rows may be off.

With hats for estimates and d = x - (z'Omega Z'V^-1 X)', C the conditional covariance of the random
effects relative to sigma^2 and V_b = (X'V^-1 X)^-1,

    var(x'(beta^ - beta) + z'(b^ - b)) = sigma^2 (z'C z + d'V_b d)

at given relative covariances (Henderson 1975, doi:10.2307/2529430). The effects of a level that is
not known are estimated by zero, so that they add their own variance, sigma^2 z'Omega z.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy import stats

from skmixed.core.fit import Fit
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import FloatArray, inverse_felt, semidefinite_root
from skmixed.core.rows.linear_predictor import linear_predictor
from skmixed.core.rows.scaled import ScaledTable
from skmixed.core.search.coordinates import Coordinates, local_model
from skmixed.core.sums.layout import Rows

THETA_STEP = 1e-3  # relative; central differences err by its square, and rounding stays far below
NO_CURVATURE = 1e-10  # of the criterion, relative to its largest: rounding of the Hessian
LEAST_DEGREES = 1.0  # below one, quantiles of t grow beyond any use
_MOVED = "a step away from the optimum"


def effect_variances(
    model: Fit | Posterior, rows: Rows, wanted: tuple[bool, ...] | None = None
) -> FloatArray:
    """Return the error variance of Z b of rows at given coefficients, (n,), in squared units of y.

    Rows and `wanted` are as in `mean_variances`.
    """
    return _effect_variances(model, ScaledTable.of(model, rows).of_factors(wanted), rows, wanted)


def mean_variances(
    model: Fit | Posterior, rows: Rows, wanted: tuple[bool, ...] | None = None
) -> FloatArray:
    """Return the error variance of X beta + Z b of rows, (n,), in squared units of y.

    The rows are those of the fit or others, in the columns of its layout; the response is not read,
    and a negative code is a level that is not known. `wanted` tells which of the used factors are
    part of the prediction, all by default. Every row is computed from itself alone.
    """
    table, evaluation = ScaledTable.of(model, rows).of_factors(wanted), model.evaluation
    variances = _effect_variances(model, table, rows, wanted)
    root = semidefinite_root(model.scaled_beta_covariance)
    p = len(root)
    for chosen, reduced in table.reduced(evaluation.lambdas, evaluation.cross_of_levels):
        variances[chosen] += np.square(reduced[:, :p] @ root).sum(axis=1)
    return variances


def _effect_variances(
    model: Fit | Posterior, table: ScaledTable, rows: Rows, wanted: tuple[bool, ...] | None
) -> FloatArray:
    """Return z'C z sigma^2, and z'Omega z sigma^2 of effects whose level is not known, (n,)."""
    relative = np.zeros(table.n_rows)
    if table.random:
        relative += model.evaluation.level_effects.effect_variances(table.random, table.codes)
    return np.asarray(model.sigma2 * relative + of_unknown_levels(model, rows, wanted))


def of_unknown_levels(
    model: Fit | Posterior, rows: Rows, wanted: tuple[bool, ...] | None = None
) -> FloatArray:
    """Return z'Omega z sigma^2 of the wanted effects of rows whose level is not known, (n,)."""
    maps, lambdas = model.problem.model.random_maps, model.evaluation.lambdas
    relative = np.zeros(len(rows.columns))
    for position, factor in enumerate(model.spec.used_factors):
        unknown = np.flatnonzero(rows.codes[factor] < 0)
        if len(unknown) and (wanted is None or wanted[position]):
            z = rows.columns[unknown][:, list(model.spec.factor_columns(factor))]
            root = maps[position] @ lambdas[position]
            times = model.problem.mean_square(position)
            relative[unknown] += times * np.square(z @ root).sum(axis=1)
    return np.asarray(model.sigma2 * relative)


def mean_predictions(model: Fit | Posterior, rows: Rows) -> FloatArray:
    """Return X beta + Z b of rows, (n,), in units of y.

    Rows are as in `mean_variances`; levels that are not known have no effect.
    """
    return linear_predictor(model.spec, rows.columns, rows.codes, model.beta, model.modes)


@dataclass(frozen=True, slots=True, eq=False)
class MovedFits:
    """A model a small step of each variance parameter away from its optimum.

    The parameters are the t entries theta of the lambdas, in scaled units, with sigma^2 profiled
    out. Their covariance is twice the inverse of the second derivatives of the criterion, and zero
    along directions that the criterion does not depend on; log sigma^2 varies about its profile by
    2 / nu, independently.
    """

    steps: FloatArray  # (t,)
    pairs: list[tuple[Any, Any]]  # the model a step up and a step down of every parameter
    covariance: FloatArray  # (t, t), of the estimated theta

    @classmethod
    def of(cls, fit: Fit) -> MovedFits:
        """Return the surroundings of a fit, evaluated once and kept in its cache."""
        return fit.cached("moved", lambda: cls._evaluated(fit))

    @classmethod
    def _evaluated(cls, fit: Fit) -> MovedFits:
        if not fit.scaled_lambdas:
            return cls.around(fit, np.empty((0, 0)))
        coordinates, theta = _natural(fit)
        evaluation = fit.evaluation.with_lambdas(coordinates.lambdas(theta))
        hessian = local_model(evaluation, coordinates, theta)[1]
        return cls.around(fit, 2.0 * inverse_felt(hessian, NO_CURVATURE))

    @classmethod
    def around(cls, fit: Fit, covariance: FloatArray) -> MovedFits:
        """Return the surroundings of a fit whose theta has a given covariance, (t, t)."""
        if not fit.scaled_lambdas:
            return cls(np.empty(0), [], covariance)
        coordinates, theta = _natural(fit)
        steps = THETA_STEP * np.maximum(1.0, np.abs(theta))

        def moved(place: int, step: float) -> Fit:
            return fit.moved(coordinates.lambdas(theta + step * np.eye(len(theta))[place]), _MOVED)

        pairs = [(moved(n, step), moved(n, -step)) for n, step in enumerate(steps)]
        return cls(steps, pairs, covariance)

    def slopes(self, values: Callable[[Any], FloatArray]) -> FloatArray:
        """Return the derivatives in theta, (t, n), of `values`, which returns (n,) of a model."""
        up = np.stack([values(first) for first, _ in self.pairs])
        down = np.stack([values(second) for _, second in self.pairs])
        return np.asarray((up - down) / (2.0 * self.steps[:, None]))

    def spread(self, values: Callable[[Any], FloatArray]) -> FloatArray:
        """Return g'S g, (n,), the variance that functions of theta have from its estimation.

        S is the covariance of theta, and g are the derivatives of `values`, which returns (n,) of a
        model.
        """
        return spread_of(self.slopes(values), self.covariance)


def spread_of(slopes: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return g'S g, (n,), of derivatives g, (t, n), in parameters of covariance S, (t, t)."""
    return np.asarray(np.einsum("an,ab,bn->n", slopes, covariance, slopes, optimize=True))


def _natural(fit: Fit) -> tuple[Coordinates, FloatArray]:
    """Return coordinates of theta in its natural order, and theta, (t,), in scaled units."""
    coordinates = Coordinates.natural(fit.problem.structures)
    return coordinates, coordinates.theta([lam @ lam.T for lam in fit.scaled_lambdas])


class Predicted(Protocol):
    """What is predicted of rows, by the parameters of a fit."""

    def rows_at(self, fit: Fit) -> Rows:
        """Return the rows whose X beta + Z b is part of the prediction, and is not known."""
        ...

    def known_at(self, fit: Fit) -> FloatArray:
        """Return what else is part of the prediction, (n,), in units of y."""
        ...

    def noise_at(self, fit: Fit) -> FloatArray:
        """Return the variance of what nothing in the data tells, (n,), in squared units of y."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class PlainRows:
    """X beta + Z b of rows, or observations of them."""

    rows: Rows
    observation: bool

    def rows_at(self, fit: Fit) -> Rows:
        """Return the rows."""
        return self.rows

    def known_at(self, fit: Fit) -> FloatArray:
        """Return zeros."""
        return np.zeros(len(self.rows.columns))

    def noise_at(self, fit: Fit) -> FloatArray:
        """Return sigma^2 for observations, and zero for means."""
        return np.full(len(self.rows.columns), fit.sigma2 if self.observation else 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class PredictionErrors:
    """How far predictions of rows may be off, the variances being estimates too."""

    squares: FloatArray  # (n,), mean squared errors
    variances: FloatArray  # (n,), at given parameters of variances
    log_slopes: FloatArray  # (t, n), derivatives of their logarithms in these parameters
    covariance: FloatArray  # (t, t), of the estimated parameters
    base: float  # the variance that every logarithm has besides

    @property
    def degrees(self) -> FloatArray:
        """Degrees of freedom of the t distribution of the standardised errors, (n,)."""
        spread = self.base + spread_of(self.log_slopes, self.covariance)
        with np.errstate(divide="ignore"):
            return np.asarray(np.maximum(LEAST_DEGREES, 2.0 / spread))

    @property
    def roots(self) -> FloatArray:
        """Root mean squared errors, (n,)."""
        return np.sqrt(self.squares)

    def half_widths(self, level: float) -> FloatArray:
        """Return half the widths of intervals, (n,), by quantiles of t."""
        return np.asarray(stats.t.ppf((1.0 + level) / 2.0, self.degrees) * self.roots)

    @classmethod
    def of(
        cls, fit: Fit, model: Fit | Posterior, rows: Rows, *, observation: bool
    ) -> PredictionErrors:
        """Assess predictions of rows, or of observations of them, as `about` does."""
        return cls.about(fit, model, PlainRows(rows, observation))

    @classmethod
    def about(
        cls,
        fit: Fit,
        model: Fit | Posterior,
        predicted: Predicted,
        nearby: MovedFits | None = None,
    ) -> PredictionErrors:
        """Assess predictions by `model`: the fit itself, or other data at its parameters.

        The estimated variance v at given variances is too small by about g3, the variance that the
        prediction has from their estimation (Kackar & Harville 1984, doi:10.2307/2288715), and does
        not contain g3 itself, so that v + 2 g3 is nearly unbiased (Prasad & Rao 1990,
        doi:10.2307/2289570). The degrees of freedom are those of v by Satterthwaite's method (1946,
        doi:10.2307/3002019), 2 / var(log v), with var(log v) = 2 / nu + g'S g. Noise is part of v.
        Without variance parameters this is ordinary least squares, exactly. `nearby` are the
        surroundings of the fit, if it has parameters besides theta.
        """

        def variances(by: Fit | Posterior, moved: Fit) -> FloatArray:
            return mean_variances(by, predicted.rows_at(moved)) + predicted.noise_at(moved)

        def logs(moved: Fit) -> FloatArray:
            found = variances(model.with_parameters(moved), moved)
            return np.log(np.maximum(found, np.finfo(float).tiny))

        def means(moved: Fit) -> FloatArray:
            by = model.with_parameters(moved)
            return mean_predictions(by, predicted.rows_at(moved)) + predicted.known_at(moved)

        found = variances(model, fit)
        nearby = nearby or MovedFits.of(fit)
        squares, slopes = found, np.zeros((0, len(found)))
        if nearby.pairs:
            squares = found + 2.0 * nearby.spread(means)
            slopes = nearby.slopes(logs)
        return cls(squares, found, slopes, nearby.covariance, 2.0 / fit.problem.residual_degrees)
