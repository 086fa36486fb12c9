"""A fitted generalized linear mixed model, free of rows, in the units of the data.

At the optimum the rows are those of a linear mixed model with weights w = f'', the working response
eta - offset - f' / w and a residual variance of one. Its cross-products are all that predictions,
random effects and their errors need; they come from the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.families.family import Family, MeanFamily, logistic
from skmixed.core.families.ordinal import Cumulative
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.approximation.working_model import (
    WorkingFit,
)
from skmixed.core.generalized.joint_search.divergence import (
    covariance_beside,
)
from skmixed.core.generalized.joint_search.joint_newton import JointOptimum
from skmixed.core.generalized.joint_search.optimum import (
    inverse_information,
)
from skmixed.core.generalized.response_sums import ResponseSums
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import FloatArray, block_diagonal
from skmixed.core.model.evaluation import Evaluation
from skmixed.core.model.problem import Problem
from skmixed.core.model.spec import Method, ModelSpec, Term
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.search.report import SolverReport
from skmixed.core.sums.crossproducts import CrossProducts

Value = TypeVar("Value")

_UNTOLD_VARIANCE = 1e4  # of coefficients of scaled columns: responses all certain leave more


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
    criterion: float  # -2 log-likelihood with all constants, and the penalty
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
        return self.thresholds_covariance_by(self.covariance_beside)

    def thresholds_covariance_by(self, covariance: FloatArray) -> FloatArray:
        """Return the same by another covariance of raw beta, theta and phi, square."""
        slopes = self.threshold_slopes
        found = slopes @ covariance @ slopes.T
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
        raw, separated = self.covariance_beside, [*self.separated, *self._undetermined]
        raw[separated], raw[:, separated] = np.nan, np.nan
        return raw

    @property
    def _undetermined(self) -> list[int]:
        """Positions of coefficients of which separated responses leave no information."""
        if not self.separated:
            return []
        variances = np.diag(self.scaled_parameter_covariance)[: self.rank]
        is_told = (variances > 0.0) & (variances < _UNTOLD_VARIANCE)
        return [place for place, told in zip(self.kept, is_told, strict=True) if not told]

    @property
    def covariance_beside(self) -> FloatArray:
        """The same with numbers for infinite coefficients, of functions that stay finite."""
        return self.in_raw_units(self.scaled_parameter_covariance)

    def in_raw_units(self, covariance: FloatArray) -> FloatArray:
        """Return a covariance of scaled beta, theta and phi, square, as one of raw beta."""
        return np.asarray(self._to_raw @ covariance @ self._to_raw.T)

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
            covariance = 2.0 * inverse_information(hessian)
        else:
            covariance = covariance_beside(hessian, optimum.separating)
        m = len(optimum.evaluation.point.phi)
        change = to_working(observations, self.problem, optimum.theta, m)
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
        return self.criterion - self.penalty

    @property
    def penalty(self) -> float:
        """What the penalties of covariances add to the criterion; 0 without one."""
        return self.working.penalty

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood."""
        return -0.5 * self.deviance

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
        return self.deviance + 2.0 * self.n_parameters

    @property
    def bic(self) -> float:
        """Bayesian information criterion, with the number of observations."""
        return self.deviance + float(np.log(self.n_observations)) * self.n_parameters


def to_working(
    observations: Observations, problem: Problem, theta: FloatArray, n_dispersions: int
) -> FloatArray:
    """Return the map from beta, theta and phi of a search to those of `problem`, square.

    It is that at theta, (t,), in natural coordinates. The columns of both are shifted alike, so
    that entries of lambda differ by their units.
    """
    units, fixed = observations.units, list(observations.spec.fixed)
    to_raw, kept = problem.model.to_raw[fixed, :-1], list(problem.model.kept)
    of_beta = np.linalg.solve(to_raw[kept], units.to_raw[fixed, :-1][kept])
    parts = [np.asarray(of_beta, dtype=np.float64)]
    places = Coordinates.natural(observations.structures).places
    zipped = zip(observations.structures, places, units.random_maps, strict=True)
    for (structure, place, before), after in zip(zipped, problem.model.random_maps, strict=True):
        between = np.asarray(np.linalg.solve(after, before), dtype=np.float64)
        parts.append(structure.rescaled(theta[place], between))
    return block_diagonal([*parts, np.eye(n_dispersions)])
