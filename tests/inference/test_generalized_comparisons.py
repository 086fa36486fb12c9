"""Comparisons of generalized models, with R's figures."""

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedClassifier, MixedGeneralizedRegressor, glmer, lmer
from skmixed.inference import compare_models
from tests import reference_set

SHARES = "cbind(incidence, size - incidence) ~ "


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    table = reference_set.committed_table("cbpp")
    return table.assign(row=np.arange(len(table)).astype(str))


def shares(table, right, **options):
    return glmer(SHARES + right, table, family="binomial", **options)


def test_likelihood_ratios_are_those_of_glmmtmb(table):
    # glmmTMB 1.1.5: anova(m0, m1, m2), AIC, BIC.
    right = ["1 + (1 | herd)", "period + (1 | herd)", "period + (1 | herd) + (1 | row)"]
    found = compare_models(*[shares(table, each) for each in right]).to_frame()
    expected = {
        "n_parameters": [2, 5, 6],
        "log_likelihood": [-104.83131358971, -92.026281864762, -87.319155541469],
        "aic": [213.66262717942, 194.052563729523, 186.638311082937],
        "bic": [217.71333056089, 204.179322183199, 198.790421227348],
        "statistic": [np.nan, 25.61006, 9.41425],
        "df": [np.nan, 3, 1],
        "p_value": [np.nan, 1.1509e-05, 0.0021531],
    }
    for name, figures in expected.items():
        rtol = 1e-8 if name in ("log_likelihood", "aic", "bic") else 4e-5
        np.testing.assert_allclose(found[name], figures, rtol=rtol)
    # Coefficients alone are added, then a variance that is zero under the smaller model.
    assert np.isnan(found["p_boundary"].iloc[1])
    assert found["p_boundary"].iloc[2] == pytest.approx(found["p_value"].iloc[2] / 2)
    assert "caic" not in found


def test_a_model_without_random_effects_is_on_the_boundary(table):
    # R: logLik(glm(...)) = -99.029199489363, and half of pchisq of the ratio.
    mixed = MixedGeneralizedRegressor("(1 | herd)", family="binomial", fixed="period").fit(
        table[["period", "herd"]], table["incidence"] / table["size"], sample_weight=table["size"]
    )
    fixed = MixedGeneralizedRegressor(family="binomial", fixed="period").fit(
        table[["period"]], table["incidence"] / table["size"], sample_weight=table["size"]
    )
    found = compare_models(fixed, mixed).to_frame()
    assert found["log_likelihood"].iloc[0] == pytest.approx(-99.029199489363, rel=1e-9)
    assert found["bic"].iloc[0] == pytest.approx(214.159805741667, rel=1e-9)
    assert found["p_boundary"].iloc[1] == pytest.approx(9.11220889628e-05, rel=1e-6)


def test_different_approximations_are_refused(table):
    laplace = shares(table, "period + (1 | herd)")
    nodes = shares(table, "1 + (1 | herd)", quadrature=9)
    with pytest.raises(ValueError, match=r"quadrature=1 and .* quadrature=9"):
        compare_models(laplace, nodes)
    exact = MixedGeneralizedRegressor(family="binomial", fixed="1").fit(
        table[["herd"]], table["incidence"] / table["size"], sample_weight=table["size"]
    )
    assert compare_models(exact, nodes).to_frame()["statistic"].iloc[1] > 0.0


def test_different_families_links_and_linear_models_are_refused(table):
    counts = [glmer("incidence ~ 1 + (1 | herd)", table, family=f) for f in FAMILIES]
    with pytest.raises(ValueError, match=r"family 'poisson' .*family 'negative binomial'"):
        compare_models(*counts)
    with pytest.raises(ValueError, match="a linear model and 'b' a generalized model"):
        compare_models(lmer("incidence ~ 1 + (1 | herd)", table), counts[0], names=["a", "b"])
    links = [shares(table, "1 + (1 | herd)", link=link) for link in ("logit", "probit")]
    with pytest.raises(ValueError, match=r"link 'logit' .*link 'probit'"):
        compare_models(*links)


FAMILIES = ("poisson", "negative_binomial")


def test_restricted_likelihoods_are_refused(table):
    models = [shares(table, right) for right in ("1 + (1 | herd)", "period + (1 | herd)")]
    with pytest.raises(ValueError, match="no restricted likelihood: take method='auto' or 'ml'"):
        compare_models(models[0], models[0], method="reml")
    assert compare_models(*models, method="ml").frame.equals(compare_models(*models).frame)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.iloc[1:], "56 rows and 55 rows"),
        (lambda t: t.assign(incidence=t["size"] - t["incidence"]), "responses or weights"),
        (lambda t: t.assign(herd=t["herd"].to_numpy()[::-1]), "levels of 'herd' differ"),
    ],
)
def test_other_data_are_refused(table, change, reason):
    with pytest.raises(ValueError, match=reason):
        compare_models(shares(table, "1 + (1 | herd)"), shares(change(table), "1 + (1 | herd)"))


def test_the_order_of_rows_and_other_columns_do_not_matter(table):
    other = table.sample(frac=1.0, random_state=0)
    found = compare_models(
        shares(table, "1 + (1 | herd)"), shares(other, "period + (1 | herd)")
    ).to_frame()
    assert found["statistic"].iloc[1] == pytest.approx(25.610063, rel=1e-6)


def test_weights_of_classes_count_rows():
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"x": rng.normal(size=200), "group": rng.integers(0, 20, 200)})
    y, weights = rng.integers(0, 2, 200), rng.integers(1, 4, 200)
    weighted = MixedClassifier("(1 | group)").fit(X, y, sample_weight=weights)
    repeated = MixedClassifier("(1 | group)").fit(
        X.loc[X.index.repeat(weights)], np.repeat(y, weights)
    )
    assert weighted.bic_ == pytest.approx(repeated.bic_, rel=1e-10)
    assert f"number of obs: {weights.sum()}" in str(weighted.summary())
    found = compare_models(weighted, repeated).to_frame()
    assert found["statistic"].iloc[1] == pytest.approx(0.0, abs=1e-7)


def test_weights_of_counts_count_rows(table):
    weights = 1.0 + (table["size"] % 3)
    weighted = glmer("incidence ~ 1 + (1 | herd)", table, family="poisson", weights=weights)
    repeated = glmer(
        "incidence ~ 1 + (1 | herd)", table.loc[table.index.repeat(weights)], family="poisson"
    )
    assert weighted.bic_ == pytest.approx(repeated.bic_, rel=1e-10)
