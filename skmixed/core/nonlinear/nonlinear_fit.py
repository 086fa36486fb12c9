"""A fitted nonlinear mixed model, free of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.generalized.after_fit.same_rows import is_same_criterion, of_other_rows
from skmixed.core.generalized.response_sums import ResponseSums
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import FloatArray
from skmixed.core.model.evaluation import Evaluation
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import Method, ModelSpec, Term
from skmixed.core.nonlinear.curve import DerivativeWay
from skmixed.core.nonlinear.curve_likelihood import CurveLikelihood, IntegratedCurve
from skmixed.core.nonlinear.curve_rows import CurveRows
from skmixed.core.nonlinear.likelihood_search import LikelihoodSearch
from skmixed.core.nonlinear.lindstrom_bates import LindstromBates, Linearised
from skmixed.core.nonlinear.pooled_search import pooled_least_squares
from skmixed.core.residual.products import ResidualProduct
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_search import RunawayError
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.residual.structure import ResidualParameter
from skmixed.core.search.report import Callback, SolverReport
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Rows

Value = TypeVar("Value")

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
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        rows: CurveRows,
        start: FloatArray,  # (n_fixed,)
        method: NonlinearMethod = "laplace",
        *,
        is_near: bool = False,
        tol: float = 1e-8,
        max_iter: int = 100,
        callback: Callback | None = None,
    ) -> NonlinearFit:
        """Fit a model to its rows.

        A start that is near the solution, as a user knows it, is gone on from; otherwise the least
        squares of all rows as one group are. Where the one does not arrive the other is tried.
        Raises FloatingPointError where the curve is not finite at the start, ArithmeticError where
        no point nearby has a likelihood, and ValueError for random effects that depend on each
        other and are too many for Laplace's approximation, and residuals that it cannot have.
        """
        if method == "laplace":
            _check_integrable(rows)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            pooled, report = pooled_least_squares(rows, start, max_iter)
            if not rows.spec.terms:
                search = LindstromBates(rows, callback)
                if rows.noise is None:
                    here = search.linearise(pooled, [], None)
                else:
                    here, report = search.search(pooled, max_iter)
                return cls._linearised(rows, here, report, method)
            starts = (start, pooled) if is_near else (pooled, start)
            settings = (method, tol, max_iter, callback)
            return _best([partial(cls._from, rows, each, *settings) for each in starts])

    @classmethod
    def _from(
        cls,
        rows: CurveRows,
        start: FloatArray,
        method: NonlinearMethod,
        tol: float,
        max_iter: int,
        callback: Callback | None,
    ) -> NonlinearFit:
        """Search from one start."""
        near = _NEAR_ENOUGH if method == "laplace" else None
        here, report = LindstromBates(rows, callback).search(start, max_iter, near)
        is_searched = here.fit.is_determined and not here.fit.report.is_unbounded
        if method == "lindstrom-bates" or not is_searched:
            return cls._linearised(rows, here, report, method)
        likelihood = CurveLikelihood.of(rows, _structure_of(here.fit))
        search = LikelihoodSearch(likelihood, here, tol, max_iter, callback)
        point, covariance, report = search.search()
        report = replace(report, confounded=here.fit.report.confounded)
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
        bare, ratio = _at(rows, point, report)
        structures = zip(bare.problem.structures, point.lambdas, strict=True)
        natural = [ratio * s.lam(s.read(lam), s.natural_order) for s, lam in structures]
        lambdas = tuple(bare.problem.scaled_lambdas(natural))
        return cls(
            replace(bare, scaled_lambdas=lambdas),
            "laplace",
            point.beta,
            covariance,
            point.sigma2 / ratio**2,
            point.criterion,
            report,
            rows.curve.derivatives,
            _sums_of(rows),
        )

    def likelihood_of(self, rows: CurveRows) -> IntegratedCurve:
        """Return Laplace's likelihood of the rows of the fit, in any order, at its estimates.

        Raises ValueError for a fit by another method, and where these are other rows: their number,
        their levels or their likelihood differ.
        """
        if self.spec.terms and self.method != "laplace":
            raise ValueError(
                "Lindstrom and Bates's method ends at a fixed point, which is no maximum of a "
                "likelihood: fit by method='laplace', or take Wald's intervals or a bootstrap"
            )
        _check_integrable(rows)
        near = self.linear
        structure = near.structure if isinstance(near, ResidualFit) else None
        assert structure is None or isinstance(structure, ResidualProduct)  # as was checked
        likelihood = CurveLikelihood.of(rows, structure)
        lambdas, phi = self.lambdas, near.phi if isinstance(near, ResidualFit) else np.zeros(0)
        u = likelihood.spherical(self.modes, lambdas)
        try:
            found = likelihood.at(
                self.beta, lambdas, likelihood.near(self.beta, lambdas, u, phi), phi
            )
        except ArithmeticError:
            raise of_other_rows() from None
        if not is_same_criterion(found.criterion, self.criterion):
            raise of_other_rows()
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be computed again."""
        return {**self.__dict__, "_cache": {}}

    def cached(self, name: str, make: Callable[[], Value]) -> Value:
        """Return what is kept under a name; it is made when first asked for."""
        if name not in self._cache:
            self._cache[name] = make()
        found: Value = self._cache[name]
        return found

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
    def problem(self) -> Problem:
        """The linear model at the optimum, in scaled units."""
        return self.linear.problem

    @property
    def evaluation(self) -> Evaluation:
        """The same, evaluated."""
        return self.linear.evaluation

    @property
    def scaled_beta_covariance(self) -> FloatArray:
        """Covariance of the coefficients of the scaled columns, (p, p), in squared units of y."""
        return self.posterior.scaled_beta_covariance

    @property
    def separated(self) -> tuple[int, ...]:
        """Positions of coefficients that are infinite: none."""
        return ()

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

    def with_method(self, method: Method) -> NonlinearFit:
        """Return the fit by another criterion, this one if it is the same.

        Raises ValueError for another one, which takes the rows.
        """
        if method != self.spec.method and self.spec.terms:
            name = "full" if method == "ml" else "restricted"
            raise ValueError(
                f"the {name} likelihood of this nonlinear model takes its rows, which it does not "
                f"keep: fit it with reml={method == 'reml'}"
            )
        return self

    @property
    def deviance(self) -> float:
        """-2 log-likelihood; raises ValueError for a fit by REML, which has to be made anew."""
        if self.spec.method == "reml" and self.spec.terms:
            raise ValueError("a fit by REML has no deviance: fit with reml=False")
        return self.criterion

    @property
    def residual_parameters(self) -> tuple[ResidualParameter, ...]:
        """Parameters of the residual structure, by name; none of independent residuals."""
        return self.linear.residual_parameters if isinstance(self.linear, ResidualFit) else ()

    @property
    def n_parameters(self) -> int:
        """Independent coefficients, entries of theta, those of phi, and the residual variance."""
        n_phi = len(self.linear.phi) if isinstance(self.linear, ResidualFit) else 0
        return self.rank + len(self.theta) + n_phi + 1

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return self.criterion + 2.0 * self.n_parameters

    @property
    def bic(self) -> float:
        """Bayesian information criterion, with the number of observations."""
        return self.criterion + float(np.log(self.n_observations)) * self.n_parameters


_NO_MAXIMUM = "random effects explain the response without a rest: the likelihood has no maximum"


def _check_integrable(rows: CurveRows) -> None:
    """Raise ValueError for residuals of which Laplace's approximation is not made."""
    noise = rows.noise
    if noise is None or noise.is_of_rows:
        return
    if noise.is_of_fitted:
        raise ValueError(
            "power() of the fitted values is for method='lindstrom-bates', whose passes hold the "
            "fitted values, as nlme's do; power(x) of a column is for both methods"
        )
    if rows.spec.terms:
        raise ValueError(
            "correlated residuals are for method='lindstrom-bates'; of residual structures "
            "Laplace's approximation is made for var(...) and power(x)"
        )


def _best(searches: Sequence[Callable[[], NonlinearFit]]) -> NonlinearFit:
    """Return the first that arrives, otherwise the lowest; raises what the first has raised."""
    found: list[NonlinearFit] = []
    errors: list[Exception] = []
    for search in searches:
        try:
            found.append(search())
        except (ArithmeticError, np.linalg.LinAlgError, RunawayError) as error:
            errors.append(error)
            continue
        if found[-1].report.converged or found[-1].report.is_unbounded:
            return found[-1]
    if not found:
        raise errors[0]
    return min(found, key=lambda fit: fit.criterion)


def _at(rows: CurveRows, point: IntegratedCurve, report: SolverReport) -> tuple[Fit, float]:
    """Return the linear model near a point, at its parameters but for the covariances of effects.

    The second is sigma of the point over that which is reported.
    """
    sums, lambdas = rows.pseudo_sums(point.beta, point.effects), tuple(point.lambdas)
    if not isinstance(sums, ResidualTables):
        return Fit(sums, rows.spec, lambdas, report), 1.0
    structure, ratio = sums.resolved(rows.spec.weighting).reported(point.phi)
    products = sums.combined(point.phi, structure, rows.spec.weighting)
    by_rows: dict[str, Any] = {"tables": sums, "structure": structure, "phi": point.phi}
    return ResidualFit(products, rows.spec, lambdas, report, **by_rows), ratio


def _structure_of(fit: Fit) -> ResidualProduct | None:
    """Return the variances of rows of a linear model near, resolved; None where they are one."""
    if not isinstance(fit, ResidualFit):
        return None
    structure = fit.tables.resolved(fit.spec.weighting)
    assert isinstance(structure, ResidualProduct)  # by `_check_integrable`
    return structure


def _sums_of(rows: CurveRows) -> ResponseSums:
    table: Any = rows.y[:, None]
    return ResponseSums.of(Rows(table, rows.codes, rows.indexes, rows.weights), rows.spec)
