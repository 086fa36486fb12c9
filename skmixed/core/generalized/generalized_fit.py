"""A fitted generalized linear mixed model, free of rows, in the units of the data.

At the optimum the rows are those of a linear mixed model with weights w = f'', the working response
eta - offset - f' / w and a residual variance of one. Its cross-products are all that predictions,
random effects and their errors need; they come from the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.families.family import Family, MeanFamily, logistic
from skmixed.core.families.ordinal import Cumulative
from skmixed.core.fit import Fit, Posterior
from skmixed.core.generalized.divergence import (
    PURE_DEVIATION,
    covariance_beside,
    like_rows,
    pure_factors,
    separated_columns,
    separated_thresholds,
    untold_factors,
)
from skmixed.core.generalized.joint_newton import JointNewton, JointOptimum, JointSearch
from skmixed.core.generalized.laplace import (
    LEAST_DECREMENT,
    LaplaceEvaluation,
    evaluate_laplace,
)
from skmixed.core.generalized.modes import Point
from skmixed.core.generalized.observations import Observations
from skmixed.core.generalized.penalised import PenalisedEvaluation
from skmixed.core.generalized.quadrature import (
    MOST_NODES,
    QuadratureEvaluation,
    evaluate_quadrature,
    shift_nodes,
)
from skmixed.core.generalized.response_sums import ResponseSums
from skmixed.core.generalized.start import first_point
from skmixed.core.linalg import FloatArray, block_diagonal, inverse_felt
from skmixed.core.model.evaluation import Evaluation, evaluate
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import Method, ModelSpec, Term
from skmixed.core.rows.linear_predictor import linear_predictor
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.search.report import SolverReport
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Layout, Rows

Value = TypeVar("Value")

_LEAST_WORKING_WEIGHT = 1e-60  # of the largest: a row that is certain still has a working response
_GIVEN = SolverReport("none", True, 0, "the parameters were given", ())
_NO_INFORMATION = 1e-13  # of second derivatives at unit diagonal: less is rounding of zero


class WorkingFit(Fit):
    """The linear mixed model that a generalized one is at its optimum, with residual variance 1."""

    @property
    def evaluation(self) -> Evaluation:
        """The model at the optimum, in scaled units."""
        scale = self.problem.model.response_scale**2
        return self.cached("evaluation", lambda: evaluate(self.problem, self.scaled_lambdas, scale))

    @property
    def is_determined(self) -> bool:
        """Whether anything is left for the residual, which here is given."""
        return True


@dataclass(frozen=True, eq=False)
class GeneralizedFit:
    """A generalized linear mixed model with its estimates.

    What it shares with `Fit` has the same name. The rows are kept until the errors of the estimates
    are known, which for several factors takes time, and never pickled.
    """

    working: WorkingFit  # the linear mixed model at the optimum
    family: Family
    phi: FloatArray  # (m,), dispersions
    beta: FloatArray  # (n_fixed,), coefficients; 0 where columns depend on those before
    criterion: float  # -2 log-likelihood with all constants
    report: SolverReport
    quadrature: int  # nodes a random column; 1 for Laplace's approximation
    separated: tuple[int, ...]  # positions in `ModelSpec.fixed` of coefficients that are infinite
    n_rows: int
    responses: ResponseSums  # which tell them from others
    shift: FloatArray | None  # (p + t + m,), of scaled beta, theta and phi, by quadrature
    untold: tuple[int, ...]  # used factors whose deviations are larger than responses can tell
    row_products: CrossProducts | None = None  # of the rows as given, weights counting them
    separated_thresholds: tuple[int, ...] = ()  # positions of those that are infinite
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        layout: Layout,
        rows: Rows,
        spec: ModelSpec,
        family: Family,
        *,
        offset: FloatArray | None = None,
        quadrature: int = 1,
        search: JointNewton | None = None,
    ) -> GeneralizedFit:
        """Fit a model to rows of a layout, whose last column is y; the offset is (n,).

        `quadrature` is the number of nodes a random column. Raises ValueError for impossible
        responses, and for nodes that several factors or a number of columns do not allow;
        LostPrecisionError where no digit is left for the coefficients.
        """
        spec = replace(spec, method="ml", weighting="frequency")
        check_nodes(spec, quadrature)
        if isinstance(family, Cumulative) and not spec.has_intercept:
            raise ValueError(
                "thresholds take the place of an intercept: leave the 0 or - 1 out of the formula"
            )
        observations = Observations.of(layout, rows, spec, family, offset)
        settings = search or JointNewton()
        optimum, report = optimum_of(observations, quadrature, settings)
        shift = None
        if quadrature == 1 and is_regular(observations, report) and len(spec.used_factors) == 1:
            shift = _shift_of(observations, optimum)
        fit = fit_at(observations, optimum, report, quadrature, shift)
        if optimum.separating is None and np.isnan(fit.evaluation.lower).any():
            raise LostPrecisionError(
                "too few digits are left for the coefficients: they are told from the random "
                "effects by next to nothing of what the rows say. Rescale or centre the columns, "
                "rescale the weights, or drop random terms"
            )
        return fit

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the rows, after what only they tell."""
        return {**self.__dict__, "_cache": {"covariance": self.scaled_parameter_covariance}}

    def cached(self, name: str, make: Callable[[], Value]) -> Value:
        """Return what is kept under a name; it is made when first asked for."""
        if name not in self._cache:
            self._cache[name] = make()
        found: Value = self._cache[name]
        return found

    # --- the model ----------------------------------------------------------------------------

    @property
    def mean_family(self) -> MeanFamily:
        """The family, if its responses have a mean; raises TypeError otherwise."""
        if not isinstance(self.family, MeanFamily):
            raise TypeError(
                f"responses of the family {self.family.name!r} are categories in an order, which "
                "have probabilities and no mean: ask predict_proba, or residuals of kind='quantile'"
            )
        return self.family

    @property
    def spec(self) -> ModelSpec:
        """Which columns are used, and how."""
        return self.working.spec

    @property
    def products(self) -> CrossProducts:
        """Cross-products of the working model."""
        return self.working.products

    @property
    def n_observations(self) -> float:
        """Number of rows, or the sum of weights that count them."""
        return float(self.n_rows if self.row_products is None else self.row_products.sum_weights)

    @property
    def problem(self) -> Problem:
        """The working model, in scaled units."""
        return self.working.problem

    @property
    def evaluation(self) -> Evaluation:
        """The working model at the optimum, in scaled units."""
        return self.working.evaluation

    @property
    def posterior(self) -> Posterior:
        """The working data at the estimates: what predictions and their errors are made of."""
        return self.posterior_of(self.working)

    def posterior_of(self, working: WorkingFit) -> Posterior:
        """Return other working data at the estimates."""
        return Posterior(working, self.beta, self.beta_covariance, 1.0)

    # --- estimates ----------------------------------------------------------------------------

    @property
    def sigma2(self) -> float:
        """Residual variance of the working model."""
        return 1.0

    @property
    def scales(self) -> dict[str, float]:
        """Parameters of the noise, by name: the dispersion as it is usually stated, or none."""
        return self.scales_at(self.phi)

    def scales_at(self, phi: FloatArray) -> dict[str, float]:
        """Return the same at other dispersions, (m,)."""
        if not self.family.n_dispersions or self.has_thresholds:
            return {}
        return {"dispersion": self.family.dispersion(phi)}

    @property
    def kept(self) -> tuple[int, ...]:
        """Positions in `ModelSpec.fixed` of the fixed columns that are independent."""
        return self.working.kept

    @property
    def rank(self) -> int:
        """Number of independent fixed columns."""
        return self.working.rank

    @property
    def is_determined(self) -> bool:
        """Whether anything is left to judge estimates by, which here is the family's."""
        return True

    @property
    def lambdas(self) -> Blocks:
        """Lower-triangular lambdas of the used factors, (k, k), on the scale of the link."""
        return self.working.lambdas

    @property
    def has_thresholds(self) -> bool:
        """Whether thresholds between ordered categories take the place of the intercept."""
        return isinstance(self.family, Cumulative)

    @property
    def threshold_names(self) -> list[str]:
        """Names of the thresholds, (J - 1,)."""
        return self._ordered.threshold_names

    @property
    def thresholds(self) -> FloatArray:
        """Thresholds between ordered categories, (J - 1,); raises TypeError for other families."""
        return self.thresholds_at(self.beta, self.phi)

    def thresholds_at(self, beta: FloatArray, phi: FloatArray) -> FloatArray:
        """Return the same at other coefficients, (n_fixed,), and gaps, (J - 2,)."""
        return np.asarray(self._ordered.thresholds(phi) - beta[0])

    @property
    def thresholds_covariance(self) -> FloatArray:
        """Covariance matrix of the thresholds, (J - 1, J - 1), by the delta method.

        NaN for those that are infinite.
        """
        slopes = self.threshold_slopes
        found = slopes @ self.covariance_beside @ slopes.T
        separated = list(self.separated_thresholds)
        found[separated], found[:, separated] = np.nan, np.nan
        return np.asarray(found)

    @property
    def threshold_slopes(self) -> FloatArray:
        """Derivatives of the thresholds in beta, theta and phi, (J - 1, n_fixed + t + m)."""
        m, n = self._ordered.n_dispersions, len(self.beta) + len(self.theta)
        slopes = np.zeros((m + 1, n + m))
        slopes[:, 0] = -1.0
        slopes[1:, n:] = np.tril(np.ones((m, m))) * logistic(self.phi)
        return slopes

    @property
    def _ordered(self) -> Cumulative:
        if not isinstance(self.family, Cumulative):
            raise TypeError(f"the family {self.family.name!r} has no thresholds")
        return self.family

    @property
    def covariances(self) -> Blocks:
        """Covariance matrix of the random effects of every used factor, (k, k)."""
        return [lam @ lam.T for lam in self.lambdas]

    @property
    def theta(self) -> FloatArray:
        """Entries of lambda in lme4's order."""
        return self.working.theta

    @property
    def ordered_terms(self) -> list[Term]:
        """The terms by falling number of levels."""
        return self.working.ordered_terms

    def place_of(self, term: Term) -> tuple[int, slice]:
        """Return the position of a term's factor and the term's columns within it."""
        return self.working.place_of(term)

    def term_covariance(self, term: Term) -> FloatArray:
        """Return the covariance matrix of the random effects of one term."""
        position, block = self.place_of(term)
        return self.covariances[position][block, block]

    @property
    def is_singular(self) -> bool:
        """Whether some covariance matrix of the random effects is singular."""
        return self.working.is_singular

    @property
    def unidentified(self) -> tuple[int, ...]:
        """Factors whose variance was set by convention: nothing in the data tells it."""
        return tuple(self.spec.used_factors[position] for position in self.report.confounded)

    @property
    def modes(self) -> Blocks:
        """Modes of the random effects of every used factor, (n_levels, k)."""
        return self.modes_of(self.working)

    def modes_of(self, working: WorkingFit) -> Blocks:
        """Return the modes given other working data at the estimates, (n_levels, k)."""
        unknown = np.full((len(self.beta), len(self.beta)), np.nan)  # errors, which may take time
        return Posterior(working, self.beta, unknown, 1.0).modes

    def conditional_covariance(self, position: int) -> FloatArray:
        """Return var(b | y) of every level at the estimates, (n_levels, k, k), lme4's postVar."""
        return self.working.conditional_covariance(position)

    # --- errors of the estimates --------------------------------------------------------------

    @property
    def parameter_covariance(self) -> FloatArray:
        """Covariance of beta in raw units, theta in scaled ones of the working model, and phi.

        Of shape (n_fixed + t + m,) twice: twice the inverse of the second derivatives. NaN for
        coefficients that are infinite; zero for columns that depend on others.
        """
        raw, separated = self.covariance_beside, list(self.separated)
        raw[separated], raw[:, separated] = np.nan, np.nan
        return raw

    @property
    def covariance_beside(self) -> FloatArray:
        """The same with numbers for infinite coefficients, of functions that stay finite."""
        change = self._to_raw
        return np.asarray(change @ self.scaled_parameter_covariance @ change.T)

    @property
    def scaled_parameter_covariance(self) -> FloatArray:
        """The same with beta of the working model's scaled columns, (p + t + m, p + t + m).

        It keeps the digits that raw units lose where a column is far from zero.
        """
        found = self.cached("covariance", self._parameter_covariance)
        for rows in ("optimum", "observations"):
            self._cache.pop(rows, None)
        return found

    def _parameter_covariance(self) -> FloatArray:
        optimum: JointOptimum | None = self._cache.get("optimum")
        observations: Observations | None = self._cache.get("observations")
        if optimum is None or observations is None:  # another thread has been faster
            known: FloatArray = self._cache["covariance"]
            return known
        hessian = optimum.hessian()
        if optimum.separating is None:
            covariance = 2.0 * _inverse(hessian)
        else:
            covariance = covariance_beside(hessian, optimum.separating)
        change = _to_working(observations, self.problem, optimum)
        return np.asarray(change @ covariance @ change.T)

    @property
    def _to_raw(self) -> FloatArray:
        """The map from scaled beta, theta and phi to those with raw beta."""
        maps = self.problem.model.to_raw[list(self.spec.fixed), :-1]
        return block_diagonal([maps, np.eye(len(self.theta) + len(self.phi))])

    @property
    def approximation_shift(self) -> FloatArray | None:
        """How far quadrature would move beta, theta and phi, in standard errors, signed.

        Of shape (n_fixed + t + m,). It is a prediction from one evaluation; None for several
        factors, many random columns, and after quadrature.
        """
        if self.shift is None:
            return None
        errors = np.sqrt(np.diag(self.parameter_covariance))
        shift = self._to_raw @ self.shift
        return np.divide(shift, errors, out=np.zeros(len(errors)), where=errors > 0.0)

    @property
    def beta_covariance(self) -> FloatArray:
        """Covariance matrix of `beta`, (n_fixed, n_fixed), the estimation of theta in it."""
        n = len(self.spec.fixed)
        return self.parameter_covariance[:n, :n]

    @property
    def scaled_beta_covariance(self) -> FloatArray:
        """Covariance of the coefficients of the working model's scaled columns, (p, p).

        It holds for functions that leave the infinite coefficients out.
        """
        found = self.scaled_parameter_covariance[: self.rank, : self.rank]
        if not self.separated:
            return found
        to_raw = self.problem.model.to_raw[list(self.spec.fixed), :-1][list(self.kept)]
        held = np.isin(self.kept, self.separated)
        finite = np.linalg.solve(to_raw, np.where(held[:, None], 0.0, to_raw))
        return np.asarray(finite @ found @ finite.T)

    # --- likelihood ---------------------------------------------------------------------------

    @property
    def deviance(self) -> float:
        """-2 log-likelihood."""
        return self.criterion

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood."""
        return -0.5 * self.criterion

    def with_method(self, method: Method) -> GeneralizedFit:
        """Return this fit, which is by maximum likelihood. Raises ValueError for "reml"."""
        if method != "ml":
            raise ValueError(
                "generalized models have no restricted likelihood: take method='auto' or 'ml'"
            )
        return self

    @property
    def n_parameters(self) -> int:
        """Independent coefficients, entries of theta, and dispersions."""
        return self.rank + len(self.theta) + len(self.phi)

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return self.criterion + 2.0 * self.n_parameters

    @property
    def bic(self) -> float:
        """Bayesian information criterion, with the number of observations."""
        return self.criterion + float(np.log(self.n_observations)) * self.n_parameters


def optimum_of(
    observations: Observations,
    quadrature: int,
    search: JointNewton,
    start: Point | None = None,  # in scaled units; None looks for one
) -> tuple[JointOptimum, SolverReport]:
    """Search for the optimum with a number of nodes a random column."""
    optimum, report = laplace_optimum(observations, search, start)
    if quadrature > 1 and is_regular(observations, report):
        optimum = _with_nodes(observations, optimum, quadrature, search)
        spent = report.n_evaluations + optimum.report.n_evaluations
        report = _judged(optimum, replace(optimum.report, n_evaluations=spent))
    return optimum, report


def is_regular(observations: Observations, report: SolverReport) -> bool:
    """Tell whether a search has found an optimum of all parameters of some random effects."""
    return report.converged and not report.confounded and bool(observations.spec.terms)


def laplace_optimum(
    observations: Observations,
    search: JointNewton,
    start: Point | None = None,
    penalty: FloatArray | None = None,
) -> tuple[JointOptimum, SolverReport]:
    """Search for the optimum, variances that have none being held.

    The penalty is M, (p, p), of beta'M beta in scaled units, or None.
    """
    alike, pure = like_rows(observations), pure_factors(observations)
    pure = tuple(factor for factor in pure if factor not in alike)
    point = first_point(observations) if start is None else start
    lambdas = list(point.lambdas)
    for factor in (*alike, *pure):
        size = PURE_DEVIATION if factor in pure else 0.0
        lambdas[factor] = size * np.eye(len(lambdas[factor]))
    held = (*alike, *pure)

    def evaluated(where: Point, before: Any, tolerance: float, is_curved: bool) -> Any:
        remembered = None if before is None else before.remembered
        found = evaluate_laplace(observations, where, remembered, tolerance, is_curved=is_curved)
        return found if penalty is None else PenalisedEvaluation(found, penalty)

    running = JointSearch(
        observations,
        evaluated,
        search,
        held,
        is_exact=len(observations.structures) <= 1,
    )
    optimum = running.solve(Point(point.beta, lambdas, point.phi))
    report = replace(optimum.report, confounded=alike, is_unbounded=bool(pure))
    if pure:
        used = [observations.spec.used_factors[factor] for factor in pure]
        names = [observations.rows.indexes[factor].name for factor in used]
        message = (
            f"every level of {names} has one response alone, 0 or 1: its variance has no maximum, "
            "and is held at 100"
        )
        report = replace(report, converged=False, message=message)
    elif observations.spec.terms and observations.family.leaves_no_rest(
        optimum.evaluation.point.phi
    ):
        message = "the random effects explain the response without a rest: there is no maximum"
        report = replace(report, converged=False, is_unbounded=True, message=message)
    return optimum, _judged(optimum, report)


def _judged(optimum: JointOptimum, report: SolverReport) -> SolverReport:
    """Return the report of a search, and say so if it went after infinite variances."""
    if report.converged or report.is_unbounded or _largest_deviation(optimum) <= PURE_DEVIATION:
        return report
    message = "the variances of the random effects grow without end"
    return replace(report, is_unbounded=True, message=message)


def _largest_deviation(optimum: JointOptimum) -> float:
    """Return the largest deviation of any combination of random effects, in scaled units."""
    lambdas = optimum.evaluation.point.lambdas
    return max((float(np.linalg.norm(lam, 2)) for lam in lambdas), default=0.0)


def check_nodes(spec: ModelSpec, n_nodes: int) -> None:
    """Raise ValueError if so many nodes a random column are not possible."""
    if n_nodes < 1:
        raise ValueError(f"quadrature is a number of nodes, at least 1: got {n_nodes}")
    if n_nodes == 1 or not spec.used_factors:  # without random effects there is no integral
        return
    if len(spec.used_factors) > 1:
        raise ValueError(
            f"quadrature={n_nodes} needs one grouping factor, and the model has "
            f"{len(spec.used_factors)}: use quadrature=1, Laplace's approximation"
        )
    k = len(spec.factor_columns(spec.used_factors[0]))
    if n_nodes**k > MOST_NODES:
        most = int((MOST_NODES + 0.5) ** (1.0 / k))
        raise ValueError(
            f"quadrature={n_nodes} for {k} random columns takes {n_nodes}^{k} nodes, more than "
            f"{MOST_NODES}: use at most {most}"
        )


def _with_nodes(
    observations: Observations, optimum: JointOptimum, n_nodes: int, settings: JointNewton
) -> JointOptimum:
    """Search on from the optimum of Laplace's approximation by quadrature."""
    laplace: LaplaceEvaluation = optimum.evaluation
    running = JointSearch(
        observations,
        lambda where, before, tolerance, _: evaluate_quadrature(
            observations, laplace, n_nodes, where, before.remembered, tolerance
        ),
        settings,
        is_exact=False,
        may_pivot=False,
    )
    return running.solve(laplace.point, laplace)


def _shift_of(observations: Observations, optimum: JointOptimum) -> FloatArray | None:
    """Return by how much quadrature would move beta, theta and phi, scaled, (p + t + m,)."""
    laplace: LaplaceEvaluation = optimum.evaluation
    n_nodes = shift_nodes(observations.structures[0].size)
    if n_nodes is None:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            there = evaluate_quadrature(
                observations, laplace, n_nodes, laplace.point, laplace.remembered, LEAST_DECREMENT
            )
        except LostPrecisionError:
            return None
    if not there.is_finite:
        return None
    slopes = there.slopes(Coordinates.natural(observations.structures), optimum.theta)
    return -_inverse(optimum.hessian()) @ slopes


def _to_working(observations: Observations, problem: Problem, optimum: JointOptimum) -> FloatArray:
    """Return the map from beta, theta and phi of a search to those of `problem`, square.

    The columns of both are shifted alike, so that entries of lambda differ by their units.
    """
    units, fixed = observations.units, list(observations.spec.fixed)
    to_raw, kept = problem.model.to_raw[fixed, :-1], list(problem.model.kept)
    of_beta = np.linalg.solve(to_raw[kept], units.to_raw[fixed, :-1][kept])
    parts = [np.asarray(of_beta, dtype=np.float64)]
    places = Coordinates.natural(observations.structures).places
    zipped = zip(observations.structures, places, units.random_maps, strict=True)
    for (structure, place, before), after in zip(zipped, problem.model.random_maps, strict=True):
        slopes = structure.root_slopes(optimum.theta[place], structure.natural_order)
        between = np.linalg.solve(after, before)
        parts.append(np.array([structure.read(between @ slope) for slope in slopes]).T)
    return block_diagonal([*parts, np.eye(len(optimum.evaluation.point.phi))])


def fit_at(
    observations: Observations,
    optimum: JointOptimum,
    report: SolverReport,
    quadrature: int,
    shift: FloatArray | None = None,
) -> GeneralizedFit:
    """Return the fit of an optimum, in the units of the data."""
    evaluation: LaplaceEvaluation | QuadratureEvaluation = optimum.evaluation
    spec, units, point = observations.spec, observations.units, evaluation.point
    products = working_products(observations, evaluation)
    problem = Problem.of(products, spec)
    if shift is not None:
        shift = _to_working(observations, problem, optimum) @ shift
    raw = [R @ lam for R, lam in zip(units.random_maps, point.lambdas, strict=True)]
    scaled = tuple(problem.scaled_lambdas(raw))
    beta = (units.to_raw[:, :-1] @ point.beta)[list(spec.fixed)]
    separated: tuple[int, ...] = ()
    thresholds: tuple[int, ...] = ()
    if optimum.separating is not None:
        p, m = observations.rank, len(point.phi)
        along, phi_move = optimum.separating[:p], optimum.separating[len(optimum.separating) - m :]
        separated = separated_columns(observations, along)
        thresholds = separated_thresholds(observations, along, point.phi, phi_move)
    return GeneralizedFit(
        WorkingFit(products, spec, scaled, _GIVEN, {"problem": problem}),
        observations.family,
        point.phi,
        beta,
        evaluation.criterion,
        report,
        quadrature,
        separated,
        observations.n_rows,
        ResponseSums.of(observations.given, spec),
        shift,
        untold_factors(observations, point.lambdas),
        observations.counted,
        thresholds,
        {"observations": observations, "optimum": optimum},
    )


def modes_at(observations: Observations, optimum: JointOptimum) -> Blocks:
    """Return the modes of the random effects of every used factor, (n_levels, k), in raw units."""
    units, kept = observations.units, optimum.evaluation.remembered
    modes = [
        np.zeros((size, len(R)))
        for size, R in zip(observations.n_levels, units.random_maps, strict=True)
    ]
    for block, found in zip(observations.blocks, kept, strict=True):
        for factor, own in enumerate(block.levels):
            modes[factor][own] = (units.random_maps[factor] @ found.effects[factor][:, 0]).T
    return modes


def working_products(
    observations: Observations, evaluation: LaplaceEvaluation | QuadratureEvaluation
) -> CrossProducts:
    """Sum the rows as those of a linear mixed model."""
    working = working_rows(observations, evaluation)
    return CrossProducts.of(observations.layout, working, observations.basis)


def working_rows(
    observations: Observations,
    evaluation: LaplaceEvaluation | QuadratureEvaluation | PenalisedEvaluation,
) -> Rows:
    """Return the rows, equal ones put together, as those of a linear mixed model."""
    rows, family, point = observations.rows, observations.family, evaluation.point
    weights, response = np.empty(len(rows.columns)), np.empty(len(rows.columns))
    for block, kept in zip(observations.blocks, evaluation.remembered, strict=True):
        eta = block.predictor(point.beta) + block.effects(kept.effects)
        w, linear = linearised(family, point.phi, block.y, block.weights, eta)
        shift = 0.0 if block.offset is None else block.offset
        weights[block.places], response[block.places] = w, linear - shift
    columns = rows.columns.copy(order="K")
    columns[:, observations.layout.response] = response
    return Rows(columns, rows.codes, rows.indexes, weights)


def working_model(fit: GeneralizedFit, observations: Observations) -> tuple[WorkingFit, Rows]:
    """Return the linear mixed model of a fit with the rows given once more, and these rows.

    The rows are those of the fit, with codes of its levels; none are put together.
    """
    rows, offset = observations.given, observations.offset
    shift = np.zeros(len(rows.columns)) if offset is None else offset
    eta = shift + linear_predictor(fit.spec, rows.columns, rows.codes, fit.beta, fit.modes)
    y = rows.columns[:, observations.layout.response]
    weights, response = linearised(fit.family, fit.phi, y, rows.weights, eta)
    columns = rows.columns.copy(order="K")
    columns[:, observations.layout.response] = response - shift
    working = Rows(columns, rows.codes, rows.indexes, weights)
    products = CrossProducts.of(observations.layout, working, observations.basis)
    return fit.working.at(products), working


def linearised(
    family: Family, phi: FloatArray, y: FloatArray, weights: FloatArray | None, eta: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return weights and responses of the working model at eta, offsets in them, (n,) each."""
    _, g, w = family.derivatives(eta, y, weights, phi)
    w = np.maximum(w, _LEAST_WORKING_WEIGHT * w.max(initial=1.0))
    return w, eta - g / w


def _inverse(hessian: FloatArray) -> FloatArray:
    """Invert second derivatives along what is felt."""
    sizes = np.sqrt(np.abs(np.diag(hessian)))
    units = np.divide(1.0, sizes, out=np.zeros(len(sizes)), where=sizes > 0.0)
    return units[:, None] * inverse_felt(hessian * np.outer(units, units), _NO_INFORMATION) * units
