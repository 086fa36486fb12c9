"""Fitting a nonlinear mixed model to a table, and its fitted state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.nonlinear.curve import Curve, GivenCurve
from skmixed.core.nonlinear.curve_noise import CurveNoise
from skmixed.core.nonlinear.curve_rows import CurveRows, ParameterColumns
from skmixed.core.nonlinear.curve_starts import closed_form_start
from skmixed.core.nonlinear.named_curves import NamedCurve
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.design.curve_parameters import CurveParameters
from skmixed.design.design import Design
from skmixed.design.grammar.covariances import structured_text
from skmixed.design.records import stored
from skmixed.estimators._estimator import FittedAttribute
from skmixed.estimators.mixed._diagnosis import (
    check_counts,
    check_effects,
    check_weights,
    warn_about_shared_columns,
)
from skmixed.estimators.mixed._mixed_state import MixedState, NoiseAttributes
from skmixed.estimators.mixed._search_lines import print_iteration
from skmixed.estimators.reading._curve_data import CurveData, CurveRecipe, start_values
from skmixed.estimators.reading._input_table import refuse_unknown
from skmixed.estimators.reading._prediction_rows import LinearEstimates
from skmixed.estimators.reading._training_data import declaration
from skmixed.exceptions import UnidentifiedWarning, warn


@stored
@dataclass(frozen=True, eq=False, kw_only=True)
class NonlinearState(MixedState):
    """Everything that a fit of a nonlinear mixed model has found."""

    fit: NonlinearFit
    recipe: CurveRecipe
    parts: CurveParameters  # what parameters are made of
    inputs: tuple[str, ...]  # columns of X that the curve is of

    _bare: ClassVar[Mapping[str, str]] = {
        **MixedState._bare,
        "estimates": "LinearEstimates",
        "recipe": "CurveRecipe",
        "parts": "CurveParameters",
    }

    @classmethod
    def of_table(cls, model: Any, data: CurveData) -> Self:
        """Fit to a table as an estimator specifies; warns about doubtful results."""
        recipe, source = data.recipe, data.source
        parts = CurveParameters.learn(source, recipe.names, data.fixed, data.terms, data.context)
        design, codes = parts.linear(source, data.terms, model.covariance, data.residual)
        is_reml = model.method == "lindstrom-bates" and model.reml
        spec = ModelSpec(design.fixed, design.terms, "reml" if is_reml else "ml", model.weighting)
        _check_size(data, spec)
        check_weights(data.weights, spec)
        columns, offsets = parts.columns(source)
        made_of = ParameterColumns(parts.owners, spec)
        start = _start(model, data, parts)
        beta = _coefficients(start, made_of, columns, offsets)
        curve = recipe.curve
        if isinstance(curve, GivenCurve):
            at_start = made_of.parameters(columns, offsets, beta, None)
            curve = GivenCurve.of(
                recipe.model, recipe.names, recipe.jacobian, at_start, data.values
            )
            recipe = CurveRecipe(recipe.model, recipe.names, recipe.jacobian, curve.way)
        noise = _noise(model, data, design)
        rows = _curve_rows(curve, made_of, design, (columns, offsets), data, codes, noise)
        fit = _fitted(model, rows, beta)
        warn_about_nonlinear(fit, data)
        return cls(
            fit=fit,
            recipe=recipe,
            parts=parts,
            inputs=data.inputs,
            design=design,
            columns=data.columns,
            declaration=declaration(model),
            n_features_in=data.n_features,
            feature_names_in=data.feature_names,
            terms=data.terms,
            fixed=None,
        )

    def rows_once_more(self, model: Any, data: CurveData) -> CurveRows:
        """Return the training data, read again; raises ValueError for unknown levels."""
        source, made = data.source, self.parts.columns(data.source)
        codes = self.design.grouping.codes(source.groups, source.n_rows)
        for own, factor in zip(codes, self.design.grouping.factors, strict=True):
            remedy = "pass the rows of the fit"
            refuse_unknown(own, f"levels of {factor.index.name!r}", remedy)
        noise, curve = _noise(model, data, self.design), self.recipe.curve
        return _curve_rows(curve, self.made_of, self.design, made, data, codes, noise)

    @cached_property
    def estimates(self) -> LinearEstimates:
        """Estimates as plain numbers."""
        fit = self.fit
        return LinearEstimates(
            beta=fit.beta,
            effects=fit.modes,
            residual_variance=fit.sigma2,
            theta=fit.theta,
            criterion=fit.criterion,
            rank=fit.rank,
            is_singular=fit.is_singular,
        )

    @property
    def formula(self) -> str:
        """The model in the three parts of lme4's formula."""
        arguments = ", ".join([*self.inputs, *self.recipe.names])
        bars = [
            structured_text(f"{' + '.join(term.slopes)} | {term.name}", term.covariance)
            for term in self.terms
        ]
        return self.text or f"y ~ {self.recipe.text}({arguments}) ~ {' + '.join(bars) or '1'}"

    @property
    def derivatives(self) -> str:
        """Where the derivatives of the curve came from."""
        return self.fit.derivatives

    @property
    def start_again(self) -> dict[str, FloatArray]:
        """The coefficients of every parameter, as `start` takes them."""
        owners, beta = self.parts.owners[: len(self.estimates.beta)], self.estimates.beta
        return {name: beta[owners == place] for place, name in enumerate(self.recipe.names)}

    @property
    def made_of(self) -> ParameterColumns:
        """The columns that parameters are made of."""
        return ParameterColumns(self.parts.owners, self.fit.spec)

    @property
    def coef(self) -> FloatArray:
        """All coefficients, (n_fixed,)."""
        return self.estimates.beta.copy()


class NonlinearAttributes(NoiseAttributes):
    """Public attributes of a fitted nonlinear mixed model."""

    fit_ = FittedAttribute[NonlinearFit]()
    residual_variance_ = FittedAttribute[float]("estimates.residual_variance")
    parameter_names_ = FittedAttribute[tuple[str, ...]]("recipe.names")
    inputs_ = FittedAttribute[tuple[str, ...]]()
    derivatives_ = FittedAttribute[str]()


def _curve_rows(
    curve: Curve,
    made_of: ParameterColumns,
    design: Design,
    made: tuple[FloatArray, FloatArray],  # columns (n, c) and offsets (P, n) of the parameters
    data: CurveData,
    codes: tuple[IntArray, ...],
    noise: CurveNoise | None,
) -> CurveRows:
    """Put rows together."""
    indexes = tuple(factor.index for factor in design.grouping.factors)
    layout, weights = design.layout, data.weights
    return CurveRows(
        curve, made_of, layout, *made, data.values, data.y, codes, indexes, weights, noise
    )


def _noise(model: Any, data: CurveData, design: Design) -> CurveNoise | None:
    """Return the residual structure with what it knows of the rows, None without one."""
    residual = design.residual
    if residual is None:
        return None
    structure = residual.structure
    check_counts(model, structure, data.weights)
    rows = residual.rows(data.source.residual)
    return CurveNoise(structure, rows, residual.parts.is_of_fitted)


def _check_size(data: CurveData, spec: ModelSpec) -> None:
    n, p = len(data.y), len(spec.fixed)
    total = n if data.weights is None or spec.weighting == "precision" else data.weights.sum()
    if n <= p or total <= p:
        raise ValueError(
            f"a curve with {p} coefficients requires more rows: n_samples = {n}"
            + (f", and sample_weight sums to {total:g}" if n > p else "")
        )


def _start(model: Any, data: CurveData, parts: CurveParameters) -> list[FloatArray]:
    """Return the starting value of every parameter, (1,) or one value per coefficient."""
    names, recipe = parts.names, data.recipe
    sizes = [1 if design is None else len(design.fixed) for design in parts.designs]
    given = start_values(model.start, names, sizes)
    missing = [name for name in names if name not in given]
    if not missing:
        return [given[name] for name in names]
    curve = recipe.curve
    if not isinstance(curve, NamedCurve):
        raise ValueError(f"start has no value for {missing}, parameters of the model")
    found = closed_form_start(curve, data.values, data.y, data.weights)
    if found is None:
        raise ValueError(
            f"no starting values were found for the {recipe.text!r} curve: pass start, a dict of "
            f"{list(names)}"
        )
    return [given.get(name, found[place : place + 1]) for place, name in enumerate(names)]


def _coefficients(
    start: list[FloatArray], made_of: ParameterColumns, columns: FloatArray, offsets: FloatArray
) -> FloatArray:
    """Return coefficients, (n_fixed,), that give parameters their values at the start."""
    beta = np.zeros(len(made_of.fixed))
    owners = made_of.owners[made_of.fixed]
    for place, values in enumerate(start):
        own = np.flatnonzero(owners == place)
        if len(values) == len(own):
            beta[own] = values
            continue
        wanted = np.broadcast_to(values[0] - offsets[place], len(columns))
        beta[own] = np.linalg.lstsq(columns[:, made_of.fixed[own]], wanted, rcond=None)[0]
    return beta


def _fitted(model: Any, rows: CurveRows, beta: FloatArray) -> NonlinearFit:
    """Search; raises ValueError in words where the curve cannot be evaluated."""
    callback = print_iteration if model.verbose else None
    is_near = model.start is not None
    settings = {
        "is_near": is_near,
        "tol": model.tol,
        "max_iter": model.max_iter,
        "callback": callback,
    }
    try:
        return NonlinearFit.of(rows, beta, model.method, **settings)
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        named = [rows.layout.columns[place] for place in rows.spec.fixed]
        shown = ", ".join(f"{n}={b:.3g}" for n, b in zip(named, beta.tolist(), strict=True))
        raise ValueError(
            f"{error}, in a search that started at {shown}: pass start, values of all parameters "
            "near the solution"
        ) from error


def _check_rows_of_levels(fit: NonlinearFit) -> None:
    """Warn if most levels of a factor have no more rows than random effects."""
    for factor in fit.spec.used_factors:
        block, k = fit.products.factors[factor], len(fit.spec.factor_columns(factor))
        counts, index = block.counts, block.index
        few = np.flatnonzero(counts <= k)
        is_said = k > 1 and k * len(counts) >= fit.products.n_rows  # by `check_effects`
        if is_said or 2 * len(few) <= len(counts):
            continue
        label = ":".join(str(column[few[0]]) for column in index.labels)
        vary = "parameter varies" if k == 1 else "parameters vary"
        warn(
            f"{len(few)} of {len(counts)} levels of {index.name!r} have no more rows than random "
            f"effects: {label!r} has {counts[few[0]]:g}, and {k} {vary}. Such rows hardly "
            "distinguish random effects from noise: let fewer parameters vary, or measure the "
            "same levels more often",
            UnidentifiedWarning,
        )


def warn_about_nonlinear(fit: NonlinearFit, data: CurveData) -> None:
    """Warn about doubtful estimates."""
    check_effects(fit.products, fit.spec)
    _check_rows_of_levels(fit)
    warn_about_shared_columns(fit.products, fit.spec)
    if fit.report.is_unbounded:
        warn(
            f"{fit.report.message}. Use fewer random effects, or more rows per group",
            UnidentifiedWarning,
        )
    elif not fit.report.converged:
        hint = ". Increase max_iter" if "max_iter" in fit.report.message else ""
        other = "" if data.recipe.n_inputs else " or pass a start closer to the solution"
        warn(f"the search did not converge: {fit.report.message}{hint}{other}", ConvergenceWarning)
    dropped = set(range(len(fit.spec.fixed))) - set(fit.kept)
    if dropped:
        names = [fit.products.layout.columns[fit.spec.fixed[place]] for place in sorted(dropped)]
        warn(
            f"the coefficients {names} are not identified and set to zero: the curve hardly "
            "depends on them where it was observed",
            ConvergenceWarning,
        )
