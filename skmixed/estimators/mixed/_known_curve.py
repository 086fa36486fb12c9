"""What a nonlinear fit knows of the curves of rows: values, uncertainty, noise and draws."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.nonlinear.curve_averages import UncertainCurve
from skmixed.core.rows.prediction_errors import effect_variances, mean_variances
from skmixed.core.sums.layout import Rows
from skmixed.design.source import Source
from skmixed.estimators.mixed._following_rows import refuse_unknown_variances
from skmixed.estimators.mixed._nonlinear_state import NonlinearState
from skmixed.estimators.reading._curve_data import input_values
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._prediction_rows import PredictionRows, drawn_effects
from skmixed.inference.fitted import residual_fit_of


@dataclass(frozen=True, slots=True, eq=False)
class KnownCurve:
    """Rows with what a fit knows of the parameters of their curves."""

    fitted: NonlinearState
    source: Source
    rows: PredictionRows
    inputs: FloatArray  # (n, m)
    columns: FloatArray  # (n, c), of which parameters are made
    population: FloatArray  # (P, n), parameters without random effects
    missing: FloatArray  # (n,), NaN for rows without a prediction, else zero

    @classmethod
    def read(
        cls,
        model: Any,
        fitted: NonlinearState,
        X: Any,
        groups: Any,
        random: Any = "all",
        residual: Collection[str] = (),  # columns of the residual structure that are needed
    ) -> KnownCurve:
        """Validate the arguments of a prediction, and read its rows."""
        table = InputTable.of(X)
        if isinstance(random, str) and "|" in random:
            raise ValueError(
                f"random={random!r} selects some parameters of a factor, but curves are "
                f"predicted with all of them: name grouping factors, {list(fitted.n_groups)}"
            )
        source, rows = fitted.predictor.read(model, table, groups, random, residual=residual)
        missing = rows.means(model.handle_unknown)
        inputs = input_values(table, fitted.inputs)
        columns, offsets = fitted.parts.columns(source)
        beta = fitted.estimates.beta
        population = fitted.made_of.parameters(columns, offsets, beta, None)
        return cls(fitted, source, rows, inputs, columns, population, missing)

    @property
    def center(self) -> FloatArray:
        """Parameters at the modes of known and wanted levels, (P, n)."""
        found, varying, place = self.population.copy(), self.fitted.made_of.varying, 0
        spec, effects = self.fitted.fit.spec, self.fitted.estimates.effects
        for factor, own, keep in zip(spec.used_factors, effects, self.rows.wanted, strict=True):
            codes = self.rows.codes[factor]
            for column in range(own.shape[1]):
                if keep and len(own):
                    found[varying[place]] += np.where(codes < 0, 0.0, own[codes, column])
                place += 1
        return found

    def values(self, *, averages: bool) -> FloatArray:
        """Return the curve, (n,), averaged over uncertain random effects or not."""
        if not averages or not self.fitted.fit.spec.terms:
            found = self.fitted.recipe.curve.value(self.center, self.inputs)
        else:
            found = self._uncertain(self.fitted.made_of.varying, with_errors=False).moments()[0]
        return found + self.missing

    def deviations(self) -> FloatArray:
        """Return standard errors of the curve, (n,), with all parameters estimated."""
        every = np.arange(len(self.population))
        return self._uncertain(every, with_errors=True).moments()[1] + self.missing

    def noise(self, handle_unknown: str) -> FloatArray:
        """Return residual standard deviations of rows, (n,).

        Raises ValueError for unknown strata and visits, unless these are "nan".
        """
        fit, design = self.fitted.fit, self.fitted.design.residual
        near, sigma = residual_fit_of(fit), np.sqrt(fit.sigma2)
        if near is None or design is None:
            return np.full(len(self.inputs), sigma)
        rows = design.known_rows(self.source.residual, len(self.inputs))
        if handle_unknown != "nan":
            refuse_unknown_variances(rows)
        if design.parts.is_of_fitted:
            values = self.fitted.recipe.curve.value(self.center, self.inputs)
            rows = replace(rows, value=_sizes(values))
        return np.asarray(sigma * near.structure.deviations(near.phi, rows))

    def drawn_noise(self, values: FloatArray, generator: np.random.Generator) -> FloatArray:
        """Simulate the noise of rows, given the values of their curves, (n, n_samples)."""
        fit, design = self.fitted.fit, self.fitted.design.residual
        white, near = generator.standard_normal(values.shape), residual_fit_of(fit)
        if near is not None and design is not None:
            structure, phi = near.structure, near.phi
            rows = design.drawn_rows(self.source.residual, len(values))
            if not design.parts.is_of_fitted:
                white = structure.coloured(phi, rows, white)
            else:
                for place, own in enumerate(values.T):
                    of_draw = replace(rows, value=_sizes(own))
                    column = structure.coloured(phi, of_draw, white[:, place : place + 1])
                    white[:, place] = column[:, 0]
        return np.sqrt(fit.sigma2) * white

    def limits(self, level: float, sigma: FloatArray) -> FloatArray:
        """Return intervals, (n, 2), of the curve, or of observations with noise of sigma, (n,)."""
        every, tail = np.arange(len(self.population)), (1.0 - level) / 2.0
        uncertain = self._uncertain(every, with_errors=True)
        return uncertain.quantiles((tail, 1.0 - tail), sigma) + self.missing[:, None]

    def _uncertain(self, which: IntArray, *, with_errors: bool) -> UncertainCurve:
        """Return the curve at uncertain parameters, with or without errors of the coefficients.

        The other parameters are held at their centres. Covariances come from variances of sums of
        two.
        """
        which = np.unique(which)
        found = np.zeros((len(self.inputs), len(which), len(which)))
        for i, first in enumerate(which):
            found[:, i, i] = self._variance([first], with_errors)
        for i, first in enumerate(which):
            for j, second in enumerate(which[:i]):
                both = self._variance([first, second], with_errors)
                mixed = (both - found[:, i, i] - found[:, j, j]) / 2.0
                found[:, i, j] = found[:, j, i] = mixed
        curve = self.fitted.recipe.curve
        return UncertainCurve(curve, self.inputs, self.center, which, found)

    def _variance(self, parameters: Sequence[int], with_errors: bool) -> FloatArray:
        """Return the variance of a sum of parameters, (n,)."""
        fit, rows = self.fitted.fit, self.rows.rows_of_wanted
        chosen = np.isin(self.fitted.made_of.owners, parameters)
        table = np.zeros((len(self.columns), self.columns.shape[1] + 2))
        table[:, 1:-1] = self.columns * chosen
        made = Rows(table, rows.codes, rows.indexes)
        variances = mean_variances if with_errors else effect_variances
        return np.maximum(variances(fit.posterior, made), 0.0)

    def drawn_parameters(
        self, n_samples: int, random: str, generator: np.random.Generator
    ) -> FloatArray:
        """Simulate the parameters of rows, (P, n, n_samples); ValueError if labels are missing."""
        fit, source, rows = self.fitted.fit, self.source, self.rows
        drawn = np.repeat(self.population[:, :, None], n_samples, axis=2)
        effects = [
            drawn_effects(fit, position, source, rows, n_samples, random, generator)
            for position in range(len(fit.spec.used_factors))
        ]
        if effects:
            for place, own in zip(
                self.fitted.made_of.varying, np.hstack(effects).swapaxes(0, 1), strict=True
            ):
                drawn[place] += own
        return drawn


def _sizes(values: FloatArray) -> FloatArray:
    """Return the sizes of values, (n,), that powers are taken of: none is zero."""
    return np.maximum(np.abs(values), np.finfo(float).tiny)
