"""The oracle itself, against fits made by lme4 and against repeated rows."""

import numpy as np
import pytest

from tests.oracle import dense_fit, levels_to_columns
from tests.reference_set import committed_figures, committed_table, model_data

# Fixed columns and, in lme4's order, the random terms: columns of the factor and of its slopes.
MODELS = {
    "sleep_slope_reml": (["Days"], [(["Subject"], ["Days"])]),
    "sleep_slope_ml": (["Days"], [(["Subject"], ["Days"])]),
    "sleep_w1_reml": (["Days"], [(["Subject"], ["Days"])]),
    "sleep_w1_ml": (["Days"], [(["Subject"], ["Days"])]),
    "sleep_rankdef_reml": (["Days", "twice"], [(["Subject"], [])]),
    "dyestuff2_reml": ([], [(["Batch"], [])]),
    "pastes_reml": ([], [(["cask", "batch"], []), (["batch"], [])]),
    "penicillin_reml": ([], [(["plate"], []), (["sample"], [])]),
    "penicillin_ml": ([], [(["plate"], []), (["sample"], [])]),
}
RESPONSE = {"sleepstudy": "Reaction", "Dyestuff2": "Yield", "Pastes": "strength",
            "Penicillin": "diameter"}  # fmt: skip


def lower_triangles(theta, sizes):
    """Cut lme4's theta into relative factors: column-major lower triangles."""
    factors, start = [], 0
    for k in sizes:
        factor = np.zeros((k, k))
        rows, columns = np.triu_indices(k)[::-1]
        factor[rows, columns] = theta[start : start + len(rows)]
        start += len(rows)
        factors.append(factor)
    return factors


def matrices(name):
    figures = committed_figures(name)
    table, weights = model_data(figures, committed_table(figures["dataset"]))
    table = table.assign(one=1.0)
    if "Days" in table:
        table["twice"] = 2.0 * table["Days"]
    fixed, terms = MODELS[name]
    Zs, labels = [], []
    for factor, slopes in terms:
        label = table[factor].agg(":".join, axis=1)
        levels = sorted(label.unique())
        codes = label.map(levels.index).to_numpy()
        columns = table[["one", *slopes]].to_numpy(dtype=float)
        Zs.append(levels_to_columns(codes, columns, len(levels)))
        labels.append(levels)
    y = table[RESPONSE[figures["dataset"]]].to_numpy(dtype=float)
    X = table[["one", *fixed]].to_numpy(dtype=float)
    return figures, y, X, Zs, labels, weights


@pytest.mark.parametrize("name", MODELS)
def test_oracle_agrees_with_lme4(name):
    figures, y, X, Zs, labels, weights = matrices(name)
    sizes = [1 + len(slopes) for _, slopes in MODELS[name][1]]
    common = {"weights": weights, "reml": figures["REML"], "weighting": "precision"}
    for point in figures["devfun_points"]:
        fit = dense_fit(y, X, Zs, lower_triangles(point["theta"], sizes), **common)
        np.testing.assert_allclose(fit.criterion, point["value"], rtol=1e-10)

    fit = dense_fit(y, X, Zs, lower_triangles(figures["theta"], sizes), **common)
    kept = slice(len(figures["fixef"]))
    np.testing.assert_allclose(fit.criterion, figures["criterion"], rtol=1e-10)
    np.testing.assert_allclose(fit.beta[kept], list(figures["fixef"].values()), rtol=1e-8)
    errors = np.sqrt(np.diag(fit.beta_covariance))
    np.testing.assert_allclose(errors[kept], list(figures["fixef_se"].values()), rtol=1e-8)
    assert not fit.beta[len(figures["fixef"]) :].any()
    np.testing.assert_allclose(np.sqrt(fit.sigma2), figures["sigma"], rtol=1e-8)
    for effects, levels, modes, covariances in zip(
        figures["ranef"].values(), labels, fit.modes, fit.mode_covariances, strict=True
    ):
        assert effects["levels"] == levels
        np.testing.assert_allclose(modes, effects["values"], rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(covariances, effects["postVar"], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("reml", [True, False])
def test_oracle_frequency_weights_are_repeated_rows(reml):
    rng = np.random.default_rng(0)
    n = 40
    codes = rng.integers(5, size=n)
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    y = rng.standard_normal(n) + codes
    Z = levels_to_columns(codes, X, 5)
    lam = np.array([[0.8, 0.0], [-0.3, 0.5]])
    weights = rng.integers(4, size=n)
    rows = np.repeat(np.arange(n), weights)

    weighted = dense_fit(y, X, [Z], [lam], weights=weights, reml=reml)
    repeated = dense_fit(y[rows], X[rows], [Z[rows]], [lam], reml=reml)
    for field in ["criterion", "beta", "beta_covariance", "sigma2", "modes", "mode_covariances"]:
        ours, theirs = getattr(weighted, field), getattr(repeated, field)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12, err_msg=field)
    np.testing.assert_allclose(weighted.fitted[rows], repeated.fitted, rtol=1e-9, atol=1e-12)
