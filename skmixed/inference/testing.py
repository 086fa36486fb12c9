"""t and F tests of linear functions of the fixed coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from scipy import stats

from skmixed.core.fit import Fit
from skmixed.core.layout import FloatArray
from skmixed.core.monte_carlo import check_exact
from skmixed.inference.curvature import Curvature
from skmixed.inference.estimable import kept_part
from skmixed.inference.fitted import determined_fit_of
from skmixed.inference.kenward_roger import KenwardRoger
from skmixed.inference.satterthwaite import joint_degrees, satterthwaite

DfMethod = Literal["satterthwaite", "kenward-roger", "residual", "normal"]

_NOTES = {
    "satterthwaite": "Degrees of freedom by Satterthwaite's method.",
    "kenward-roger": "Standard errors and degrees of freedom by Kenward and Roger's method.",
    "residual": "Degrees of freedom are rows minus fixed columns.",
    "normal": "By the normal distribution, as if the variances were known.",
}
_DEPENDENT_ROWS = 1e-9  # eigenvalue of functions of unit variance that is zero but for rounding
_CONTRADICTION = 1e-6  # in standard errors: so far from what independent rows say is no rounding


@dataclass(frozen=True, slots=True)
class JointTest:
    """An F test."""

    statistic: float  # F; NaN without restrictions
    num_df: int  # number of independent restrictions
    df: float  # denominator degrees of freedom
    p_value: float


NO_RESTRICTIONS = JointTest(np.nan, 0, np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class CoefficientTests:
    """Tests of one fitted model by one method.

    Functions are of all fixed coefficients in raw units, (m, n_fixed), unless they are called
    scaled. What the data do not determine is NaN.
    """

    fit: Fit  # without random terms one by REML, for the unbiased residual variance
    method: DfMethod  # where degrees of freedom come from

    @classmethod
    def of(cls, model: Any, method: DfMethod) -> CoefficientTests:
        """Prepare the tests of a fitted estimator, or of a fit.

        The curvature or the adjustment is computed when first needed. Raises ValueError for an
        unknown method, and for "kenward-roger" unless the fit is an exact one by REML.
        """
        if method not in get_args(DfMethod):
            raise ValueError(f"df={method!r} is not one of {', '.join(map(repr, _NOTES))}")
        fit = determined_fit_of(model)
        if not fit.spec.terms:
            return cls(fit.with_method("reml"), method)
        if method == "kenward-roger" and fit.spec.method != "reml":
            raise ValueError(
                "the Kenward-Roger approximation is one of REML estimates, and this model was "
                "fitted by maximum likelihood: fit it by REML, or take df='satterthwaite'"
            )
        if method == "kenward-roger":
            check_exact(fit, "the Kenward-Roger approximation")
        return cls(fit, method)

    @property
    def note(self) -> str:
        """What to say beneath a table."""
        if self.fit.spec.terms or self.method == "normal":
            return _NOTES[self.method]
        return _NOTES["residual"]

    @cached_property
    def curvature(self) -> Curvature:
        """Curvature of the criterion at the optimum."""
        return Curvature.of(self.fit)

    @cached_property
    def adjustment(self) -> KenwardRoger:
        """The adjustment of Kenward and Roger."""
        return KenwardRoger.of(self.fit)

    @property
    def is_exact(self) -> bool:
        """Whether t and F are exact, there being no variances but the residual one."""
        return not self.fit.spec.terms

    def estimates(self, functions: FloatArray) -> FloatArray:
        """Return the estimates of linear functions, (m,)."""
        return np.asarray(kept_part(self.fit, functions) @ self.fit.beta)

    def errors(self, functions: FloatArray) -> FloatArray:
        """Return the standard errors of linear functions, (m,)."""
        rows = self.scaled(functions)
        covariance = self._covariance
        variances = np.einsum("mi,ij,mj->m", rows, covariance, rows) * self.fit.sigma2
        return np.asarray(np.sqrt(variances))

    def degrees(self, functions: FloatArray) -> FloatArray:
        """Return the degrees of freedom of linear functions, (m,)."""
        rows = self.scaled(functions)
        undefined = np.asarray(np.isnan(rows).any(axis=1))
        if self.method == "normal":
            degrees = np.full(len(rows), np.inf)
        elif self.method == "residual" or self.is_exact:
            degrees = np.full(len(rows), self._residual)
        elif self.method == "satterthwaite":
            degrees = satterthwaite(self.curvature, self.fit.evaluation.beta_covariance, rows)
        else:
            found = [
                np.nan if gone or not row.any() else self.adjustment.joint(row[None])[1]
                for row, gone in zip(rows, undefined, strict=True)
            ]
            degrees = np.array(found)
        return np.asarray(np.where(undefined, np.nan, degrees))

    def joint(self, functions: FloatArray, rhs: FloatArray | None = None) -> JointTest:
        """Test that linear functions have the values `rhs`, (m,), by default 0.

        As many restrictions are counted as are independent. Raises ValueError for functions that
        the data do not determine, and for hypotheses that contradict each other.
        """
        estimates = self.estimates(functions)
        difference = estimates if rhs is None else estimates - rhs
        if np.isnan(difference).any():
            raise ValueError("a hypothesis is about columns that depend on others")
        return self.joint_scaled(self.scaled(functions), difference)

    def joint_scaled(self, rows: FloatArray, difference: FloatArray) -> JointTest:
        """Test functions of the kept coefficients in scaled units, (m, p), as `joint` does.

        `difference`, (m,), is how far their estimates are from the hypothesis, in raw units of y.
        """
        size = np.sqrt(np.einsum("mi,ij,mj->m", rows, self._covariance, rows))
        size = np.where(size > 0, size, 1.0)
        even, distance = rows / size[:, None], difference / size
        values, vectors = np.linalg.eigh(even @ self._covariance @ even.T)
        kept = values > _DEPENDENT_ROWS
        q = int(kept.sum())
        if q == 0:
            return NO_RESTRICTIONS
        vectors = vectors[:, kept]
        along = vectors.T @ distance
        if np.abs(distance - vectors @ along).max() > _CONTRADICTION * (
            1.0 + np.abs(distance).max()
        ):
            raise ValueError("the hypotheses contradict each other: no coefficients satisfy all")
        independent = rows if q == len(rows) else vectors.T @ even
        scale, df = self._scale_and_degrees(independent)
        statistic = scale * float((along**2 / values[kept]).mean()) / self.fit.sigma2
        return JointTest(statistic, q, df, _p_value(statistic, q, df))

    def scaled(self, functions: FloatArray) -> FloatArray:
        """Return functions of raw coefficients as ones of the kept, scaled coefficients, (m, p)."""
        return np.asarray(kept_part(self.fit, functions) @ self._maps)

    @cached_property
    def _maps(self) -> FloatArray:
        return np.asarray(self.fit.problem.model.to_raw[list(self.fit.spec.fixed), :-1])

    @cached_property
    def _covariance(self) -> FloatArray:
        if self.method == "kenward-roger" and not self.is_exact:
            return self.adjustment.adjusted
        return self.fit.evaluation.beta_covariance

    @property
    def _residual(self) -> float:
        return self.fit.problem.n_observations - self.fit.rank

    def _scale_and_degrees(self, rows: FloatArray) -> tuple[float, float]:
        if self.method == "normal":
            return 1.0, float("inf")
        if self.method == "residual" or self.is_exact:
            return 1.0, self._residual
        if self.method == "kenward-roger":
            return self.adjustment.joint(rows)
        covariance = self.fit.evaluation.beta_covariance
        vectors = np.linalg.eigh(rows @ covariance @ rows.T)[1]
        degrees = satterthwaite(self.curvature, covariance, vectors.T @ rows)
        return 1.0, joint_degrees(degrees)


def _p_value(statistic: float, q: int, df: float) -> float:
    if np.isinf(df):
        return float(stats.chi2.sf(q * statistic, q))
    return float(stats.f.sf(statistic, q, df))


def t_p_values(statistics: FloatArray, degrees: FloatArray) -> FloatArray:
    """Return the two-sided p-values of t statistics, normal ones for infinite degrees."""
    return np.asarray(2.0 * stats.t.sf(np.abs(statistics), degrees))


def t_quantiles(level: float, degrees: FloatArray) -> FloatArray:
    """Return the half-widths of two-sided t intervals, in standard errors.

    They have the shape of `degrees`; infinite degrees give normal quantiles. Raises ValueError for
    a level that is no probability.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level!r} is no probability between 0 and 1")
    return np.asarray(stats.t.ppf((1.0 + level) / 2.0, degrees))
