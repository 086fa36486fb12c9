"""Covariances that descent makes: of animals by their parents, of species by their phylogeny."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray, IntArray

_TOKENS = re.compile(r"\s*([(),;]|:\s*[^(),:;\s]+|'[^']*'|[^(),:;'\s]+)")


def ancestral_covariance(animal: Any, sire: Any, dam: Any) -> tuple[Any, FloatArray]:
    """Return all labels and the numerator relationship of animals, (n, n).

    A_ij is the mean of the relationships of i with the parents of j, a later animal, and A_jj one
    plus half that of its parents (Henderson 1976, doi:10.2307/2529339, section 2). Animals of one
    generation are done at once.
    """
    known = pd.concat([pd.Series(animal), pd.Series(sire), pd.Series(dam)], ignore_index=True)
    codes, labels = pd.factorize(known)
    n_rows = len(animal)
    of_row, rest = codes[:n_rows], codes[n_rows:].reshape(2, -1)
    if (of_row < 0).any():
        raise ValueError("an animal of the pedigree has no label")
    if len(np.unique(of_row)) < n_rows:
        twice = labels[np.flatnonzero(np.bincount(of_row) > 1)][:3].tolist()
        raise ValueError(f"animals occur more than once in the pedigree, such as {twice}")
    parents = np.full((2, len(labels)), -1)
    parents[:, of_row] = rest
    matrix = np.zeros((len(labels) + 1, len(labels) + 1))  # the last is an unknown parent
    for chosen in _generations(parents, labels):
        first, second = parents[:, chosen]
        from_parents = 0.5 * (matrix[first] + matrix[second])
        matrix[chosen] = from_parents
        matrix[:, chosen] = from_parents.T
        among = 0.5 * (from_parents[:, first] + from_parents[:, second])
        np.fill_diagonal(among, 1.0 + 0.5 * matrix[first, second])
        matrix[np.ix_(chosen, chosen)] = among
    return labels, matrix[:-1, :-1]


def _generations(parents: IntArray, labels: Any) -> list[IntArray]:
    """Return animals by generation, those whose parents, (2, n), are all of earlier ones."""
    done = np.zeros(parents.shape[1] + 1, dtype=bool)
    done[-1] = True
    found = []
    while not done.all():
        ready = np.flatnonzero(~done[:-1] & done[parents].all(axis=0))
        if not len(ready):
            stuck = labels[np.flatnonzero(~done[:-1])][:3].tolist()
            raise ValueError(f"animals are ancestors of their own, among them {stuck}")
        found.append(ready)
        done[ready] = True
    return found


def shared_branches(tree: str) -> tuple[list[str], FloatArray]:
    """Return the species of a tree in Newick's format, and the length that two share, (n, n).

    Raises ValueError for a tree that cannot be read, and branches without a length.
    """
    names: list[str] = []
    clades: list[tuple[int, int, float]] = []  # species from, to, and the length above them
    starts: list[int] = []
    first, closed = 0, False  # of the clade that was read last, and whether it has been closed
    for token in _tokens(tree):
        if token == "(":
            starts.append(len(names))
        elif token == ")":
            if not starts:
                raise ValueError("the tree closes more brackets than it opens")
            first = starts.pop()
        elif token.startswith(":"):
            clades.append((first, len(names), _length(token)))
        elif token not in ",;" and not closed:
            first = len(names)
            names.append(token.strip("'"))
        closed = token == ")" or (closed and token not in "(,")
    if starts or not names:
        raise ValueError("the tree opens a bracket that it does not close, or has no species")
    matrix = np.zeros((len(names), len(names)))
    for start, stop, length in clades:
        matrix[start:stop, start:stop] += length
    bare = [names[i] for i in np.flatnonzero(matrix.diagonal() == 0.0)]
    if bare:
        raise ValueError(f"branches without a length: those to {bare[:3]}; write them as 'a:1.5'")
    return names, matrix


def _tokens(tree: str) -> Iterator[str]:
    """Yield brackets, commas, names and lengths of a tree; raises ValueError for what is none."""
    place, text = 0, tree.rstrip()
    while place < len(text):
        match = _TOKENS.match(text, place)
        if match is None:
            raise ValueError(f"the tree cannot be read at {text[place : place + 20]!r}")
        yield match[1]
        place = match.end()


def _length(token: str) -> float:
    try:
        length = float(token[1:])
    except ValueError:
        raise ValueError(f"{token[1:].strip()!r} is no length of a branch") from None
    if not 0.0 <= length < np.inf:
        raise ValueError(f"a branch has the length {length}; lengths are finite, and not negative")
    return length
