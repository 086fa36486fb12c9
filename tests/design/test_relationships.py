"""Known covariances of levels: where they come from, and what is none."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.gaussian_process.kernels import Matern

from skmixed import Relationship

NAMES = ["b", "a"]


def test_a_pedigree_gives_twice_the_kinship():
    pedigree = pd.DataFrame(
        {
            "animal": ["e", "c", "d", "f"],
            "sire": ["c", "a", "a", None],
            "dam": ["d", "b", None, None],
        }
    )
    found = Relationship.from_pedigree(pedigree).to_frame()
    # c and d are half-sibs by a, e is their inbred offspring, and f is alone.
    expected = {
        ("a", "b"): 0.0, ("a", "c"): 0.5, ("a", "d"): 0.5, ("c", "d"): 0.25, ("a", "e"): 0.5,
        ("c", "e"): 0.625, ("d", "e"): 0.625, ("b", "e"): 0.25, ("e", "e"): 1.125,
        ("f", "f"): 1.0, ("f", "a"): 0.0,
    }  # fmt: skip
    for (one, other), value in expected.items():
        assert found.loc[one, other] == pytest.approx(value)
        assert found.loc[other, one] == pytest.approx(value)


def test_species_share_the_branches_above_both():
    tree = "((human:6,chimp:6)apes:3,'old world monkey':9):0.5;"
    found = Relationship.from_newick(tree, scale=False).to_frame()
    assert found.loc["human", "chimp"] == 3.5
    assert found.loc["human", "old world monkey"] == 0.5
    assert found.loc["chimp", "chimp"] == 9.5
    assert Relationship.from_newick(tree).matrix.diagonal().mean() == pytest.approx(1.0)


@pytest.mark.parametrize("smoothness", [0.5, 0.8, 1.5, 2.5, 3.3])
def test_places_correlate_as_in_a_kernel_of_scikit_learn(smoothness):
    places = np.random.default_rng(0).uniform(size=(7, 2))
    found = Relationship.matern(places, 0.4, smoothness=smoothness, labels=range(7))
    np.testing.assert_allclose(found.matrix, Matern(0.4, nu=smoothness)(places), atol=1e-14)


def test_a_precision_is_inverted_and_labels_are_sorted():
    precision = np.array([[2.0, 1.0], [1.0, 3.0]])
    dense = Relationship(precision, NAMES, precision=True)
    again = Relationship(sparse.csr_matrix(precision), NAMES, precision=True)
    assert dense == again
    expected = np.linalg.inv(precision)[::-1, ::-1]
    np.testing.assert_allclose(dense.to_frame().to_numpy(), expected)
    assert dense.labels.tolist() == ["a", "b"]


def test_it_never_changes_and_travels():
    known = Relationship(np.eye(2), NAMES)
    with pytest.raises(ValueError, match="read-only"):
        known.matrix[0, 0] = 2.0
    assert copy.deepcopy(known) is known
    assert pickle.loads(pickle.dumps(known)) == known
    assert hash(known) == hash(Relationship(np.eye(2), NAMES))
    assert known != Relationship(2.0 * np.eye(2), NAMES)
    assert len(known) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Relationship(np.eye(2)), "a relationship requires the labels of its"),
        (lambda: Relationship(np.ones((2, 3)), NAMES), r"has shape \(2, 3\)"),
        (lambda: Relationship(np.eye(3), NAMES), "2 labels for 3 rows"),
        (lambda: Relationship([[1, 0.5], [0.4, 1]], NAMES), "are 0.5 and 0.4"),
        (lambda: Relationship([[1, np.nan], [np.nan, 1]], NAMES), "NaN or infinite"),
        (lambda: Relationship(np.eye(2), ["a", "a"]), r"more than once, such as \['a'\]"),
        (lambda: Relationship(np.eye(2), ["a", None]), "a label of the relationship is missing"),
        (lambda: Relationship(np.diag([1.0, -1.0]), NAMES), "negative variance"),
        (
            lambda: Relationship(np.zeros((2, 2)), NAMES),
            "the relationship is zero, so that no level",
        ),
        (
            lambda: Relationship(np.ones((2, 2)), NAMES, precision=True),
            "the precision is not positive definite",
        ),
        (lambda: Relationship(pd.DataFrame(np.eye(2), NAMES, ["a", "b"])), "same labels"),
        (lambda: Relationship.from_newick("((a:1,b:1):2,c:3"), "opens a bracket"),
        (lambda: Relationship.from_newick("(a:1,b:1)):2;"), "closes more brackets"),
        (lambda: Relationship.from_newick("(a,b);"), "branches without a length"),
        (lambda: Relationship.from_newick("(a:-1,b:2);"), "not negative"),
        (lambda: Relationship.matern([[0.0], [1.0]], 0.0, labels=NAMES), "range=0.0"),
        (lambda: Relationship.matern([[0.0], [np.inf]], 1.0, labels=NAMES), "finite numbers"),
        (
            lambda: Relationship.from_pedigree(
                pd.DataFrame({"animal": NAMES, "sire": NAMES[::-1], "dam": None})
            ),
            "ancestors of their own",
        ),
        (
            lambda: Relationship.from_pedigree(
                pd.DataFrame({"animal": ["a", "a"], "sire": None, "dam": None})
            ),
            "occur more than once",
        ),
        (lambda: Relationship.from_pedigree(pd.DataFrame({"animal": ["a"]})), "no column"),
    ],
)
def test_what_is_none_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_would_not_fit_is_refused_with_its_size():
    with pytest.raises(
        MemoryError, match=r"of 10000000 levels is stored densely, about \d+\.\d GiB"
    ):
        Relationship(sparse.eye(10**7, format="csr"), range(10**7), precision=True)
