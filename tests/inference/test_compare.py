"""Comparisons of models, reductions of random terms, and the boundary."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from skmixed import MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy
from skmixed.inference import compare_models, ranova
from skmixed.inference.conditional_aic import conditional_aic

INTERCEPTS = "Reaction ~ Days + (1 | Subject)"
INDEPENDENT = "Reaction ~ Days + (Days || Subject)"
SLOPES = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def table():
    return load_sleepstudy()


def compared(table, *formulas, **options):
    models = [lmer(formula, table) for formula in formulas]
    return compare_models(*models, **options).to_frame()


def test_models_are_sorted_and_left_alone(table):
    models = [lmer(formula, table) for formula in (SLOPES, INTERCEPTS)]
    before = [(model.criterion_, model.theta_.copy()) for model in models]
    ours = compare_models(*models, names=["slopes", "intercepts"], method="ml").to_frame()
    assert list(ours.index) == ["intercepts", "slopes"]
    assert ours["log_likelihood"].tolist() == pytest.approx([-897.03932150, -875.96967223])
    for model, (criterion, theta) in zip(models, before, strict=True):
        assert model.criterion_ == criterion
        np.testing.assert_array_equal(model.theta_, theta)


def test_reml_is_kept_for_equal_fixed_parts_only(table):
    same = compare_models(lmer(INTERCEPTS, table), lmer(SLOPES, table))
    assert "By restricted likelihood." in str(same)
    other = compare_models(lmer("Reaction ~ 1 + (Days | Subject)", table), lmer(SLOPES, table))
    assert "By maximum likelihood; models fitted otherwise were refitted." in str(other)
    # R: anova of the two, refitted.
    assert other.to_frame()["statistic"].iloc[1] == pytest.approx(23.5365, abs=1e-3)
    with pytest.raises(ValueError, match="use method='ml'"):
        compare_models(
            lmer("Reaction ~ 1 + (Days | Subject)", table), lmer(SLOPES, table), method="reml"
        )


def test_one_variance_more_is_an_even_mixture(table):
    ours = compared(table, INTERCEPTS, INDEPENDENT, SLOPES)
    first, second = ours.iloc[1], ours.iloc[2]
    assert first["p_boundary"] == pytest.approx(first["p_value"] / 2)
    assert second["p_boundary"] == pytest.approx(second["p_value"])  # a covariance only
    slopes = compared(table, INTERCEPTS, SLOPES).iloc[1]
    both = [stats.chi2.sf(slopes["statistic"], df) for df in (1, 2)]
    assert slopes["p_boundary"] == pytest.approx(np.mean(both))
    none = compared(table, "Reaction ~ Days", INTERCEPTS).iloc[1]
    assert none["p_boundary"] == pytest.approx(none["p_value"] / 2)


@pytest.mark.parametrize(
    ("models", "told"),
    [
        (("Reaction ~ 1 + (Days | Subject)", SLOPES), False),  # a coefficient more
        ((INDEPENDENT, SLOPES), False),  # a covariance more
        (("Reaction ~ Days", INDEPENDENT), False),  # two variances more
        ((SLOPES, "Reaction ~ 1 + (Days | Subject)", INTERCEPTS), False),  # one less, one more
        ((SLOPES, INTERCEPTS), True),
        (("Reaction ~ 1 + (1 | Subject)", SLOPES, INTERCEPTS), True),
    ],
)
def test_the_boundary_is_spoken_of_where_a_variance_is_added(table, models, told):
    found = compare_models(*(lmer(model, table) for model in models))
    assert ("p_boundary: a variance is zero" in str(found)) == told


def test_no_simple_mixture_is_told(table):
    two = compared(table, "Reaction ~ Days", INDEPENDENT).iloc[1]
    assert np.isnan(two["p_boundary"])
    apart = compared(table, "Reaction ~ Days + (0 + Days | Subject)", INTERCEPTS).iloc[1]
    assert apart[["p_value", "p_boundary"]].isna().all()


def test_boundary_of_terms_of_one_structure_within_another(table):
    """A diagonal term is its columns one by one; equal variances are no boundary."""
    X, y = table[["Days", "Subject"]].assign(Late=table["Days"] > 4), table["Reaction"]

    def last(*settings):
        models = [
            MixedLinearRegressor(random, covariance=kind).fit(X, y) for random, kind in settings
        ]
        return compare_models(*models).to_frame().iloc[-1]

    one, both = ("(1 | Subject)", "unstructured"), "(1 + Days | Subject)"
    variance = last(one, (both, "diagonal"))
    assert variance["df"] == 1.0
    assert variance["p_boundary"] == pytest.approx(variance["p_value"] / 2)
    wider = last(
        ("(1 + Days || Subject)", "unstructured"), ("(1 + Days + Late | Subject)", "diagonal")
    )
    assert wider["p_boundary"] == pytest.approx(wider["p_value"] / 2)
    for larger in ("diagonal", "unstructured"):
        equal = last((both, "identity"), (both, larger))
        apart = equal["p_boundary"]
        assert np.isnan(apart) if larger == "diagonal" else apart == equal["p_value"]
    correlation = last((both, "diagonal"), (both, "unstructured"))
    assert correlation["p_boundary"] == pytest.approx(correlation["p_value"])


def test_ordinary_models_are_compared_by_f(table):
    small, large = lmer("Reaction ~ 1", table), lmer("Reaction ~ Days + I(Days**2)", table)
    ours = compare_models(large, small).to_frame()
    rss = ours["rss"].to_numpy()
    f = (rss[0] - rss[1]) / 2 / (rss[1] / 177)
    assert ours["statistic"].iloc[1] == pytest.approx(f)
    assert ours["p_value"].iloc[1] == pytest.approx(stats.f.sf(f, 2, 177))
    by_ratio = compare_models(large, small, method="ml").to_frame()
    assert by_ratio["statistic"].iloc[1] == pytest.approx(180 * np.log(rss[0] / rss[1]))


def test_conditional_aic_is_that_of_its_definition(table):
    model = lmer(SLOPES, table)
    fitted = model.predict(table)
    residual = table["Reaction"] - fitted
    s2 = model.residual_variance_
    likelihood = -0.5 * (180 * np.log(2 * np.pi * s2) + residual @ residual / s2)
    expected = -2 * likelihood + 2 * (29.02206782 + 1)  # the trace of lme4's hat matrix
    assert conditional_aic(model.fit_) == pytest.approx(expected)
    plain = lmer("Reaction ~ Days", table, reml=False)
    assert conditional_aic(plain.fit_) == pytest.approx(plain.aic_)


def test_conditional_aic_with_precision_weights(table):
    w = 1.0 + table["Days"].to_numpy() % 3
    model = lmer("Reaction ~ Days", table, reml=False, weights=w)
    assert conditional_aic(model.fit_) == pytest.approx(model.aic_)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.iloc[:-1], "180 rows and 179 rows"),
        (lambda t: t.assign(Reaction=t["Reaction"] + 1.0), "the responses or offsets differ"),
        (lambda t: t.assign(Subject="x" + t["Subject"]), "their levels of 'Subject' differ"),
        (
            lambda t: t.assign(Reaction=t["Reaction"].to_numpy()[::-1]),
            "the responses within levels of 'Subject' differ",
        ),
    ],
)
def test_other_data_are_refused(table, change, message):
    with pytest.raises(ValueError, match=message):
        compare_models(lmer(INTERCEPTS, table), lmer(SLOPES, change(table)))


def test_other_weights_are_refused(table):
    w = np.ones(180)
    w[:2] = 0.5, 1.5
    with pytest.raises(ValueError, match="their weights differ"):
        compare_models(lmer(INTERCEPTS, table), lmer(SLOPES, table, weights=w))
    w = np.tile([1.0, 2.0], 90)
    X = table[["Days", "Subject"]]
    counted = MixedLinearRegressor("(1 | Subject)").fit(X, table["Reaction"], w)
    with pytest.raises(ValueError, match="frequencies in one and precisions"):
        compare_models(lmer(INTERCEPTS, table, weights=w), counted)


def test_the_order_of_rows_does_not_matter(table):
    shuffled = table.sample(frac=1.0, random_state=0)
    ours = compare_models(lmer(INTERCEPTS, table), lmer(SLOPES, shuffled)).to_frame()
    assert ours["statistic"].iloc[1] == pytest.approx(42.83681344)


def test_bad_calls_are_explained(table):
    model = lmer(INTERCEPTS, table)
    with pytest.raises(ValueError, match="two or more"):
        compare_models(model)
    with pytest.raises(ValueError, match="names has 1 entries for 2 models"):
        compare_models(model, model, names=["one"])
    with pytest.raises(ValueError, match="method='REML' is not one of"):
        compare_models(model, model, method="REML")
    with pytest.raises(ValueError, match="no random terms to drop"):
        ranova(lmer("Reaction ~ Days", table))


def test_the_same_model_twice_has_no_ratio(table):
    model = lmer(SLOPES, table)
    last = compare_models(model, model).to_frame().iloc[1]
    assert last["statistic"] == 0.0
    assert last["df"] == 0.0
    assert np.isnan(last["p_value"])


def test_whole_terms_or_slopes_are_dropped(table):
    model = lmer(SLOPES, table)
    whole = ranova(model, reduce_terms=False).to_frame()
    assert list(whole.index) == ["<none>", "(Days | Subject)"]
    assert whole["df"].iloc[1] == 3.0
    assert np.isnan(whole["p_boundary"].iloc[1])
    single = ranova(model).to_frame()
    assert list(single.index) == ["<none>", "Days in (Days | Subject)"]


def test_terms_are_dropped_without_formulas(table):
    X, y = table[["Days", "Subject"]], table["Reaction"]
    for random, names in [
        ("(1 + Days | Subject)", ["<none>", "Days in (Days | Subject)"]),
        ("(1 | Subject)", ["<none>", "(1 | Subject)"]),
    ]:
        assert list(ranova(MixedLinearRegressor(random).fit(X, y)).to_frame().index) == names
    shared = MixedLinearRegressor("(1 + Days | Subject)", covariance="identity").fit(X, y)
    assert ranova(shared).to_frame()["df"].iloc[1] == 0.0


def test_a_term_of_zero_variance_costs_nothing():
    rng = np.random.default_rng(1)
    y = rng.normal(size=60)
    y -= np.repeat(y.reshape(10, 6).mean(axis=1), 6)
    X = pd.DataFrame({"x": rng.normal(size=60), "g": np.repeat(np.arange(10), 6).astype(str)})
    last = ranova(MixedLinearRegressor("(1 | g)").fit(X, y)).to_frame().iloc[1]
    assert last["statistic"] == 0.0
    assert last["p_value"] == last["p_boundary"] == 1.0


def test_a_curve_is_tested_against_its_line():
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"x": rng.uniform(0, 9, 240), "g": np.arange(240) % 12})
    effects = rng.normal(size=(2, 12))
    table["y"] = effects[0, table.g] + np.sin(table.x + effects[1, table.g]) + rng.normal(size=240)
    row = compared(table, "y ~ x + (1 | g)", "y ~ s(x) + (1 | g)").iloc[1]
    assert row["df"] == 1
    assert row["p_boundary"] == pytest.approx(row["p_value"] / 2)
    row = compared(table, "y ~ x + (1 | g)", "y ~ x + (1 | g) + (0 + s(x, 6) | g)").iloc[1]
    assert row["df"] == 2  # of lines and of what departs from them
    assert np.isnan(row["p_boundary"])


# --- curves that vary -----------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["w", "log(w)", "`the width`"])
def test_curves_that_vary_are_more_than_lines_that_do(argument):
    """Their lines are of another origin and unit, and stand under another name."""
    rng = np.random.default_rng(11)
    g, w = np.repeat(np.arange(30), 12), rng.uniform(1.0, 3.0, 360)
    y = rng.normal(size=30)[g] + rng.normal(size=30)[g] * w + rng.normal(size=360)
    table = pd.DataFrame({"g": g, "w": w, "the width": w, "y": y})
    lines = lmer(f"y ~ {argument} + ({argument} | g)", table)
    curves = lmer(f"y ~ {argument} + (s({argument}, 6) | g)", table)
    row = compare_models(lines, curves).to_frame().iloc[1]
    tail = stats.chi2.sf(row["statistic"], 1) if row["statistic"] else 1.0
    expected = 0.5 * (tail + (row["statistic"] <= 0.0))
    assert row["df"] == 1.0
    assert row["p_boundary"] == pytest.approx(expected)
    assert row["statistic"] >= 0.0
    other = lmer(f"y ~ {argument} + (0 + {argument} | g)", table)  # whose origin is another
    assert np.isnan(compare_models(other, curves).to_frame()["p_boundary"].iloc[1])
    apart = lmer(f"y ~ {argument} + (s({argument}, 6) || g)", table)
    assert np.isnan(
        compare_models(lmer(f"y ~ {argument} + ({argument} || g)", table), apart)
        .to_frame()["p_boundary"]
        .iloc[1]
    )
