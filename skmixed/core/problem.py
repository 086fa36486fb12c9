"""The profiled criterion of a linear mixed model as a pure function of the relative factors.

With V = W^-1 + sum of Z_f (I x lambda_f lambda_f') Z_f', M = [X y]'V^-1[X y] = L L' and r^2 the
square of the last pivot of L, the criterion (-2 log-likelihood, beta and sigma^2 profiled out) is

    log|V| + [REML: log|X'V^-1 X|] + nu (1 + log(2 pi r^2 / nu)),    nu = n - p (REML) or n (ML)

(Bates et al. 2015, doi:10.18637/jss.v067.i01, eqs 34 and 42).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.linalg import lapack

from skmixed.core.arrangement import arrange, scaled_pairs
from skmixed.core.covariance import Structure
from skmixed.core.crossproducts import CrossProducts, PairBlock
from skmixed.core.elimination import Blocks, Elimination, Factorisation, LostPrecisionError, Reduced
from skmixed.core.layout import FloatArray
from skmixed.core.scaling import ScaledModel
from skmixed.core.spec import ModelSpec

_EXACT_FIT = 1e-14


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A linear mixed model on its cross-products, ready to be evaluated.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    model : ScaledModel
        Its cross-products, in scaled units.
    structures : tuple of Structure
        Covariance structure of every used factor.
    elimination : Elimination
        How the random effects are eliminated.
    pairs : dict of (int, int) to PairBlock
        Scaled products of the pairs of levels that occur.
    n_observations : float
        Rows, or the sum of frequency weights.
    constant : float
        What the criterion has beside its scaled value: scales of the columns, precision weights.
    """

    spec: ModelSpec
    model: ScaledModel
    structures: tuple[Structure, ...]
    elimination: Elimination
    pairs: dict[tuple[int, int], PairBlock]
    n_observations: float
    constant: float

    @classmethod
    def of(cls, products: CrossProducts, spec: ModelSpec) -> Problem:
        """Set up a model.

        Parameters
        ----------
        products : CrossProducts
            Of all columns.
        spec : ModelSpec
            The model.

        Returns
        -------
        Problem
            Independent of the number of rows.
        """
        model = ScaledModel.of(products, spec)
        pairs = scaled_pairs(products, spec, model)
        frequency = spec.weighting == "frequency"
        n = products.sum_weights if frequency else float(products.n_rows)
        nu = n - len(model.kept) if spec.method == "reml" else n
        constant = -2.0 * nu * float(np.log(model.response_scale))
        if spec.method == "reml":
            constant -= 2.0 * model.log_scales
        if not frequency:
            constant -= products.sum_log_weights
        structures = tuple(spec.structure(factor) for factor in spec.used_factors)
        return cls(spec, model, structures, arrange(model.own, pairs), pairs, n, constant)

    @property
    def rank(self) -> int:
        """Number of independent fixed columns."""
        return len(self.model.kept)

    @property
    def degrees(self) -> float:
        """Divisor nu of the residual sum of squares."""
        reml = self.spec.method == "reml"
        return self.n_observations - self.rank if reml else self.n_observations

    @property
    def is_determined(self) -> bool:
        """Whether anything is left for the residual: more rows than fixed columns, no exact fit."""
        gram = self.model.gram
        if self.n_observations <= self.rank:
            return False
        return bool(schur_last(gram) > _EXACT_FIT * len(gram) * gram[-1, -1])

    def evaluate(self, factors: Sequence[FloatArray]) -> Evaluation:
        """Evaluate the criterion.

        Parameters
        ----------
        factors : sequence of ndarray of shape (k, k)
            lambda of every used factor in scaled units; any square root of Omega.

        Returns
        -------
        Evaluation
            Valid on the boundary.

        Raises
        ------
        LostPrecisionError
            If the cross-products do not have the digits that these factors need.
        """
        lams = list(factors)
        factorisation = self.elimination.factorise(lams)
        reduced = factorisation.reduce(self.model.right)
        gram = self.model.gram - reduced.gram()
        lower, info = lapack.dpotrf(gram, lower=1, clean=1)
        if info:
            raise LostPrecisionError(
                "the cross-products have lost their digits: the response or a column is dominated "
                "by an offset, by a covariate or by the differences between groups. Rescale or "
                "centre the columns"
            )
        inverse, _ = lapack.dtrtri(lower, lower=1)
        return Evaluation(self, lams, factorisation, reduced, lower, inverse)

    def multiply(self, effects: Blocks) -> Blocks:
        """Return Z_f'W times the columns sum over g of Z_g effects_g.

        Parameters
        ----------
        effects : list of ndarray of shape (k, m, n_levels)
            m columns of random effects of every factor.

        Returns
        -------
        list of ndarray of shape (k, m, n_levels)
            The products, for every factor.
        """
        result = [
            np.einsum("abl,bml->aml", own, effect, optimize=True)
            for own, effect in zip(self.model.own, effects, strict=True)
        ]
        for (i, j), pair in self.pairs.items():
            flipped = pair.products.transpose(1, 0, 2)
            _add_pairs(result[i], pair.rows, pair.products, effects[j], pair.columns)
            _add_pairs(result[j], pair.columns, flipped, effects[i], pair.rows)
        return result


def _add_pairs(
    target: FloatArray, at: np.ndarray, products: FloatArray, effects: FloatArray, of: np.ndarray
) -> None:
    n_levels = target.shape[2]
    for a, b in np.ndindex(*products.shape[:2]):
        for m in range(target.shape[1]):
            values = products[a, b] * effects[b, m, of]
            target[a, m] += np.bincount(at, values, minlength=n_levels)


def schur_last(gram: FloatArray) -> float:
    """Return what is left of the last diagonal entry after elimination of the others.

    Parameters
    ----------
    gram : ndarray of shape (p + 1, p + 1)
        Positive semidefinite, its first p columns independent.

    Returns
    -------
    float
        The residual sum of squares of the last column on the first p.
    """
    p = len(gram) - 1
    if p == 0:
        return float(gram[-1, -1])
    coef = np.linalg.solve(gram[:p, :p], gram[:p, p])
    return float(gram[p, p] - gram[:p, p] @ coef)


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The model at one value of the relative factors, in scaled units.

    Parameters
    ----------
    problem : Problem
        What was evaluated.
    factors : list of ndarray of shape (k, k)
        lambda of every used factor.
    factorisation : Factorisation
        V in factored form.
    reduced : Reduced
        [X y] after elimination of the random effects.
    lower : ndarray of shape (p + 1, p + 1)
        L.
    inverse : ndarray of shape (p + 1, p + 1)
        L^-1.
    """

    problem: Problem
    factors: list[FloatArray]
    factorisation: Factorisation
    reduced: Reduced
    lower: FloatArray
    inverse: FloatArray
    _cache: dict[str, object] = field(default_factory=dict)

    def with_factors(self, factors: list[FloatArray]) -> Evaluation:
        """Return the same evaluation under other square roots of the same covariances.

        Parameters
        ----------
        factors : list of ndarray of shape (k, k)
            With ``factors[f] @ factors[f].T`` unchanged up to rounding.

        Returns
        -------
        Evaluation
            Shares all arrays with this one.
        """
        return replace(self, factors=factors)

    @property
    def residual_squares(self) -> float:
        """r^2 = y'P y, the generalised residual sum of squares."""
        return float(self.lower[-1, -1] ** 2)

    @property
    def sigma2(self) -> float:
        """Residual variance."""
        return self.residual_squares / self.problem.degrees

    @property
    def criterion(self) -> float:
        """-2 log-likelihood, restricted for REML, in the units of the data."""
        nu = self.problem.degrees
        value = self.factorisation.log_det + nu * (1.0 + np.log(2.0 * np.pi * self.sigma2))
        if self.problem.spec.method == "reml":
            value += 2.0 * np.log(np.diag(self.lower)[:-1]).sum()
        return float(value + self.problem.constant)

    @property
    def contrast(self) -> FloatArray:
        """W = (-beta, 1), so that [X y] w = y - X beta."""
        return np.asarray(self.inverse[-1] * self.lower[-1, -1])

    @property
    def beta(self) -> FloatArray:
        """Coefficients of the kept fixed columns, of shape (p,)."""
        return -self.contrast[:-1]

    @property
    def beta_covariance(self) -> FloatArray:
        """(X'V^-1 X)^-1, relative to sigma^2, of shape (p, p)."""
        root = self.inverse[:-1, :-1]
        return np.asarray(root.T @ root)

    @property
    def cross(self) -> Blocks:
        """U = Z'V^-1[X y] of every factor, of shape (k, p + 1, n_levels)."""
        if "cross" not in self._cache:
            self._cache["cross"] = self.reduced.cross()
        return self._cache["cross"]  # type: ignore[return-value]

    def scores(self) -> Blocks:
        """Return u = Z'V^-1(y - X beta) of every factor, of shape (k, n_levels)."""
        return [np.einsum("kpl,p->kl", cross, self.contrast) for cross in self.cross]

    def modes(self) -> Blocks:
        """Return the BLUPs b = Omega u of every factor, of shape (k, n_levels)."""
        return [
            lam @ (lam.T @ score) for lam, score in zip(self.factors, self.scores(), strict=True)
        ]

    def conditional_covariance(self, factor: int) -> FloatArray:
        """Return var(b | y, beta, theta) / sigma^2 of every level of one factor.

        Parameters
        ----------
        factor : int
            Position among the used factors.

        Returns
        -------
        ndarray of shape (k, k, n_levels)
            Omega - Omega Z'V^-1 Z Omega.
        """
        omega = self.factors[factor] @ self.factors[factor].T
        information = self.factorisation.information(factor)
        through = np.einsum("ab,bcl,cd->adl", omega, information, omega, optimize=True)
        return np.asarray(omega[:, :, None] - through)
