"""Pairs of nested models, simulation from the smaller one, and their likelihood ratios."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeGuard

import numpy as np

from skmixed.core.batch.error_sums import NeedsRowsError
from skmixed.core.batch.refits import refit_responses, takes_lockstep
from skmixed.core.batch.responses import Responses, draw_responses
from skmixed.core.fit import Fit
from skmixed.core.generalized.after_fit.redrawn import (
    Refitted,
    draw_observations,
    one_response_a_row,
)
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, semidefinite_root
from skmixed.core.model.spec import Term
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.rows.monte_carlo import check_exact
from skmixed.core.sums.layout import Rows
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.inference.comparable import check_same_data, check_same_kind
from skmixed.inference.fitted import (
    AnyFit,
    check_maximum,
    check_unpenalised,
    determined_any_fit_of,
    observations_of_fit,
    rows_of_fit,
)
from skmixed.inference.replicators import BLOCK_CELLS, MOST_IN_BLOCK, ONE_BY_ONE
from skmixed.inference.resampling import responses_of_rows
from skmixed.model_selection.changed._refitting import fitted_again
from skmixed.model_selection.changed._updates import GivenRows, evaluated, update

_SAME_MODEL = 1e-6  # relative: of one model, whichever of its columns stand for it


class ModelPair(Protocol):
    """Two models of the same responses, drawn from the smaller."""

    @property
    def observed(self) -> tuple[float, int]:
        """The ratio of the data, and the parameters that the larger model has more."""
        ...

    @property
    def block_size(self) -> int:
        """Replicates in a block; by the data alone, so that results do not depend on threads."""
        ...

    def __call__(self, n_samples: int, generator: np.random.Generator) -> FloatArray:
        """Return the ratios of a block of replicates, (n_samples,)."""
        ...


def model_pair(
    larger: MixedEstimator[Any], smaller: MixedEstimator[Any], rows: GivenRows
) -> ModelPair:
    """Prepare two models. Raises ValueError where they cannot be compared."""
    for model in (larger, smaller):
        if not hasattr(model, "fit_"):
            raise TypeError(
                f"a {type(model).__name__} has a posterior, but the bootstrap compares "
                "likelihoods: use a MixedLinearRegressor, or compare models by skmixed.bayes.loo"
            )
    fits = [determined_any_fit_of(model) for model in (larger, smaller)]
    names = ["the larger model", "the smaller one"]
    for fit in fits:
        check_unpenalised(fit, "a bootstrap of likelihood ratios")
        if isinstance(fit, Fit):
            check_exact(fit, "a bootstrap of likelihood ratios")
    check_same_kind(fits, names)
    check_same_data(fits, names)
    found = [fit.with_method("ml") for fit in fits]
    observed = _observed(*found)
    if isinstance(found[0], GeneralizedFit):
        return GeneralizedModels.of(larger, smaller, rows, observed)
    summed = [fit for fit in found if _is_summed(fit)]
    if len(summed) == len(found):
        null = _within(*summed)
        if null is not None:
            return SummedModels.of(larger, summed[0], null, rows, observed)
    return FittedModels.of(larger, smaller, rows, observed)


def _is_summed(fit: AnyFit) -> TypeGuard[Fit]:
    return isinstance(fit, Fit) and not isinstance(fit, ResidualFit) and not fit.spec.relations


def _observed(larger: AnyFit, smaller: AnyFit) -> tuple[float, int]:
    more = larger.n_parameters - smaller.n_parameters
    ratio = smaller.criterion - larger.criterion
    if more < 1 or ratio < -_SAME_MODEL * max(1.0, abs(smaller.criterion)):
        raise ValueError(
            f"the larger model has {larger.n_parameters} parameters and the smaller "
            f"{smaller.n_parameters}, and their likelihood ratio is {ratio:.4g}: the smaller "
            "model must be nested in the larger, which comes first"
        )
    return max(ratio, 0.0), more


def _within(whole: Fit, part: Fit) -> Fit | None:
    """Return the smaller model on the cross-products of the larger, None if it is not there."""
    mine, theirs = whole.products.layout, part.products.layout
    places = {name: place for place, name in enumerate(mine.columns)}
    keys = {factor.key: place for place, factor in enumerate(mine.factors)}

    def places_of(columns: Sequence[int]) -> tuple[int, ...]:
        return tuple(places[theirs.columns[column]] for column in columns)

    try:
        fixed = places_of(part.spec.fixed)
        terms = tuple(
            replace(
                term,
                factor=keys[theirs.factors[term.factor].key],
                columns=places_of(term.columns),
            )
            for term in part.spec.terms
        )
    except KeyError:
        return None
    carried = [set(whole.spec.factor_columns(factor)) for factor in range(len(mine.factors))]
    if any(not set(term.columns) <= carried[term.factor] for term in terms):
        return None
    null = whole.refit(fixed=fixed, terms=terms)
    is_same = abs(null.criterion - part.criterion) <= _SAME_MODEL * max(1.0, abs(part.criterion))
    return null if is_same else None


@dataclass(frozen=True, slots=True, eq=False)
class SummedModels:
    """Two linear models on the same cross-products."""

    larger: Fit
    smaller: Fit
    drawing: Fit  # the larger one at the covariances of the smaller
    rows: Rows | None  # None where responses are drawn without them
    observed: tuple[float, int]

    @classmethod
    def of(
        cls,
        model: MixedEstimator[Any],
        larger: Fit,
        smaller: Fit,
        given: GivenRows,
        observed: tuple[float, int],
    ) -> SummedModels:
        """Prepare them. The residual variance is of no account: ratios do not depend on a scale."""
        roots = [
            semidefinite_root(_covariance_within(larger, smaller, factor))
            for factor in larger.spec.used_factors
        ]
        drawing = larger.moved(larger.problem.scaled_lambdas(roots), "those of a smaller model")
        rows = None
        if given.are_there:
            rows = _rows(model, evaluated(model, given))
        return cls(larger, smaller, drawing, rows, observed)

    @property
    def block_size(self) -> int:
        if not takes_lockstep(self.larger):
            return ONE_BY_ONE
        size = sum(block.products.size for block in self.larger.products.factors)
        if self.rows is not None:
            size = max(size, len(self.rows.columns))
        return int(max(1, min(MOST_IN_BLOCK, BLOCK_CELLS // size)))

    def __call__(self, n_samples: int, generator: np.random.Generator) -> FloatArray:
        drawn = self._draw(n_samples, generator)
        levels = dict(zip(self.larger.spec.used_factors, drawn.levels, strict=True))
        own = [levels[factor] for factor in self.smaller.spec.used_factors]
        small = refit_responses(self.smaller, replace(drawn, levels=own, effects=[]))
        large = refit_responses(self.larger, drawn)
        return np.asarray(small.criterion - large.criterion)

    def _draw(self, n_samples: int, generator: np.random.Generator) -> Responses:
        if self.rows is not None:
            return responses_of_rows(self.drawing, self.rows, n_samples, generator)
        try:
            return draw_responses(self.drawing, n_samples, generator)
        except NeedsRowsError as error:
            raise ValueError(f"{error}: bootstrap_test(larger, smaller, X=X, y=y, ...)") from None


def _rows(model: MixedEstimator[Any], given: GivenRows) -> Rows:
    use = "a bootstrap of likelihood ratios"
    return rows_of_fit(model, given.X, given.y, given.sample_weight, given.groups, use)


def _covariance_within(larger: Fit, smaller: Fit, factor: int) -> FloatArray:
    """Return what the smaller model says of a factor's effects of the larger, (k, k), relative."""
    columns = list(larger.spec.factor_columns(factor))
    omega = np.zeros((len(columns), len(columns)))
    for term in smaller.spec.factor_terms(factor):
        places = [columns.index(column) for column in term.columns]
        omega[np.ix_(places, places)] += _relative_covariance(smaller, term)
    return omega


def _relative_covariance(fit: Fit, term: Term) -> FloatArray:
    position, block = fit.place_of(term)
    lam = fit.lambdas[position][block, block]
    return np.asarray(lam @ lam.T)


@dataclass(frozen=True, slots=True, eq=False)
class GeneralizedModels:
    """Two generalized models of the same rows."""

    larger: GeneralizedFit
    smaller: GeneralizedFit
    of_larger: Observations
    of_smaller: Observations
    observed: tuple[float, int]

    @classmethod
    def of(
        cls,
        larger: MixedEstimator[Any],
        smaller: MixedEstimator[Any],
        given: GivenRows,
        observed: tuple[float, int],
    ) -> GeneralizedModels:
        """Read the rows. Raises ValueError without them, and for a likelihood without a maximum."""
        use, given = "a bootstrap of likelihood ratios", evaluated(larger, given)
        rows = given.X, given.y, given.sample_weight, given.groups
        fits, found = [], []
        for model in (larger, smaller):
            fit = model._state().fit
            check_maximum(fit, use)
            fits.append(fit)
            found.append(one_response_a_row(observations_of_fit(model, *rows, use)))
        return cls(fits[0], fits[1], found[0], found[1], observed)

    @property
    def block_size(self) -> int:
        return ONE_BY_ONE

    def __call__(self, n_samples: int, generator: np.random.Generator) -> FloatArray:
        drawn = draw_observations(self.smaller, self.of_smaller, n_samples, generator)
        return np.array([self._ratio(each) for each in drawn])

    def _ratio(self, drawn: Observations | None) -> float:
        if drawn is None:
            return float("nan")
        again = self.of_larger.with_response(drawn.given.columns[:, -1])
        fits = [Refitted.of(each, self.larger.quadrature).fit for each in (drawn, again)]
        if fits[0] is None or fits[1] is None:
            return float("nan")
        return fits[0].criterion - fits[1].criterion


@dataclass(frozen=True, slots=True, eq=False)
class FittedModels:
    """Two models of whatever columns, fitted to rows."""

    larger: MixedEstimator[Any]
    smaller: MixedEstimator[Any]
    rows: GivenRows
    observed: tuple[float, int]

    @classmethod
    def of(
        cls,
        larger: MixedEstimator[Any],
        smaller: MixedEstimator[Any],
        given: GivenRows,
        observed: tuple[float, int],
    ) -> FittedModels:
        """Fit both by maximum likelihood. Raises ValueError without rows, and for weighted ones."""
        if not given.are_there:
            raise ValueError(
                "neither model has all columns of the other by name, or one has a residual "
                "structure or a curve, so that both must be refitted to the training data, "
                "which they do not keep: pass X, and y, sample_weight and groups if fit had them"
            )
        if given.sample_weight is not None:
            raise ValueError(
                "simulating weighted rows requires that one model have all columns of the other "
                "by name: write them so that the smaller one has fewer terms"
            )
        given = evaluated(larger, given)
        both = []
        for model in (larger, smaller):
            params: dict[str, Any] = {"method": "ml"} if "method" in model.get_params() else {}
            if hasattr(model, "reml"):
                params = {"reml": False}
            if isinstance(model._state().fit, Fit) and params:
                model = update(model, None, given.X, given.y, groups=given.groups, **params)
            both.append(model)
        return cls(both[0], both[1], given, observed)

    @property
    def block_size(self) -> int:
        return ONE_BY_ONE

    def __call__(self, n_samples: int, generator: np.random.Generator) -> FloatArray:
        return np.array([self._ratio(generator) for _ in range(n_samples)])

    def _ratio(self, generator: np.random.Generator) -> float:
        X, groups = self.rows.X, self.rows.groups
        drawn = self.smaller.simulate(X, groups, random_state=generator)[:, 0]
        criteria = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for model in (self.smaller, self.larger):
                try:
                    again = fitted_again(copy(model), drawn, X, None, groups)
                except (ValueError, ArithmeticError, np.linalg.LinAlgError):
                    return float("nan")
                criteria.append(again._state().fit.criterion)
        return float(criteria[0] - criteria[1])
