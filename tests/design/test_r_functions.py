"""Formulas as R writes them, against lmer of lme4 1.1-31 in R 4.2.2 on sleepstudy."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose

from skmixed import MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy
from skmixed.inference import anova, marginal_means

ROW = np.arange(180)
# In R: f <- factor(c("a", "b", "c")[i %% 3 + 1]), and so on, with i <- 0:179; o, o4 and o5 are
# ordered.
DATA = load_sleepstudy().assign(
    f=np.array(list("abc"))[ROW % 3],
    g=np.array(list("pq"))[ROW % 2],
    z=np.sin(ROW),
    o=pd.Categorical(np.array(["lo", "mid", "hi"])[ROW % 3], ["lo", "mid", "hi"], ordered=True),
    o4=pd.Categorical(ROW % 4, ordered=True),
    o5=pd.Categorical(ROW % 5, ordered=True),
)

# REMLcrit and fixef of lmer(Reaction ~ <term> + (1 | Subject)), without the intercept.
OF_R = {
    "interaction(f, g)": (
        1867.975611,
        [-2.186066672, 4.741184330, 14.685650996, 13.916716667, 13.635033328],
    ),
    "cut(Days, 3)": (1795.35034, [35.74000972, 68.03506898]),
    "cut(Days, c(-1, 2, 5, 9))": (1797.312426, [31.21680926, 67.43257130]),
    "cut(z, 4)": (1884.955867, [1.038770540, -4.427028234, -6.262628980]),
    "cut(Days, 3, labels = c('l', 'm', 'h'))": (1795.35034, [35.74000972, 68.03506898]),
    "cut(Days, c(0, 3, 9), include.lowest = TRUE)": (1825.172019, [51.88753935]),
    "cut(Days, c(0, 3, 10), right = FALSE)": (1836.210037, [51.91153042]),
    "cut(z, 2, labels = FALSE)": (1897.888243, [-5.969225117]),
    "cut(z, 3, dig.lab = 5)": (1891.0597, [-8.704516973, -7.486689929]),
    "cut(Days, 3, ordered_result = TRUE)": (1796.448952, [48.108058635, -1.406395137]),
    "cut(Days, c(-Inf, 4, Inf))": (1813.826638, [53.75542556]),
    "ifelse(Days > 4, 'late', 'early')": (1813.826638, [53.75542556]),
    "ifelse(Days > 4, Days, 0)": (1799.911754, [7.92329608]),
    "pmax(Days, 3, z)": (1793.090148, [13.57809317]),
    "pmin(Days, 4)": (1831.448734, [17.56343083]),
    "relevel(f, ref = 'b')": (1892.386013, [1.421601257, 3.303657324]),
    "relevel(f, 'c') * Days": (
        1768.576195,
        [-9.1945373685, -1.7928061638, 10.0483898696, 1.5825585101, -0.3258702402],
    ),
    "relevel(interaction(f, g), ref = 'b.q')": (
        1867.975611,
        [-13.9167166667, -16.1027833388, -9.1755323369, 0.7689343297, -0.2816833388],
    ),
    "as.numeric(factor(f))": (1899.630615, [0.9425028784]),
    "as.numeric(Days > 4)": (1813.826638, [53.75542556]),
    "as.integer(Days / 2)": (1792.693082, [20.76206306]),
    "(Days > 4)": (1813.826638, [53.75542556]),
    "(Days > 4) * f": (
        1787.912802,
        [55.3763649084, 3.4864915750, -0.4509774304, -9.6538372471, 4.7910191887],
    ),
    "((Days > 2) & (z > 0)) + f": (
        1876.764055,
        [21.7223313537, -0.9666013301, 1.5752688577],
    ),
    "Days %/% 2": (1792.693082, [20.76206306]),
    "Days %% 3": (1899.674037, [0.919486715]),
    "z + Days %/% 2 * f": (
        1766.560237,
        [-3.368165988, 23.063725163, 6.860799823, 7.847512281, -4.003523646, -2.899498559],
    ),
    "dummy(f, 'b')": (1898.473362, [-2.361750451]),
    "dummy(f)": (1892.386013, [-1.421601257, 1.882056066]),
    "scale(Days)": (1784.349301, [30.14885342]),
    "o": (1893.484625, [1.330814607, 1.929078738]),
    "o4": (1882.809922, [1.1925356852, -0.2503966667, 14.1924459967]),
    "o5": (1862.366024, [30.295927938, 5.989500378, -1.828528203, -4.532086101]),
    "o * Days": (
        1770.77342,
        [6.5015197232, -2.2898340593, 10.4672859596, -1.1190378541, 0.9121487433],
    ),
    "o * poly(Days, 1)": (
        1748.86391,
        [1.465849380, 1.814835285, 403.364167855, -43.122904503, 35.150288261],
    ),
    "o:Days": (1782.259632, [10.75869667, 10.01310532, 10.63005589]),
    "ordered(f)": (1893.484625, [1.330814607, 1.929078738]),
}


@pytest.mark.parametrize("term", OF_R)
def test_a_term_means_what_it_means_in_r(term):
    criterion, coefficients = OF_R[term]
    model = lmer(f"Reaction ~ {term} + (1 | Subject)", DATA)
    assert model.criterion_ == pytest.approx(criterion, abs=2e-6)
    assert_allclose(model.coef_, coefficients, rtol=1e-5, atol=1e-7)
    # What was learned is kept: rows by themselves are predicted as among the others.
    few = [44, 5, 17]
    assert_allclose(model.predict(DATA.iloc[few]), model.predict(DATA)[few], rtol=1e-12)
    again = MixedLinearRegressor.from_dict(model.to_dict())
    assert_allclose(again.predict(DATA.iloc[few]), model.predict(DATA)[few], rtol=1e-12)


NAMES = {
    "cut(Days, 3)": ["cut(Days, 3)[T.(3,6]]", "cut(Days, 3)[T.(6,9.01]]"],
    "cut(z, 4)": [f"cut(z, 4)[T.{e}]" for e in ("(-0.5,-3.92e-05]", "(-3.92e-05,0.5]", "(0.5,1]")],
    "interaction(g, f)": [
        f"interaction(g, f)[T.{level}]" for level in ("q.a", "p.b", "q.b", "p.c", "q.c")
    ],
    "as.numeric(Days)": ["as.numeric(Days)"],
    "o5": ["o5[.L]", "o5[.Q]", "o5[.C]", "o5[^4]"],
    "0 + o": ["o[lo]", "o[mid]", "o[hi]"],
    "(Days > 4)": ["I(Days > 4)[T.True]"],
    "dummy(f, c('c', 'a'))": ["dummy(f, c('c', 'a'))[c]", "dummy(f, c('c', 'a'))[a]"],
    "C(o)": ["C(o)[T.mid]", "C(o)[T.hi]"],
    "C(o) * poly(Days, 1)": ["C(o)[T.mid]", "C(o)[T.hi]"],
}


@pytest.mark.parametrize("term", NAMES)
def test_columns_are_called_after_r(term):
    names = lmer(f"Reaction ~ {term}", DATA).design_.fixed_names
    assert [name for name in names if name != "(Intercept)"][: len(NAMES[term])] == NAMES[term]


def test_one_bar_needs_no_brackets():
    # lmer(Reaction ~ 1 | Subject), lmer(Reaction ~ Days | Subject)
    assert lmer("Reaction ~ 1 | Subject", DATA).criterion_ == pytest.approx(1904.326517, abs=1e-6)
    model = lmer("Reaction ~ Days | Subject", DATA)
    assert model.criterion_ == pytest.approx(1769.844904, abs=1e-6)
    assert len(model.coef_) == 0
    X, y = DATA[["Days", "Subject"]], DATA["Reaction"]
    bare = MixedLinearRegressor("1 | Subject").fit(X, y)
    assert bare.criterion_ == MixedLinearRegressor("(1 | Subject)").fit(X, y).criterion_
    for formula in ("Reaction ~ Days + 1 | Subject", "Reaction ~ 1 | Subject + (1 | g)"):
        with pytest.raises(ValueError, match=r"needs parentheses|one bar to a pair"):
            lmer(formula, DATA)


def test_random_terms_take_them_too():
    # lmer(Reaction ~ Days + (0 + dummy(f, "b") | Subject) + (1 | Subject)) and the next
    model = lmer("Reaction ~ Days + (0 + dummy(f, 'b') | Subject) + (1 | Subject)", DATA)
    assert model.criterion_ == pytest.approx(1786.465085, abs=1e-6)
    assert lmer("Reaction ~ o + (o | Subject)", DATA).criterion_ == pytest.approx(
        1892.542818, abs=1e-5
    )
    nested = lmer("Reaction ~ Days + (1 | interaction(f, Subject))", DATA)
    assert nested.criterion_ == pytest.approx(1846.187373, abs=1e-6)  # (1 | f:Subject)


def test_levels_and_breaks_are_kept_for_new_rows():
    model = lmer("Reaction ~ cut(Days, 3) + relevel(f, 'b') + o + (1 | Subject)", DATA)
    beyond = DATA.head(1).assign(Days=20)
    with pytest.raises(ValueError, match=r"cut\(\) has intervals from -0.009 to 9.009"):
        model.predict(beyond)
    with pytest.raises(ValueError, match=r"values not seen in fitting: 'q'"):
        model.predict(DATA.head(1).assign(f="q"))
    # Text serves as well as the ordered type that was learned.
    assert_allclose(model.predict(DATA.assign(o=DATA["o"].astype(str))), model.predict(DATA))
    codes = lmer("Reaction ~ as.numeric(o) + (1 | Subject)", DATA)
    only = DATA[DATA["o"] == "hi"].head(2)
    assert_allclose(
        codes.predict(only.assign(o=only["o"].cat.remove_unused_categories())),
        codes.predict(DATA)[only.index],
    )


def test_an_order_of_polars_is_one():
    kind = pl.Enum(["lo", "mid", "hi"])
    table = pl.from_pandas(DATA[["Reaction", "Days", "Subject"]]).with_columns(
        pl.Series("o", DATA["o"].astype(str).tolist(), dtype=kind)
    )
    model = lmer("Reaction ~ o + (1 | Subject)", table)
    assert_allclose(model.coef_, OF_R["o"][1], rtol=1e-6)
    assert model.design_.fixed_names == ("(Intercept)", "o[.L]", "o[.Q]")


def test_tests_and_means_know_polynomial_contrasts():
    ordered = lmer("Reaction ~ o * Days + (1 | Subject)", DATA)
    plain = lmer("Reaction ~ C(o) * Days + (1 | Subject)", DATA)
    assert_allclose(
        anova(ordered).to_frame().to_numpy(), anova(plain).to_frame().to_numpy(), rtol=1e-6
    )
    assert_allclose(
        marginal_means(ordered, "o").to_frame()["estimate"],
        marginal_means(plain, "o").to_frame()["estimate"],
        rtol=1e-8,
    )


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("cutt(Days)", r"did you mean cut\(\)\? the functions are I, abs"),
        ("as.numric(Days)", r"did you mean as.numeric\(\)\?"),
        ("cut(Days, c(0, 3, 9))", r"rows 0, 10, .* lie outside, such as 0: give breaks"),
        ("cut(Days, 1)", "a number of intervals, 2 or more"),
        ("cut(Days, c(1, 1))", "breaks that differ"),
        ("cut(Days, 3, labels = c('a', 'b'))", "as many labels"),
        ("cut(Days, 100000)", "columns are asked for"),
        ("relevel(f, ref = 'q')", r"relevel\(\) names the level 'q'; there are 'a', 'b', 'c'"),
        ("dummy(f, 'q')", r"dummy\(\) names the level 'q'"),
        ("as.numeric(f)", r"text that is no number in rows 0, 1, .*'a'"),
        ("offset(as.numeric(Days))", "learns from all rows"),
        ("interaction(f)", "takes 2 to 10 arguments"),
        ("Days > 4", "no meaning between terms"),
    ],
)
def test_what_cannot_be_read_says_what_to_write(term, message):
    with pytest.raises(ValueError, match=message):
        lmer(f"Reaction ~ {term} + (1 | Subject)", DATA)


def test_further_rows_are_taken_or_refused_in_words():
    X, y = DATA.drop(columns="Reaction"), DATA["Reaction"]
    order = np.argsort(ROW % 10, kind="stable")  # every half has all levels
    first, second = order[:90], order[90:]
    for fixed in ("o + Days", "relevel(f, 'b')", "interaction(f, g)", "(Days > 4)", "dummy(f)"):
        whole = MixedLinearRegressor("(1 | Subject)", fixed=fixed).fit(X, y)
        parts = MixedLinearRegressor("(1 | Subject)", fixed=fixed)
        parts.partial_fit(X.iloc[first], y.iloc[first])
        parts.partial_fit(X.iloc[second], y.iloc[second])
        assert parts.criterion_ == pytest.approx(whole.criterion_, rel=1e-9)
    parts = MixedLinearRegressor("(1 | Subject)", fixed="cut(Days, 3)")
    parts.partial_fit(X.iloc[first], y.iloc[first])
    with pytest.raises(ValueError, match=r"learns from all rows|lie outside"):
        parts.partial_fit(X.iloc[second], y.iloc[second])
