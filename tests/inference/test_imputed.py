"""Fits of imputed data put together, against mice 3.15.0 and merTools 0.5.2."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skmixed import glmer, lmer
from skmixed.inference import coefficient_table, pool
from tests.inference.test_robust import DATA

# pool(as.mira(fits))$pooled of lm(y ~ x + z), and pool(as.mira(fits), dfcom = 78) and Inf of
# lmer(y ~ x + z + (1 | school)) with rhoend = 1e-11: estimate, sqrt(t), df, fmi.
LM = [
    [0.846543057972, 0.615987681356, -0.523665026069],
    [0.167677599193, 0.148468016199, 0.288439009076],
    [74.7959601806, 61.9313262533, 59.9964578268],
    [0.0464294566405, 0.1158354496431, 0.1248685320942],
]
LMER = [
    [0.938270699133, 0.578791938892, -1.027669504701],
    np.sqrt([0.0783884946440, 0.0201271586881, 0.2683265275866]),
    [75.7030323746, 50.7545636691, 60.4409930933],
    [0.0297941696106, 0.1666139081321, 0.1198735866705],
]
INFINITE = [
    LMER[0],
    LMER[1],
    [197842.726239883, 221.414439776, 480.663122296],
    [0.00450651532961, 0.14212281212834, 0.09498198930420],
]
# modelRandEffStats of the same.
DEVIATIONS = [[0.638946894335, 1.055288145068], [0.0275155498610, 0.0246332004078]]
COLUMNS = ["estimate", "std_error", "df", "missing_information"]


@pytest.fixture(scope="module")
def completed():
    """DATA with a quarter of x made up, five times."""
    rng = np.random.default_rng(11)
    is_missing, found = rng.random(len(DATA)) < 0.25, []
    for _ in range(5):
        drawn = 0.3 * DATA.loc[is_missing, "y"] + rng.normal(0, 0.9, is_missing.sum())
        data = DATA.copy()
        data.loc[is_missing, "x"] = drawn.round(6)
        found.append(data)
    return found


@pytest.fixture(scope="module")
def mixed(completed):
    return [lmer("y ~ x + z + (1 | school)", each) for each in completed]


def test_ordinary_models_as_mice(completed):
    found = pool([lmer("y ~ x + z", each) for each in completed]).to_frame()
    assert_allclose(found[COLUMNS].T, LM, rtol=1e-9)
    assert found.loc["z", "p_value"] == pytest.approx(7.44432573054e-02, rel=1e-9)


@pytest.mark.parametrize(("df", "wanted"), [(78, LMER), ("normal", INFINITE)])
def test_mixed_models_as_mice(mixed, df, wanted):
    found = pool(mixed, df=df)
    assert_allclose(found.to_frame()[COLUMNS].T, wanted, rtol=2e-5)
    assert found.n_models == 5
    assert_allclose(found.components.to_frame().T, DEVIATIONS, rtol=1e-5)


def test_equal_fits_lose_next_to_nothing(mixed):
    one = coefficient_table(mixed[0]).to_frame()
    found = pool([mixed[0], mixed[0]]).to_frame()
    assert_allclose(found[["estimate", "std_error"]], one[["estimate", "std_error"]], rtol=1e-12)
    assert_allclose(found["df"], one["df"] * (one["df"] + 1) / (one["df"] + 3), rtol=1e-12)


def test_generalized_models_are_normal_without_missing_values(completed):
    formula = "n ~ x + (1 | school)"
    fits = [
        glmer(formula, each.assign(n=np.arange(len(each)) % 4), family="poisson")
        for each in completed[:3]
    ]
    found = pool(fits).to_frame()
    rows = [coefficient_table(fit).to_frame().loc["x"] for fit in fits]
    between = np.var([row["estimate"] for row in rows], ddof=1) * 4 / 3
    within = np.mean([row["std_error"] ** 2 for row in rows])
    assert found.loc["x", "std_error"] == pytest.approx(np.sqrt(within + between), rel=1e-12)
    assert found.loc["x", "df"] == pytest.approx(2 * (1 + within / between) ** 2, rel=1e-9)


def test_columns_that_depend_on_others_stay_nan(completed):
    fits = [lmer("y ~ x + I(2 * x) + (1 | school)", each) for each in completed]
    found = pool(fits).to_frame()
    assert found.isna().all(axis=1).tolist() == [False, False, True]


def test_what_cannot_be_put_together(mixed, completed):
    other = lmer("y ~ x + (1 | school)", completed[0])
    slopes = lmer("y ~ x + z + (0 + x | school)", completed[0])
    cases = [
        (lambda: pool(mixed[:1]), "two or more fits"),
        (lambda: pool([mixed[0], other]), "model 1 has the coefficients"),
        (lambda: pool([mixed[0], slopes]), "differs from model 0 in its random effects"),
        (lambda: pool(mixed, df=-1), "positive number"),
        (lambda: pool(mixed, df="exact"), "is not one of"),
        (lambda: pool(mixed, level=95), "95"),
    ]
    for call, reason in cases:
        with pytest.raises(ValueError, match=reason):
            call()
    with pytest.raises(TypeError, match="expected a fitted mixed model"):
        pool([mixed[0], pd.DataFrame()])
