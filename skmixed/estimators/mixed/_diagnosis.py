"""Errors and warnings about a model, before and after it is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skmixed.core.fit import Fit
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.structure import ResidualStructure
from skmixed.core.residual.visits.visits_fit import VisitsFit
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import CONSTANT
from skmixed.exceptions import LostPrecisionWarning, UnidentifiedWarning, warn

_DEPENDENT = 1e-12  # eigenvalue of correlations that is rounding
_SLOW_PARAMETERS = 300  # of one covariance: 25 columns or more, for which searches take seconds
_LAST_STEPS = 10  # of a search, whose progress is judged: EM's slowest is seen over so many
_FLAT = 1e-10  # of the criterion, what these lower it by: rounding, and below all that is printed
_ALIKE_COLUMNS = 1e-7  # fraction not explained by other columns: half of the digits are lost
_FEWER = (
    ". Remove a random slope; for the levels of a categorical column f, as in (f | g), use a "
    "common variance: (1 | g) + (1 | g:f)"
)
_MOST_LOST = 1e-6  # rounding error of sigma^2, relative, that leaves it six digits


def check_weights(weights: np.ndarray | None, spec: ModelSpec) -> None:
    """Warn about weights, (n,), treated as frequencies that are not whole numbers."""
    if weights is None or spec.weighting != "frequency" or not spec.terms:
        return
    if not np.array_equal(weights, np.round(weights)):
        warn(
            "sample weights are not whole numbers but are treated as frequencies, so that "
            "variances depend on their scale; weighting='precision' treats them as inverse "
            "variances",
            UserWarning,
        )


def check_sizes(products: CrossProducts, spec: ModelSpec) -> None:
    """Raise ValueError for frequency weights that stand for too few rows.

    That is, for no more rows than there are fixed-effect columns, although there are more rows.
    """
    p = len(spec.fixed)
    if (
        spec.weighting == "frequency"
        and spec.terms
        and products.total_weight <= p < products.n_rows
    ):
        raise ValueError(
            f"the sample weights sum to {products.total_weight:g}; as frequencies they stand for "
            f"that many rows, too few for {p} fixed-effect columns. weighting='precision' treats "
            "them as inverse variances"
        )


def check_residual_structure(
    model: Any, structure: ResidualStructure, weights: np.ndarray | None
) -> None:
    """Raise ValueError for solvers and weights, (n,), unsupported by a residual structure."""
    if model.solver not in ("auto", "newton"):
        raise ValueError(
            f"solver={model.solver!r} does not support residual structures: use 'auto' or 'newton'"
        )
    check_counts(model, structure, weights)


def check_counts(model: Any, structure: ResidualStructure, weights: np.ndarray | None) -> None:
    """Raise ValueError for frequency weights, (n,), of rows of a series."""
    is_counted = model.weighting == "frequency" and structure.is_correlated
    if is_counted and weights is not None and (weights != 1.0).any():
        raise ValueError(
            "sample weights count rows with weighting='frequency', but a row of a series cannot "
            "stand for several: repeat whole series under labels of their own, or use "
            "weighting='precision' (inverse variances)"
        )


def check_search_of_prior(solver: Any) -> None:
    """Raise ValueError for solvers that do not support a prior."""
    if solver not in ("auto", "newton"):
        raise ValueError(f"solver={solver!r} does not support a prior: use 'auto' or 'newton'")


def check_known_variance(model: Any, spec: ModelSpec) -> None:
    """Raise ValueError for settings that do not support a known residual variance."""
    if spec.sigma2 is None:
        return
    if not np.isfinite(spec.sigma2):
        raise ValueError(f"residual_variance={spec.sigma2} is not a variance: use a finite number")
    if model.solver not in ("auto", "newton", "em"):
        raise ValueError(
            f"solver={model.solver!r} does not support a known residual variance: use 'auto' or "
            "'newton'"
        )
    if getattr(model, "residual", None) is not None:
        raise ValueError(
            "residual_variance and residual cannot be combined: leave one out, or express "
            "unequal known variances as weights, with weighting='precision'"
        )


def check_effects(
    products: CrossProducts,
    spec: ModelSpec,
    by_position: Sequence[str] = (),  # grouping columns of an array, perhaps not those meant
) -> None:
    """Warn, before the search, about models with at least as many random effects as rows.

    These are counted by factor, or else over all factors; smooth curves may have any number. Also
    warn about terms with so many parameters that the search takes long.
    """
    plain = [term for term in spec.terms if not term.curve]
    sizes = {
        factor: sum(t.structure.n_like_noise for t in plain if t.factor == factor)
        for factor in dict.fromkeys(term.factor for term in plain)
    }
    numbers = {factor: k * len(products.factors[factor].index) for factor, k in sizes.items()}
    many = [f for f, k in sizes.items() if k > 1 and numbers[f] >= products.n_rows]
    if spec.sigma2 is not None:  # which they cannot be taken for
        many, sizes = [], {}
    for factor in many:
        name = products.factors[factor].index.name
        _warn_of_effects(name, numbers[factor], products.n_rows, by_position, _FEWER)
    for term in spec.terms:
        if term.structure.n_theta > _SLOW_PARAMETERS and term.factor not in many:
            name = products.factors[term.factor].index.name
            warn(
                f"the covariance matrix of {len(term.columns)} random effects of {name!r} has "
                f"{term.structure.n_theta} parameters, which data rarely identify, and the "
                "search may take minutes: use || for uncorrelated random effects, "
                "covariance='identity' for a common variance, or 'rr(2)' for a covariance of "
                "reduced rank",
                UnidentifiedWarning,
            )
    total = sum(numbers.values())
    if not many and max(sizes.values(), default=1) > 1 and total >= products.n_rows:
        warn(
            f"there are {total} random effects in total for {products.n_rows} rows: the "
            "likelihood may be unbounded or have several maxima, of which the search may not "
            "have found the highest. Remove a random slope or a grouping factor",
            UnidentifiedWarning,
        )


def _warn_of_effects(
    name: str, n_effects: int, n_rows: int, by_position: Sequence[str], advice: str = ""
) -> None:
    warn(
        f"grouping factor {name!r} has {n_effects} random effects for {n_rows} rows: its "
        "variances are hardly distinguishable from the residual variance"
        + advice
        + position_hint(name, by_position),
        UnidentifiedWarning,
    )


def check_residual(fit: Fit) -> None:
    """Raise ValueError if the fixed effects fit exactly, so that no variance was estimated."""
    if not fit.is_determined:
        raise ValueError(
            "the fixed effects fit the data exactly: no variance was estimated, so that random "
            "effects and left-out rows cannot be assessed"
        )


def warn_about(
    fit: Fit,
    by_position: Sequence[str] = (),  # grouping columns of an array, perhaps not those meant
) -> None:
    """Warn about searches that did not converge and variances set by convention.

    ConvergenceWarning: the criterion can be lowered further. LostPrecisionWarning: rounding leaves
    the residual variance fewer than six digits. UnidentifiedWarning: a variance is not identified,
    or the fixed or random effects leave no residual. What follows from numbers of effects and rows
    alone, `check_effects` has said before the search.
    """
    if not (fit.spec.terms or isinstance(fit, ResidualFit)):
        return
    if not fit.is_determined:
        warn(
            "the fixed effects fit the data exactly: all variances are set to zero",
            UnidentifiedWarning,
        )
        return
    if fit.report.is_unbounded:
        warn(_no_maximum(fit), UnidentifiedWarning)
    _warn_of_the_end(fit)
    _warn_of_resembling_columns(fit)
    for factor, own in zip(fit.spec.used_factors, fit.problem.model.own, strict=True):
        k, _, n_levels = own.shape
        n_rows = fit.products.n_rows
        is_told = factor in fit.unidentified or fit.spec.relation(factor) is not None
        is_told |= fit.spec.sigma2 is not None
        if k == 1 and not is_told and n_levels >= n_rows:  # or see above
            name = fit.products.factors[factor].index.name
            _warn_of_effects(name, n_levels, n_rows, by_position)
    warn_about_shared_columns(fit.products, fit.spec)
    for factor in fit.unidentified:
        name = fit.products.factors[factor].index.name
        if fit.products.factors[factor].index.is_whole:
            warn(
                "the variance of smooth curves about straight lines is not identified and set "
                "to zero: the fixed effects already explain these deviations",
                UnidentifiedWarning,
            )
            continue
        warn(
            f"the variance of {name!r} is not identified and set to zero: the factor has a "
            "single level, a level per row, or is part of the fixed effects"
            + position_hint(name, by_position),
            UnidentifiedWarning,
        )


def _warn_of_the_end(fit: Fit) -> None:
    """Warn about lost precision, or a search that did not converge."""
    error = fit.optimum.relative_rounding
    if isinstance(fit, ResidualFit) and not isinstance(fit, VisitsFit):
        error = fit.relative_rounding
    if error > _MOST_LOST:
        warn(_lost_digits(fit, error), LostPrecisionWarning)
    elif not fit.report.converged:
        warn(
            f"the search did not converge: {fit.report.message}{_search_hint(fit)}",
            ConvergenceWarning,
        )


def warn_about_shared_columns(products: CrossProducts, spec: ModelSpec) -> None:
    """Warn about two terms of one factor whose variances are not identified."""
    for factor in spec.used_factors:
        if _shares_columns(products, spec.factor_terms(factor)):
            name = products.factors[factor].index.name
            warn(
                f"two random-effects terms of {name!r} share a column, or one that is the sum of "
                "the other's, so that their variances are not identified. The intercept is the "
                "sum of all levels of a categorical column, as in (f || g): write (f | g)",
                UnidentifiedWarning,
            )


def _shares_columns(products: CrossProducts, terms: Sequence[Term]) -> bool:
    """Tell whether the columns of two terms of one factor span a common subspace.

    Terms with a structured covariance are left out, as the structure may identify them.
    """
    whole = [t for t in terms if t.covariance == "unstructured" or len(t.columns) == 1]
    for first, second in combinations(whole, 2):
        both = (*first.columns, *second.columns)
        if len(set(both)) < len(both):
            return True
        alone = _rank(products, first.columns) + _rank(products, second.columns)
        if (len(both) > 2 or CONSTANT not in both) and _rank(products, both) < alone:
            return True
    return False


def _rank(products: CrossProducts, columns: Sequence[int]) -> int:
    """Return the rank of some columns of the layout.

    The other columns are centred if the constant is one of them.
    """
    others = [column for column in columns if column != CONSTANT]
    if not others:
        return len(columns)
    chosen = np.eye(len(products.gram))[:, others]
    means, moments = products.moments(chosen)
    if len(others) == len(columns):
        moments = moments + np.outer(means, means)
    size = np.sqrt(np.diag(moments))
    size[size == 0.0] = 1.0
    values = np.linalg.eigvalsh(moments / np.outer(size, size))
    return len(columns) - len(others) + int((values > _DEPENDENT * len(values)).sum())


def _search_hint(fit: Fit) -> str:
    """Return advice for a search that did not converge."""
    if "max_iter" not in fit.report.message or fit.report.is_unbounded:
        return ""
    reached = [line.criterion for line in fit.report.trace if line.accepted][-_LAST_STEPS:]
    if len(reached) == _LAST_STEPS and reached[0] - reached[-1] <= _FLAT * max(
        1.0, abs(reached[-1])
    ):
        return (
            ". The criterion hardly decreases any more, so that further iterations do not help: "
            "the data say almost nothing about some variance. Remove a random effect"
        )
    return ". Increase max_iter"


def _warn_of_resembling_columns(fit: Fit) -> None:
    """Warn about nearly collinear columns of a term, whose effects cancel."""
    for position, structure in enumerate(fit.problem.structures):
        for block, columns, _ in structure.slices():
            if block.size == 1 or not block.may_shift:
                continue
            left = fit.problem.model.share_left(position, columns)
            if left < _ALIKE_COLUMNS:
                name = fit.products.factors[fit.spec.used_factors[position]].index.name
                digits = max(0, round(16 + np.log10(max(left, 1e-16))))
                warn(
                    f"the columns of a random-effects term of {name!r} are nearly collinear, "
                    f"which leaves its covariances and effects with about {digits} accurate "
                    "digits: remove one of the columns, or replace two by their difference",
                    LostPrecisionWarning,
                )


def _lost_digits(fit: Fit, error: float) -> str:
    """Return the warning about a residual variance with a relative rounding error."""
    digits = f"leaves it with about {-np.log10(error):.0f} accurate digits"
    ratio = fit.problem.model.gram[-1, -1] / fit.optimum.square
    if isinstance(fit, ResidualFit):
        if (apart := fit.squared_distance) * 2.0**-52 > _MOST_LOST:
            return (
                f"levels of a random intercept lie {apart**0.5:.0e} times farther apart than "
                "the rows within them, which leaves the residual parameters with few accurate "
                "digits: subtract a rounded mean from the response of each level"
            )
        if fit.structure.is_carried and fit.heaviest * 2.0**-52 > _MOST_LOST:
            return (
                "neighbouring rows of a series are so close that their correlation is 1 to "
                f"{np.log10(fit.heaviest):.0f} digits, and the residual variance rests on their "
                f"differences, which {digits}: average such rows, or keep only one of them"
            )
    if ratio * 2.0**-52 > _MOST_LOST:
        return (
            f"the residual variance is {ratio:.0e} times smaller than that "
            f"of the response, which {digits}"
        )
    return (
        "the residual variance is what remains where large coefficients of nearly collinear "
        f"fixed effects cancel, which {digits}: remove one of the columns, or use differences"
    )


def _no_maximum(fit: Fit) -> str:
    """Return the warning about random effects that explain the response completely."""
    names = [
        repr(fit.products.factors[factor].index.name)
        for factor, lam in zip(fit.spec.used_factors, fit.scaled_lambdas, strict=True)
        if lam.any()
    ]
    return (
        f"the random effects of {' and '.join(names)} explain the response completely, so that "
        "the likelihood has no maximum: the residual variance is set to almost zero. Keep one "
        "of several identical rows, remove a random effect, or check whether the response is "
        "computed from the groups"
    )


def position_hint(name: str, by_position: Sequence[str]) -> str:
    """Return a warning about positions, which shift where a meta-estimator selects columns."""
    if name not in by_position:
        return ""
    return (
        f". {name!r} is a grouping column by its position in an array: check that it is the one "
        "you mean, also where a meta-estimator passes on only some of the columns"
    )
