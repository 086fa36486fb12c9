"""A formula means what R makes of it, or is an error."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skmixed import MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy
from skmixed.design.formula import FormulaMatrix, learn_matrix
from skmixed.design.grammar.syntax import parse_random
from skmixed.exceptions import ExtrapolationWarning, FormulaSyntaxError, UnidentifiedWarning

SLEEP = load_sleepstudy().assign(
    late=lambda table: np.where(table.Days > 4, "y", "n"),
    kind=np.array(list("uvw"))[np.arange(180) % 3],
    z=np.random.default_rng(3).normal(size=180),
)
NUMBERS = pd.DataFrame(
    {
        **{
            name: np.random.default_rng(place).gamma(2.0, size=20)
            for place, name in enumerate("abcd")
        },
        "k": np.arange(20) % 4,
        "flag": np.arange(20) % 3 == 0,
    }
)


def terms(expression):
    return set(learn_matrix(expression, NUMBERS)[0].term_names)


# By the rules that R's help(formula) states, with (Intercept) where there is one.
READ = {
    "a %in% b": "(Intercept) b:a",
    "a + b %in% a": "(Intercept) a a:b",
    "(a + b) %in% c": "(Intercept) c:a c:b",
    "a %in% (b + c)": "(Intercept) b:c:a",
    "a * b %in% c": "(Intercept) a c:b a:c:b",
    "a / b %in% c": "(Intercept) a a:c:b",
    "a %in% b %in% c": "(Intercept) c:b:a",
    "a:b %in% c": "(Intercept) c:a:b",
    "a / b / c": "(Intercept) a a:b a:b:c",
    "(a + b) / c": "(Intercept) a b a:b:c",
    "a / (b + c)": "(Intercept) a a:b a:c",
    "a * b / c": "(Intercept) a b a:b a:b:c",
    "a^2": "(Intercept) a",
    "(a + b)^3 - a:b": "(Intercept) a b",
    "a * b - a": "(Intercept) b a:b",
    "a + b + a": "(Intercept) a b",
    "a:b + b:a": "(Intercept) a:b",
    "- 1 + a + 1": "(Intercept) a",
    "a + 0 - 0": "(Intercept) a",
    "(a + b) * (c + d) - a:d": "(Intercept) a b c d a:c b:c b:d",
    "-b + a": "(Intercept) a",
    "a - (b + a) + c": "(Intercept) c",
    "((a))": "(Intercept) a",
}


@pytest.mark.parametrize("expression", READ)
def test_operators_are_those_of_r(expression):
    assert terms(expression) == set(READ[expression].split())


ARITHMETIC = {
    "I(-a^2)": lambda t: -(t.a**2),
    "I(a^2 %% 2)": lambda t: t.a**2 % 2,
    "I(a + b %/% 2 * 3)": lambda t: t.a + t.b // 2 * 3,
    "I(a * (b %% 2))": lambda t: t.a * (t.b % 2),
    "I(2^-1 * a)": lambda t: t.a / 2,
    "I(2^2^a)": lambda t: 2 ** (2**t.a),
    "I((a > 1) & (b > 1) | (c > 4))": lambda t: (t.a > 1) & (t.b > 1) | (t.c > 4),
    "ifelse(a > 2, b, 0)": lambda t: np.where(t.a > 2, t.b, 0),
    "pmax(a - 2, 0)": lambda t: np.maximum(t.a - 2, 0),
    "sin(2 * pi * a)": lambda t: np.sin(2 * np.pi * t.a),
    "ceiling(a) ": lambda t: np.ceil(t.a),
}


@pytest.mark.parametrize("expression", ARITHMETIC)
def test_calculations_are_those_of_r(expression):
    values = learn_matrix(expression, NUMBERS)[1]
    assert_allclose(values[:, -1], np.asarray(ARITHMETIC[expression](NUMBERS), dtype=float))


def test_vectors_of_r_are_lists():
    first, second = (
        learn_matrix(f"bs(a, knots={knots}, lower_bound=0, upper_bound=20)", NUMBERS)[1]
        for knots in ("c(1, 2)", "[1, 2]")
    )
    assert_allclose(first, second)
    ours = learn_matrix("factor(k, levels = c(3, 2, 1, 0))", NUMBERS)[1]
    assert_allclose(ours[:, 1], NUMBERS.k == 2)


# Of R's splines: predict(ns(x, df = 4), new) and so on, to eight digits; cr() of mgcv 1.8-41
# by PredictMat(smoothCon(s(x, bs = "cr", k = 4), data, knots = list(x = c(0.1, 1, 3, 5)))).
SPLINED = pd.DataFrame({"x": [0.1, 0.4, 0.7, 1.1, 1.9, 2.3, 3.0, 3.3, 4.2, 5.0]})
BEYOND = pd.DataFrame({"x": [-1, 0.1, 2, 5, 6.5]})
SPLINES_OF_R = {
    "ns(x, df=4)": [
        [0, 0.3632818, -0.95681263, 0.59353083],
        [0, 0, 0, 0],
        [0.65421076, 0.05425813, 0.20082887, -0.12457834],
        [0, -0.15404182, 0.40571578, 0.74832604],
        [0, -1.17412935, 0.55721393, 1.61691542],
    ],
    "ns(x, knots=c(1, 3), lower_bound=0, upper_bound=6, include_intercept=TRUE)": [
        [-1.07504214, -0.39401057, 1.05069485, -0.65668428],
        [-0.1083754, -0.22206574, 0.59232347, -0.37020217],
        [0.59085219, 0.27162179, 0.16086042, -0.08803777],
        [0.01084206, 0.22563758, 0.34644794, 0.41680337],
        [0, -0.35204082, 0.43877551, 0.91326531],
    ],
    "cr(x, knots=c(1, 3))": [
        [2.42976939, -1.54651468, 0.14009434, -0.02334906],
        [1, 0, 0, 0],
        [-0.23584906, 0.77476415, 0.52830189, -0.06721698],
        [0, 0, 0, 1],
        [-0.1572327, 0.4331761, -1.23113208, 1.95518868],
    ],
    "bs(x, df=5)": [
        [-10.12995363, 1.96262006, -0.09366643, 0, 0],
        [0, 0, 0, 0, 0],
        [0.06258214, 0.55311018, 0.35908189, 0.02522579, 0],
        [0, 0, 0, 0, 1],
        [0, -0.08830455, 1.28098207, -5.55205251, 5.359375],
    ],
}


@pytest.mark.parametrize("spline", SPLINES_OF_R)
def test_splines_go_on_as_those_of_r(spline):
    learned, columns = learn_matrix(f"0 + {spline}", SPLINED)
    with pytest.warns(ExtrapolationWarning, match=r"outside of .*, the range of"):
        found = learned.matrix(BEYOND)
    assert_allclose(found, SPLINES_OF_R[spline], atol=1e-8)
    again = FormulaMatrix.from_record(learned.record(), {})
    assert_allclose(again.matrix(SPLINED), columns, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("spline", "reason"),
    [
        ("ns(x, df=0)", "df is 1 or more"),
        ("ns(x, df=3, knots=[1])", "df or knots, not both"),
        ("ns(x, knots=[9])", "not between 0.1 and 5"),
        ("ns(x, lower_bound=7)", "no spline lies in it"),
    ],
)
def test_natural_splines_that_are_none_are_refused(spline, reason):
    with pytest.raises(ValueError, match=reason):
        learn_matrix(spline, SPLINED)


def test_splines_do_beyond_their_range_what_is_said():
    inner, outer = NUMBERS[NUMBERS.a < 4], pd.DataFrame({"a": [4.5, 5.0]})
    learned = learn_matrix("bs(a, df=4, extrapolation='raise')", inner)[0]
    with pytest.raises(ValueError, match=r"extrapolation='extend' .*, as R does"):
        learned.matrix(outer)
    learned = learn_matrix("bs(a, df=4, extrapolation='extend')", inner)[0]
    last = inner.a > np.quantile(inner.a, 0.5)  # beyond the knot it is one cubic
    points = np.linspace(inner.a[last].min(), inner.a.max(), 6)
    cubic = np.polyfit(points, learned.matrix(pd.DataFrame({"a": points})), 3)
    expected = np.vander(outer.a, 4) @ cubic
    assert_allclose(learned.matrix(outer), expected, atol=1e-8)


def test_polynomials_are_orthonormal_unless_raw():
    made, raw = (learn_matrix(f"0 + poly(a, {more})", NUMBERS)[1] for more in ("2", "2, raw=TRUE"))
    assert_allclose(made.T @ made, np.eye(2), atol=1e-12)
    assert_allclose(made.sum(axis=0), 0, atol=1e-12)
    assert_allclose(raw, np.column_stack([NUMBERS.a, NUMBERS.a**2]))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("a + (b - 1)", "whole formula|within brackets"),
        ("(a + 1) * b", "within brackets"),
        ("(a + 0)^2", "within brackets"),
        ("a - (b + 1)", "within brackets"),
        ("a + -b", "one sign"),
        ("a - -b", "one sign"),
        ("a^b", "no positive integer"),
        ("a^1.5", "no positive integer"),
        ("(a + b)^12", "larger than 10"),
        ("a in b", "has no meaning between terms"),
        ("a > 2", "put the expression into I"),
        ("I(a * b %% 2)", "before \\* and /"),
        ("I(a / b %/% 2)", "before \\* and /"),
        ("I(1 + a * b^2 %% 2)", "before \\* and /"),
        ("I(a > 1 & b > 1)", "one comparison at a time"),
        ("I(flag & a > 1)", "parentheses"),
        ("I(flag == flag & flag)", "parentheses"),
        ("I(a<-1)", "assignment"),
        ("I(!flag)", "FALSE"),
        ("I(1 < a < 3)", "one comparison at a time"),
        ("I(a %in% c(1, 2))", "cannot evaluate"),
        ("I(a && b)", "cannot evaluate"),
        ("log(a, 2)", r"log\(\) takes 1 argument"),
        ("poly(a, b, 2)", "takes 1 to 2 arguments"),
        ("poly(a, b)", "where a number or a text is expected"),
        ("bs(a, 4, c(1, 2))", "takes 1 to 2 arguments"),
        ("bs(a, df=4, intercept=TRUE)", "'intercept'; those by name are: degree, df"),
        ("factor(k, c(3, 2, 1, 0))", "one further argument"),
        ("factor(k, labels=c('a', 'b'))", "one further argument"),
        ("cut(a, b)", "where a number or a text is expected"),
        ("cut(a, 1)", "a number of intervals, 2 or more"),
        ("relevel(k, ref='none')", "relevel\\(\\) names the level 'none'"),
        ("T", "refers to 'T'"),
        ("log(.)", "cannot evaluate"),
        ("cbind(a, b)", "refers to 'cbind'"),
        ("2", "numbers and text"),
        ("0 * a", "numbers and text"),
        ("'a'", "numbers and text"),
    ],
)
def test_what_r_reads_otherwise_is_refused(expression, message):
    with pytest.raises(ValueError, match=message):
        learn_matrix(expression, NUMBERS)


def test_within_is_the_interaction():
    """lme4 1.1-35: REML criterion 1782.569, coefficients 254.487, 8.464 and 10.159."""
    model = lmer("Reaction ~ Days %in% late + (1 | Subject)", SLEEP)
    assert model.criterion_ == pytest.approx(1782.569, abs=1e-3)
    assert_allclose([model.intercept_, *model.coef_], [254.487, 8.464, 10.159], atol=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        "(1 | g) + (1 | g)", "(1 | a:b) + (1 | b:a)", "(1 | a/b) + (1 | a)",
        "(x | g) + (x + 1 | g)",
        "(x || g) + (0 + x | g)", "(x + z | g) + (z + x | g)", "((1 | g) + (1 | g))",
        "(`x` | g) + (x | g)", "+".join(["(1 | g)"] * 500), "(1 | factor(g)) + (1 | g)",
    ],
)  # fmt: skip
def test_a_random_term_is_there_once(text):
    with pytest.raises(FormulaSyntaxError, match="is there twice"):
        parse_random(text)


@pytest.mark.parametrize(
    "mapping",
    [{"g": ["1"], ("g",): ["1"]}, {"a/b": "x", "a": ["1", "x"]}, {"a:b": "1", "b:a": "1"}],
)
def test_a_mapping_says_a_term_once(mapping):
    with pytest.raises(ValueError, match="is there twice"):
        parse_random(mapping)


@pytest.mark.parametrize(
    "random",
    [
        "(kind || Subject)", "(1 | Subject) + (0 + kind | Subject)",
        "(1 | Subject) + (Days | Subject)",
        "(0 + Days | Subject) + (0 + I(2 * Days) | Subject)", "(kind + Days || Subject)",
        "(0 + Days | Subject) + (0 + Days:kind | Subject)",
    ],
)  # fmt: skip
def test_terms_that_share_a_column_are_told(random):
    with pytest.warns(UnidentifiedWarning, match="'Subject' share a column, or one that is"):
        MixedLinearRegressor(random, fixed="Days", solver="newton").fit(SLEEP, SLEEP.Reaction)


@pytest.mark.parametrize(
    ("random", "covariance"),
    [
        ("(Days || Subject)", "unstructured"), ("(I(Days + 1e4) || Subject)", "unstructured"),
        ("(1 | Subject) + (0 + kind | Subject)", "identity"),
        ("(Days + z || Subject)", "unstructured"),
        ("(1 | Subject) + (0 + late:Days | Subject)", "unstructured"),
    ],
)  # fmt: skip
def test_terms_of_their_own_are_not_told(random, covariance):
    model = MixedLinearRegressor(random, fixed="Days", covariance=covariance)
    assert model.fit(SLEEP, SLEEP.Reaction).converged_


def test_a_factor_beside_a_double_bar_is_that_of_lme4():
    with pytest.warns(UnidentifiedWarning, match="two random-effects terms of 'Subject' share"):
        double = lmer("Reaction ~ Days + (late || Subject)", SLEEP)
    with pytest.warns(UnidentifiedWarning, match="two random-effects terms of 'Subject' share"):
        written = lmer("Reaction ~ Days + (1 | Subject) + (0 + late | Subject)", SLEEP)
    whole = lmer("Reaction ~ Days + (late | Subject)", SLEEP)
    assert double.criterion_ == pytest.approx(written.criterion_)
    assert double.criterion_ == pytest.approx(whole.criterion_, abs=1e-4)


def test_an_offset_learns_nothing():
    with pytest.raises(ValueError, match=r"offset 'center\(z\)' has a function that learns"):
        lmer("Reaction ~ Days + offset(center(z)) + (1 | Subject)", SLEEP)
    assert lmer("scale(Reaction) ~ Days + offset(2 * z) + (1 | Subject)", SLEEP).converged_


def test_products_beside_a_double_bar_are_counted():
    factors = "*".join(f"x{number}" for number in range(25))
    with pytest.raises(FormulaSyntaxError, match="more than 2,000 terms"):
        parse_random(f"({factors} || g)")
