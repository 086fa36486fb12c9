"""Repeated measures against nlme, glmmTMB, lmerTest, pbkrtest, and what mmrm has published.

A trial with drop-outs travels with the project; trial.R made the figures. The public data of the
package mmrm do not: they are compared with where the set that SKMIXED_REFERENCE names has them, as
mmrm/fev.csv and mmrm/bcva.csv.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skmixed import lmer
from skmixed.datasets import load_orthodont
from skmixed.inference import coefficient_table, marginal_means
from skmixed.inference.fixed_effects.testing import CoefficientTests
from tests.core.trials import Trial
from tests.reference_set import WHOLE_SET

HERE = Path(__file__).parent / "trial"
FIGURES = json.loads((HERE / "figures.json").read_text(encoding="utf-8"))
STRUCTURES = {
    "us": "us(visit | subject)",
    "cs": "cs(| subject)",
    "csh": "cs(visit | subject, hom=False)",
    "ar1": "ar1(visit | subject)",
    "ar1h": "ar1(visit | subject, hom=False)",
    "toeplitzh": "toeplitz(visit | subject, hom=False)",
}
BY_NLME = [
    name for name in FIGURES if name.split("_")[0] in STRUCTURES and name != "toeplitzh_reml"
]


def trial():
    table = pd.DataFrame(json.loads((HERE / "trial.json").read_text(encoding="utf-8")))
    visits = pd.Categorical(table["visit"])
    return table.assign(arm=pd.Categorical(table["arm"], ["control", "active"]), visit=visits)


def fitted(name):
    structure, method = name.split("_")
    residual = STRUCTURES[structure]
    return lmer("y ~ baseline + arm * visit", trial(), residual=residual, reml=method == "reml")


def covariance_of(model):
    deviations = model.residual_deviations_.to_numpy() * np.ones(4)
    correlations = np.eye(4)
    for name, value in model.residual_parameters_.items():
        for i in range(4):
            for j in range(i):
                lag = i - j
                if name == f"correlation week{2 * j}:week{2 * i}" or name == f"toeplitz {lag}":
                    correlations[i, j] = correlations[j, i] = value
                elif name in ("cs", "ar1"):
                    power = lag if name == "ar1" else 1
                    correlations[i, j] = correlations[j, i] = value**power
    return correlations * np.outer(deviations, deviations)


@pytest.mark.parametrize("name", BY_NLME)
def test_fits_are_those_of_nlme(name):
    model, figures = fitted(name), FIGURES[name]
    assert -2.0 * model.log_likelihood_ == pytest.approx(figures["criterion"], abs=1e-8)
    table = coefficient_table(model).to_frame()
    assert_allclose(table["estimate"], figures["beta"], rtol=2e-5)
    by_ml = np.sqrt(204 / 195) if name.endswith("ml") and not name.endswith("reml") else 1.0
    assert_allclose(table["std_error"] * by_ml, figures["se"], rtol=2e-6)
    assert_allclose(covariance_of(model), figures["covariance"], rtol=1e-5)


def test_a_toeplitz_covariance_is_that_of_glmmtmb():
    # which ends where its likelihood is flat: ours is lower there by 3e-5
    model, figures = fitted("toeplitzh_reml"), FIGURES["toeplitzh_reml"]
    assert -2.0 * model.log_likelihood_ == pytest.approx(figures["criterion"], abs=1e-3)
    assert_allclose(covariance_of(model), figures["covariance"], rtol=2e-3)


def test_degrees_of_a_shared_correlation_are_those_of_a_random_intercept():
    figures, table = FIGURES["intercept"], trial()
    model = lmer("y ~ baseline + arm * visit", table, residual="cs(| subject)")
    found = coefficient_table(model).to_frame()
    assert_allclose(found["df"], figures["sat_df"], rtol=1e-6)
    assert_allclose(found["std_error"], figures["se"], rtol=1e-6)
    visit, arm = table["visit"].cat.codes.to_numpy(), table["arm"].cat.codes.to_numpy()
    of_visit = np.eye(4)[visit][:, 1:]
    columns = [np.ones(len(table)), table["baseline"], arm, of_visit, arm[:, None] * of_visit]
    design = Trial(
        np.column_stack(columns), table["y"].to_numpy(),
        pd.factorize(table["subject"])[0], visit.astype(int), 4,
    )  # fmt: skip
    fit = design.fit(design.structures()[1])
    tests = CoefficientTests.of(fit, "kenward-roger")
    assert_allclose(tests.degrees(np.eye(9)), figures["kr_df"], rtol=1e-6)
    assert_allclose(tests.errors(np.eye(9)), figures["kr_se"], rtol=1e-6)
    blocks = ([1], [2], [3, 4, 5], [6, 7, 8])
    for places, (_, df, f) in list(zip(blocks, figures["kr_anova"], strict=True))[::3]:
        found = tests.joint(np.eye(9)[places])
        assert (found.df, found.statistic) == pytest.approx((df, f), rel=1e-5)


def test_children_are_those_of_gls():
    # gls(distance ~ factor(age) * Sex, corSymm(~as.integer(factor(age))|Subject),
    #     varIdent(~1|factor(age))), nlme 3.1-162: -2 log-likelihood by REML
    model = lmer("distance ~ C(age) * Sex", load_orthodont(), residual="us(age | Subject)")
    assert -2.0 * model.log_likelihood_ == pytest.approx(414.03480100, abs=1e-7)


def published(name):
    path = WHOLE_SET / "mmrm" / f"{name}.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here; SKMIXED_REFERENCE says where data of mmrm are")
    table = pd.read_csv(path).dropna()
    table["ARMCD"] = pd.Categorical(table["ARMCD"], sorted(table["ARMCD"].unique()))
    if "SEX" in table:
        table["SEX"] = pd.Categorical(table["SEX"], ["Male", "Female"])
    return table


def test_the_fev_data_are_fitted_as_by_mmrm():
    # the table of mmrm's README, which has noise of its optimiser in the fifth digit
    model = lmer(
        "FEV1 ~ RACE + SEX + ARMCD * AVISIT", published("fev"), residual="us(AVISIT | USUBJID)"
    )
    assert model.log_likelihood_ == pytest.approx(-1693.224936, abs=1e-6)
    table = coefficient_table(model).to_frame()
    errors = [0.88656, 0.62448, 0.66561, 0.53195, 1.07415, 0.80172, 0.82269, 1.31281, 1.12932,
              1.18765, 1.85085]  # fmt: skip
    degrees = [218.80, 168.67, 157.14, 166.13, 145.55, 143.88, 155.56, 138.47, 138.56, 158.17,
               129.72]  # fmt: skip
    assert_allclose(table["std_error"], errors, atol=2e-4)
    assert_allclose(table["df"], degrees, atol=0.02)
    means = marginal_means(model, ["ARMCD", "AVISIT"]).pairs(within="AVISIT").to_frame()
    assert_allclose(means["estimate"], [-3.77, -3.73, -3.08, -4.40], atol=5e-3)
    assert_allclose(means["std_error"], [1.074, 0.859, 0.690, 1.681], atol=6e-4)
    assert_allclose(means["df"], [146, 145, 131, 133], atol=0.5)
    assert_allclose(means["statistic"], [-3.514, -4.346, -4.467, -2.617], atol=6e-4)


def test_ten_visits_of_a_thousand_patients_are_fitted():
    # glmmTMB, whose likelihood has a small residual beside: -16035.514829
    model = lmer(
        "BCVA_CHG ~ BCVA_BL + RACE + ARMCD * AVISIT", published("bcva"),
        residual="us(AVISIT | USUBJID)",
    )  # fmt: skip
    assert model.log_likelihood_ == pytest.approx(-16035.514869, abs=1e-6)
