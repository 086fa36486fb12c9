"""F tests of terms, linear hypotheses and marginal means.

The figures of unbalanced designs are those of lmerTest 3.1.3 and pbkrtest 0.5.2, for the table in
unbalanced.py.
"""

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy
from skmixed.inference import anova, coefficient_table, linear_hypothesis, marginal_means
from tests.inference.unbalanced import unbalanced

JOINT_DEGREES = 3e-3  # those of lmerTest vary by so much with the order and coding of a hypothesis
FULL = "Reaction ~ A*B + x + A:x + (1|Subject)"
SUMS = "Reaction ~ C(A, contr.sum)*B + x + C(A, contr.sum):x + (1|Subject)"
TYPES = {
    "I": ([120.164565, 119.179804, 118.016830, 122.050802, 118.421747],
          [1.98427384, 0.0873368616, 144.922322, 3.45536374, 6.49965532]),
    "II": ([118.254044, 119.176330, 118.028228, 122.049268, 118.421746],
           [2.44085843, 0.00291494063, 141.910377, 3.42261154, 6.49965532]),
    "III": ([118.245078, 119.175580, 118.028258, 122.049268, 118.421746],
            [2.56830230, 0.00147083529, 141.900659, 3.42261154, 6.49965532]),
}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return unbalanced()


@pytest.fixture(scope="module")
def full(table):
    return lmer(FULL, table)


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("formula", [FULL, SUMS], ids=["treatment", "sum"])
def test_unbalanced_interactions(formula, type, table):
    ours = anova(lmer(formula, table), type).to_frame()
    degrees, statistics = TYPES[type]
    np.testing.assert_allclose(ours["df"], degrees, rtol=1e-5)
    np.testing.assert_allclose(ours["statistic"], statistics, rtol=1e-6)
    assert ours["num_df"].tolist() == [2, 1, 1, 2, 2]


def test_kenward_roger_of_unbalanced_interactions(full):
    ours = anova(full, df="kenward-roger").to_frame()
    degrees = [118.229643, 119.160887, 118.012652, 122.036987, 118.406451]
    statistics = [2.56762720, 0.00146887571, 141.898751, 3.40687521, 6.49669834]
    np.testing.assert_allclose(ours["df"], degrees, rtol=1e-6)
    np.testing.assert_allclose(ours["statistic"], statistics, rtol=1e-6)


def test_terms_without_an_intercept(table):
    model = lmer("Reaction ~ 0 + A + B + (1|Subject)", table)
    for type, df, expected in [
        ("I", "satterthwaite", [[38.1775425, 355.617267], [125.738011, 0.0674930124]]),
        ("II", "satterthwaite", [[48.9561699, 308.280145], [125.738011, 0.0674930124]]),
        ("III", "satterthwaite", [[48.9561699, 308.280145], [125.738011, 0.0674930124]]),
        ("III", "kenward-roger", [[72.7588562, 304.273077], [125.717731, 0.0672907238]]),
    ]:
        ours = anova(model, type, df=df).to_frame()
        degrees, statistics = np.transpose(expected)
        np.testing.assert_allclose(ours["df"], degrees, rtol=JOINT_DEGREES)
        np.testing.assert_allclose(ours["statistic"], statistics, rtol=1e-6)
    slopes = anova(lmer("Reaction ~ A + A:x + (x|Subject)", table)).to_frame()
    expected = [[116.907706, 2.81682828], [37.7559832, 19.0916482]]
    np.testing.assert_allclose(slopes["df"], np.transpose(expected)[0], rtol=JOINT_DEGREES)
    np.testing.assert_allclose(slopes["statistic"], np.transpose(expected)[1], rtol=2e-5)


@pytest.mark.parametrize(("formula", "type", "num_df", "df", "statistic"), [
    ("A*B", "II", [2, 1, 1], [104.531627, 103.927882, 108.068387],
     [2.15468866, 1.59218556, 0.141069721]),
    ("A*B", "III", [2, 1, 1], [104.477515, 103.934261, 108.068387],
     [2.1211157986, 1.5998652477, 0.1410697211]),
    ("x*A*B", "III", [1, 2, 1, 2, 1, 1, 1],
     [94.2038968, 95.0876978, 95.6385819, 94.6979272, 95.3550683, 99.5201946, 97.9475457],
     [84.856423514, 1.574212715, 0.008754897349, 5.650928005, 0.316851078827, 0.74639371282,
      0.275493797066]),
])  # fmt: skip
def test_missing_combinations(formula, type, num_df, df, statistic, table):
    """Figures of lmerTest, whose type III is that of SAS here."""
    seen = table[~((table["A"] == "c") & (table["B"] == "v"))]
    ours = anova(lmer(f"Reaction ~ {formula} + (1|Subject)", seen), type).to_frame()
    assert ours["num_df"].tolist() == num_df
    np.testing.assert_allclose(ours["statistic"], statistic, rtol=1e-5)
    np.testing.assert_allclose(ours["df"], df, rtol=JOINT_DEGREES)


@pytest.mark.parametrize("type", ["II", "III"])
@pytest.mark.parametrize(
    "formula",
    [
        "x*A*B",
        "B*x*A",
        "A*x*C(B, contr.sum)",
        "C(A, contr.helmert)*B*x",
        "C(A, contr.treatment('c'))*x*B",
    ],
)
def test_missing_combinations_in_any_coding_and_order(formula, type, table):
    seen = table[~((table["A"] == "c") & (table["B"] == "v"))]
    first = anova(lmer("Reaction ~ x*A*B + (1|Subject)", seen), type).to_frame()
    ours = anova(lmer(f"Reaction ~ {formula} + (1|Subject)", seen), type).to_frame()

    def plain(term):
        return ":".join(sorted(next(c for c in "xAB" if c in part.replace("C(", ""))
                               for part in term.split(":")))  # fmt: skip

    first.index, ours.index = map(plain, first.index), map(plain, ours.index)
    ours = ours.loc[first.index]
    np.testing.assert_array_equal(ours["num_df"], first["num_df"])
    np.testing.assert_allclose(ours[["df", "statistic"]], first[["df", "statistic"]], rtol=2e-5)


def test_means_of_missing_combinations(table):
    seen = table[~((table["A"] == "c") & (table["B"] == "v"))]
    model = lmer("Reaction ~ A*B + (1|Subject)", seen)
    means = marginal_means(model, ["A", "B"]).to_frame()["estimate"]
    assert np.isnan(means.loc["c", "v"])
    assert means.isna().sum() == 1
    assert marginal_means(model, "A").to_frame()["estimate"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize("type", ["II", "III"])
@pytest.mark.parametrize("levels", ["abc", "cab"])
@pytest.mark.parametrize("formula", ["dose + A + B", "A + B + dose", "B + C(A, contr.sum) + dose"])
def test_a_number_that_a_factor_determines(formula, levels, type, table):
    """The number has nothing of its own; the factor has what is not linear in the number."""
    table = table.assign(
        A=pd.Categorical(table["A"], categories=list(levels)),
        dose=table["A"].map({"a": 1.0, "b": 2.0, "c": 4.0}).astype(float),
    )
    result = anova(lmer(f"Reaction ~ {formula} + (1|Subject)", table), type)
    ours = result.to_frame()
    factor = next(term for term in ours.index if "A" in term)
    quadratic = lmer("Reaction ~ dose + I(dose**2) + B + (1|Subject)", table)
    alone = coefficient_table(quadratic).to_frame().loc["I(dose ** 2)"]
    assert ours.loc[factor, "num_df"] == 1
    assert ours.loc[factor, "statistic"] == pytest.approx(alone["statistic"] ** 2, rel=1e-6)
    assert ours.loc[factor, "df"] == pytest.approx(alone["df"], rel=1e-5)
    assert ours.loc["dose", "num_df"] == 0
    assert ours.loc["dose", ["df", "statistic", "p_value"]].isna().all()
    assert "dose is not tested: it adds nothing to the" in str(result)
    assert anova(quadratic, "I").to_frame().loc["dose", "num_df"] == 1


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_degrees_belong_to_the_hypothesis(df):
    """Not to the rows that state it, the units, or the shift of columns."""
    table = load_sleepstudy()
    model = lmer("Reaction ~ Days + I(Days**2) + (Days || Subject)", table)
    rows = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    first = linear_hypothesis(model, rows, df=df)
    for mixed in (
        [[1, 0], [0, 1], [1, -1]],
        [[1, 0], [1, -1]],
        [[2, 1], [-3, 5]],
        [[1, 1], [1, 2]],
    ):
        ours = linear_hypothesis(model, np.array(mixed) @ rows, df=df)
        assert ours.num_df == 2
        assert ours.df == pytest.approx(first.df, rel=1e-8)
        assert ours.statistic == pytest.approx(first.statistic, rel=1e-9)
    table["hours"] = 24.0 * table["Days"]
    model = lmer("Reaction ~ hours + I(hours**2) + (hours || Subject)", table)
    ours = linear_hypothesis(model, rows * [1.0, 24.0, 24.0**2], df=df)
    assert ours.df == pytest.approx(first.df, rel=1e-4)


def test_columns_are_terms_without_a_formula():
    X, y = load_sleepstudy(return_X_y=True)
    X = X.assign(square=X["Days"] ** 2)
    model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    ours = anova(model, "I").to_frame()
    assert list(ours.index) == ["Days", "square"]
    np.testing.assert_allclose(ours["statistic"], [45.8530059, 1.65575009], rtol=1e-6)


def test_t_and_f_agree(full):
    single = coefficient_table(full).to_frame()
    for name in ["x", "B[T.v]"]:
        joint = linear_hypothesis(full, name)
        assert joint.statistic == pytest.approx(single.loc[name, "statistic"] ** 2)
        assert joint.df == pytest.approx(single.loc[name, "df"])
        assert joint.p_value == pytest.approx(single.loc[name, "p_value"])


def test_linear_hypotheses_are_read_from_text_and_matrices(full):
    names = list(full.coef_covariance_.index)
    text = linear_hypothesis(full, ["2 * x - A[T.b]:x = 3", "B[T.v] = A[T.b] + 1"])
    rows = pd.DataFrame(
        [{"x": 2.0, "A[T.b]:x": -1.0}, {"B[T.v]": 1.0, "A[T.b]": -1.0}], columns=names
    ).fillna(0.0)
    for L in [rows, rows.to_numpy()]:
        matrix = linear_hypothesis(full, L, [3.0, 1.0])
        assert matrix.statistic == pytest.approx(text.statistic)
        assert matrix.num_df == 2
        np.testing.assert_allclose(matrix.to_frame()["rhs"], [3.0, 1.0])
    repeated = linear_hypothesis(full, ["x = 3", "2 * x = 6", "B[T.v]"])
    assert repeated.num_df == 2


def test_the_estimate_satisfies_its_own_hypothesis(full):
    for df in ["satterthwaite", "kenward-roger", "residual", "normal"]:
        test = linear_hypothesis(full, np.eye(len(full.coef_) + 1), full.fit_.beta, df=df)
        assert test.statistic == pytest.approx(0.0, abs=1e-15)
        assert test.p_value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("L", "rhs", "message"),
    [
        ("y = 1", None, "expected a coefficient or a number"),
        ("x = ", None, "a coefficient or a number"),
        ("x * x", None, "not linear"),
        ("x = 1 2", None, "or the end"),
        ("xx = 1", None, "cannot parse"),
        ("1 = 2", None, "contains no coefficient"),
        ("x", 1.0, "write the value into the equation"),
        ([], None, "L is empty"),
        ([[1.0, 2.0]], None, "a column for each of the 9 coefficients"),
        (np.zeros((1, 9)), None, "not all zero"),
        (np.eye(9), [1.0, 2.0], "rhs has shape"),
        (pd.DataFrame({"nothing": [1.0]}), None, "L has columns"),
        (["x = 1", "x = 2"], None, "contradict each other"),
    ],
)
def test_bad_hypotheses_are_explained(full, L, rhs, message):
    with pytest.raises(ValueError, match=message):
        linear_hypothesis(full, L, rhs)


def test_hypotheses_about_dropped_columns_are_refused():
    model = lmer("Reaction ~ Days + I(2 * Days) + (1 | Subject)", load_sleepstudy())
    with pytest.raises(ValueError, match="depend linearly on earlier ones"):
        linear_hypothesis(model, "I(2 * Days)")
    # Their sum is determined: Days + 2 * (2 Days) has this slope.
    sum_of_both = linear_hypothesis(model, "Days + 2 * I(2 * Days)").to_frame()
    alone = coefficient_table(model).to_frame()
    assert sum_of_both["estimate"].iloc[0] == pytest.approx(alone.loc["Days", "estimate"])
    assert alone.loc["I(2 * Days)"].isna().all()


def test_marginal_means_of_an_unbalanced_design(full):
    single = marginal_means(full, "A").to_frame()
    np.testing.assert_allclose(single["estimate"], [302.668242, 307.725579, 295.627275], rtol=1e-7)
    np.testing.assert_allclose(single["std_error"], [9.98486205, 10.0000268, 9.98617579], rtol=1e-6)
    np.testing.assert_allclose(single["df"], [22.5801110, 22.7141071, 22.5927690], rtol=1e-6)
    pair = marginal_means(full, ["B", "A"], at={"A": "b"}).to_frame()
    assert list(pair.index) == [("u", "b"), ("v", "b")]
    np.testing.assert_allclose(pair["estimate"], [316.233910, 299.217248], rtol=1e-7)
    assert "At x = " in str(marginal_means(full, "A"))


def test_marginal_means_by_hand(full):
    ours = marginal_means(full, ["A", "x"], at={"x": [1.0, 2.0], "B": "u"}).to_frame()
    frame = pd.DataFrame({"A": ["a", "a"], "B": ["u", "u"], "x": [1.0, 2.0], "Subject": ["?"] * 2})
    expected = full.predict(frame, random="none")
    np.testing.assert_allclose(ours.loc["a", "estimate"], expected)


@pytest.mark.parametrize(
    ("specs", "at", "message"),
    [
        ("C", None, r"specs and at name \['C'\]"),
        ([], None, "no variables"),
        ("A", {"y": 1.0}, "specs and at name"),
        ("A", {"A": ["z"]}, "has no levels"),
        ("A", {"x": [1.0, 2.0]}, "several values"),
    ],
)
def test_bad_marginal_means_are_explained(full, specs, at, message):
    with pytest.raises(ValueError, match=message):
        marginal_means(full, specs, at=at)


def test_means_within_transforms_are_asked_for(table):
    model = lmer("Reaction ~ A + log(x + 1) + (1 | Subject)", table)
    with pytest.raises(ValueError, match="give a value, at="):
        marginal_means(model, "A")
    ours = marginal_means(model, "A", at={"x": 2.0}).to_frame()
    frame = pd.DataFrame({"A": list("abc"), "x": [2.0] * 3, "Subject": ["?"] * 3})
    np.testing.assert_allclose(ours["estimate"], model.predict(frame, random="none"))


def test_bad_types_are_explained(full):
    with pytest.raises(ValueError, match="type='IV' is not one of"):
        anova(full, "IV")
    with pytest.raises(TypeError, match="a bare fit does not know its terms"):
        anova(full.fit_)


# emmeans: summary(pairs(emmeans(m, "A", lmer.df = "satterthwaite")), adjust = ..., infer = TRUE)
PAIRS = {
    "tukey": ([0.7130655379, 0.5176185991, 0.1497952880],
              [[-20.349681790, 10.23500743], [-8.186731798, 22.26866445],
               [-3.197683892, 27.39429090]]),
    "bonferroni": ([1.0, 0.8241419658, 0.1888288314],
                   [[-20.703130550, 10.58845619], [-8.538696693, 22.62062934],
                    [-3.551223699, 27.74783071]]),
    "holm": ([0.5494279772, 0.5494279772, 0.1888288314],
             [[-20.703130550, 10.58845619], [-8.538696693, 22.62062934],
              [-3.551223699, 27.74783071]]),
}  # fmt: skip


@pytest.mark.parametrize("adjust", PAIRS)
def test_pairs_allow_for_their_number(adjust, full):
    pairs = marginal_means(full, "A").pairs(adjust)
    p_values, limits = PAIRS[adjust]
    np.testing.assert_allclose(pairs.frame["p_value"], p_values, rtol=1e-5)
    np.testing.assert_allclose(pairs.frame[["lower", "upper"]], limits, rtol=1e-5)
    assert adjust.capitalize() in str(pairs)


def test_pairs_of_means_that_are_not_determined_do_not_count(table):
    missing = table[(table["A"] != "c") | (table["B"] != "v")]
    means = marginal_means(lmer("Reaction ~ A*B + (1|Subject)", missing), ["A", "B"])
    single = means.pairs().frame["p_value"]
    holm, bonferroni = (means.pairs(name).frame["p_value"] for name in ("holm", "bonferroni"))
    assert single.isna().sum() == holm.isna().sum() == 5
    np.testing.assert_allclose(bonferroni, np.minimum(10 * single, 1.0))
    assert (holm.dropna() <= bonferroni.dropna()).all()
    assert holm.min() == pytest.approx(10 * single.min())


def test_unknown_adjustments_are_refused(full):
    with pytest.raises(ValueError, match="adjust='scheffe' is not one of None, 'tukey'"):
        marginal_means(full, "A").pairs("scheffe")


def test_hypotheses_take_names_with_and_without_back_ticks():
    table = load_sleepstudy().rename(columns={"Days": "days (all)"})
    table["late"] = (table["days (all)"] > 5).astype(float)
    model = lmer("Reaction ~ `days (all)` * late + (1 | Subject)", table)
    for quoted in ("`days (all)` = 10", "2 * `days (all)` - late = 1", "`days (all)`:late = 0"):
        ours = linear_hypothesis(model, quoted)
        assert ours.statistic == linear_hypothesis(model, quoted.replace("`", "")).statistic
    with pytest.raises(ValueError, match="expected a coefficient or a number"):
        linear_hypothesis(model, "`days` = 10")
