import copy
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skmixed.design.formula import evaluate_expression, learn_matrix
from skmixed.design.grammar.expressions import variables

pytest.importorskip("formulaic")


@pytest.fixture
def frame():
    """Rows with an index that is neither sorted nor unique."""
    return pd.DataFrame(
        {
            "x": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            "z": [2.0, 0.5, 1.0, 4.0, 3.0, 1.0],
            "total.fruits": [0.0, 1.0, 3.0, 7.0, 2.0, 5.0],
            "my col": [1.0, 1.0, 2.0, 3.0, 5.0, 8.0],
            "g": ["b", "a", "c", "a", "b", "c"],
            "class": ["u", "v", "u", "v", "u", "v"],
            "cat": pd.Categorical(list("vuvuvu"), categories=["w", "v", "u"]),
            "i": [3, 1, 2, 3, 1, 2],
            "flag": [True, False, True, True, False, False],
        },
        index=[7, 7, 1, 3, 2, 0],
    )


def columns_of(frame, *names):
    return np.column_stack([frame[name].to_numpy(dtype=float) for name in names])


def test_numeric_columns_and_the_intercept(frame):
    learned, values = learn_matrix("x + z", frame)
    assert learned.names == ("(Intercept)", "x", "z")
    assert learned.has_intercept
    assert not learned.has_categorical
    assert not learned.is_stateful
    assert learned.variables == ("x", "z")
    assert values.dtype == np.float64
    assert_array_equal(values, np.column_stack([np.ones(6), columns_of(frame, "x", "z")]))


@pytest.mark.parametrize("expression", ["0 + x", "x - 1", "- 1 + x"])
def test_the_intercept_can_be_taken_out(frame, expression):
    learned, values = learn_matrix(expression, frame)
    assert learned.names == ("x",)
    assert not learned.has_intercept
    assert_array_equal(values, columns_of(frame, "x"))


@pytest.mark.parametrize("expression", ["0", "-1", "- 1"])
def test_no_columns_at_all(frame, expression):
    learned, values = learn_matrix(expression, frame)
    assert learned.names == learned.variables == ()
    assert values.shape == (6, 0)
    assert learned.matrix(frame.iloc[:2]).shape == (2, 0)


def test_the_intercept_alone(frame):
    learned, values = learn_matrix("1", frame)
    assert learned.names == ("(Intercept)",)
    assert_array_equal(values, np.ones((6, 1)))
    assert_array_equal(learned.matrix(pd.DataFrame(index=range(3))), np.ones((3, 1)))


def test_strings_have_treatment_contrasts_in_sorted_order(frame):
    learned, values = learn_matrix("g", frame)
    assert learned.names == ("(Intercept)", "g[T.b]", "g[T.c]")
    assert learned.has_categorical
    assert not learned.is_stateful
    assert_array_equal(values[:, 1], frame["g"] == "b")
    assert_array_equal(values[:, 2], frame["g"] == "c")


@pytest.mark.parametrize("dtype", ["object", "str", "string", "category"])
def test_every_type_of_string_is_categorical(frame, dtype):
    expected = learn_matrix("g", frame)
    learned, values = learn_matrix("g", frame.astype({"g": dtype}))
    assert learned.names == expected[0].names
    assert_array_equal(values, expected[1])
    assert_array_equal(expected[0].matrix(frame.astype({"g": dtype})), expected[1])


def test_without_an_intercept_every_level_has_a_column(frame):
    learned, values = learn_matrix("0 + g", frame)
    assert learned.names == ("g[a]", "g[b]", "g[c]")
    assert_array_equal(values.sum(axis=1), np.ones(6))


def test_categories_keep_their_order_and_unused_ones_have_no_column(frame):
    learned, values = learn_matrix("cat", frame)
    assert learned.names == ("(Intercept)", "cat[T.u]")
    assert_array_equal(values[:, 1], frame["cat"] == "u")


@pytest.mark.parametrize("function", ["C", "factor", "as.factor"])
def test_numbers_can_be_made_categorical(frame, function):
    learned, values = learn_matrix(f"{function}(i)", frame)
    assert learned.names == ("(Intercept)", "C(i)[T.2]", "C(i)[T.3]")
    assert_array_equal(values[:, 2], frame["i"] == 3)


def test_interactions(frame):
    learned, values = learn_matrix("x * g", frame)
    assert learned.names == ("(Intercept)", "x", "g[T.b]", "g[T.c]", "x:g[T.b]", "x:g[T.c]")
    assert_array_equal(values[:, 5], frame["x"] * (frame["g"] == "c"))


@pytest.mark.parametrize(
    ("expression", "function"),
    [
        ("log(x)", np.log),
        ("log2(x)", np.log2),
        ("log10(x)", np.log10),
        ("log1p(x)", np.log1p),
        ("exp(x)", np.exp),
        ("expm1(x)", np.expm1),
        ("exp10(x)", lambda x: 10.0**x),
        ("sqrt(x)", np.sqrt),
        ("abs(x - 3)", lambda x: np.abs(x - 3)),
        ("sin(x) ", np.sin),
        ("cos(x)", np.cos),
        ("tan(x)", np.tan),
        ("I(x ** 2)", np.square),
        ("I(x^2)", np.square),
        ("I(x %% 2)", lambda x: x % 2),
        ("np.cbrt(x)", np.cbrt),
        ("{x^2 + 1}", lambda x: x**2 + 1),
        ("center(x)", lambda x: x - 3.5),
        ("scale(x)", lambda x: (x - 3.5) / np.sqrt(3.5)),
    ],
)
def test_functions(frame, expression, function):
    _, values = learn_matrix(f"0 + {expression}", frame)
    assert_allclose(values[:, 0], function(frame["x"].to_numpy()), rtol=1e-14)


def test_columns_whose_names_are_no_identifiers(frame):
    learned, values = learn_matrix("log1p(total.fruits) + total.fruits + I(`my col`^2)", frame)
    assert learned.names == (
        "(Intercept)",
        "log1p(total.fruits)",
        "total.fruits",
        "I(my col ** 2)",
    )
    assert learned.variables == ("total.fruits", "my col")
    assert_allclose(values[:, 1], np.log1p(frame["total.fruits"]))
    assert_allclose(values[:, 3], frame["my col"] ** 2)


def test_a_dotted_name_may_begin_another(frame):
    frame["total.fruits.old"] = 10.0
    _, values = learn_matrix("0 + I(total.fruits + total.fruits.old)", frame)
    assert_array_equal(values[:, 0], frame["total.fruits"] + 10)


def test_a_column_may_have_the_name_of_a_keyword(frame):
    learned, values = learn_matrix("factor(class) : x", frame)
    assert learned.names == ("(Intercept)", "C(class)[u]:x", "C(class)[v]:x")
    assert_array_equal(values[:, 1], frame["x"] * (frame["class"] == "u"))


@pytest.mark.parametrize("name", ["log", "C", "poly", "np"])
def test_a_column_may_have_the_name_of_a_function(frame, name):
    renamed = frame.rename(columns={"x": name})
    learned, values = learn_matrix(f"0 + {name} + log({name})", renamed)
    assert learned.names == (name, f"log({name})")
    assert_allclose(values[:, 1], np.log(frame["x"]))


def test_a_column_may_have_the_name_of_the_intercept(frame):
    learned, values = learn_matrix("Intercept", frame.rename(columns={"x": "Intercept"}))
    assert learned.names == ("(Intercept)", "Intercept")
    assert_array_equal(values[:, 1], frame["x"])


def test_the_dot_is_every_column(frame):
    learned, values = learn_matrix(". - z", frame[["x", "z", "my col"]])
    assert learned.names == ("(Intercept)", "x", "my col")
    assert_array_equal(learned.matrix(frame), values)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "Int16", "float32", "Float64"])
def test_small_numbers_do_not_overflow(frame, dtype):
    typed = pd.DataFrame({"x": pd.array([100, 90, 3], dtype=dtype), "z": [1, 2, 3]})
    _, values = learn_matrix("0 + I(x ** 11) + x:z", typed)
    assert_allclose(values[:, 0], np.array([100.0, 90.0, 3.0]) ** 11)
    assert_array_equal(values[:, 1], [100, 180, 9])


STATEFUL = ["poly(x, 2)", "scale(x)", "center(x)", "bs(x, df=4)", "cs(x, df=3)", "standardize(x)"]


@pytest.mark.parametrize("expression", STATEFUL)
def test_stateful_transforms_are_replayed_as_they_were_learned(frame, expression):
    learned, values = learn_matrix(expression, frame)
    assert learned.is_stateful
    assert_allclose(learned.matrix(frame.iloc[[3, 1]]), values[[3, 1]], rtol=1e-14)


@pytest.mark.parametrize(
    "expression", ["x", "g", "C(i)", "poly(x, 2, raw=TRUE)", "log(x):g", "0 + I(x^2)", "0", "1"]
)
def test_other_expressions_hold_for_a_part_of_the_rows(frame, expression):
    assert not learn_matrix(expression, frame)[0].is_stateful


def test_poly_is_the_orthonormal_basis_of_r(frame):
    _, values = learn_matrix("0 + poly(x, 2)", frame.iloc[:5])
    linear = np.array([-2, -1, 0, 1, 2]) / np.sqrt(10)
    quadratic = np.array([2, -1, -2, -1, 2]) / np.sqrt(14)
    assert_allclose(values, np.column_stack([linear, quadratic]), atol=1e-15)


def test_new_rows_are_evaluated_in_the_learned_basis(frame):
    learned, _ = learn_matrix("0 + poly(x, 2)", frame.iloc[:5])
    at_six = learned.matrix(frame.iloc[[5]])
    assert_allclose(at_six, [[3 / np.sqrt(10), 7 / np.sqrt(14)]], rtol=1e-14)


def test_new_data_need_only_the_variables_in_any_order(frame):
    learned, values = learn_matrix("x * g + log(z)", frame)
    reordered = frame[["z", "g", "x"]].iloc[::-1]
    assert_array_equal(learned.matrix(reordered), values[::-1])


def test_a_level_absent_from_new_data_keeps_its_column(frame):
    learned, values = learn_matrix("g + C(i) + cat", frame)
    assert_array_equal(learned.matrix(frame.iloc[[1]]), values[[1]])


def test_new_data_may_have_other_categories_as_long_as_none_occurs(frame):
    learned, values = learn_matrix("cat", frame)
    recoded = frame["cat"].astype("str").astype(pd.CategoricalDtype(["q", "u", "v"]))
    assert_array_equal(learned.matrix(frame.assign(cat=recoded)), values)


@pytest.mark.parametrize(
    ("expression", "column", "value", "message"),
    [
        ("g", "g", "z", "the column 'g' has values not seen in fitting: 'z'; seen: 'a', 'b', 'c'"),
        ("x:g", "g", "z", "the column 'g' has values"),
        ("cat", "cat", "w", "the column 'cat' has values not seen in fitting: 'w'; seen: 'v', 'u'"),
        ("C(i)", "i", 7, r"'C\(i\)' has values not seen in fitting: 7; seen: 1, 2, 3"),
        ("factor(class)", "class", "t", r"'C\(class\)' has values not seen in fitting: 't'"),
        ("C(x)", "x", 0.5, r"'C\(x\)' has values not seen in fitting: 0.5; seen: 1.0, 2.0"),
        ("hashed(g, levels=4) + class", "class", "t", "the column 'class' has values"),
    ],
)
def test_an_unseen_category_is_an_error(frame, expression, column, value, message):
    learned, _ = learn_matrix(expression, frame)
    values = frame[column].astype("object")
    values.iloc[2] = value
    with pytest.raises(ValueError, match=message):
        learned.matrix(frame.assign(**{column: values}))


def test_a_single_level_has_no_column_but_is_remembered(frame):
    learned, values = learn_matrix("g", frame.assign(g="a"))
    assert learned.names == ("(Intercept)",)
    assert values.shape == (6, 1)
    with pytest.raises(ValueError, match="'g' has values not seen in fitting: 'b', 'c'; seen: 'a'"):
        learned.matrix(frame)


def test_levels_given_in_the_expression_must_hold_all_values(frame):
    learned, _ = learn_matrix("C(g, levels=['c', 'b', 'a', 'z'])", frame)
    assert learned.names[-1] == "C(g, levels=['c', 'b', 'a', 'z'])[T.z]"
    with pytest.raises(ValueError, match="outside of the levels"):
        learn_matrix("C(g, levels=['a', 'b'])", frame)


def test_many_values_are_not_all_listed(frame):
    many = pd.DataFrame({"g": [f"level {i:02d}" for i in range(40)]})
    learned, _ = learn_matrix("g", many)
    with pytest.raises(ValueError, match="'level 09' and 30 more"):
        learned.matrix(frame)


@pytest.mark.parametrize(
    ("column", "missing"), [("x", np.nan), ("g", None), ("cat", np.nan), ("i", pd.NA)]
)
def test_missing_values_are_an_error_with_their_rows(frame, column, missing):
    values = frame[column].astype("category" if column == "cat" else "object")
    values.iloc[[1, 4]] = missing
    holed = frame.assign(**{column: values})
    message = rf"the column '{column}' has missing values in rows 1, 4 \(counted from 0\); drop"
    learned, _ = learn_matrix(f"1 + {column}", frame)
    with pytest.raises(ValueError, match=message):
        learned.matrix(holed)
    with pytest.raises(ValueError, match=message):
        learn_matrix(f"1 + {column}", holed)


def test_missing_values_elsewhere_do_not_matter(frame):
    learned, values = learn_matrix("x", frame)
    assert_array_equal(learned.matrix(frame.assign(z=np.nan)), values)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("log(x - 2)", r"'log\(x - 2\)' is not finite in rows 0, 1 \(counted from 0\)"),
        ("x:log(total.fruits)", r"'x:log\(total.fruits\)' is not finite in row 0 "),
    ],
)
def test_values_that_are_not_finite_are_an_error(frame, expression, message):
    with pytest.raises(ValueError, match=message):
        learn_matrix(expression, frame)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("nope + x", "'nope \\+ x' refers to 'nope', which is neither a column nor a known"),
        ("log(nope)", "refers to 'nope'.*the columns are 'x', 'z', 'total.fruits'"),
        ("x | g", "cannot evaluate 'x | g': a sum of terms is expected"),
        ("x y", "cannot evaluate 'x y'"),
        ("2", "cannot evaluate '2'"),
        ("np.mean(x)", r"refers to 'np.mean', .*; center\(x\) is x less its mean"),
        ("lag(x)", "'lag', which is neither .*make the column beforehand"),
        ("log(class, g)", r"cannot evaluate 'log\(class, g\)'"),
        ("np.unique(i)", "refers to 'np.unique'.*; the functions are I, abs"),
        (
            "as.numric(x)",
            r"refers to 'as.numric', .*; did you mean as.numeric\(\)\? the functions are",
        ),
        ("log(is.na(x) + 1)", "refers to 'is.na', .*; make the column beforehand"),
        ("as.hexmode(x)", "refers to 'as.hexmode', .*the functions are I, abs"),
    ],
)
def test_expressions_that_cannot_be_evaluated(frame, expression, message):
    with pytest.raises(ValueError, match=message):
        learn_matrix(expression, frame)


def test_a_missing_column_is_named(frame):
    learned, _ = learn_matrix("x + total.fruits", frame)
    with pytest.raises(ValueError, match=r"'total\.fruits' is missing; the columns are"):
        learned.matrix(frame[["x", "z"]])


def test_a_repeated_column_is_an_error(frame):
    with pytest.raises(ValueError, match="the name 'x' belongs to 2 columns"):
        learn_matrix("x", pd.concat([frame, frame[["x"]]], axis=1))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("x", "a", "the column 'x' was numeric in fitting and is categorical now"),
        ("flag", "a", "the column 'flag' was numeric in fitting"),
        ("g", 1.0, "the column 'g' was categorical in fitting and is numeric now, of type float64"),
    ],
)
def test_a_column_may_not_change_its_kind(frame, column, value, message):
    learned, values = learn_matrix(column, frame)
    with pytest.raises(ValueError, match=message):
        learned.matrix(frame.assign(**{column: value}))
    assert_array_equal(learned.matrix(frame), values)


def test_the_kind_of_labels_does_not_matter(frame):
    learned, values = learn_matrix("C(i)", frame)
    assert_array_equal(learned.matrix(frame.astype({"i": float})), values)
    assert_array_equal(learned.matrix(frame.astype({"i": "category"})), values)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
@pytest.mark.parametrize("expression", [*STATEFUL, "x * g + C(i)", "log1p(total.fruits)", "0"])
def test_copies_work_and_hold_no_rows(frame, duplicate, expression):
    learned, values = learn_matrix(expression, frame)
    again = duplicate(learned)
    assert again.names == learned.names
    assert_allclose(again.matrix(frame), values, rtol=1e-14)
    many = pd.concat([frame] * 200)
    size = len(pickle.dumps(learn_matrix(expression, many)[0]))
    assert size < 1.1 * len(pickle.dumps(learned)) + 100


def test_the_table_is_not_changed(frame):
    before = frame.copy(deep=True)
    learned, _ = learn_matrix("x * g + cat + C(i) + scale(total.fruits)", frame)
    learned.matrix(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_replaying_does_not_change_what_was_learned(frame):
    learned, values = learn_matrix("g + poly(x, 2) + C(i)", frame)
    learned.matrix(frame.iloc[[0]])
    with pytest.raises(ValueError, match="not seen"):
        learned.matrix(frame.assign(g="z"))
    assert_allclose(learned.matrix(frame), values, rtol=1e-14)


@pytest.mark.parametrize(
    ("expression", "function"),
    [
        ("x", lambda t: t["x"]),
        ("i", lambda t: t["i"]),
        ("my col", lambda t: t["my col"]),
        ("`my col`", lambda t: t["my col"]),
        ("log1p(total.fruits)", lambda t: np.log1p(t["total.fruits"])),
        ("2 * x^2", lambda t: 2 * t["x"] ** 2),
        ("x + z", lambda t: t["x"] + t["z"]),
        ("-x", lambda t: -t["x"]),
        ("x > 3", lambda t: t["x"] > 3),
        ("I(x^2) / z", lambda t: t["x"] ** 2 / t["z"]),
    ],
)
def test_evaluate_is_arithmetic(frame, expression, function):
    values = evaluate_expression(expression, frame)
    assert values.shape == (6,)
    assert values.dtype == np.float64
    assert_allclose(values, function(frame).to_numpy(dtype=float), rtol=1e-14)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("g", "'g' is categorical; a numeric expression is needed"),
        ("factor(i)", "is categorical"),
        ("poly(x, 2)", r"'poly\(x, 2\)' has 2 columns; one is needed"),
        ("2", "'2' uses no column of the data"),
        ("log(nope)", r"'log\(nope\)' uses no column of the data; the columns are 'x'"),
        ("x + nope", "'x \\+ nope' refers to 'nope'"),
        ("np.mean(x)", "refers to 'np.mean'"),
        ("x - x.mean()", r"no attributes, such as '.mean'; center\(x\) is x less its mean"),
        ("log(x - 1)", "is not finite in row 0"),
        ("x) + (z", "closes nothing"),
    ],
)
def test_evaluate_needs_one_number_for_every_row(frame, expression, message):
    with pytest.raises(ValueError, match=message):
        evaluate_expression(expression, frame)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("z + x:g + log(x)", ("z", "x", "g")),
        ("log1p(total.fruits)", ("total.fruits",)),
        ("poly(x, degree=2)", ("x",)),
        ("factor(class)", ("class",)),
        ("1 + `my col`", ("my col",)),
        ("unknown", ()),
        ("0", ()),
        (". - x", ("x", "z", "total.fruits", "my col", "g", "class", "cat", "i", "flag")),
    ],
)
def test_variables(frame, expression, expected):
    assert variables(expression, frame.columns) == expected


def test_variables_need_no_formulaic(frame, monkeypatch):
    monkeypatch.setitem(sys.modules, "formulaic", None)
    assert variables("x + g", frame.columns) == ("x", "g")


def test_without_formulaic_the_error_says_what_to_install(frame, monkeypatch):
    monkeypatch.setitem(sys.modules, "formulaic", None)
    with pytest.raises(ImportError, match=r"pip install 'scikit-mixed\[formula\]'"):
        learn_matrix("poly(x, 2)", frame)
