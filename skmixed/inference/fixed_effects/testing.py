"""Tests of linear functions of the fixed coefficients: t and F, or z and chi-squared.

Generalized models have Wald tests; their standard errors include the uncertainty of the variances.

If some fixed columns depend on others, X_D = X_K A, a function l'beta is estimable, having the same
value for all least-squares solutions, if and only if l_D = A'l_K (Searle 1971, Linear Models,
section 5.4). Then it is l_K'beta_K, the dropped coefficients being 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, stats

from skmixed.core.fit import Fit
from skmixed.core.generalized.after_fit.joint_sandwich import JointSandwich
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.visits.visits_fit import VisitsFit
from skmixed.core.rows.monte_carlo import check_exact
from skmixed.inference.fitted import (
    AnyFit,
    determined_any_fit_of,
    fit_of,
    infinite_names,
)
from skmixed.inference.fixed_effects.degrees import (
    Curvature,
    KenwardRoger,
    joint_degrees,
    satterthwaite,
)
from skmixed.inference.fixed_effects.robust import RobustCovariance

DfMethod = Literal["auto", "satterthwaite", "kenward-roger", "residual", "normal"]

_NOTES = {
    "satterthwaite": "Degrees of freedom by Satterthwaite's method.",
    "kenward-roger": "Standard errors and degrees of freedom by the Kenward-Roger method.",
    "residual": "Degrees of freedom: rows minus fixed columns.",
    "normal": "Normal distribution, with the variances taken as known.",
}
_WALD_NOTE = "Wald tests, normal distribution."
_DEPENDENT_ROWS = 1e-9  # eigenvalue of functions of unit variance that is zero up to rounding
_CONTRADICTION = 1e-6  # in standard errors: a larger distance from independent rows is no rounding


def _without_variances(fit: Fit, method: DfMethod) -> DfMethod:
    """Return the method if the residual variance is the only one: normal if it is known."""
    return method if fit.spec.sigma2 is None or method == "residual" else "normal"


def _wald_method(method: DfMethod) -> DfMethod:
    """Return the only method of Wald tests; raise ValueError for those of linear models."""
    if method not in ("auto", "normal"):
        raise ValueError(
            f"df={method!r} needs a linear mixed model; generalized and nonlinear ones have Wald "
            "tests with the normal distribution: use df='auto' or df='normal'"
        )
    return "normal"


@dataclass(frozen=True, slots=True)
class JointTest:
    """An F test, or a chi-squared test of a generalized model."""

    statistic: float  # F or chi-squared; NaN without restrictions
    num_df: int  # number of independent restrictions
    df: float  # denominator degrees of freedom
    p_value: float


NO_RESTRICTIONS = JointTest(np.nan, 0, np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class CoefficientTests:
    """Tests of one fitted model by one method.

    Functions are of all fixed coefficients in raw units, (m, n_fixed), unless they are called
    scaled. Those that are not estimable are NaN.
    """

    fit: AnyFit  # a linear one without random terms by REML, for the unbiased variance
    method: DfMethod  # where degrees of freedom come from, not "auto"
    robust: RobustCovariance | None = None  # of the coefficients, in the place of the model's own

    @classmethod
    def of(
        cls, model: Any, method: DfMethod, covariance: RobustCovariance | None = None
    ) -> CoefficientTests:
        """Prepare the tests of a fitted estimator, or of a fit.

        The curvature or the adjustment is computed when first needed. Raises ValueError for an
        unknown method, one of linear models with a generalized model, "kenward-roger" without a
        REML fit that leaves a residual, a robust covariance of another fit, and one with a method
        that does not allow it.
        """
        if method not in get_args(DfMethod):
            raise ValueError(f"df={method!r} is not one of {', '.join(map(repr, _NOTES))}")
        fit = determined_any_fit_of(model)
        if covariance is not None:
            return cls._of_robust(fit, method, covariance)
        if isinstance(fit, GeneralizedFit | NonlinearFit):
            return cls(fit, _wald_method(method))
        method = "satterthwaite" if method == "auto" else method
        if isinstance(fit, ResidualFit):
            if method == "kenward-roger" and not isinstance(fit, VisitsFit):
                raise ValueError(
                    "among residual structures, df='kenward-roger' is available only for "
                    "covariances of visits without random effects: use df='satterthwaite'"
                )
        elif not fit.spec.terms:
            return cls(fit.with_method("reml"), _without_variances(fit, method))
        if method == "kenward-roger" and fit.spec.method != "reml":
            raise ValueError(
                "df='kenward-roger' needs a REML fit, and this model was fitted by maximum "
                "likelihood: fit it by REML, or use df='satterthwaite'"
            )
        if method == "kenward-roger":
            check_exact(fit, "the Kenward-Roger approximation")
        return cls(fit, method)

    @classmethod
    def _of_robust(
        cls, fit: AnyFit, method: DfMethod, covariance: RobustCovariance
    ) -> CoefficientTests:
        if not isinstance(covariance, RobustCovariance):
            raise TypeError(
                f"covariance is a {type(covariance).__name__}: pass the result of robust_covariance"
            )
        covariance._check_is_of(fit)
        if isinstance(fit, GeneralizedFit):
            return cls(fit, _wald_method(method), covariance)
        method = "satterthwaite" if method == "auto" else method
        if method not in ("satterthwaite", "normal"):
            raise ValueError(
                f"df={method!r} needs the model-based covariance: with a robust one use "
                "df='satterthwaite' or df='normal'"
            )
        return cls(fit, method, covariance)

    @property
    def note(self) -> str:
        """The note beneath a table."""
        if self.robust is not None:
            return f"{self.robust._note()} {_WALD_NOTE if self.is_wald else _NOTES[self.method]}"
        if self.is_wald:
            return " ".join([_WALD_NOTE, *self._of_infinite])
        if not self.is_exact or self.method == "normal":
            return _NOTES[self.method]
        return _NOTES["residual"]

    @property
    def is_wald(self) -> bool:
        """Whether tests are z and chi-squared tests, since the model is not linear."""
        return isinstance(self.fit, GeneralizedFit | NonlinearFit)

    @property
    def infinite(self) -> list[int]:
        """Positions of the infinite coefficients, which have no standard errors."""
        return list(self.fit.separated) if isinstance(self.fit, GeneralizedFit) else []

    @property
    def _of_infinite(self) -> list[str]:
        names = infinite_names(self.fit) if isinstance(self.fit, GeneralizedFit) else []
        return [f"Infinite, without standard errors: {', '.join(names)}."] if names else []

    @cached_property
    def curvature(self) -> Curvature:
        """Curvature of the criterion at the optimum."""
        return Curvature.of(fit_of(self.fit))

    @cached_property
    def adjustment(self) -> KenwardRoger:
        """The Kenward-Roger adjustment."""
        return KenwardRoger.of(fit_of(self.fit))

    @property
    def gram(self) -> FixedGram:
        """Cross-products of all fixed columns."""
        return FixedGram.of(self.fit)

    @property
    def is_exact(self) -> bool:
        """Whether t and F tests are exact, since the residual variance is the only one."""
        return not (self.fit.spec.terms or self.is_wald or isinstance(self.fit, ResidualFit))

    def estimates(self, functions: FloatArray) -> FloatArray:
        """Return the estimates of linear functions, (m,)."""
        return np.asarray(kept_part(self.fit, functions) @ self.fit.beta)

    def errors(self, functions: FloatArray) -> FloatArray:
        """Return the standard errors of linear functions, (m,); NaN where one is infinite."""
        rows = self.scaled(functions)
        variances = np.einsum("mi,ij,mj->m", rows, self._covariance, rows)
        variances[functions[:, self.infinite].any(axis=1)] = np.nan
        if self.robust is not None:
            variances[np.isnan(self.robust._sandwich.degrees(rows))] = np.nan
        return np.asarray(np.sqrt(variances))

    def degrees(self, functions: FloatArray) -> FloatArray:
        """Return the degrees of freedom of linear functions, (m,)."""
        rows = self.scaled(functions)
        undefined = np.asarray(np.isnan(rows).any(axis=1))
        if self.method == "normal":
            degrees = np.full(len(rows), np.inf)
        elif self.robust is not None:
            degrees = self.robust._sandwich.degrees(rows)
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

        Only independent restrictions are counted. Raises ValueError for functions that are not
        estimable, and for hypotheses that contradict each other.
        """
        estimates = self.estimates(functions)
        difference = estimates if rhs is None else estimates - rhs
        if np.isnan(difference).any():
            raise ValueError(
                "the hypothesis is not estimable: it involves linearly dependent columns"
            )
        if functions[:, self.infinite].any():
            return JointTest(np.nan, len(functions), np.inf, np.nan)
        return self.joint_scaled(self.scaled(functions), difference)

    def joint_scaled(self, rows: FloatArray, difference: FloatArray) -> JointTest:
        """Test functions of the kept coefficients in scaled units, (m, p), as `joint` does.

        `difference`, (m,), is the distance of the estimates from the hypothesis, in raw units of y.
        """
        by_model = self._covariance if self.robust is None else self.fit.scaled_beta_covariance
        size = np.sqrt(np.einsum("mi,ij,mj->m", rows, by_model, rows))
        size = np.where(size > 0, size, 1.0)
        even, distance = rows / size[:, None], difference / size
        values, vectors = np.linalg.eigh(even @ self._covariance @ even.T)
        kept = values > _DEPENDENT_ROWS
        q = int(kept.sum())
        if self.robust is not None:
            n_independent = np.linalg.matrix_rank(
                even @ by_model @ even.T, _DEPENDENT_ROWS, hermitian=True
            )
            if n_independent > q:  # more than the clusters determine
                return JointTest(np.nan, int(n_independent), np.nan, np.nan)
        if q == 0:
            return NO_RESTRICTIONS
        vectors = vectors[:, kept]
        along = vectors.T @ distance
        if np.abs(distance - vectors @ along).max() > _CONTRADICTION * (
            1.0 + np.abs(distance).max()
        ):
            raise ValueError(
                "the hypotheses contradict each other: no coefficients satisfy all of them"
            )
        independent = rows if q == len(rows) else vectors.T @ even
        scale, df = self._scale_and_degrees(independent)
        statistic = scale * float((along**2 / values[kept]).mean())
        p_value = _p_value(statistic, q, df)
        return JointTest(q * statistic if self.is_wald else statistic, q, df, p_value)

    def scaled(self, functions: FloatArray) -> FloatArray:
        """Return functions of raw coefficients as functions of the kept, scaled ones, (m, p)."""
        return np.asarray(kept_part(self.fit, functions) @ self._to_raw)

    @cached_property
    def _to_raw(self) -> FloatArray:
        return np.asarray(self.fit.problem.model.to_raw[list(self.fit.spec.fixed), :-1])

    @property
    def to_raw(self) -> FloatArray:
        """The map of scaled to raw coefficients of the kept columns, (p, p)."""
        return self._to_raw[list(self.fit.kept)]

    @cached_property
    def _covariance(self) -> FloatArray:
        if self.robust is not None:
            return self.robust._sandwich.covariance
        if self.method == "kenward-roger" and not self.is_exact:
            return self.adjustment.adjusted * self.fit.sigma2
        return self.fit.scaled_beta_covariance

    @property
    def joint_covariance(self) -> FloatArray:
        """Covariance of beta, theta and phi of a generalized fit, as `parameter_covariance`."""
        assert isinstance(self.fit, GeneralizedFit)
        if self.robust is None:
            return self.fit.parameter_covariance
        assert isinstance(self.robust._sandwich, JointSandwich)
        return self.fit.in_raw_units(self.robust._sandwich.joint_covariance)

    @property
    def _residual(self) -> float:
        return self.fit.problem.n_observations - self.fit.rank

    def _scale_and_degrees(self, rows: FloatArray) -> tuple[float, float]:
        if self.method == "normal":
            return 1.0, float("inf")
        if self.robust is not None:
            return self.robust._sandwich.scale_and_degrees(rows)
        if self.method == "residual" or self.is_exact:
            return 1.0, self._residual
        if self.method == "kenward-roger":
            return self.adjustment.joint(rows)
        covariance = self.fit.evaluation.beta_covariance
        along = self._principal(rows, covariance)
        return 1.0, joint_degrees(satterthwaite(self.curvature, covariance, along))

    def _principal(self, rows: FloatArray, covariance: FloatArray) -> FloatArray:
        """Return uncorrelated functions equivalent to independent rows, (q, p).

        They are those whose variances differ most from what least squares would give, so they
        depend on the hypothesis alone, not on its rows or the coding of factors.
        """
        model, sums = self.fit.problem.model, self.fit.products
        gram = model.gram[:-1, :-1]
        if isinstance(self.fit, ResidualFit):
            sums = self.fit.row_products
            to_scaled = sums.undo @ model.to_raw[:, :-1]
            gram = to_scaled.T @ sums.gram @ to_scaled
        by_least_squares = rows @ linalg.solve(gram, rows.T, assume_a="pos")
        vectors = linalg.eigh(rows @ covariance @ rows.T, by_least_squares)[1]
        return np.asarray(vectors.T @ rows)


def _p_value(statistic: float, q: int, df: float) -> float:
    if np.isinf(df):
        return float(stats.chi2.sf(q * statistic, q))
    return float(stats.f.sf(statistic, q, df))


def t_p_values(statistics: FloatArray, degrees: FloatArray) -> FloatArray:
    """Return two-sided p-values of t statistics, normal ones for infinite degrees of freedom."""
    return np.asarray(2.0 * stats.t.sf(np.abs(statistics), degrees))


def check_probability(level: float, name: str = "level") -> None:
    """Raise ValueError for a confidence level outside (0, 1), given by the named parameter."""
    if not isinstance(level, Real) or not 0.0 < level < 1.0:
        is_percentage = isinstance(level, Real) and 1.0 < level < 100.0
        advice = f"; for {level}% use {name}={float(level) / 100.0:g}" if is_percentage else ""
        raise ValueError(f"{name}={level!r} is not a probability between 0 and 1{advice}")


def t_quantiles(level: float, degrees: FloatArray) -> FloatArray:
    """Return the half-widths of two-sided t intervals, in standard errors.

    They have the shape of `degrees`; infinite degrees of freedom give normal quantiles. Raises
    ValueError for a level outside (0, 1).
    """
    check_probability(level)
    return np.asarray(stats.t.ppf((1.0 + level) / 2.0, degrees))


_ESTIMABLE = 1e-6  # excess that is rounding: dropped columns repeat others to about this accuracy


@dataclass(frozen=True, slots=True, eq=False)
class FixedGram:
    """Cross-products of all fixed columns, dropped ones too, scaled to lose the fewest digits.

    Columns are shifted if there is an intercept, and have a root mean square of one.
    """

    products: FloatArray  # (n_fixed, n_fixed), cross-products; of generalized models information
    shift: FloatArray  # (n_fixed, n_fixed), coefficients of raw columns = shift @ those of shifted
    units: FloatArray  # (n_fixed,), lengths of the shifted columns
    alias: FloatArray  # (p, n_dropped), A of X_D = X_K A

    @classmethod
    def of(cls, fit: AnyFit) -> FixedGram:
        """Compute them from the sums of a fit, once."""
        return fit.cached("fixed_gram", lambda: cls._of(fit))

    @classmethod
    def _of(cls, fit: AnyFit) -> FixedGram:
        fixed = np.ix_(fit.spec.fixed, fit.spec.fixed)
        sums = fit.row_products if isinstance(fit, ResidualFit) else fit.products
        if fit.spec.has_intercept:
            shift, gram = np.asarray(sums.basis)[fixed], sums.gram[fixed]
        else:
            shift = np.eye(len(fit.spec.fixed))
            gram = (sums.undo.T @ sums.gram @ sums.undo)[fixed]
        units = np.sqrt(np.diag(gram))
        units = np.where(units > 0, units, 1.0)
        products = gram / np.outer(units, units)
        kept, dropped = list(fit.kept), dropped_places(fit)
        own, between = products[np.ix_(kept, kept)], products[np.ix_(kept, dropped)]
        alias = linalg.solve(own, between, assume_a="pos") if dropped else between
        if isinstance(fit, GeneralizedFit | NonlinearFit):
            products = _information(fit, units[kept], np.asarray(alias))
        return cls(products, shift, units, np.asarray(alias))


def _information(
    fit: GeneralizedFit | NonlinearFit, units: FloatArray, alias: FloatArray
) -> FloatArray:
    """Return the information on all fixed columns, (n_fixed, n_fixed), in the units of (p,) kept.

    It is the inverse of the covariance of the estimates, and zero for infinite coefficients.
    """
    kept, dropped = list(fit.kept), dropped_places(fit)
    to_raw = fit.problem.model.to_raw[list(fit.spec.fixed), :-1][kept]
    scales = units * np.diag(to_raw)
    finite = np.flatnonzero(~np.isin(kept, fit.separated))
    covariance = (fit.scaled_beta_covariance * np.outer(scales, scales))[np.ix_(finite, finite)]
    of_kept = np.zeros((len(kept), len(kept)))
    of_kept[np.ix_(finite, finite)] = linalg.pinvh(covariance)
    every = np.zeros((len(kept), len(fit.spec.fixed)))
    every[:, kept], every[:, dropped] = np.eye(len(kept)), alias
    return np.asarray(every.T @ of_kept @ every)


def excess(fit: AnyFit, functions: FloatArray) -> FloatArray:
    """Return l_D - A'l_K of m functions, (m, n_dropped), zero for estimable ones.

    `functions`, (m, n_fixed), are of all fixed coefficients in raw units. The excess is relative to
    the size of the function, in units in which columns have a root mean square of one.
    """
    dropped = dropped_places(fit)
    if not dropped:
        return np.zeros((len(functions), 0))
    gram = FixedGram.of(fit)
    shifted = functions @ gram.shift / gram.units
    size = np.maximum(np.abs(shifted).max(axis=1, initial=0.0), np.finfo(float).tiny)
    beyond = shifted[:, dropped] - shifted[:, list(fit.kept)] @ gram.alias
    return np.asarray(beyond / size[:, None])


def dropped_places(fit: AnyFit) -> list[int]:
    """Return the positions of the fixed columns that depend linearly on earlier ones."""
    return [place for place in range(len(fit.spec.fixed)) if place not in fit.kept]


def is_determined(fit: AnyFit, functions: FloatArray) -> NDArray[np.bool_]:
    """Tell which of m functions are estimable, (m,).

    `functions`, (m, n_fixed), are of all fixed coefficients in raw units.
    """
    return np.asarray(np.abs(excess(fit, functions)).max(axis=1, initial=0.0) <= _ESTIMABLE)


def kept_part(fit: AnyFit, functions: FloatArray) -> FloatArray:
    """Return functions, (m, n_fixed), of the coefficients that were kept, in raw units.

    They are zero for dropped columns, and NaN throughout for functions of dropped columns that are
    not estimable. A function of kept columns alone is one of the model without the others.
    """
    kept = np.zeros_like(functions)
    kept[:, list(fit.kept)] = functions[:, list(fit.kept)]
    of_dropped = functions[:, dropped_places(fit)].any(axis=1)
    kept[of_dropped & ~is_determined(fit, functions)] = np.nan
    return kept
