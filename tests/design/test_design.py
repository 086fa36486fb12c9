import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skmixed.design.design import Design
from skmixed.design.grammar.syntax import parse_random, split_formula
from skmixed.design.source import Source

FRAME = pd.DataFrame(
    {
        "x": [1.0, 2.0, 4.0, 8.0],
        "z": [1.0, 0.0, 1.0, 0.0],
        "kind": ["u", "v", "u", "w"],
        "g": ["b", "a", "b", "a"],
        "h": [1, 1, 2, 2],
    }
)


def source(frame=FRAME, names=None):
    groups = {name: frame[name] for name in ("g", "h") if name in frame}
    if names is None:
        return Source(len(frame), frame=frame, groups=groups)
    return Source(len(frame), tuple(names), frame[list(names)].to_numpy(), frame, groups)


def learn(random, fixed=None, *, names=("x", "z"), **kwargs):
    rows = source(names=None if fixed else names)
    parts = None if fixed is None else split_formula(fixed)
    return Design.learn(rows, parse_random(random), parts, **kwargs)


def random_names(design):
    return [[design.layout.columns[place] for place in term.columns] for term in design.terms]


def test_numeric_columns_are_the_fixed_part():
    design, columns, (codes,) = learn("(x | g)")
    assert design.fixed_names == ("(Intercept)", "x", "z")
    assert random_names(design) == [["(Intercept)", "x"]]
    assert design.layout.columns == ("(Intercept)", "x", "z", "y")
    assert_array_equal(columns[:, :-1], np.column_stack([np.ones(4), FRAME["x"], FRAME["z"]]))
    assert_array_equal(codes, [1, 0, 1, 0])
    assert design.has_intercept


def test_without_an_intercept_it_still_varies():
    design, _, _ = learn("(1 | g)", fit_intercept=False)
    assert design.fixed_names == ("x", "z")
    assert not design.has_intercept
    assert random_names(design) == [["(Intercept)"]]


def test_a_formula_says_what_is_fixed():
    design, columns, _ = learn("(1 | g) + (0 + x | h)", "0 + x + kind")
    assert design.fixed_names == ("x", "kind[u]", "kind[v]", "kind[w]")
    assert not design.has_intercept
    assert random_names(design) == [["(Intercept)"], ["x"]]
    place = design.layout.columns.index("kind[u]")
    assert_array_equal(columns[:, place], FRAME["kind"] == "u")


def test_slopes_need_not_be_fixed():
    design, columns, _ = learn("(1 + I(x ** 2) + z | g)", "1")
    assert design.fixed_names == ("(Intercept)",)
    assert random_names(design) == [["(Intercept)", "I(x ** 2)", "z"]]
    assert_array_equal(columns[:, design.layout.columns.index("I(x ** 2)")], FRAME["x"] ** 2)


def test_one_name_for_two_codings_of_a_column():
    # With an intercept `kind` has two columns, without one it has three.
    design, _, _ = learn("(0 + kind | g)", "kind")
    names = design.layout.columns
    assert len(set(names)) == len(names)
    assert len(design.fixed) == 3
    assert len(design.terms[0].columns) == 3


@pytest.mark.parametrize("fixed", [None, "x * kind", "poly(x, 2) + z", "0 + x:kind"])
def test_new_rows_get_the_columns_of_the_old_ones(fixed):
    design, columns, _ = learn("(x + z | g)", fixed)
    some = [3, 0]
    for replayed in (design, pickle.loads(pickle.dumps(design))):
        rows = source(FRAME.iloc[some], None if fixed else ("x", "z"))
        assert_allclose(replayed.columns(rows), columns[some, :-1], rtol=1e-12, atol=1e-15)


def test_offsets_are_added_up():
    design, _, _ = learn("(1 | g)", "x + offset(z) + offset(2 * x)")
    assert design.fixed_names == ("(Intercept)", "x")
    assert_array_equal(design.offset(source()), FRAME["z"] + 2 * FRAME["x"])
    assert learn("(1 | g)")[0].offset(source()) is None


def test_covariance_by_factor():
    design, _, _ = learn("(x | g) + (x | h)", covariance={"h": "diagonal"})
    assert [term.covariance for term in design.terms] == ["unstructured", "diagonal"]
    design, _, _ = learn("(x | g) + (x | h)", covariance="identity")
    assert [term.covariance for term in design.terms] == ["identity", "identity"]
    with pytest.raises(ValueError, match=r"names factors \['k'\] .* it has \['g', 'h'\]"):
        learn("(x | g) + (x | h)", covariance={"k": "diagonal"})
    with pytest.raises(ValueError, match="'toeplitz' is not one of 'unstructured', 'diagonal'"):
        learn("(x | g)", covariance={"g": "toeplitz"})


def test_slopes_that_are_not_there():
    numbers = Source(4, ("x",), FRAME[["x"]].to_numpy(), None, {"g": FRAME["g"]})
    with pytest.raises(
        ValueError, match=r"slopes \['w'\] of 'g' are not among the columns \['x'\]"
    ):
        Design.learn(numbers, parse_random("(w | g)"), None)
    with pytest.raises(ValueError, match="'w', which is neither a column nor a known function"):
        learn("(w | g)")


def test_a_formula_needs_a_data_frame():
    numbers = Source(4, ("x",), FRAME[["x"]].to_numpy(), None, {"g": FRAME["g"]})
    with pytest.raises(ValueError, match="X must be a data frame"):
        Design.learn(numbers, parse_random("(1 | g)"), split_formula("x"))


def test_slopes_are_fixed_columns_only_if_they_are_the_same():
    frame = FRAME.assign(**{"x ** 2": [3.0, 1.0, 4.0, 1.0], "1": [2.0, 7.0, 1.0, 8.0]})
    rows = Source(4, frame=frame, groups={"g": frame["g"]})
    parts = split_formula("I(x^2) + `1` + x:z")
    design, columns, _ = Design.learn(
        rows, parse_random("(I(`x ** 2`) + `1` + x:z + z:x || g)"), parts
    )
    names = ["I(x ** 2) [4]", "1", "x:z", "z:x"]
    assert random_names(design) == [["(Intercept)"], *([name] for name in names)]
    product = frame["x"] * frame["z"]
    for name, values in zip(names, (frame["x ** 2"], frame["1"], product, product), strict=True):
        assert_array_equal(columns[:, design.layout.columns.index(name)], values)
    assert_array_equal(design.columns(rows), columns[:, :-1])
