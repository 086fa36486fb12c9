"""Conditional variances of rows, by one solution for every row that differs from the others.

With H of the level in the eliminated factor it is z_1'H z_1 + r'Lambda_2 C^-1 Lambda_2'r for
r = z_2 - A_21 H z_1.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.elimination import Blocks
from skmixed.core.groups import IntArray
from skmixed.core.iterative.complement import Complement
from skmixed.core.iterative.products import times_levels
from skmixed.core.iterative.traces import BATCH, Solver
from skmixed.core.layout import FloatArray

_ROW_TOL = 1e-5  # of the residual; a variance errs by its square


def effect_variances(
    c: Complement, solver: Solver, random: Blocks, codes: list[IntArray]
) -> FloatArray:
    """Return var(z'b | y, beta) / sigma^2 of rows, (n,): z'C z, C covering all factors.

    `random` has z of every factor, (k_f, n), zero where a row has no known level; `codes` the
    levels, (n,). Rows that are alike are solved for once.
    """
    table = np.concatenate([*random, np.array(codes)]).T
    _, first, which = np.unique(table, axis=0, return_index=True, return_inverse=True)
    found = np.empty(len(first))
    for start in range(0, len(first), BATCH):
        rows = first[start : start + BATCH]
        found[start : start + BATCH] = _of_rows(
            c, solver, [z[:, rows] for z in random], [level[rows] for level in codes]
        )
    return found[which.ravel()]


def _of_rows(c: Complement, solver: Solver, random: Blocks, codes: list[IntArray]) -> FloatArray:
    m = random[0].shape[1]
    columns = np.arange(m)
    first = np.zeros((*c.products.own[c.eliminated].shape[1:], m))
    first[:, codes[c.eliminated], columns] = random[c.eliminated]
    shrunk = times_levels(c.level_covariance, first)
    variances = (first * shrunk).sum(axis=(0, 1))
    rest = -c.from_eliminated(shrunk)
    for f, part in zip(c.layout.factors, c.layout.parts(rest), strict=True):
        part[:, codes[f], columns] += random[f]
    right = c.scale_transposed(rest)
    solution = solver(right, _ROW_TOL).solution
    return np.asarray(variances + np.einsum("ij,ij->j", right, solution))
