"""Known covariances between the levels of a grouping factor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse

from skmixed.core.elimination.crossed import check_memory
from skmixed.core.linalg import FloatArray
from skmixed.core.model.relation import Relation
from skmixed.core.sums.layout import GroupIndex
from skmixed.design.ancestry import ancestral_covariance, shared_branches
from skmixed.design.distances import matern_correlation
from skmixed.design.tables import UNKNOWN, Labels

_ASYMMETRY = 1e-8  # of the largest entry: rounding of matrices written as text, not an error
_INVERSE_MATRICES = 3  # of the size of K at a time: the precision, its factor, the inverse


class Relationship:
    """Known covariance between the levels of a grouping factor, up to a variance.

    For random effects ``b ~ N(0, sigma_b^2 K)`` of relatives, species or places that resemble each
    other according to K: the animal model, phylogenetic and spatial models. `MixedLinearRegressor`
    and the generalized estimators take it as `relationship` and estimate ``sigma_b^2``; levels of K
    without rows are predicted from related ones. :doc:`Related levels </guide/related_levels>`
    shows how.

    Parameters
    ----------
    matrix : data frame, ndarray or sparse matrix of shape (n_levels, n_levels)
        K, symmetric and positive semidefinite, such as a numerator relationship, a genomic kinship
        or a spatial correlation matrix. A data frame supplies the labels by its index.
    labels : array-like of shape (n_levels,), default=None
        Labels of the levels, as in the grouping column, for a matrix without labels.
    precision : bool, default=False
        Whether `matrix` is the inverse of K, to be inverted densely.
    scale : bool, default=False
        Whether to divide K by the mean of its diagonal, so that ``sigma_b^2`` is the variance of a
        typical level.

    Attributes
    ----------
    labels : ndarray of shape (n_levels,)
        Labels of the levels, sorted.
    matrix : ndarray of shape (n_levels, n_levels)
        K in this order, read-only.

    Raises
    ------
    ValueError
        If the matrix is zero, not square, not symmetric or not finite, a precision is singular, or
        labels are missing, repeated or of the wrong number.
    MemoryError
        If a sparse precision is too large to invert in memory.

    See Also
    --------
    MixedLinearRegressor : Takes it as ``relationship={"animal": Relationship(...)}``.
    skmixed.model_selection.profile_range : Estimate the range of a Matern correlation.

    Notes
    -----
    Clones of an estimator share it without copying.

    References
    ----------
    .. [1] Henderson, C. R. (1976). A simple method for computing the inverse of a numerator
       relationship matrix used in prediction of breeding values. Biometrics 32(1), 69-83,
       :doi:`10.2307/2529339`.

    Examples
    --------
    >>> import pandas as pd
    >>> from skmixed import Relationship
    >>> names = ["dam", "sire", "foal"]
    >>> K = pd.DataFrame([[1, 0, 0.5], [0, 1, 0.5], [0.5, 0.5, 1]], names, names)
    >>> Relationship(K)
    Relationship of 3 levels
    """

    labels: np.ndarray[Any, Any]
    matrix: FloatArray

    def __init__(
        self,
        matrix: Any,
        labels: Any = None,
        *,
        precision: bool = False,
        scale: bool = False,
    ) -> None:
        known = _labels_of(matrix, labels)
        square = _square(matrix, precision)
        if len(known) != len(square):
            raise ValueError(f"{len(known)} labels for {len(square)} rows of the matrix")
        found, codes = Labels.learn(known)
        if (codes == UNKNOWN).any():
            raise ValueError("a label of the relationship is missing")
        if len(found) < len(codes):
            twice = pd.Index(known)[pd.Index(known).duplicated()][:3].tolist()
            raise ValueError(f"labels of the relationship occur more than once, such as {twice}")
        _check_symmetric(square)
        if precision:
            square = _inverse(square)
        order = np.argsort(codes)
        square = np.ascontiguousarray(square[np.ix_(order, order)])
        if (square.diagonal() < 0.0).any():
            raise ValueError("the relationship has a negative variance on its diagonal")
        mean = float(square.diagonal().mean())
        if not mean > 0.0:
            raise ValueError("the relationship is zero, so that no level has a variance")
        if scale:
            square = square / mean
        square.flags.writeable = False
        self.labels, self.matrix = found.values, square

    @classmethod
    def from_pedigree(
        cls, pedigree: Any, *, animal: str = "animal", sire: str = "sire", dam: str = "dam"
    ) -> Self:
        """Make the additive relationship matrix of a pedigree.

        Parameters
        ----------
        pedigree : data frame of shape (n_animals, n_columns)
            One row per animal, with its parents or missing values. Parents without a row of their
            own are unrelated founders. Inbreeding is taken into account.
        animal, sire, dam : str
            Names of the columns.

        Returns
        -------
        Relationship
            Numerator relationship matrix (twice the kinship coefficients) of all animals and
            parents.

        Raises
        ------
        ValueError
            If an animal occurs twice or is its own ancestor.

        Examples
        --------
        >>> import pandas as pd
        >>> from skmixed import Relationship
        >>> pedigree = pd.DataFrame({"animal": ["c", "d"], "sire": ["a", "a"], "dam": ["b", "c"]})
        >>> Relationship.from_pedigree(pedigree).to_frame()
              a     b     c     d
        a  1.00  0.00  0.50  0.75
        b  0.00  1.00  0.50  0.25
        c  0.50  0.50  1.00  0.75
        d  0.75  0.25  0.75  1.25
        """
        table = pd.DataFrame(pedigree)
        missing = [name for name in (animal, sire, dam) if name not in table]
        if missing:
            raise ValueError(f"the pedigree has no column {missing}; it has {list(table.columns)}")
        labels, matrix = ancestral_covariance(table[animal], table[sire], table[dam])
        return cls(matrix, labels)

    @classmethod
    def from_newick(cls, tree: str, *, scale: bool = True) -> Self:
        """Make the phylogenetic covariance matrix of a tree with branch lengths.

        Parameters
        ----------
        tree : str
            Tree in Newick format, ``"((a:1,b:1):2,c:3);"``.
        scale : bool, default=True
            Whether to divide by the mean distance of the species from the root.

        Returns
        -------
        Relationship
            Covariance under Brownian motion along the branches: the branch length that two species
            share.

        Raises
        ------
        ValueError
            If the tree cannot be parsed, or a branch has no length.

        Examples
        --------
        >>> from skmixed import Relationship
        >>> Relationship.from_newick("((a:1,b:1):2,c:3);", scale=False).to_frame()
             a    b    c
        a  3.0  2.0  0.0
        b  2.0  3.0  0.0
        c  0.0  0.0  3.0
        """
        labels, matrix = shared_branches(tree)
        return cls(matrix, labels, scale=scale)

    @classmethod
    def matern(
        cls, coordinates: Any, range: float, *, smoothness: float = 1.5, labels: Any = None
    ) -> Self:
        """Make the Matern correlation matrix of a set of places.

        Parameters
        ----------
        coordinates : array-like of shape (n_places, n_dimensions)
            Coordinates of the places, a row each, such as rows and columns of a field trial. A data
            frame supplies the labels by its index.
        range : float
            Length scale of the correlation, in units of the coordinates, as in scikit-learn's
            kernel.
        smoothness : float, default=1.5
            Smoothness nu: 0.5 is the exponential correlation, large values approach the Gaussian.
        labels : array-like of shape (n_places,), default=None
            Labels of the places, for coordinates without labels.

        Returns
        -------
        Relationship
            Correlation matrix of the places.

        Raises
        ------
        ValueError
            If the range or smoothness is not positive and finite, or coordinates are not finite.

        Examples
        --------
        >>> import pandas as pd
        >>> from skmixed import Relationship
        >>> places = pd.DataFrame({"east": [0.0, 1.0, 5.0]}, index=["a", "b", "c"])
        >>> Relationship.matern(places, range=2.0, smoothness=0.5).to_frame().round(2)
              a     b     c
        a  1.00  0.61  0.08
        b  0.61  1.00  0.14
        c  0.08  0.14  1.00
        """
        if labels is None:
            labels = coordinates.index if isinstance(coordinates, pd.DataFrame) else None
        correlation = matern_correlation(coordinates, range, smoothness)
        return cls(correlation, labels)

    def to_frame(self) -> pd.DataFrame:
        """Return K as a data frame.

        Returns
        -------
        DataFrame of shape (n_samples, n)
            K with its labels.
        DataFrame of shape (n_levels, n_levels)
            K with its labels.

        Examples
        --------
        >>> import numpy as np
        >>> from skmixed import Relationship
        >>> Relationship(np.eye(2), labels=["a", "b"]).to_frame()
             a    b
        a  1.0  0.0
        b  0.0  1.0
        """
        return pd.DataFrame(self.matrix, self.labels, self.labels)

    def __len__(self) -> int:
        """Return the number of levels."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Say how many levels it has."""
        return f"Relationship of {len(self)} levels"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return it itself: it never changes."""
        return self

    def __eq__(self, other: object) -> bool:
        """Tell whether another one is of the same levels and covariances."""
        if not isinstance(other, Relationship):
            return NotImplemented
        return np.array_equal(self.labels, other.labels) and np.array_equal(
            self.matrix, other.matrix
        )

    def __hash__(self) -> int:
        """Hash the levels."""
        return hash(tuple(self.labels.tolist()))


def _labels_of(matrix: Any, labels: Any) -> Any:
    """Return the labels of a matrix, given or its own."""
    if labels is not None:
        return labels
    if not isinstance(matrix, pd.DataFrame):
        raise ValueError(
            "a relationship requires the labels of its levels: pass a data frame whose rows and "
            "columns are labelled, or labels=[...] in the order of the matrix"
        )
    if not matrix.index.equals(matrix.columns):
        raise ValueError(
            "rows and columns of a relationship must have the same labels in the same order"
        )
    return matrix.index


def _square(matrix: Any, precision: bool) -> FloatArray:
    """Return a matrix densely. Raises MemoryError if that would not fit into this machine."""
    if sparse.issparse(matrix):
        matrix = _dense(matrix)
    square = np.array(matrix, dtype=np.float64)
    if square.ndim != 2 or square.shape[0] != square.shape[1] or not len(square):
        raise ValueError(
            f"a relationship must be a square matrix; this one has shape {square.shape}"
        )
    if not np.isfinite(square).all():
        kind = "precision" if precision else "relationship"
        raise ValueError(f"the {kind} has NaN or infinite entries")
    return square


def _dense(matrix: Any) -> FloatArray:
    """Write a sparse matrix out. Raises MemoryError if its inverse would not fit."""
    check_memory(
        8 * _INVERSE_MATRICES * matrix.shape[0] ** 2,
        f"a relationship of {matrix.shape[0]} levels is stored densely,",
    )
    return np.asarray(matrix.toarray(), dtype=np.float64)


def _check_symmetric(square: FloatArray) -> None:
    gap = np.abs(square - square.T)
    if gap.max() > _ASYMMETRY * np.abs(square).max():
        i, j = np.unravel_index(int(gap.argmax()), gap.shape)
        raise ValueError(
            f"a relationship must be symmetric; entries [{i}, {j}] and [{j}, {i}] of this one "
            f"are {square[i, j]:.6g} and {square[j, i]:.6g}"
        )


def _inverse(precision: FloatArray) -> FloatArray:
    try:
        root = np.linalg.inv(np.linalg.cholesky(precision))
    except np.linalg.LinAlgError:
        raise ValueError("the precision is not positive definite and cannot be inverted") from None
    return root.T @ root


def _relation(name: str, known: Relationship) -> Relation:
    """Return a relationship as that of the levels of a grouping column."""
    return Relation(GroupIndex((name,), (known.labels,)), known.matrix)


def relations_of(
    relationship: dict[str, Relationship], factors: Sequence[tuple[str, ...]]
) -> tuple[tuple[int, Relation], ...]:
    """Return relationships by position of their factor, given the key of every factor.

    Raises ValueError for a name that is no factor of one grouping column.
    """
    found = []
    for name, known in relationship.items():
        if (name,) not in factors:
            names = [":".join(key) for key in factors if key]
            raise ValueError(
                f"relationship={{{name!r}: ...}} is of no grouping column that has a random term; "
                f"there are {names}"
            )
        found.append((factors.index((name,)), _relation(name, known)))
    return tuple(found)
