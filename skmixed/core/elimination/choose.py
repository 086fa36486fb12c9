"""Choosing the order of elimination from how the factors lie to each other."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skmixed.core.elimination.chain import Chain
from skmixed.core.elimination.coupling import Coupling
from skmixed.core.elimination.crossed import Crossed, memory_installed, memory_needed
from skmixed.core.elimination.iterative.factorisation import Iterative
from skmixed.core.elimination.iterative.settings import Krylov
from skmixed.core.elimination.protocol import Blocks, Elimination
from skmixed.core.elimination.stacking import EffectLayout
from skmixed.core.sums.blocks import PairBlock, are_nested, pair_between

WITHOUT_COMPLEMENT = "MixedLinearRegressor(solver='iterative') does without it; or "


def arrange(
    own: Blocks,
    pairs: dict[tuple[int, int], PairBlock],
    first: int | None = None,
    krylov: Krylov | None = None,
    *,
    held: int = 0,
    advice: str = WITHOUT_COMPLEMENT,
) -> Elimination:
    """Arrange the random columns for elimination: a chain of nested factors, or crossed ones.

    `own` is Z'W Z of every factor, (k, k, n_levels), `pairs` Z_i'W Z_j of every two. Of factors of
    one size `first` is eliminated first. With `krylov`, crossed factors are solved for by conjugate
    gradients, without their dense complement; otherwise raises MemoryError if that cannot fit into
    this machine beside the bytes that are `held`; `advice`
    is the beginning of what the message says to do.
    """
    sizes = [block.shape[2] for block in own]
    if krylov is not None and not are_nested(
        sizes, {ij: len(pair.rows) for ij, pair in pairs.items()}
    ):
        return Iterative.of(own, pairs, first, krylov)
    order = sorted(range(len(own)), key=lambda factor: (-sizes[factor], factor != first))
    ordered = {
        (s, t): pair_between(pairs, order[s], order[t]) for t in range(len(order)) for s in range(t)
    }
    parents = {st: pair.parents(sizes[order[st[0]]]) for st, pair in ordered.items()}
    nested = {st: parent for st, parent in parents.items() if parent is not None}
    if len(nested) == len(parents):
        between = {st: pair.products for st, pair in ordered.items()}
        return Chain(order, [own[f] for f in order], between, nested)
    return arrange_crossed(own, pairs, first, held, advice)


def arrange_crossed(
    own: Blocks,
    pairs: dict[tuple[int, int], PairBlock],
    first: int | None = None,
    held: int = 0,
    advice: str = WITHOUT_COMPLEMENT,
) -> Crossed:
    """Arrange the random columns as those of crossed factors, however they lie to each other."""
    layout = EffectLayout.of(own, first)
    eliminated = own[layout.eliminated]
    coupled = [pair_between(pairs, layout.eliminated, f) for f in layout.factors]
    entries = sum(len(pair.rows) * k for pair, (k, _) in zip(coupled, layout.shapes, strict=True))
    _check_memory(layout.width, entries, len(eliminated), held, advice)
    return Crossed(
        layout,
        eliminated,
        _coupling(coupled, layout, eliminated.shape[2]),
        _others(own, pairs, layout),
    )


def _check_memory(width: int, n_entries: int, k: int, held: int, advice: str) -> None:
    needed, installed = memory_needed(width, n_entries, k) + held, memory_installed()
    if installed is not None and needed > installed:
        raise MemoryError(
            f"these crossed factors need about {needed / 2**30:.1f} GiB, mostly for a dense matrix "
            f"of {width} x {width} random effects; this machine has {installed / 2**30:.1f} GiB. "
            f"{advice}drop a factor or a random slope, or merge rare levels"
        )


def _coupling(coupled: list[PairBlock], layout: EffectLayout, n_levels: int) -> Coupling:
    rows, columns, values = [], [], []
    for pair, factor, (k, n) in zip(coupled, layout.factors, layout.shapes, strict=True):
        for b in range(k):
            rows.append(pair.rows)
            columns.append(layout.place(factor).start + b * n + pair.columns)
            values.append(pair.products[:, b, :])
    return Coupling.of(
        np.concatenate(rows),
        np.concatenate(columns),
        np.concatenate(values, axis=1),
        (n_levels, layout.width),
    )


def _others(
    own: Blocks, pairs: dict[tuple[int, int], PairBlock], layout: EffectLayout
) -> sparse.csr_matrix:
    rows, columns, values = [], [], []

    def place(pair: PairBlock, f: int, g: int) -> None:
        for a, b in np.ndindex(*pair.products.shape[:2]):
            rows.append(layout.place(f).start + a * own[f].shape[2] + pair.rows)
            columns.append(layout.place(g).start + b * own[g].shape[2] + pair.columns)
            values.append(pair.products[a, b])

    for i, f in enumerate(layout.factors):
        place(PairBlock.diagonal(own[f]), f, f)
        for g in layout.factors[:i]:
            place(pair_between(pairs, f, g), f, g)
            place(pair_between(pairs, g, f), g, f)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(entries, shape=(layout.width, layout.width))
