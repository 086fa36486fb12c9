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

import numpy as np

from skmixed.core.fit import Fit
from skmixed.core.layout import FloatArray, Rows
from skmixed.core.posterior import Posterior
from skmixed.core.solvers.coordinates import Coordinates, local_model
from skmixed.core.solvers.report import SolverReport
from skmixed.core.table import ScaledTable

_STEP = 1e-3
_FLAT = 1e-10
_FEWEST = 1.0
_NEARBY = SolverReport("none", True, 0, "a step away from the optimum", ())


def mean_variances(
    model: Fit | Posterior, rows: Rows, wanted: tuple[bool, ...] | None = None
) -> FloatArray:
    """Variance of the error of X beta + Z b of rows, those of the fit or others.

    Parameters
    ----------
    model : Fit or Posterior
        What is known of the coefficients and random effects.
    rows : Rows
        The rows, in the columns of its layout; the response is not read. A negative code is a level
        that is not known.
    wanted : tuple of bool, optional
        Which of the used factors are part of the prediction; by default all.

    Returns
    -------
    ndarray of shape (n,)
        In squared units of y. Every row is computed from itself alone.
    """
    at = model if isinstance(model, Fit) else model.at
    evaluation, table = at.evaluation, ScaledTable.of(at, rows)
    kept = [True] * len(table.random) if wanted is None else wanted
    table.random[:] = [z * keep for z, keep in zip(table.random, kept, strict=True)]
    relative = np.zeros(table.n_rows)
    if table.random:
        relative += evaluation.factorisation.effect_variances(table.random, table.codes)
    for position, factor in enumerate(at.spec.used_factors):
        if kept[position]:
            relative += _prior_variances(at, rows, position, rows.codes[factor] < 0)
    variances = model.sigma2 * relative
    root = _root(_coefficient_covariance(model))
    p = len(root)
    for chosen, reduced in table.reduced(evaluation.factors, evaluation.cross):
        variances[chosen] += np.square(reduced[:, :p] @ root).sum(axis=1)
    return variances


def _prior_variances(fit: Fit, rows: Rows, position: int, unknown: np.ndarray) -> FloatArray:
    """Return z'Omega z of rows whose level is not known, zero for the others."""
    variances = np.zeros(len(unknown))
    if unknown.any():
        columns = list(fit.spec.factor_columns(fit.spec.used_factors[position]))
        random_map, lam = fit.problem.model.random_maps[position], fit.evaluation.factors[position]
        z = rows.columns[unknown][:, columns] @ (random_map @ lam)
        variances[unknown] = np.square(z).sum(axis=1)
    return variances


def _coefficient_covariance(model: Fit | Posterior) -> FloatArray:
    """Return the covariance of the coefficients of the scaled columns, in squared units of y."""
    if isinstance(model, Fit):
        return model.sigma2 * model.evaluation.beta_covariance
    fixed = list(model.at.spec.fixed)
    back = np.linalg.pinv(model.at.problem.model.to_raw[:, :-1])[:, fixed]
    return np.asarray(back @ model.beta_covariance @ back.T)


def _root(covariance: FloatArray) -> FloatArray:
    """Return a square root of a positive semidefinite matrix."""
    if not len(covariance):
        return covariance
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def mean_predictions(model: Fit | Posterior, rows: Rows) -> FloatArray:
    """Predict X beta + Z b of rows.

    Parameters
    ----------
    model : Fit or Posterior
        What is known of the coefficients and random effects.
    rows : Rows
        As in `mean_variances`.

    Returns
    -------
    ndarray of shape (n,)
        In units of y; levels that are not known have no effect.
    """
    spec = model.spec if isinstance(model, Fit) else model.at.spec
    prediction: FloatArray = rows.columns[:, list(spec.fixed)] @ model.beta
    for factor, effects in zip(spec.used_factors, model.modes, strict=True):
        level = rows.codes[factor]
        known = (level >= 0)[:, None]
        z = rows.columns[:, list(spec.factor_columns(factor))]
        prediction += (np.where(known, effects[level], 0.0) * z).sum(axis=1)
    return prediction


@dataclass(frozen=True, slots=True, eq=False)
class Nearby:
    """A model a small step of each variance parameter away from its optimum.

    The parameters are the entries theta of the relative factors, in scaled units, with sigma^2
    profiled out. Their covariance is twice the inverse of the second derivatives of the criterion;
    log sigma^2 varies about its profile by 2 / nu, independently.

    Parameters
    ----------
    steps : ndarray of shape (t,)
        Lengths of the steps.
    pairs : list of (Fit, Fit)
        The model a step up and a step down of every parameter.
    covariance : ndarray of shape (t, t)
        Of the estimated parameters; zero along directions that the criterion does not depend on.
    """

    steps: FloatArray
    pairs: list[tuple[Fit, Fit]]
    covariance: FloatArray

    @classmethod
    def of(cls, fit: Fit) -> Nearby:
        """Evaluate the surroundings of a fit, or look them up."""
        if "nearby" not in fit._cache:
            fit._cache["nearby"] = cls._evaluated(fit)
        found: Nearby = fit._cache["nearby"]
        return found

    @classmethod
    def _evaluated(cls, fit: Fit) -> Nearby:
        if not fit.scaled_factors:
            return cls(np.empty(0), [], np.empty((0, 0)))
        coordinates = Coordinates.natural(fit.problem)
        theta = coordinates.theta([lam @ lam.T for lam in fit.scaled_factors])
        evaluation = fit.evaluation.with_factors(coordinates.factors(theta))
        hessian = local_model(evaluation, coordinates.patterns)[1]
        steps = _STEP * np.maximum(1.0, np.abs(theta))

        def moved(place: int, step: float) -> Fit:
            factors = coordinates.factors(theta + step * np.eye(len(theta))[place])
            cache = {"problem": fit.problem}
            return Fit(fit.products, fit.spec, tuple(factors), _NEARBY, cache, fit.krylov)

        pairs = [(moved(n, step), moved(n, -step)) for n, step in enumerate(steps)]
        return cls(steps, pairs, 2.0 * _inverse(hessian))

    def spread(self, values: Callable[[Fit], FloatArray]) -> FloatArray:
        """Compute g'S g, the variance that functions of the parameters get from their estimation.

        Parameters
        ----------
        values : callable
            Returns an array of shape (n,) from a model.

        Returns
        -------
        ndarray of shape (n,)
            With S the covariance of the parameters and g the derivatives of the values.
        """
        up = np.stack([values(first) for first, _ in self.pairs])
        down = np.stack([values(second) for _, second in self.pairs])
        slopes = (up - down) / (2.0 * self.steps[:, None])
        return np.asarray(np.einsum("an,ab,bn->n", slopes, self.covariance, slopes, optimize=True))


def _inverse(hessian: FloatArray) -> FloatArray:
    """Invert a Hessian along the directions in which it is felt."""
    values, vectors = np.linalg.eigh(hessian)
    felt = values > _FLAT * max(1.0, float(np.abs(values).max()))
    return np.asarray((vectors[:, felt] / values[felt]) @ vectors[:, felt].T)


@dataclass(frozen=True, slots=True, eq=False)
class Accuracy:
    """How far predictions of rows may be off, the variances being estimates too.

    Parameters
    ----------
    squares : ndarray of shape (n,)
        Mean squared errors.
    degrees : ndarray of shape (n,)
        Degrees of freedom of the t distribution that the standardised errors are taken to have.
    """

    squares: FloatArray
    degrees: FloatArray

    @classmethod
    def of(cls, fit: Fit, model: Fit | Posterior, rows: Rows, *, observation: bool) -> Accuracy:
        """Assess the predictions of rows.

        The estimated variance v at given variances is too small by about g3, the variance that the
        prediction has from their estimation (Kackar & Harville 1984, doi:10.2307/2288715), and does
        not contain g3 itself, so that v + 2 g3 is nearly unbiased (Prasad & Rao 1990,
        doi:10.2307/2289570). The degrees of freedom are those of v by Satterthwaite's method
        (1946, doi:10.2307/3002019), 2 / var(log v), with var(log v) = 2 / nu + g'S g.

        Parameters
        ----------
        fit : Fit
            The model whose variances were estimated.
        model : Fit or Posterior
            What the predictions are made from: the fit, or other data at its parameters.
        rows : Rows
            As in `mean_variances`.
        observation : bool
            Whether sigma^2 is part of v.

        Returns
        -------
        Accuracy
            Of a model without random terms that of ordinary least squares, exactly.
        """

        def there(moved: Fit) -> Fit | Posterior:
            return moved if isinstance(model, Fit) else Posterior.of(moved, model.products)

        def variances(moved: Fit) -> FloatArray:
            noise = moved.sigma2 if observation else 0.0
            return mean_variances(there(moved), rows) + noise

        def logs(moved: Fit) -> FloatArray:
            return np.log(np.maximum(variances(moved), np.finfo(float).tiny))

        squares = mean_variances(model, rows) + (fit.sigma2 if observation else 0.0)
        spread = np.full(len(squares), 2.0 / fit.problem.degrees)
        nearby = Nearby.of(fit)
        if nearby.pairs:
            squares += 2.0 * nearby.spread(lambda moved: mean_predictions(there(moved), rows))
            spread += nearby.spread(logs)
        return cls(squares, np.maximum(_FEWEST, 2.0 / spread))
