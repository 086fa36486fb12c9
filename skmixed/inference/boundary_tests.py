"""The distribution of a likelihood ratio where a variance is on the boundary under the hypothesis.

If the larger model has one variance more, with r covariances and f coefficients, the ratio is
distributed as an even mixture of chi-squared with f + r and f + r + 1 degrees of freedom (Self &
Liang 1987, doi:10.1080/01621459.1987.10478472, case 5; Stram & Lee 1994, doi:10.2307/2533455,
section 3). With more variances at once the weights depend on the data, and there is no such rule.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from scipy import stats

from skmixed.core.fit import Fit
from skmixed.core.spec import Term


@dataclass(frozen=True, slots=True)
class AddedRandomParameters:
    """What a larger model adds to the random part of a smaller one."""

    variances: int
    covariances: int


NamedTerm = tuple[tuple[str, ...], tuple[str, ...], str]  # key of the factor, columns, kind


def added_random_parameters(smaller: Fit, larger: Fit) -> AddedRandomParameters | None:
    """Count what one random part adds to another; None where that is not contained in it.

    Terms are compared by the names of factors and columns: the models may have different layouts.
    """
    few, many = _named_terms(smaller), _named_terms(larger)
    added, lost = list((many - few).elements()), list((few - many).elements())
    if not all(any(_contains(larger_term, term) for larger_term in added) for term in lost):
        return None
    variances = sum(map(_variances, added)) - sum(map(_variances, lost))
    covariances = sum(map(_covariances, added)) - sum(map(_covariances, lost))
    if variances < 0 or covariances < 0:
        return None
    return AddedRandomParameters(variances, covariances)


def mixture_p_value(statistic: float, added: AddedRandomParameters | None, n_fixed: int) -> float:
    """Return the p-value of a likelihood ratio that allows for the boundary.

    `statistic` is twice the difference of the log-likelihoods, and `n_fixed` the number of
    coefficients that the larger model adds. NaN where more than one variance is added, or the
    models are not nested. Without a further variance it is the ordinary p-value, which takes those
    of the smaller model to be positive.
    """
    if added is None or added.variances > 1 or n_fixed < 0:
        return float("nan")
    below = n_fixed + added.covariances
    if added.variances == 0:
        return _tail(statistic, below) if below else float("nan")
    return 0.5 * (_tail(statistic, below) + _tail(statistic, below + 1))


def _tail(statistic: float, df: int) -> float:
    """Return the upper tail of chi-squared; with no degrees of freedom it is the constant zero."""
    if df == 0:
        return float(statistic <= 0.0)
    return float(stats.chi2.sf(max(statistic, 0.0), df))


def _named_terms(fit: Fit) -> Counter[NamedTerm]:
    layout = fit.products.layout

    def named(term: Term) -> NamedTerm:
        columns = tuple(layout.columns[place] for place in term.columns)
        kind = term.kind if len(columns) > 1 else "unstructured"
        return (layout.factors[term.factor].key, columns, kind)

    return Counter(named(term) for term in fit.spec.terms)


def _contains(larger: NamedTerm, smaller: NamedTerm) -> bool:
    """Tell whether a term can have every covariance matrix that another can."""
    return (
        set(larger[0]) == set(smaller[0])
        and set(larger[1]) >= set(smaller[1])
        and (larger[2] == "unstructured" or larger[2] == smaller[2] != "identity")
    )


def _variances(term: NamedTerm) -> int:
    return 1 if term[2] == "identity" else len(term[1])


def _covariances(term: NamedTerm) -> int:
    k = len(term[1])
    return k * (k - 1) // 2 if term[2] == "unstructured" else 0
