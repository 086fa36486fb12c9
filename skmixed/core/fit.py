"""A fitted linear mixed model, free of rows, in the units of the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import numpy as np
from scipy import linalg

from skmixed.core.elimination.iterative.settings import Krylov
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray, least_squares
from skmixed.core.model.evaluation import Evaluation, evaluate
from skmixed.core.model.problem import Problem, collapsed, threads_for
from skmixed.core.model.spec import Method, ModelSpec, Term
from skmixed.core.search.average_information import IterativeSolver
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import Solver, SolverReport
from skmixed.core.search.unbounded import NoMaximumError, runaway, runaway_beside
from skmixed.core.sums.crossproducts import CrossProducts

T = TypeVar("T")

_QR_ROUNDING = 1e-14  # of the largest entry: what an orthogonal rotation leaves of an exact zero
_LARGEST_POWER = 307.0  # of ten: every number up to there has all its digits
_NO_SEARCH = SolverReport("none", True, 0, "there is no variance to estimate", ())
_GIVEN = SolverReport("none", True, 0, "the relative covariances were given", ())


@dataclass(frozen=True, eq=False)
class Fit:
    """A linear mixed model with its estimates.

    Everything but the cross-products and the optimum is computed from them when asked for; a pickle
    holds no more than these two.
    """

    products: CrossProducts
    spec: ModelSpec
    scaled_lambdas: tuple[FloatArray, ...]  # (k, k), lambda of every used factor, scaled units
    report: SolverReport  # how it was found
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)
    krylov: Krylov | None = None  # how crossed factors are solved for iteratively, if they are

    @classmethod
    def of(
        cls,
        products: CrossProducts,
        spec: ModelSpec,
        solver: Solver | None = None,
        reason: str = "",
    ) -> Fit:
        """Fit a model; the search is Newton's unless another is given, for a reason to report.

        Where nothing is left for the residual (as many independent fixed columns as rows, or an
        exact fit), all variances are zero. Raises ValueError if the residual variance leaves the
        range of floating-point numbers in the units of the data.
        """
        search = solver or Newton()
        problem = Problem.of(products, spec, search.krylov)
        if not spec.terms or not problem.leaves_residual:
            zero = tuple(np.zeros((s.size, s.size)) for s in problem.structures)
            return cls(products, spec, zero, _NO_SEARCH, {"problem": problem})
        check_penalties(problem, products)
        searched = collapsed(problem)
        with threads_for(searched.structures, searched.n_levels, searched.rank):
            try:
                evaluation, report = search.solve(searched)
            except NoMaximumError:
                evaluation, report = search.solve(searched.with_noise())
                report = replace(report, is_unbounded=True)
        check_penalties(problem, products, evaluation.lambdas)
        _check_range(evaluation)
        if reason:
            report = replace(report, reason=reason)
        cache: dict[str, Any] = {"problem": evaluation.problem, "evaluation": evaluation}
        if evaluation.problem.model.times is not None:  # its levels stand for others
            whole = problem.with_noise() if report.is_unbounded else problem
            cache = {"problem": whole, "optimum": evaluation}
        krylov = search.krylov and evaluation.problem.elimination.krylov
        return cls(products, spec, tuple(evaluation.lambdas), report, cache, krylov)

    def at(self, products: CrossProducts) -> Self:
        """Fit other data of the same layout at the relative covariances of this fit.

        Coefficients, residual variance and BLUPs are those of the other data.
        """
        if self.spec.relations:  # levels without rows have effects by those with some
            products = products.at_levels(
                [
                    mine if self.spec.relation(factor) else theirs
                    for factor, (mine, theirs) in enumerate(
                        zip(self.products.levels, products.levels, strict=True)
                    )
                ]
            )
        problem = Problem.of(products, self.spec, self.krylov)
        scaled = problem.scaled_lambdas(self.lambdas)
        cache = {"problem": problem}
        lambdas = tuple(scaled)
        return replace(self, products=products, scaled_lambdas=lambdas, report=_GIVEN, _cache=cache)

    def with_parameters(self, fit: Fit) -> Fit:
        """Return what the same data say at the parameters of another fit to them: that fit."""
        return fit

    def refit(self, **changes: Any) -> Fit:
        """Fit a variant of the model to the same data; `changes` are fields of `ModelSpec`."""
        spec = replace(self.spec, **changes)
        again = None if self.krylov is None else IterativeSolver.again(self.krylov)
        return Fit.of(self.products, spec, again)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be computed again."""
        return {**self.__dict__, "_cache": {}}

    def cached(self, name: str, make: Callable[[], T]) -> T:
        """Return what is kept under a name; it is made when first asked for, and not pickled."""
        if name not in self._cache:
            self._cache[name] = make()
        found: T = self._cache[name]
        return found

    def moved(self, scaled_lambdas: Blocks, why: str) -> Self:
        """Return the fit of the same data at other lambdas, in scaled units; `why` is reported."""
        report = SolverReport("none", True, 0, why, ())
        cache = {"problem": self.problem}
        return replace(self, scaled_lambdas=tuple(scaled_lambdas), report=report, _cache=cache)

    @property
    def problem(self) -> Problem:
        """The criterion."""
        return self.cached("problem", self._arranged)

    def _arranged(self) -> Problem:
        problem = Problem.of(self.products, self.spec, self.krylov)
        return problem.with_noise() if self.report.is_unbounded else problem

    @property
    def evaluation(self) -> Evaluation:
        """The model at the optimum, in scaled units."""
        return self.cached("evaluation", lambda: evaluate(self.problem, self.scaled_lambdas))

    @property
    def optimum(self) -> Evaluation:
        """The same, of levels put together where the search had them so: no single one is in it."""
        return self.cached("optimum", lambda: self.evaluation)

    @property
    def row_products(self) -> CrossProducts:
        """Cross-products of the rows."""
        return self.products

    @property
    def n_observations(self) -> float:
        """Number of rows, or the sum of weights that count them."""
        return self.problem.n_observations

    @property
    def is_determined(self) -> bool:
        """Whether anything is left for the residual."""
        return self.problem.is_determined

    @property
    def kept(self) -> tuple[int, ...]:
        """Positions in `ModelSpec.fixed` of the fixed columns that are independent."""
        return self.problem.model.kept

    @property
    def rank(self) -> int:
        """Number of independent fixed columns."""
        return self.problem.rank

    @property
    def sigma2(self) -> float:
        """Residual variance, in squared units of y."""
        if not self.is_determined:
            return 0.0
        scale = self.problem.model.response_scale
        return self.optimum.sigma2 / scale / scale

    @property
    def beta(self) -> FloatArray:
        """Coefficients of all fixed columns, (n_fixed,); 0 where they depend on those before."""
        model, spec = self.problem.model, self.spec
        scaled = self.optimum.beta if self.is_determined else least_squares(model.gram)[0]
        raw = (model.to_raw[:, :-1] @ scaled - model.to_raw[:, -1]) / model.response_scale
        return np.asarray(raw[list(spec.fixed)])

    @property
    def beta_covariance(self) -> FloatArray:
        """Covariance matrix of `beta`, (n_fixed, n_fixed); zero rows for dependent columns.

        NaN where nothing is left for the residual.
        """
        width = len(self.spec.fixed)
        if not self.is_determined:
            return np.full((width, width), np.nan)
        model = self.problem.model
        maps = model.to_raw[list(self.spec.fixed), :-1] / model.response_scale
        relative = maps @ self.optimum.beta_covariance @ maps.T
        return np.asarray(self.optimum.sigma2 * relative)

    @property
    def scaled_beta_covariance(self) -> FloatArray:
        """Covariance of the coefficients of the scaled columns, (p, p), in squared units of y."""
        return self.sigma2 * self.optimum.beta_covariance

    @property
    def lambdas(self) -> Blocks:
        """Lower-triangular lambdas of the used factors, (k, k), relative to sigma, in raw units."""
        maps = self.problem.model.random_maps
        return [
            _lower_triangular(random_map, lam)
            for random_map, lam in zip(maps, self.scaled_lambdas, strict=True)
        ]

    @property
    def covariances(self) -> Blocks:
        """Covariance matrix of the random effects of every used factor, (k, k)."""
        if not self.is_determined:
            return [np.zeros_like(lam) for lam in self.scaled_lambdas]
        roots = [lam / self.problem.model.response_scale for lam in self.lambdas]
        return [self.optimum.sigma2 * (root @ root.T) for root in roots]

    @property
    def theta(self) -> FloatArray:
        """Entries of lambda in lme4's order: by falling number of levels, column by column."""
        parts = [self._term_theta(term) for term in self.ordered_terms]
        return np.concatenate(parts) if parts else np.empty(0)

    @property
    def ordered_terms(self) -> list[Term]:
        """The terms by falling number of levels, ties in the order of the formula."""
        sizes = {
            f: self.spec.members(f) or len(self.products.factors[f].index)
            for f in self.spec.used_factors
        }
        return sorted(self.spec.terms, key=lambda term: -sizes[term.factor])

    def _term_theta(self, term: Term) -> FloatArray:
        """Return the entries of theta of one term."""
        position, block = self.place_of(term)
        return term.structure.read(self.lambdas[position][block, block])

    def place_of(self, term: Term) -> tuple[int, slice]:
        """Return the position of a term's factor and the term's columns within it."""
        siblings = self.spec.factor_terms(term.factor)
        number = next(n for n, sibling in enumerate(siblings) if sibling is term)
        start = sum(len(sibling.columns) for sibling in siblings[:number])
        position = self.spec.used_factors.index(term.factor)
        return position, slice(start, start + len(term.columns))

    def criterion_at(self, theta: FloatArray) -> float:
        """Evaluate the profiled criterion at any theta, in raw units and the order of `Fit.theta`.

        -2 log-likelihood, restricted for REML, and the penalty if there is one. Raises
        `ValueError` for a theta of another shape.
        """
        return evaluate(self.problem, self.scaled_lambdas_at(theta)).criterion

    def scaled_lambdas_at(self, theta: FloatArray) -> Blocks:
        """Return lambda of every used factor, (k, k), in scaled units, at any theta.

        Raises `ValueError` for a theta of another shape.
        """
        theta = np.asarray(theta, dtype=np.float64)
        if theta.shape != self.theta.shape:
            raise ValueError(f"theta has shape {theta.shape}, expected {self.theta.shape}")
        structures = self.problem.structures
        lambdas = [np.zeros((structure.size, structure.size)) for structure in structures]
        start = 0
        for term in self.ordered_terms:
            position, block = self.place_of(term)
            structure = term.structure
            own = theta[start : start + structure.n_theta]
            lambdas[position][block, block] = structure.lam(own, structure.natural_order)
            start += structure.n_theta
        return self.problem.scaled_lambdas(lambdas)

    @property
    def criterion(self) -> float:
        """-2 log-likelihood, restricted for REML, and penalty; minus infinity for an exact fit."""
        return self.optimum.criterion if self.is_determined else -np.inf

    @property
    def penalty(self) -> float:
        """What the penalties of covariances add to the criterion; 0 without one."""
        return self.optimum.penalty if self.spec.is_penalised and self.is_determined else 0.0

    @property
    def deviance(self) -> float:
        """-2 log-likelihood by maximum likelihood, of the ML fit of the same model."""
        fit = self.with_method("ml")
        return fit.criterion - fit.penalty

    def with_method(self, method: Method) -> Fit:
        """Return the fit of the same model by another criterion, this one if it is the same."""
        if method == self.spec.method:
            return self
        return self.cached(f"refit {method}", lambda: self.refit(method=method))

    def term_covariance(self, term: Term) -> FloatArray:
        """Return the covariance matrix of the random effects of one term."""
        position, block = self.place_of(term)
        return self.covariances[position][block, block]

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood; restricted for a REML fit, but not of a model without random terms.

        There the restricted likelihood only sets the divisor of the residual variance, and the
        full one is what R's logLik, AIC and BIC of a linear model are made of.
        """
        value = self.deviance if not self.spec.terms else self.criterion - self.penalty
        return -0.5 * value

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return -2.0 * self.log_likelihood + 2.0 * self.n_parameters

    @property
    def bic(self) -> float:
        """Bayesian information criterion, with the number of observations."""
        return -2.0 * self.log_likelihood + float(np.log(self.n_observations)) * self.n_parameters

    @property
    def n_parameters(self) -> int:
        """Independent coefficients, entries of theta, and the residual variance unless known."""
        return self.rank + len(self.theta) + (self.spec.sigma2 is None)

    @property
    def scales(self) -> dict[str, float]:
        """Parameters of the noise, by name: the residual standard deviation, unless known."""
        if self.spec.sigma2 is not None:
            return {}
        return {"sigma": float(np.sqrt(self.sigma2))}

    @property
    def is_singular(self) -> bool:
        """Whether some covariance matrix of the random effects is singular."""
        return any(
            _is_singular(lam[columns, columns], block.rank_of_covariances)
            for lam, structure in zip(self.scaled_lambdas, self.problem.structures, strict=True)
            for block, columns, _ in structure.slices()
        )

    @property
    def unidentified(self) -> tuple[int, ...]:
        """Factors whose variance was set to zero because nothing tells it from other parts."""
        return tuple(self.spec.used_factors[position] for position in self.report.confounded)

    @property
    def effect_shapes(self) -> list[tuple[int, int]]:
        """Numbers of random columns and of levels, (k, n_levels), of every used factor."""
        spec, factors = self.spec, self.products.factors
        return [(len(spec.factor_columns(f)), len(factors[f].index)) for f in spec.used_factors]

    @property
    def modes(self) -> Blocks:
        """BLUPs of the random effects of every used factor, of shape (n_levels, k)."""
        if not self.is_determined:
            return [np.zeros((n, k)) for k, n in self.effect_shapes]
        return modes_at(self.evaluation, self.evaluation.to_residual)

    def conditional_covariance(self, position: int) -> FloatArray:
        """Return var(b | y, beta, theta) of every level of a used factor, (n_levels, k, k).

        lme4's ``postVar``.
        """
        model = self.problem.model
        if not self.is_determined:
            k, n_levels = self.effect_shapes[position]
            return np.zeros((n_levels, k, k))
        relative = self.evaluation.level_effects.conditional_covariance(position)
        random_map = model.random_maps[position] / model.response_scale
        raw = np.einsum("ab,bcl,dc->lad", random_map, relative, random_map, optimize=True)
        return np.asarray(self.optimum.sigma2 * raw)


def check_penalties(
    problem: Problem, products: CrossProducts, lambdas: Blocks | None = None
) -> None:
    """Raise ValueError where a penalty pulls a variance up faster than the likelihood holds it.

    After a search `lambdas`, (k, k) of every factor in scaled units, are where it ended.
    """
    factor = runaway(problem) if lambdas is None else runaway_beside(problem, lambdas)
    if factor is not None:
        name = products.factors[problem.spec.used_factors[factor]].index.name
        raise ValueError(
            f"the prior of {name!r} leaves the penalised likelihood without a maximum: its density "
            "grows with the variance, and the likelihood does not hold that back, having too few "
            f"levels ({problem.n_levels[factor]:g}) beside the fixed columns, or an effect for "
            "every row. Give the standard deviation a distribution that falls, as Gamma(2, 2), or "
            "leave the term out"
        )


def _check_range(evaluation: Evaluation) -> None:
    """Raise ValueError if the residual variance cannot be written in the units of the data."""
    scale = evaluation.problem.model.response_scale
    exponent = math.log10(evaluation.sigma2) - 2.0 * math.log10(scale)
    if abs(exponent) > _LARGEST_POWER:
        raise ValueError(
            f"the residual variance of about 1e{exponent:.0f} cannot be written in double "
            "precision: give the response, or precision weights, in other units"
        )


def modes_at(evaluation: Evaluation, to_residual: FloatArray) -> Blocks:
    """Return b = Omega Z'V^-1 [X y] w in raw units, (n_levels, k); w is `to_residual`, (p + 1,)."""
    model = evaluation.problem.model
    zipped = zip(model.random_maps, evaluation.omegas, evaluation.cross_of_levels, strict=True)
    return [
        (random_map @ omega / model.response_scale @ np.matmul(to_residual, cross)).T
        for random_map, omega, cross in zipped
    ]


def _is_singular(lam: FloatArray, rank: int) -> bool:
    """Tell whether a root, (k, k), of covariances of some rank is of less, or a variance is zero.

    One that is lower triangular has a zero on its diagonal then.
    """
    least = np.linalg.svd(lam, compute_uv=False)[rank - 1]
    has_zero = not np.diag(lam).all() if rank == len(lam) else not lam.any(axis=1).all()
    return bool(least == 0.0) or has_zero


def _lower_triangular(random_map: FloatArray, lam: FloatArray) -> FloatArray:
    """Return the lower-triangular square root of the covariance in raw units, (k, k)."""
    raw = random_map @ lam
    if not np.count_nonzero(random_map - np.diag(np.diag(random_map))):
        return raw
    upper = linalg.qr(raw.T, mode="r")[0]
    upper[np.abs(upper) <= _QR_ROUNDING * np.abs(raw).max(initial=0.0)] = 0.0
    return np.asarray((upper * np.where(np.diag(upper) < 0, -1.0, 1.0)[:, None]).T)
