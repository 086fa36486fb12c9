"""Refits of a model by several searches, to check that they agree."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from skmixed.core.fit import Fit
from skmixed.core.generalized.after_fit.same_rows import point_of
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.generalized.generalized_fitting import fit_at
from skmixed.core.generalized.joint_search.joint_newton import JointNewton
from skmixed.core.generalized.joint_search.optimum import optimum_of
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.core.model.evaluation import Evaluation
from skmixed.core.model.problem import Problem
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.residual.fitting import fit_tables
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.rows.monte_carlo import check_exact
from skmixed.core.search.em import EM
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import SolverReport
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.inference.components import parameters_of
from skmixed.inference.fitted import (
    AnyFit,
    check_maximum,
    determined_any_fit_of,
    formula_of,
    observations_of_fit,
    snapshot,
)
from skmixed.inference.table import Table
from skmixed.model_selection.changed._refitting import fitted_again
from skmixed.model_selection.changed._updates import GivenRows, evaluated, fitted_estimator

_START_RANGE = 2.0  # powers of ten by which starting variances differ from sigma^2
_EM_STEPS = 2_000  # the default of solver="em"
_MOVED = 0.2  # relative change of starting coefficients; more, and many curves have no fit
_ONE_END = 1e-6  # of the criterion: closer optima count as the same
_FAILURES = (ValueError, ArithmeticError, np.linalg.LinAlgError)

_Search = tuple[str, Callable[[], AnyFit | None]]
"""What a search is called, and what makes it."""


def all_fits(
    model: Any,
    n_starts: int = 4,
    *,
    X: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    random_state: Any = 0,
) -> Table:
    """Refit a model with every optimiser and from several starting points.

    A check of convergence: all searches should end at the same criterion and estimates.

    Parameters
    ----------
    model : estimator
        A fitted mixed model of any kind.
    n_starts : int, default=4
        Number of random starting points: variances between a hundredth of and a hundred times the
        residual variance, or coefficients of a curve within a fifth of their estimates.
    X, y, sample_weight, groups : array-like, default=None
        The training data, as passed to `fit`; only for generalized and nonlinear models. After
        `lmer`, `glmer`, `clmm` or `nlmer` the data frame X is enough: y and the weights, such as
        trials, are read from it.
    random_state : int, RandomState instance, Generator or None, default=0
        Seed or generator of the starting points.

    Returns
    -------
    Table
        A row per search, the model as fitted first: criterion, above_lowest (its excess over the
        lowest), converged, n_evaluations and all parameters; NaN where a search failed.

    Raises
    ------
    ValueError
        If data are required but not given, the fit leaves no residual variance, or the likelihood
        has no maximum.
    TypeError
        If `model` is not a mixed model, or is a posterior.

    See Also
    --------
    update : Refit the model with another `solver`.

    Notes
    -----
    In R: ``allFit``, whose optimisers often disagree because they use finite differences. Here the
    searches are Newton's method, from the default and from random starting points, and, for linear
    models, EM, which never increases the criterion.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.model_selection import all_fits
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> all_fits(model, 2).to_frame()[["criterion", "Days"]].round(4)
                            criterion     Days
    as fitted               1743.6283  10.4673
    newton                  1743.6283  10.4673
    newton, drawn start 1   1743.6283  10.4673
    newton, drawn start 2   1743.6283  10.4673
    em                      1743.6283  10.4673
    """
    model = fitted_estimator(snapshot(model))
    if not hasattr(model, "fit_"):
        raise TypeError(
            f"a {type(model).__name__} has a posterior, whose convergence "
            "posterior_.diagnostics() describes"
        )
    fit = determined_any_fit_of(model)
    rows = evaluated(model, GivenRows(X, y, sample_weight, groups))
    searches = _searches(model, fit, rows, n_starts, generator_of(random_state))
    names = [part.name for part in parameters_of(fit)]
    figures = {"as fitted": _figures(fit, names)}
    for name, search in searches:
        figures[name] = _figures(_searched(search), names)
    frame = pd.DataFrame.from_dict(figures, orient="index")
    frame.insert(1, "above_lowest", frame["criterion"] - frame["criterion"].min())
    spread = frame["above_lowest"].max()
    alike = "All searches end at the same criterion"
    note = alike if spread < _ONE_END else "Searches end at different criteria"
    title = f"Searches for the optimum of {formula_of(model)}"
    return Table(title, frame, (f"{note}, within {spread:.1g} of each other.",))


def _searched(search: Callable[[], AnyFit | None]) -> AnyFit | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return search()
    except _FAILURES:
        return None


def _figures(fit: AnyFit | None, names: list[str]) -> dict[str, float]:
    if fit is None:
        return {"criterion": np.nan, "converged": False, "n_evaluations": 0} | dict.fromkeys(
            names, np.nan
        )
    found = {part.name: part.estimate for part in parameters_of(fit)}
    return {
        "criterion": fit.criterion,
        "converged": fit.report.converged,
        "n_evaluations": fit.report.n_evaluations,
        **{name: found.get(name, np.nan) for name in names},
    }


def _searches(
    model: MixedEstimator[Any],
    fit: AnyFit,
    rows: GivenRows,
    n_starts: int,
    generator: np.random.Generator,
) -> Iterator[_Search]:
    if isinstance(fit, GeneralizedFit):
        yield from _of_generalized(model, fit, rows, n_starts, generator)
    elif isinstance(fit, NonlinearFit):
        yield from _of_curves(model, rows, n_starts, generator)
    elif isinstance(fit, ResidualFit):
        own = fit.tables, fit.spec, Newton()
        yield "newton", lambda: fit_tables(*own)
        yield "newton, from the fit", lambda: fit_tables(*own, fit)
    else:
        check_exact(fit, "a comparison of searches")
        yield "newton", lambda: Fit.of(fit.products, fit.spec)
        for number in range(n_starts):
            seed = generator.integers(2**32)
            start = _DrawnStart(int(seed))
            yield (
                f"newton, drawn start {number + 1}",
                partial(Fit.of, fit.products, fit.spec, start),
            )
        if not fit.spec.is_penalised:
            em = EM(tol=1e-8, max_iter=_EM_STEPS, callback=None)
            yield "em", lambda: Fit.of(fit.products, fit.spec, em)


@dataclass(frozen=True, slots=True)
class _DrawnStart:
    """Newton's method from independent effects of variances that are drawn."""

    seed: int
    krylov: ClassVar[None] = None

    def solve(self, problem: Problem) -> tuple[Evaluation, SolverReport]:
        sizes = [structure.size for structure in problem.structures]
        drawn = 10.0 ** _powers(np.random.default_rng(self.seed), len(sizes))
        start = [v * np.eye(size) for v, size in zip(drawn, sizes, strict=True)]
        return Newton().solve(problem, start)


def _powers(generator: np.random.Generator, size: int) -> FloatArray:
    return generator.uniform(-_START_RANGE, _START_RANGE, size)


def _of_generalized(
    model: MixedEstimator[Any],
    fit: GeneralizedFit,
    rows: GivenRows,
    n_starts: int,
    generator: np.random.Generator,
) -> Iterator[_Search]:
    use = "a comparison of searches"
    check_maximum(fit, use)
    given = rows.X, rows.y, rows.sample_weight, rows.groups
    observations = observations_of_fit(model, *given, use)
    yield "newton", partial(_generalized, observations, fit, None)
    for number in range(n_starts):
        powers = _powers(generator, len(fit.lambdas))
        yield f"newton, drawn start {number + 1}", partial(_generalized, observations, fit, powers)


def _generalized(
    observations: Observations, fit: GeneralizedFit, powers: FloatArray | None
) -> GeneralizedFit:
    start = None
    if powers is not None:
        roots = 10.0 ** (powers / 2.0)  # of deviations; on the scale of the link one is usual
        lambdas = [root * np.eye(len(lam)) for root, lam in zip(roots, fit.lambdas, strict=True)]
        start = point_of(observations, fit.beta, lambdas, fit.phi)
    optimum, report = optimum_of(observations, fit.quadrature, JointNewton(), start)
    return fit_at(observations, optimum, report, fit.quadrature)


def _of_curves(
    model: MixedEstimator[Any], rows: GivenRows, n_starts: int, generator: np.random.Generator
) -> Iterator[_Search]:
    if not rows.are_there or rows.y is None:
        raise ValueError(
            "refitting a nonlinear model requires the training data, which the model does not "
            "keep: pass X and y, and sample_weight and groups if fit had them"
        )
    given = rows.y, rows.X, rows.sample_weight, rows.groups
    own = model._state().start_again

    def from_start(start: dict[str, FloatArray]) -> AnyFit:
        found: AnyFit = fitted_again(model, *given, start=start)._state().fit
        return found

    for number in range(n_starts):
        moved = {
            name: each * generator.uniform(1.0 - _MOVED, 1.0 + _MOVED, each.shape)
            for name, each in own.items()
        }
        yield f"drawn start {number + 1}", partial(from_start, moved)
