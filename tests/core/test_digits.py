"""Digits that eliminations keep where random effects are large, against exact fractions."""

import numpy as np
import pytest

from skmixed.core.elimination.choose import arrange
from skmixed.core.elimination.levels import invertible_root
from skmixed.core.model.stack import LockstepData, _Levels
from skmixed.core.model.structures.linear_roots import Unstructured
from skmixed.core.pooling.stage import PooledStage, PoolingStage
from skmixed.core.sums.blocks import PairBlock
from tests.core.rational import floats, fractions, identity, relative_error, solve

N_ROWS = 60
SIZES = [1.0, 1e4, 1e8]


class Effects:
    """Random columns of some factors, independent of each other, as every elimination takes them.

    Columns of Z stand factor by factor, column by column, level by level.
    """

    def __init__(self, widths, n_levels, size, nested=False, constant=False):
        rng = np.random.default_rng([*widths, *n_levels])
        codes = [rng.integers(0, n, N_ROWS) for n in n_levels]
        if nested:
            codes = [np.arange(N_ROWS) % n_levels[0]]
            codes += [codes[0] % n for n in n_levels[1:]]
        self.shapes = list(zip(widths, n_levels, strict=True))
        ends = np.cumsum([0, *(k * n for k, n in self.shapes)])
        self.places = [slice(*ends[f : f + 2]) for f in range(len(widths))]
        z = np.zeros((N_ROWS, ends[-1]))
        for place, (k, n), level in zip(self.places, self.shapes, codes, strict=True):
            for a in range(k):
                column = np.ones(N_ROWS) if constant and a == 0 else rng.normal(size=N_ROWS)
                z[np.arange(N_ROWS), place.start + a * n + level] = column
        self.codes, self.z = codes, z
        self.gram = size * z.T @ z
        self.right = size * z.T @ rng.normal(size=(N_ROWS, 2))
        self.lambdas = [np.tril(rng.uniform(0.3, 1.0, (k, k))) for k in widths]

    def block(self, table, f, g):
        """Return the part of a table for two factors, (k_f, k_g, n_levels_f, n_levels_g)."""
        (k, n), (m, n_others) = self.shapes[f], self.shapes[g]
        part = table[self.places[f], self.places[g]]
        return part.reshape(k, n, m, n_others).transpose(0, 2, 1, 3)

    def own(self, table, f):
        """Return the part of a table for every level of a factor, (k, k, n_levels)."""
        return np.diagonal(self.block(table, f, f), axis1=2, axis2=3)

    def columns(self, table, f):
        """Return the part of columns for a factor, (k, m, n_levels)."""
        return table[self.places[f]].reshape(*self.shapes[f], -1).transpose(0, 2, 1)

    def factorised(self):
        """Factor V, and reduce the columns of the right side."""
        factors = range(len(self.shapes))
        pairs = {}
        for g in factors:
            for f in range(g):
                between = self.block(self.gram, f, g)
                rows, columns = np.nonzero(between.any(axis=(0, 1)))
                pairs[f, g] = PairBlock(rows, columns, rows, between[:, :, rows, columns])
        arranged = arrange([self.own(self.gram, f).copy() for f in factors], pairs)
        factorisation = arranged.factorise(self.lambdas)
        return factorisation, factorisation.reduce([self.columns(self.right, f) for f in factors])

    def exact(self):
        """Return Z'V^-1 Z, Z'V^-1 R and the conditional covariance of the effects."""
        omega = fractions(np.zeros_like(self.gram))
        for place, (_, n), lam in zip(self.places, self.shapes, self.lambdas, strict=True):
            root = fractions(lam)
            omega[place, place] = np.kron(root @ root.T, identity(n))
        n = len(self.gram)
        right = np.concatenate([self.gram, self.right, np.eye(n)], axis=1)
        found = solve(identity(n) + fractions(self.gram) @ omega, fractions(right))
        return found[:, :n], found[:, n:-n], omega @ found[:, -n:]


@pytest.mark.parametrize("singular", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("widths", "n_levels", "nested"),
    [((3,), (6,), False), ((2, 1), (8, 3), True), ((2, 1), (6, 4), False), ((1, 3), (6, 3), False)],
)
def test_nothing_cancels_in_an_elimination(widths, n_levels, nested, size, singular):
    effects = Effects(widths, n_levels, size, nested)
    if singular:
        effects.lambdas[int(np.argmax(widths))][:, -1] = 0.0
    factorisation, reduced = effects.factorised()
    information, cross, covariance = effects.exact()
    for f, found in enumerate(reduced.cross()):
        own = effects.own(information, f)
        assert relative_error(factorisation.information(f), own) < 1e-13
        assert relative_error(factorisation.total_information(f), own.sum(axis=2)) < 1e-13
        assert relative_error(found, effects.columns(cross, f)) < 1e-13
        variances = factorisation.conditional_covariance(f)
        assert relative_error(variances, effects.own(covariance, f)) < 1e-13


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize(
    ("widths", "n_levels", "nested"),
    [
        ((1, 1), (6, 3), True),
        ((2, 1, 1), (4, 2, 1), True),
        ((1, 1), (5, 4), False),
        ((2, 2), (3, 2), False),
        ((1, 1, 2), (3, 2, 3), False),
    ],
)
def test_variances_of_rows_that_share_a_constant_keep_their_digits(widths, n_levels, nested, size):
    """Every factor could hold the mean of all rows: variances alone are far above those of sums."""
    effects = Effects(widths, n_levels, size, nested, constant=True)
    factorisation, _ = effects.factorised()
    _, _, covariance = effects.exact()
    z = fractions(effects.z[:20])
    exact = floats(((z @ covariance) * z).sum(axis=1))
    random = [
        np.stack([effects.z[:, place][np.arange(N_ROWS), a * n + level] for a in range(k)])
        for place, (k, n), level in zip(effects.places, effects.shapes, effects.codes, strict=True)
    ]
    found = factorisation.effect_variances(random, effects.codes)
    np.testing.assert_allclose(found[:20], exact, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_nothing_cancels_in_lock_step(size, k):
    effects = Effects((k,), (5,), size)
    own, right = effects.own(effects.gram, 0), effects.columns(effects.right, 0)
    stack = LockstepData(
        own[:, :, None],
        right[:, :1, None],
        right[:, 1:],
        np.eye(2)[None],
        Unstructured(k),
        np.ones(1),
        True,
    )
    found = _Levels(stack, *invertible_root(effects.lambdas[0][None]))
    information, cross, _ = effects.exact()
    assert relative_error(found.information[:, :, 0], effects.own(information, 0)) < 1e-13
    assert relative_error(found.cross[:, :, 0], effects.columns(cross, 0)) < 1e-13


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_nothing_cancels_in_pooling(size, k):
    effects = Effects((k,), (5,), size)
    precision = effects.own(effects.gram, 0)
    estimate = np.random.default_rng(k).normal(size=(k, 5))
    stage = PoolingStage(precision, estimate, np.zeros(5, dtype=int), 1)
    found = PooledStage.at(stage, effects.lambdas[0])
    information, _, covariance = effects.exact()
    assert relative_error(found.weight, effects.own(information, 0)) < 1e-13
    assert relative_error(found.conditional, effects.own(covariance, 0)) < 1e-13
