"""A fitted nonlinear mixed model, free of rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.generalized.response_sums import ResponseSums
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.nonlinear.curve import DerivativeWay
from skmixed.core.nonlinear.curve_likelihood import CurveLikelihood, IntegratedCurve
from skmixed.core.nonlinear.curve_rows import CurveRows
from skmixed.core.nonlinear.likelihood_search import LikelihoodSearch
from skmixed.core.nonlinear.lindstrom_bates import LindstromBates, Linearised
from skmixed.core.nonlinear.pooled_search import pooled_least_squares
from skmixed.core.search.report import Callback, SolverReport
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Rows

NonlinearMethod = Literal["laplace", "lindstrom-bates"]

_NEAR_ENOUGH = 1e-2  # standard errors a pass: near enough for a search of the likelihood to go on


@dataclass(frozen=True, eq=False)
class NonlinearFit:
    """A nonlinear mixed model with its estimates.

    What it shares with `Fit` has the same name. `linear` is the linear mixed model that it is near
    the optimum: by Lindstrom and Bates's method its estimates are these, and by Laplace's its
    random effects, given these coefficients.
    """

    linear: Fit
    method: NonlinearMethod
    beta: FloatArray  # (n_fixed,); 0 where columns depend on those before
    beta_covariance: FloatArray  # (n_fixed, n_fixed)
    sigma2: float  # residual variance, of rows of weight one
    criterion: float  # -2 log-likelihood, restricted for REML
    report: SolverReport
    derivatives: DerivativeWay  # where those of the curve came from
    responses: ResponseSums  # which tell them from others

    @classmethod
    def of(
        cls,
        rows: CurveRows,
        start: FloatArray,  # (n_fixed,)
        method: NonlinearMethod = "laplace",
        *,
        tol: float = 1e-8,
        max_iter: int = 100,
        callback: Callback | None = None,
    ) -> NonlinearFit:
        """Fit a model to its rows.

        Raises FloatingPointError where the curve is not finite at the start, ArithmeticError where
        no point nearby has a likelihood, and ValueError for random effects that depend on each
        other and are too many for Laplace's approximation.
        """
        pooled, report = pooled_least_squares(rows, start, max_iter)
        passes = LindstromBates(rows, callback)
        if not rows.spec.terms:
            here = passes.linearise(pooled, rows.no_effects(), None)
            return cls._linearised(rows, here, report, method)
        near = _NEAR_ENOUGH if method == "laplace" else None
        here, report = passes.search(pooled, max_iter, near)
        is_searched = here.fit.is_determined and not here.fit.report.is_unbounded
        if method == "lindstrom-bates" or not is_searched:
            return cls._linearised(rows, here, report, method)
        search = LikelihoodSearch(CurveLikelihood.of(rows), here, tol, max_iter, callback)
        point, covariance, report = search.search()
        return cls._integrated(rows, point, covariance, report)

    @classmethod
    def _linearised(
        cls, rows: CurveRows, here: Linearised, report: SolverReport, method: NonlinearMethod
    ) -> NonlinearFit:
        fit, inner = here.fit, here.fit.report
        if inner.is_unbounded:
            report = replace(report, is_unbounded=True, converged=False, message=_NO_MAXIMUM)
        report = replace(report, confounded=inner.confounded)
        return cls(
            fit,
            method,
            fit.beta,
            fit.beta_covariance,
            fit.sigma2,
            fit.criterion,
            report,
            rows.curve.derivatives,
            _sums_of(rows),
        )

    @classmethod
    def _integrated(
        cls, rows: CurveRows, point: IntegratedCurve, covariance: FloatArray, report: SolverReport
    ) -> NonlinearFit:
        effects = point.effects
        products = rows.pseudo_products(point.beta, effects)
        bare = Fit(products, rows.spec, tuple(point.lambdas), report)
        structures = zip(bare.problem.structures, point.lambdas, strict=True)
        natural = [s.lam(s.read(lam), s.natural_order) for s, lam in structures]
        lambdas = tuple(bare.problem.scaled_lambdas(natural))
        return cls(
            replace(bare, scaled_lambdas=lambdas),
            "laplace",
            point.beta,
            covariance,
            point.sigma2,
            point.criterion,
            report,
            rows.curve.derivatives,
            _sums_of(rows),
        )

    # --- the model ----------------------------------------------------------------------------

    @property
    def spec(self) -> ModelSpec:
        """Which columns of the pseudo-data are used, and how."""
        return self.linear.spec

    @property
    def products(self) -> CrossProducts:
        """Cross-products of the pseudo-data."""
        return self.linear.products

    @property
    def posterior(self) -> Posterior:
        """The pseudo-data at the estimates: what errors of predictions are made of."""
        return Posterior(self.linear, self.beta, self.beta_covariance, self.sigma2)

    @property
    def n_observations(self) -> float:
        """Number of rows, or the sum of weights that count them."""
        return self.linear.n_observations

    @property
    def is_determined(self) -> bool:
        """Whether anything is left for the residual."""
        return self.linear.is_determined

    @property
    def kept(self) -> tuple[int, ...]:
        """Positions in `ModelSpec.fixed` of the columns that are independent."""
        return self.linear.kept

    @property
    def rank(self) -> int:
        """Number of independent coefficients."""
        return self.linear.rank

    @property
    def ordered_terms(self) -> list[Term]:
        """The terms by falling number of levels."""
        return self.linear.ordered_terms

    def place_of(self, term: Term) -> tuple[int, slice]:
        """Return the position of a term's factor and the term's columns within it."""
        return self.linear.place_of(term)

    # --- estimates ----------------------------------------------------------------------------

    @property
    def lambdas(self) -> Blocks:
        """Lower-triangular lambdas of the used factors, (k, k), relative to sigma."""
        return self.linear.lambdas

    @property
    def theta(self) -> FloatArray:
        """Entries of lambda in lme4's order."""
        return self.linear.theta

    @property
    def covariances(self) -> Blocks:
        """Covariance matrix of the random effects of every used factor, (k, k)."""
        return [self.sigma2 * (lam @ lam.T) for lam in self.lambdas]

    def term_covariance(self, term: Term) -> FloatArray:
        """Return the covariance matrix of the random effects of one term."""
        position, block = self.place_of(term)
        return self.covariances[position][block, block]

    @property
    def modes(self) -> Blocks:
        """Modes of the random effects of every used factor, (n_levels, k)."""
        return self.linear.modes if self.method == "lindstrom-bates" else self.posterior.modes

    def conditional_covariance(self, position: int) -> FloatArray:
        """Return var(b | y) of every level at the estimates, (n_levels, k, k)."""
        return self.posterior.conditional_covariance(position)

    @property
    def is_singular(self) -> bool:
        """Whether some covariance matrix of the random effects is singular."""
        return self.linear.is_singular

    @property
    def unidentified(self) -> tuple[int, ...]:
        """Factors whose variance was set to zero because nothing tells it from other parts."""
        return tuple(self.spec.used_factors[position] for position in self.report.confounded)

    @property
    def scales(self) -> dict[str, float]:
        """Parameters of the noise, by name: the residual standard deviation."""
        return {"sigma": float(np.sqrt(self.sigma2))}

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood, restricted for REML."""
        return -0.5 * self.criterion

    @property
    def deviance(self) -> float:
        """-2 log-likelihood; raises ValueError for a fit by REML, which has to be made anew."""
        if self.spec.method == "reml" and self.spec.terms:
            raise ValueError("a fit by REML has no deviance: fit with reml=False")
        return self.criterion

    @property
    def n_parameters(self) -> int:
        """Independent coefficients, entries of theta, and the residual variance."""
        return self.rank + len(self.theta) + 1

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return self.criterion + 2.0 * self.n_parameters

    @property
    def bic(self) -> float:
        """Bayesian information criterion, with the number of observations."""
        return self.criterion + float(np.log(self.n_observations)) * self.n_parameters


_NO_MAXIMUM = "the random effects explain the response without a rest, so the likelihood has no end"


def _sums_of(rows: CurveRows) -> ResponseSums:
    table: Any = rows.y[:, None]
    return ResponseSums.of(Rows(table, rows.codes, rows.indexes, rows.weights), rows.spec)
