"""Repeated measures: residuals that covary over planned visits, from an estimator's side."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skmixed import MixedLinearRegressor, lmer
from skmixed.inference import (
    anova,
    bootstrap,
    coefficient_table,
    compare_models,
    confidence_intervals,
    marginal_means,
    visit_covariance,
)
from tests.oracle import dense_fit

TRIAL = Path(__file__).parents[1] / "reference" / "trial" / "trial.json"
MEANS = "y ~ baseline + arm * visit"
US = "us(visit | subject)"
STRUCTURES = [
    US,
    "toeplitz(visit | subject)",
    "toeplitz(visit | subject, hom=False)",
    "cs(visit | subject, hom=False)",
    "ar1(visit | subject, hom=False)",
]


def draw_table():
    table = pd.DataFrame(json.loads(TRIAL.read_text(encoding="utf-8")))
    number = table["visit"].str[4:].astype(int)
    centre = table["subject"].str[1:].astype(int) % 9
    effects = np.random.default_rng(0).normal(0.0, 8.0, 9)
    return table.assign(
        arm=pd.Categorical(table["arm"], ["control", "active"]),
        visit=pd.Categorical(table["visit"]),
        week=number,
        centre="c" + centre.astype(str),
        z=table["y"] + effects[centre],
    )


TABLE = draw_table()


def new(residual):
    return MixedLinearRegressor(fixed="baseline + arm * visit", random=None, residual=residual)


@pytest.fixture(scope="module")
def model():
    return lmer(MEANS, TABLE, residual=US)


@pytest.mark.parametrize("residual", STRUCTURES)
def test_parts_of_whole_subjects_are_added(residual):
    whole = new(residual).fit(TABLE, TABLE["y"])
    first = TABLE["subject"] < "s30"
    parts = new(residual)
    for part in (TABLE[first], TABLE[~first]):
        parts.partial_fit(part, part["y"])
    assert parts.log_likelihood_ == pytest.approx(whole.log_likelihood_, rel=1e-10)
    assert_allclose(parts.residual_parameters_, whole.residual_parameters_, rtol=1e-6)


def test_order_of_rows_and_labels_of_visits_do_not_matter(model):
    mixed = TABLE.sample(frac=1.0, random_state=1)
    by_week = lmer("y ~ baseline + arm * C(week)", mixed, residual="us(week | subject)")
    assert by_week.log_likelihood_ == pytest.approx(model.log_likelihood_, rel=1e-12)
    assert "correlation 0:2" in by_week.residual_parameters_.index
    assert_allclose(by_week.residual_parameters_, model.residual_parameters_, rtol=1e-6)


def test_it_is_stored_without_rows(model):
    again = pickle.loads(pickle.dumps(model))
    assert coefficient_table(again).to_frame().equals(coefficient_table(model).to_frame())
    with_kr = coefficient_table(again, df="kenward-roger").to_frame()
    assert with_kr.equals(coefficient_table(model, df="kenward-roger").to_frame())


def test_structures_are_compared():
    models = [lmer(MEANS, TABLE, residual=each, reml=False) for each in STRUCTURES]
    table = compare_models(*models).to_frame()
    assert len(table) == 5
    assert_allclose(sorted(table["aic"]), sorted(model.aic_ for model in models))
    assert models[0].aic_ == pytest.approx(-2.0 * models[0].log_likelihood_ + 2.0 * (9 + 10))


def test_terms_and_means_are_tested_by_either_method(model):
    for df in ("satterthwaite", "kenward-roger"):
        table = coefficient_table(model, df=df).to_frame()
        terms = anova(model, df=df).to_frame()
        # one restriction alone is a t test
        assert terms.loc["baseline", "statistic"] == pytest.approx(
            table.loc["baseline", "statistic"] ** 2
        )
        assert terms.loc["baseline", "df"] == pytest.approx(table.loc["baseline", "df"])
        means = marginal_means(model, ["arm", "visit"], df=df)
        by_visit = means.pairs(within="visit").to_frame()
        assert list(by_visit.index) == [
            f"control, week{2 * v} - active, week{2 * v}" for v in range(4)
        ]
        at_last = marginal_means(model, "arm", at={"visit": "week6"}, df=df).pairs().to_frame()
        assert_allclose(by_visit.iloc[3], at_last.iloc[0], rtol=1e-9)
        adjusted = means.pairs("bonferroni", within=["visit"]).to_frame()
        assert_allclose(adjusted["p_value"], by_visit["p_value"])  # one comparison a visit
    assert (
        coefficient_table(model, df="kenward-roger").to_frame()["std_error"]
        > coefficient_table(model).to_frame()["std_error"]
    ).all()
    assert np.isinf(coefficient_table(model, df="normal").to_frame()["df"]).all()


def test_means_within_levels_are_adjusted_by_themselves(model):
    means = marginal_means(model, ["visit", "arm"])
    found = means.pairs("bonferroni", within="arm")
    assert len(found.to_frame()) == 12
    plain = means.pairs(within="arm").to_frame()["p_value"]
    assert_allclose(found.to_frame()["p_value"], np.minimum(6.0 * plain, 1.0))
    assert "Adjusted separately for each arm." in str(found)
    with pytest.raises(
        ValueError, match=r"the means have the variables \['visit', 'arm'\], not \['s'\]"
    ):
        means.pairs(within="s")


def test_methods_that_do_not_apply_are_refused():
    by_ml = lmer(MEANS, TABLE, residual=US, reml=False)
    with pytest.raises(ValueError, match="needs a REML fit"):
        coefficient_table(by_ml, df="kenward-roger")
    beside = lmer(
        "z ~ baseline + arm * visit + (1 | centre)", TABLE, residual="toeplitz(visit | subject)"
    )
    with pytest.raises(ValueError, match="available only for covariances of visits"):
        coefficient_table(beside, df="kenward-roger")


@pytest.mark.parametrize("kind", ["covariance", "correlation", "std_error"])
def test_the_covariance_is_tabulated_by_visit(model, kind):
    found = visit_covariance(model, kind=kind).to_frame()
    labels = ["week0", "week2", "week4", "week6"]
    assert list(found.index) == list(found.columns) == labels
    assert_allclose(found, found.T)
    deviations = model.residual_deviations_
    correlation = model.residual_parameters_["correlation week2:week6"]
    between = correlation * deviations["week2"] * deviations["week6"]
    expected = {"covariance": between, "correlation": correlation}
    if kind in expected:
        assert found.loc["week2", "week6"] == pytest.approx(expected[kind])
        return
    # a variance, log-normal: its error is twice that of sigma, of which intervals are known
    limits = confidence_intervals(model, method="wald").to_frame().loc["sigma"]
    log_error = np.log(limits["upper"] / limits["lower"]) / 2.0 / 1.959963984540054
    assert found.loc["week0", "week0"] == pytest.approx(
        2.0 * deviations["week0"] ** 2 * log_error, rel=1e-6
    )


def test_a_covariance_without_visits_is_refused():
    by_line = lmer("y ~ baseline", TABLE, residual="cs(| subject)")
    with pytest.raises(ValueError, match="no covariance matrix of planned visits"):
        visit_covariance(by_line)
    with pytest.raises(ValueError, match="kind='matrix' is not one of"):
        visit_covariance(lmer(MEANS, TABLE, residual=US), kind="matrix")


@pytest.mark.parametrize("residual", STRUCTURES)
def test_a_structure_stands_beside_random_effects_of_centres(residual):
    found = lmer("z ~ baseline + arm * visit + (1 | centre)", TABLE, residual=residual)
    sigma = visit_covariance(found).to_frame().to_numpy() / found.residual_variance_
    visit, subject = TABLE["visit"].cat.codes.to_numpy(), TABLE["subject"].to_numpy()
    R = sigma[visit[:, None], visit] * (subject[:, None] == subject)
    root = np.linalg.inv(np.linalg.cholesky(R))
    levels = np.unique(TABLE["centre"])
    Z = (TABLE["centre"].to_numpy()[:, None] == levels).astype(float)
    arm, of_visit = TABLE["arm"].cat.codes.to_numpy(), np.eye(4)[visit][:, 1:]
    columns = [np.ones(len(TABLE)), TABLE["baseline"], arm, of_visit, arm[:, None] * of_visit]
    X, y = np.column_stack(columns), TABLE["z"].to_numpy()
    theta = np.sqrt(float(found.random_covariance_["centre"].iloc[0, 0]) / found.residual_variance_)
    dense = dense_fit(root @ y, root @ X, [root @ Z], [np.array([[theta]])])
    criterion = dense.criterion + np.linalg.slogdet(R)[1]
    assert -2.0 * found.log_likelihood_ == pytest.approx(criterion, rel=1e-9)
    assert found.residual_variance_ == pytest.approx(dense.sigma2, rel=1e-8)
    table = coefficient_table(found).to_frame()
    assert_allclose(table["std_error"] ** 2, dense.beta_covariance.diagonal(), rtol=1e-7)
    assert (table["df"] > 3.0).all()


@pytest.mark.parametrize("residual", [US, "toeplitz(visit | subject)", "cs(| subject)"])
def test_a_random_intercept_that_the_structure_has_is_refused(residual):
    with pytest.raises(ValueError, match=r"nothing tells it from the random intercept: drop that"):
        lmer(MEANS + " + (1 | subject)", TABLE, residual=residual)


def test_products_with_other_variances_are_refused():
    with pytest.raises(ValueError, match=r"toeplitz\(\.\.\.\) may have a variance a visit"):
        lmer(MEANS, TABLE, residual="toeplitz(visit | subject) * var(arm)")


def test_likelihoods_without_a_maximum_say_what_to_take():
    few = TABLE[TABLE["visit"].isin(["week0", "week2", "week4"]) | (TABLE["subject"] < "s05")]
    few = few.assign(visit=few["visit"].cat.remove_unused_categories())
    with pytest.raises(ValueError, match=r"us\(\.\.\.\) has no maximum: .* take toeplitz"):
        lmer("y ~ baseline + arm + visit", few, residual=US)


def test_draws_have_the_covariance(model):
    draws = model.simulate(TABLE, n_samples=4000, random_state=0)
    values = np.asarray(draws) - np.asarray(draws).mean(axis=-1, keepdims=True)
    values = values if len(values) == len(TABLE) else values.T
    one = np.flatnonzero(TABLE["subject"] == TABLE["subject"].value_counts().idxmax())
    expected = visit_covariance(model).to_frame().to_numpy()
    assert_allclose(np.cov(values[one]), expected, atol=0.08 * expected.max())


def test_bootstraps_have_the_parameters(model):
    found = bootstrap(model, X=TABLE, y=TABLE["y"], n_samples=20, random_state=0)
    assert "correlation week0:week6" in str(found)
