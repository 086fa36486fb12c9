"""Elimination of crossed factors: the largest in batch, the others by a dense complement.

With H_l = lambda_1 (lambda_1'A_l lambda_1 + I)^-1 lambda_1' for every level l of the eliminated
factor, the others keep the complement A' = Z_2'Z_2 - sum_l A_21,l H_l A_12,l, of as many rows as
they have random effects together, and V follows from one Cholesky factorisation of
Lambda_2'A'Lambda_2 + I (Bates et al. 2015, doi:10.18637/jss.v067.i01, section 3).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from skmixed.core.elimination.coupling import Coupling, Matrix
from skmixed.core.elimination.levels import (
    LevelShrinkage,
    invertible_root,
    multiply_levels,
    multiply_transposed,
)
from skmixed.core.elimination.protocol import (
    Blocks,
    Elimination,
    Factorisation,
    LostPrecisionError,
)
from skmixed.core.elimination.stacking import (
    EffectLayout,
    StackedScale,
    symmetric,
    symmetric_rows,
)
from skmixed.core.linalg import FloatArray, IntArray, triangular_solution

_CANCELLED = 100.0  # times what is left of a subtraction: two digits, of sixteen
_FORM_BYTES = 2**24  # of rows at a time, of one number a random effect: 16 megabytes


@dataclass(frozen=True, slots=True, eq=False)
class Crossed(Elimination):
    """Factors in any relation to each other."""

    layout: EffectLayout  # of the factors that are not eliminated
    own: FloatArray  # (k, k, n_levels), Z_1'W Z_1 of every level of the eliminated factor
    coupling: Coupling  # Z_1'W Z_2; Z_2 has column ``offset_f + column * n_levels_f + level``
    others: sparse.csr_matrix  # (width, width), Z_2'W Z_2

    def factorise(self, lambdas: list[FloatArray]) -> CrossedFactorisation:
        """Factor V at the lambdas given, one a factor in the caller's order.

        Raises LostPrecisionError if too few digits are left for Lambda_2'A'Lambda_2 + I to be
        positive definite.
        """
        level = LevelShrinkage.at(self.own, lambdas[self.layout.eliminated])
        white = [self.coupling.combine(row) for row in level.whitener]
        weights = multiply_transposed(level.whitener, level.whitener)
        complement = self.others.toarray(order="F")
        complement -= self.coupling.outer_sum(white, weights)
        roots, inverses = zip(
            *(invertible_root(lambdas[f]) for f in self.layout.factors), strict=True
        )
        n_levels = [n for _, n in self.layout.shapes]
        scale = StackedScale.of(roots, n_levels)
        back = StackedScale.of([inverse.T for inverse in inverses], n_levels)
        scaled = scale.inner(complement)
        scaled[np.diag_indices_from(scaled)] += 1.0
        lower, info = lapack.dpotrf(scaled, lower=1, clean=1, overwrite_a=1)
        if info:
            raise LostPrecisionError(
                "too few digits are left for the random effects of crossed factors: some are "
                "nearly determined by the others. Drop random terms or rescale the columns"
            )
        return CrossedFactorisation(self, level, white, complement, scale, back, lower)

    def taken(self, sums: FloatArray, own: Blocks) -> Crossed:
        """Return the same arrangement of other sums, of which the entries here are the places.

        `own`, (k, k, n_levels), are those within levels of every factor.
        """
        others = self.others.copy()
        others.data = sums[self.others.data.astype(np.intp)]
        coupling = self.coupling.taken(sums)
        return Crossed(self.layout, own[self.layout.eliminated], coupling, others)

    def multiply(self, effects: Blocks) -> Blocks:
        """Return Z_f'W times the sum over g of Z_g effects_g, as `Elimination` says."""
        first, rest = effects[self.layout.eliminated], self.layout.stack(effects)
        met = self.others @ rest
        seen = np.empty_like(first)
        for a, column in enumerate(first):
            seen[a] = (self.coupling[a] @ rest).T
            met += self.coupling[a].T @ column.T
        return self.layout.blocks(multiply_levels(self.own, first) + seen, met)


class CrossedFactorisation(Factorisation):
    """V of crossed factors, in factored form."""

    def __init__(
        self,
        crossed: Crossed,
        level: LevelShrinkage,
        white: list[Matrix],
        complement: FloatArray,
        scale: StackedScale,
        back: StackedScale,
        lower: FloatArray,
    ) -> None:
        self.crossed = crossed
        self.level = level  # of the eliminated factor
        self.white = white  # k of (n_levels, width): coupling times whitener of that factor
        self.complement = complement  # (width, width), A', lower triangle in Fortran order
        self.scale = scale  # Lambda_2, its blocks roots that have an inverse
        self.back = back  # its inverse, transposed
        self.lower = lower  # (width, width), L L' = Lambda_2'A'Lambda_2 + I
        self._totals: dict[int, FloatArray] = {}

    @cached_property
    def log_det(self) -> float:
        """log|V|, less what the weights add."""
        return self.level.log_det + 2.0 * float(np.log(np.diag(self.lower)).sum())

    def reduce(self, right: Blocks) -> CrossedReduced:
        """Eliminate the random effects from columns given as Z_f'R of every factor."""
        crossed = self.crossed
        first = right[crossed.layout.eliminated]
        rest = crossed.layout.stack(right)
        white = multiply_levels(self.level.whitener, first)
        for matrix, values in zip(self.white, white, strict=True):
            rest = rest - matrix.T @ values.T
        return CrossedReduced(self, first, white, self.whiten(rest))

    def whiten(self, rest: FloatArray) -> FloatArray:
        """Return L^-1 Lambda_2' times columns, (width, m)."""
        return triangular_solution(self.lower, self.scale.transpose_times(rest), lower=True)

    def solve_transposed(self, white: FloatArray) -> FloatArray:
        """Return L^-T times columns, (width, m)."""
        return triangular_solution(self.lower, white, lower=True, transposes=True)

    @cached_property
    def inverse(self) -> FloatArray:
        """Lower triangle of (Lambda_2'A'Lambda_2 + I)^-1, zero above."""
        return np.asarray(lapack.dpotri(self.lower, lower=1)[0])

    @cached_property
    def middle(self) -> FloatArray:
        """Lower triangle of N = Lambda_2 (Lambda_2'A'Lambda_2 + I)^-1 Lambda_2', zero above."""
        return self.scale.outer(self.inverse)

    def information(self, factor: int) -> FloatArray:
        """Return Z_f'V^-1 Z_f of every level, (k, k, n_levels)."""
        if factor == self.crossed.layout.eliminated:
            shrinker = self.level.shrinker
            through = multiply_levels(shrinker, self.crossed.coupling.level_forms(self.middle))
            lost = multiply_levels(through, shrinker.transpose(1, 0, 2))
            return multiply_levels(shrinker, self.crossed.own) - lost
        if self.scale.diagonal is not None:
            return self._informations[self.crossed.layout.place(factor)][None, None]
        left, right = self._bordering(factor)
        return np.asarray(np.einsum("alm,blm->abl", left, right))

    @cached_property
    def _informations(self) -> FloatArray:
        """`information` of all levels that are not eliminated, (width,), for one column a factor.

        As by `_bordering`, in products of lower triangles: no symmetric matrix is filled.
        """
        assert self.scale.diagonal is not None
        assert self.back.diagonal is not None
        lower, scale = self.inverse * self.complement, self.scale.diagonal
        sums = lower @ scale + lower.T @ scale - np.diag(lower) * scale
        return np.asarray(self.back.diagonal * sums)

    def _bordering(self, factor: int) -> tuple[FloatArray, FloatArray]:
        """Return two sets of rows of a factor, (k, n_levels, width), that meet in Z_f'V^-1 Z_f.

        They are Lambda_2'^-1 (Lambda_2'A'Lambda_2 + I)^-1 and A'Lambda_2: nothing cancels.
        """
        layout, position = self.crossed.layout, self.crossed.layout.factors.index(factor)
        place, shape = layout.place(factor), layout.shapes[position]
        left = symmetric_rows(self.inverse, place).reshape(*shape, -1)
        right = self.scale.transpose_times(symmetric_rows(self.complement, place).T).T
        return np.tensordot(self.back.blocks[position], left, axes=1), right.reshape(*shape, -1)

    def total_information(self, factor: int) -> FloatArray:
        """Return the sum of `information` over levels, (k, k)."""
        if factor not in self._totals:
            self._totals[factor] = self._sum_information(factor)
        return self._totals[factor]

    def _sum_information(self, factor: int) -> FloatArray:
        if factor == self.crossed.layout.eliminated:
            shrinker = self.level.shrinker
            kept = multiply_levels(shrinker, self.crossed.own).sum(axis=-1)
            return np.asarray(kept - self.crossed.coupling.form_sum(shrinker, self.middle))
        if self.scale.diagonal is not None:
            return np.asarray(self.information(factor).sum(axis=-1))
        left, right = self._bordering(factor)
        return np.asarray(np.einsum("alm,blm->ab", left, right))

    def conditional_covariance(self, factor: int) -> FloatArray:
        """Return var(b | y, beta) / sigma^2 of every level of a factor, (k, k, n_levels)."""
        if factor == self.crossed.layout.eliminated:
            alone = multiply_transposed(self.level.whitener, self.level.whitener)
            forms = self.crossed.coupling.level_forms(self.middle)
            return alone + multiply_levels(multiply_levels(alone, forms), alone)
        layout = self.crossed.layout
        place, shape = layout.place(factor), layout.shapes[layout.factors.index(factor)]
        blocks = symmetric(self.middle[place, place]).reshape(*shape, *shape)
        return np.asarray(np.einsum("albl->abl", blocks))

    @cached_property
    def _root(self) -> FloatArray:
        """R, (width, width), so that R R' = `middle`."""
        return np.ascontiguousarray(self.whiten(np.eye(self.crossed.layout.width)).T)

    def effect_variances(self, random: Blocks, codes: list[IntArray]) -> FloatArray:
        """Return var(z'b | y, beta) / sigma^2 of n rows, (n,), as `Factorisation` says.

        With N of the level in the eliminated factor and M = `middle`, it is z_1'N z_1 + r'M r for r
        = z_2 - A_21 N z_1.
        """
        crossed = self.crossed
        first, level = random[crossed.layout.eliminated][:, None], codes[crossed.layout.eliminated]
        white = multiply_levels(self.level.whitener[:, :, level], first)
        through = multiply_transposed(self.level.whitener[:, :, level], white)
        middle = symmetric(self.middle)
        places, values = self._entries(random, codes)
        own = np.square(white[:, 0]).sum(axis=0)
        forms = crossed.coupling.level_forms(self.middle)[:, :, level]
        taken = (through * multiply_levels(forms, through)).sum(axis=0)[0]
        added = np.zeros(len(level))
        for place, value in zip(places, values, strict=True):
            for other, further in zip(places, values, strict=True):
                added += value * further * middle[place, other]
        met = crossed.coupling.entries_times(middle, level, places, values)
        variances = own + added + taken - 2.0 * (through[:, 0] * met).sum(axis=0)
        lost = np.flatnonzero(added + taken > _CANCELLED * variances)
        if len(lost):
            entries = [place[lost] for place in places], [value[lost] for value in values]
            variances[lost] = own[lost] + self._forms(level[lost], through[:, 0, lost], *entries)
        return np.asarray(variances)

    def _forms(
        self,
        level: IntArray,
        through: FloatArray,
        places: list[IntArray],
        values: list[FloatArray],
    ) -> FloatArray:
        """Return r'M r of n rows, (n,), from R'r with M = R R', so that no large terms cancel.

        They do where factors share a constant. `through`, (k, n), is N z_1; `places` and `values`,
        (n,) each, are the entries of z_2.
        """
        root = self._root
        forms, order = np.empty(len(level)), np.argsort(level, kind="stable")
        chunk = max(1, _FORM_BYTES // (root.itemsize * len(root)))
        for start in range(0, len(order), chunk):
            rows = order[start : start + chunk]
            half = -self.crossed.coupling.rows_times(level[rows], through[:, rows], root)
            for place, value in zip(places, values, strict=True):
                half += value[rows, None] * root[place[rows]]
            forms[rows] = np.einsum("ij,ij->i", half, half)
        return forms

    def _entries(
        self, random: Blocks, codes: list[IntArray]
    ) -> tuple[list[IntArray], list[FloatArray]]:
        """Return the entries of the rows of Z_2: their columns and their values."""
        layout = self.crossed.layout
        places, values = [], []
        for f, (k, n_levels) in zip(layout.factors, layout.shapes, strict=True):
            for a in range(k):
                places.append(layout.place(f).start + a * n_levels + codes[f])
                values.append(random[f][a])
        return places, values


class CrossedReduced:
    """Columns R after elimination of crossed factors."""

    def __init__(
        self,
        factorisation: CrossedFactorisation,
        right: FloatArray,
        first: FloatArray,
        white: FloatArray,
    ) -> None:
        self.factorisation = factorisation
        self.right = right  # (k, m, n_levels), Z_1'R of the eliminated factor
        self.first = first  # the same times its whitener
        self.white = white  # (width, m), L^-1 Lambda_2'Z_2'V_1^-1 R

    def remaining(self, gram: FloatArray, within: FloatArray | None = None) -> FloatArray:
        """Return R'V^-1 R, (m, m), as `Reduced` says."""
        v = self.factorisation
        gram = v.level.remaining(gram, within, v.crossed.own, self.right, self.first)
        return gram - self.white.T @ self.white

    def cross(self) -> Blocks:
        """Return Z_f'V^-1 R of every factor, (k_f, m, n_levels_f)."""
        v = self.factorisation
        solved = v.solve_transposed(self.white)
        through, coupling = v.scale.times(solved), v.crossed.coupling
        seen = np.stack([(coupling[a] @ through).T for a in range(len(coupling))])
        first = multiply_levels(v.level.shrinker, self.right - seen)
        return v.crossed.layout.blocks(first, v.back.times(solved))


def memory_needed(width: int, n_entries: int, k: int) -> int:
    """Estimate the bytes that eliminating crossed factors takes.

    The complement, (width, width), with its Cholesky factor, inverse and work space; and the
    coupling, k times `n_entries` and their places, twice.
    """
    return 8 * (5 * width**2 + 4 * k * n_entries)


def memory_installed() -> int | None:
    """Return the bytes of memory of this machine, None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def check_memory(n_bytes: int, told: str, advice: str = "") -> None:
    """Raise MemoryError, of words that end before the size, for more than this machine has."""
    installed = memory_installed()
    if installed is not None and n_bytes > installed:
        raise MemoryError(
            f"{told} about {n_bytes / 2**30:.1f} GiB; this machine has "
            f"{installed / 2**30:.1f} GiB{advice}"
        )
