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
class RandomChange:
    """What a larger model adds to the random part of a smaller one.

    Parameters
    ----------
    variances : int
        Variances.
    covariances : int
        Covariances.
    """

    variances: int
    covariances: int


Part = tuple[tuple[str, ...], tuple[str, ...], str]


def random_change(smaller: Fit, larger: Fit) -> RandomChange | None:
    """Compare the random parts of two models by the names of factors and columns.

    Parameters
    ----------
    smaller, larger : Fit
        The models.

    Returns
    -------
    RandomChange or None
        None where the smaller random part is not contained in the larger.
    """
    few, many = _parts(smaller), _parts(larger)
    added, lost = list((many - few).elements()), list((few - many).elements())
    taken: list[Part] = []
    covariances_lost = 0
    for part in lost:
        holder = next((other for other in added if _holds(other, part)), None)
        if holder is None:
            return None
        taken.append(part)
        covariances_lost += _covariances(part)
    variances = sum(map(_variances, added)) - sum(map(_variances, taken))
    covariances = sum(map(_covariances, added)) - covariances_lost
    if variances < 0 or covariances < 0:
        return None
    return RandomChange(variances, covariances)


def mixture_p_value(statistic: float, change: RandomChange | None, n_fixed: int) -> float:
    """Return the p-value of a likelihood ratio that minds the boundary.

    Parameters
    ----------
    statistic : float
        Twice the difference of the log-likelihoods.
    change : RandomChange or None
        What the larger model adds to the random part.
    n_fixed : int
        Coefficients it adds.

    Returns
    -------
    float
        NaN where more than one variance is added, or the models are not nested. Without a further
        variance it is the ordinary p-value, which takes those of the smaller model to be positive.
    """
    if change is None or change.variances > 1 or n_fixed < 0:
        return float("nan")
    below = n_fixed + change.covariances
    if change.variances == 0:
        return _tail(statistic, below) if below else float("nan")
    return 0.5 * (_tail(statistic, below) + _tail(statistic, below + 1))


def _tail(statistic: float, df: int) -> float:
    if df == 0:
        return float(statistic <= 0.0)
    return float(stats.chi2.sf(max(statistic, 0.0), df))


def _parts(fit: Fit) -> Counter[Part]:
    layout = fit.products.layout

    def part(term: Term) -> Part:
        columns = tuple(layout.columns[place] for place in term.columns)
        kind = term.kind if len(columns) > 1 else "unstructured"
        return (layout.factors[term.factor].key, columns, kind)

    return Counter(part(term) for term in fit.spec.terms)


def _holds(larger: Part, smaller: Part) -> bool:
    return (
        set(larger[0]) == set(smaller[0])
        and set(larger[1]) >= set(smaller[1])
        and (larger[2] == "unstructured" or larger[2] == smaller[2] != "identity")
    )


def _variances(part: Part) -> int:
    return 1 if part[2] == "identity" else len(part[1])


def _covariances(part: Part) -> int:
    k = len(part[1])
    return k * (k - 1) // 2 if part[2] == "unstructured" else 0
