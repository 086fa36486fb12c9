"""Hypotheses of type III: contrasts of means over the levels of the other factors.

If the data determine all of these means, the contrasts of a term are those of the means over its
own factors, with equal weights for combinations of the other factors. If combinations are missing,
some means are not estimable. Then each level gets a coefficient of its own; among the estimable
functions that leave out the coefficients of other terms, those of a term are orthogonal to the
functions of the terms that contain it (Goodnight 1980, Tests of hypotheses in fixed effects linear
models, doi:10.1080/03610928008827870). In a complete design the two hypotheses are the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from scipy import linalg

from skmixed.core.linalg import FloatArray
from skmixed.core.model.fixed_part import FixedColumn, FixedPart
from skmixed.inference.fixed_effects.testing import CoefficientTests, dropped_places, is_determined

_NO_MORE = 1e-6  # singular value: less is rounding, as for dropped columns


def mean_functions(tests: CoefficientTests, part: FixedPart, term: str) -> FloatArray:
    """Return the estimable type III hypothesis of a term, (m, n_fixed).

    The functions are of coefficients as in a `FixedGram`; there may be none.
    """
    if _is_full(part, term):
        means = np.eye(len(part.columns))[part.terms[term]]
    else:
        means = np.concatenate(list(_mean_hypotheses(part, part.terms[term])))
    if is_determined(tests.fit, means).all():
        return np.asarray(means @ tests.gram.shift / tests.gram.units)
    return _functions_of_levels(tests, part, term)


def _is_full(part: FixedPart, term: str) -> bool:
    """Tell whether a term has a column for each level of a factor and no other term contains it.

    This is the case without an intercept, or with slopes for levels only; its hypothesis is that
    all its coefficients are zero.
    """
    columns = [part.columns[place] for place in part.terms[term]]
    if any(part.contains(other, term) for other in part.terms):
        return False
    return any(
        len({tuple(column.codes[factor]) for column in columns}) >= len(codes)
        for factor, codes in columns[0].codes.items()
    )


def _mean_hypotheses(part: FixedPart, places: list[int]) -> Iterator[FloatArray]:
    """State that contrasts of means are zero, (m, n_fixed), for each set of numbers in a term.

    The columns that share the numbers of the term span a function on the combinations of levels of
    their factors: a mean, or the slope in the numbers. Its contrasts over the factors of the term
    are averaged over the other factors.
    """
    for numbers in dict.fromkeys(_numbers(part.columns[place]) for place in places):
        own = [part.columns[place] for place in places if _numbers(part.columns[place]) == numbers]
        sharing = [n for n, column in enumerate(part.columns) if _numbers(column) == numbers]
        sizes = _sizes(part.columns[n] for n in sharing)
        combine: FloatArray = np.ones((1, 1))
        for factor, size in sizes.items():
            combine = np.asarray(np.kron(combine, _level_contrasts(factor, size, own)))
        functions = np.zeros((len(combine), len(part.columns)))
        functions[:, sharing] = combine @ _on_cells([part.columns[n] for n in sharing], sizes)
        yield functions


def _functions_of_levels(tests: CoefficientTests, part: FixedPart, term: str) -> FloatArray:
    """Return a term's own estimable functions, (m, n_fixed), as of a `FixedGram`."""
    n_fixed, kept, dropped = len(part.columns), list(tests.fit.kept), dropped_places(tests.fit)
    determined = np.zeros((len(kept), n_fixed))
    determined[:, kept] = np.eye(len(kept))
    determined[:, dropped] = tests.gram.alias
    raw = linalg.solve(tests.gram.shift.T, (determined * tests.gram.units).T)
    coefficients = {  # (n_levels, p)
        other: _of_levels(part, other) @ raw for other in part.terms
    }
    containing = [other for other in part.terms if part.contains(other, term)]
    left_out = [other for other in part.terms if other != term and other not in containing]
    free = np.eye(len(kept))
    for other in left_out:
        free = free @ _null_space(_even(coefficients[other]) @ free)
    if containing:
        beyond = free @ _null_space(_even(coefficients[term]) @ free)
        every = np.concatenate([coefficients[n] for n in (term, *containing)])
        every /= np.abs(every).max()
        free = free @ _null_space((every @ beyond).T @ (every @ free))
    return np.asarray(free.T @ determined)


def _even(functions: FloatArray) -> FloatArray:
    """Return functions scaled to a largest coefficient of one; negligible ones become zero."""
    size = np.abs(functions).max(axis=1, keepdims=True)
    return np.where(size > _NO_MORE * size.max(), functions / np.where(size > 0, size, 1.0), 0.0)


def _of_levels(part: FixedPart, term: str) -> FloatArray:
    """Return the map from functions of the columns to functions of a term's levels.

    It is (n_levels, n_fixed), with a coefficient for each combination of levels of its factors and
    each set of numbers. Columns whose codes do not span the levels, such as those of a factor
    without intercept and mean, stand for themselves.
    """
    places = part.terms[term]
    found = []
    for numbers in dict.fromkeys(_numbers(part.columns[place]) for place in places):
        own = [place for place in places if _numbers(part.columns[place]) == numbers]
        sizes = _sizes(part.columns[place] for place in own)
        within = [
            n
            for n, column in enumerate(part.columns)
            if _numbers(column) == numbers and set(column.codes) <= set(sizes)
        ]
        cells = _on_cells([part.columns[n] for n in within], sizes)
        codes = np.linalg.pinv(cells)
        if not np.allclose(cells @ codes, np.eye(len(cells))):
            within, codes = own, np.eye(len(own))
        found.append(np.zeros((codes.shape[1], len(part.columns))))
        found[-1][:, within] = codes.T
    return np.concatenate(found)


def _null_space(matrix: FloatArray) -> FloatArray:
    """Return a basis of the null space of a matrix with entries of order one."""
    _, values, directions = linalg.svd(matrix)
    return np.asarray(directions[int((values > _NO_MORE).sum()) :].T)


def _numbers(column: FixedColumn) -> tuple[str, ...]:
    return tuple(sorted(column.numbers))


def _sizes(columns: Iterator[FixedColumn]) -> dict[str, int]:
    """Return the numbers of levels of the factors of columns."""
    return {factor: len(codes) for column in columns for factor, codes in column.codes.items()}


def _level_contrasts(factor: str, size: int, own: list[FixedColumn]) -> FloatArray:
    """Return the functions of a factor's levels that a term tests: mean, differences, or each."""
    codes = {tuple(column.codes[factor]) for column in own if factor in column.codes}
    if not codes:
        return np.full((1, size), 1.0 / size)
    if len(codes) >= size:
        return np.eye(size)
    return np.asarray(np.eye(size)[1:] - np.eye(size)[:1])


def _on_cells(columns: list[FixedColumn], sizes: dict[str, int]) -> FloatArray:
    """Return columns at all combinations of levels, numbers set to one, (n_cells, n_columns)."""
    values = [
        [
            np.prod(cell)
            for cell in itertools.product(
                *(column.codes.get(factor, np.ones(size)) for factor, size in sizes.items())
            )
        ]
        for column in columns
    ]
    return np.array(values).T
