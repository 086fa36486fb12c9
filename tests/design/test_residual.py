"""Residual structures: read from text, learned from tables of any kind, looked up again."""

import json
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from skmixed import MixedLinearRegressor
from skmixed.design.design import Design
from skmixed.design.grammar.residual_terms import ResidualParts, SeriesTerm, parse_residual
from skmixed.estimators.reading._training_data import read_training_data
from skmixed.exceptions import FormulaSyntaxError

RNG = np.random.default_rng(3)
VISITS = ["screening", "week 2", "week 10"]
TABLE = pd.DataFrame(
    {
        "x": RNG.normal(size=12),
        "t": np.tile([1.0, 2.5, 4.0], 4),
        "number": np.tile([3, 1, 2], 4),
        "my subject": np.repeat(list("abcd"), 3),
        "site": np.repeat([1, 1, 2, 2], 3),
        "visit": pd.Categorical(np.tile([VISITS[i] for i in (2, 0, 1)], 4), VISITS, ordered=True),
        "sex": np.repeat(["m", "f", "f", "f"], 3),
    }
)
Y = RNG.normal(size=12)


def learned(residual, X=TABLE, groups=None, **params):
    """Return the design and the rows that a structure learns."""
    model = MixedLinearRegressor(residual=residual, **params)
    data = read_training_data(model, X, Y[: len(X)], None, groups)
    design, _, _ = data.learn(model, data.terms)
    return design, design.residual.rows(data.source.residual)


@pytest.mark.parametrize(
    ("text", "term", "strata", "power"),
    [
        ("ar1(visit | subject)", SeriesTerm("ar1", "visit", ("subject",)), (), None),
        ("ar1(|subject)", SeriesTerm("ar1", None, ("subject",)), (), None),
        ("car1(time | `my subject`)", SeriesTerm("car1", "time", ("my subject",)), (), None),
        ("cs(| school:pupil)", SeriesTerm("cs", None, ("school", "pupil")), (), None),
        ("cs(v | school/pupil, hom=False)", SeriesTerm("cs", "v", ("school", "pupil"), False), (),
         None),
        ("us(v | s)", SeriesTerm("us", "v", ("s",)), (), None),
        ("toeplitz(v | s, hom = TRUE)", SeriesTerm("toeplitz", "v", ("s",)), (), None),
        ("var(sex:arm)", None, ("sex", "arm"), None),
        ("power(`x y`)", None, (), "x y"),
        ("(var(a) * (ar1((v) | (s))) * power(z))", SeriesTerm("ar1", "v", ("s",)), ("a",), "z"),
    ],
)  # fmt: skip
def test_a_structure_is_taken_apart(text, term, strata, power):
    parts = parse_residual(text)
    assert parts == ResidualParts(term, strata, power)
    series = () if term is None else term.series
    assert parts.labels == (*series, *strata)


# A structure that is none, what the error says of it, and the place it points at.
REFUSED = [
    ("", "expected a residual structure", 0),
    ("ar1", "expected ar1(visit | subject)", 0),
    ("ar1()", "expected a column inside ar1()", 4),
    ("ar1[v | s]", "expected ar1(visit | subject)", 0),
    ("ar1(s)", "series on the right of one bar", 0),
    ("ar1(v | s | t)", "series on the right of one bar", 0),
    ("ar1(v || s)", "series on the right of one bar", 0),
    ("ar1(v |)", "series on the right of one bar", 0),
    ("us(| s)", "expected a column on the left", 0),
    ("car1(| s)", "expected a column on the left", 0),
    ("ar1(v | v)", "different columns on both sides", 0),
    ("ar1(I(v) | s)", "expected the name of a column", 4),
    ("ar1(v | s,)", "on both sides of ','", 9),
    ("ar1(v | s:)", "on both sides of ':'", 9),
    ("ar1(v | s, hom=1)", "expected hom=True or hom=False", 11),
    ("ar1(v | s, hom==True)", "expected hom=True or hom=False", 11),
    ("cs(| s, hom=False)", "needs visits", 0),
    ("us(v | s, hom=True)", "a variance a visit by its nature", 10),
    ("car1(v | s, hom=False)", "multiply it by var(...)", 12),
    ("var(a) * var(b)", "var(a:b)", 9),
    ("var(a:a)", "expected different columns", 4),
    ("power(a) * power(b)", "expected one power", 11),
    ("power(a, 2)", "has no settings", 9),
    ("ar1(| s) * cs(| s)", "expected one correlation", 11),
    ("us(v | s) * var(a)", "leaves nothing to var", 0),
    ("ar1(v | s, hom=False) * power(a)", "leaves nothing to var", 0),
    ("ar1(| s) + var(a)", "expected ar1(visit | subject)", 0),
    ("y ~ ar1(| s)", "expected ar1(visit | subject)", 0),
    ("ar1(v | s", "never closed", 3),
    ("__import__('os').system('true')", "expected an operator", 16),
    ("var(__import__('os'))", "expected the name of a column", 4),
    ("var(x.__class__.y())", "expected the name of a column", 4),
    ("var({1: 2})", "expected the name of a column", 4),
]


@pytest.mark.parametrize(("text", "reason", "place"), REFUSED)
def test_what_is_no_structure_is_refused_at_its_place(text, reason, place):
    with pytest.raises(FormulaSyntaxError, match=re.escape(reason)) as raised:
        parse_residual(text)
    assert raised.value.position == place
    with pytest.raises(FormulaSyntaxError, match=re.escape(reason)):
        MixedLinearRegressor(residual=text).fit(TABLE[["x"]], Y)


def test_visits_are_in_the_order_of_categories_and_text_in_that_of_the_alphabet():
    design, rows = learned("us(visit | `my subject`)", TABLE.drop(columns="sex"))
    assert_array_equal(rows.position, np.tile([2, 0, 1], 4))
    assert_array_equal(rows.series, np.repeat(np.arange(4), 3))
    assert rows.labels.name == "my subject"
    assert design.residual.visit_labels == VISITS
    text = TABLE.assign(visit=TABLE["visit"].astype(str)).drop(columns="sex")
    with pytest.warns(UserWarning, match=r"'week 10', 'week 2' .*order of the alphabet"):
        design, _ = learned("toeplitz(visit | `my subject`)", text)
    assert design.residual.visit_labels == ["screening", "week 10", "week 2"]
    learned("us(visit | `my subject`)", text)  # in which the order says nothing


def test_numbers_are_positions_and_for_covariances_of_visits_ranks():
    X = TABLE[["x", "t", "number", "my subject"]]
    assert_array_equal(learned("car1(t | `my subject`)", X)[1].position, TABLE["t"])
    assert_array_equal(learned("ar1(number | `my subject`)", X)[1].position, TABLE["number"])
    assert_array_equal(learned("us(t | `my subject`)", X)[1].position, np.tile([0, 1, 2], 4))
    in_order = learned("ar1(| `my subject`)", X)[1].position
    assert_array_equal(in_order, np.tile([1, 2, 3], 4))
    assert learned("cs(t | `my subject`)", X)[1].position is None
    with pytest.raises(ValueError, match=r"no whole number in rows 1, 4, 7, 10.*take car1"):
        learned("ar1(t | `my subject`)", X)
    with pytest.raises(ValueError, match="needs times that are numbers"):
        learned("car1(visit | `my subject`)", TABLE.drop(columns="sex"))
    uneven = X.assign(number=np.tile([0, 4, 16], 4))
    with pytest.warns(UserWarning, match="not evenly spaced"):
        learned("toeplitz(number | `my subject`)", uneven)


def test_labels_leave_the_fixed_part_and_numbers_stay():
    X = TABLE[["x", "t", "my subject", "sex", "site", "visit"]]
    design, rows = learned("ar1(visit | `my subject`) * var(sex:site) * power(t)", X)
    assert design.fixed_names == ("(Intercept)", "x", "t")
    assert design.terms == ()
    assert_array_equal(rows.value, TABLE["t"])
    assert design.residual.strata_labels == ["f:1", "f:2", "m:1"]
    assert_array_equal(rows.stratum, np.repeat([2, 0, 1, 1], 3))
    design, _ = learned("ar1(visit | `my subject`)", X.drop(columns="sex"), random="(1 | site)")
    assert design.fixed_names == ("(Intercept)", "x", "t")
    assert len(design.terms) == 1


def test_only_grouping_columns_that_the_structure_does_not_name_get_an_intercept():
    groups = TABLE[["site", "my subject"]]
    design, rows = learned("cs(| `my subject`)", TABLE[["x"]], groups)
    assert [factor.key for factor in design.layout.factors] == [("site",)]
    assert len(rows.labels) == 4
    design, _ = learned("cs(| group)", TABLE[["x"]].to_numpy(), TABLE["site"].to_numpy())
    assert design.terms == ()
    design, _ = learned("car1(x1 | x0)", TABLE[["site", "t"]].to_numpy(dtype=float))
    assert design.fixed_names == ("(Intercept)", "x1")


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_tables_of_other_libraries_say_the_same(library):
    pytest.importorskip(library)
    import polars
    import pyarrow

    if library == "polars":
        X = polars.from_pandas(TABLE.assign(visit=TABLE["visit"].astype(str)))
        X = X.with_columns(polars.col("visit").cast(polars.Enum(VISITS)))
    else:
        X = pyarrow.Table.from_pandas(TABLE, preserve_index=False)
    text = "ar1(visit | site:`my subject`) * var(sex)"
    (design, rows), (same, wanted) = learned(text, X), learned(text)
    for name in ("series", "position", "stratum"):
        assert_array_equal(getattr(rows, name), getattr(wanted, name))
    assert design.fixed_names == same.fixed_names


def test_what_is_missing_is_refused_with_its_rows():
    X = TABLE.drop(columns="sex")
    with pytest.raises(ValueError, match="'sex', which does not exist: X has the"):
        learned("var(sex)", X)
    for name in ("my subject", "visit", "t"):
        gone = X.copy()
        gone.loc[[1, 5], name] = None
        order = "t" if name == "t" else "visit"
        kind = "car1" if name == "t" else "us"
        with pytest.raises(ValueError, match=rf"NaN.*'{name}'.*rows 1, 5"):
            learned(f"{kind}({order} | `my subject`)", gone)
    with pytest.raises(ValueError, match=r"power\(t\) takes positive numbers.*0 in row 3"):
        learned("power(t)", X[["x", "t"]].assign(t=[1.0, 2, 3, 0, *np.ones(8)]))
    with pytest.raises(ValueError, match=r"'t' is infinite in rows 0"):
        learned("power(t)", X[["x", "t"]].assign(t=[np.inf, *np.ones(11)]))
    dates = X.assign(t=pd.Timestamp("2020-01-01"))
    with pytest.raises(ValueError, match="holds dates or durations"):
        learned("car1(t | `my subject`)", dates)
    with pytest.raises(ValueError, match="the column 'visit', to a power of which"):
        learned("power(visit)", X)


def test_what_was_learned_is_looked_up_again_and_travels():
    design, learned_rows = learned("ar1(visit | `my subject`) * var(sex)", TABLE)
    for same in (
        design,
        pickle.loads(pickle.dumps(design)),
        Design.from_record(json.loads(json.dumps(design.record(), default=np.ndarray.tolist))),
    ):
        new = {
            "my subject": np.array(["d", "e", None], dtype=object),
            "visit": pd.Series(["week 10", "never", "screening"]),
            "sex": pd.Series(["x", "m", None]),
        }
        rows = same.residual.known_rows(new, 3, learned_rows.labels)
        assert_array_equal(rows.series, [3, -1, -1])
        assert_array_equal(rows.position, [2, -1, 0])
        assert_array_equal(rows.stratum, [-1, 1, -1])
        with pytest.raises(ValueError, match=r"rows 1 have no visit .*'screening'"):
            same.residual.rows({**new, "my subject": ["d", "e", "f"]})


def test_a_structure_that_is_damaged_is_not_read():
    design, _ = learned("var(sex)", TABLE[["x", "sex"]])
    record = design.record()
    record["residual"]["text"] = "var(__import__('os'))"
    with pytest.raises(FormulaSyntaxError):
        Design.from_record(record)
