"""Tests of the coefficients of generalized models, with R's figures."""

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedClassifier, glmer
from skmixed.inference import coefficient_table, linear_hypothesis


def binary_rows(n: int = 600, seed: int = 0) -> pd.DataFrame:
    """Draw binary responses of 30 groups."""
    rng = np.random.default_rng(seed)
    group, level = rng.integers(0, 30, n), rng.integers(0, 3, n)
    x = rng.normal(size=n) + 100.0
    eta = 0.5 * (x - 100.0) + 0.8 * rng.normal(size=30)[group] + 0.3 * (level == 1)
    y = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    columns = {"y": y, "x": x, "level": np.array(list("abc"))[level], "group": group}
    return pd.DataFrame(columns).astype({"group": str})


@pytest.fixture(scope="module")
def binary_model() -> MixedClassifier:
    return glmer("y ~ x + level + (1 | group)", binary_rows(), family="binomial")


def test_statistics_are_z_by_the_errors_of_the_coefficients(binary_model):
    frame = coefficient_table(binary_model).frame
    errors = np.sqrt(np.diag(binary_model.coef_covariance_))
    np.testing.assert_allclose(frame["std_error"], errors, rtol=1e-7)
    np.testing.assert_allclose(frame["statistic"], frame["estimate"] / errors, rtol=1e-7)
    assert np.isinf(frame["df"]).all()
    assert frame.equals(coefficient_table(binary_model, df="normal").frame)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger", "residual"])
def test_degrees_of_freedom_of_linear_models_are_refused(binary_model, df):
    with pytest.raises(ValueError, match=f"df='{df}'.*take df='auto' or df='normal'"):
        coefficient_table(binary_model, df=df)


def test_a_joint_test_is_chi_squared(binary_model):
    names = binary_model.coef_covariance_.columns[2:]
    covariance = binary_model.coef_covariance_.loc[names, names].to_numpy()
    beta = coefficient_table(binary_model).frame.loc[names, "estimate"].to_numpy()
    test = linear_hypothesis(binary_model, list(names))
    np.testing.assert_allclose(test.statistic, beta @ np.linalg.solve(covariance, beta), rtol=1e-8)
    assert (test.num_df, test.df) == (2, np.inf)
    assert f"chi2(2) = {test.statistic:.5g}" in str(test)


def test_infinite_coefficients_have_no_errors():
    table = binary_rows()
    table["only"] = ((table["group"] == "3") & (table["y"] == 1)).astype(float)
    with pytest.warns(UserWarning, match="only"):
        model = glmer("y ~ x + only + (1 | group)", table, family="binomial")
    found = coefficient_table(model)
    assert found.frame.loc["only"].drop(["estimate", "df"]).isna().all()
    assert np.isfinite(found.frame.loc["x"].drop("df")).all()
    assert "Infinite, without errors: only." in str(found)
    assert np.isnan(linear_hypothesis(model, ["only", "x"]).p_value)
