"""The bootstrap: against bootMer, against refits of simulated rows, and its bookkeeping."""

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy
from skmixed.inference import bootstrap, bootstrap_intervals, confidence_intervals
from tests import reference_set

# lme4::bootMer, 500 parametric replicates of Reaction ~ Days + (Days | Subject), seed 7, lme4
# 1.1.31: mean and standard deviation (fits/boot_sleep.json of the reference set).
BOOTMER_SLEEP = {
    "(Intercept)": (251.4455157, 6.83965017),
    "Days": (10.4968224, 1.54753060),
    "sd_(Intercept)|Subject": (24.0842895, 5.85554689),
    "sd_Days|Subject": (5.94433639, 1.25321703),
    "sigma": (25.4543257, 1.48386115),
}
# The same, 1000 replicates of Yield ~ 1 + (1 | Batch) on Dyestuff (fits/boot_dyestuff.json), with
# the share of standard deviations below 1e-4.
BOOTMER_DYESTUFF = {
    "sd_(Intercept)|Batch": (37.3361536, 17.9406026),
    "sigma": (49.1093799, 7.0361295),
}
DYESTUFF_SINGULAR = 0.053


@pytest.fixture(scope="module")
def sleep():
    X, y = load_sleepstudy(return_X_y=True)
    return MixedLinearRegressor("(1 + Days | Subject)").fit(X, y), X, y


def agree(result, figures, n_theirs):
    """Means and standard deviations agree within four Monte Carlo errors."""
    for name, (mean, sd) in figures.items():
        ours = result.replicates[name]
        both = np.sqrt(1.0 / n_theirs + 1.0 / len(ours))
        assert abs(ours.mean() - mean) < 4.0 * sd * both, name
        assert abs(ours.std() / sd - 1.0) < 4.0 * both, name


def test_sleepstudy_as_bootmer(sleep):
    result = bootstrap(sleep[0], 2000, random_state=1)
    agree(result, BOOTMER_SLEEP, 500)
    assert result.converged.all()
    assert result.share_not_converged == 0.0
    assert 0.0 < result.share_singular < 0.05
    assert "2000 replicates" in repr(result)


def test_dyestuff_as_bootmer():
    model = lmer("Yield ~ 1 + (1 | Batch)", reference_set.committed_table("Dyestuff"))
    result = bootstrap(model, 4000, random_state=1)
    agree(result, BOOTMER_DYESTUFF, 1000)
    error = np.sqrt(DYESTUFF_SINGULAR * (1 - DYESTUFF_SINGULAR) / 1000)
    assert result.share_singular == pytest.approx(DYESTUFF_SINGULAR, abs=4 * error)


@pytest.mark.parametrize("kind", ["parametric", "residual", "cases"])
def test_kinds_from_rows(sleep, kind):
    model, X, y = sleep
    result = bootstrap(model, 800, kind=kind, X=X, y=y, random_state=2)
    table = result.to_frame()
    # All of them know the standard errors of the coefficients.
    errors = np.sqrt(np.diag(model.coef_covariance_))
    np.testing.assert_allclose(table["std_error"].iloc[:2], errors, rtol=0.15)
    assert (table["bias"].abs() < 0.6 * table["std_error"]).all()
    assert result.converged.mean() > 0.99


@pytest.mark.parametrize("kind", ["parametric", "residual", "cases"])
def test_results_do_not_depend_on_threads(sleep, kind):
    model, X, y = sleep
    one, two = (
        bootstrap(model, 300, kind=kind, X=X, y=y, random_state=3, n_jobs=n) for n in (None, 2)
    )
    pd.testing.assert_frame_equal(one.replicates, two.replicates)
    again = bootstrap(model, 300, kind=kind, X=X, y=y, random_state=np.random.default_rng(3))
    pd.testing.assert_frame_equal(one.replicates, again.replicates)


@pytest.mark.parametrize(
    ("formula", "data"),
    [
        ("strength ~ 1 + (1 | batch/cask)", "Pastes"),
        ("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin"),
    ],
)
def test_several_factors(formula, data):
    table = reference_set.committed_table(data)
    model = lmer(formula, table)
    response = formula.split()[0]
    kinds = ["parametric", "residual"] + ["cases"] * (data == "Pastes")
    free = bootstrap(model, 50, random_state=0)
    rows = [
        bootstrap(model, 50, kind=kind, X=table, y=table[response], random_state=0, n_jobs=2)
        for kind in kinds
    ]
    for result in [free, *rows]:
        assert result.converged.all()
        sigma = result.replicates["sigma"]
        assert sigma.mean() == pytest.approx(result.estimates["sigma"], rel=0.1)
    if data == "Penicillin":
        with pytest.raises(ValueError, match="crossed"):
            bootstrap(model, 2, kind="cases", X=table, y=table[response])


def test_statistics_see_whole_fits(sleep):
    model, X, y = sleep

    def figures(fit):
        return {"deviance": fit.deviance, "slope": fit.beta[1]}

    result = bootstrap(model, 20, statistic=figures, random_state=0)
    np.testing.assert_allclose(result.replicates["slope"], result.replicates["Days"], rtol=1e-10)
    assert result.estimates["deviance"] == pytest.approx(1751.93934446)
    cases = bootstrap(model, 5, kind="cases", X=X, y=y, statistic=lambda fit: fit.beta)
    assert list(cases.replicates.columns[-2:]) == ["statistic0", "statistic1"]
    single = bootstrap(model, 5, statistic=lambda fit: pd.Series({"a": fit.sigma2}))
    assert single.replicates.columns[-1] == "a"


def test_intervals(sleep):
    result = bootstrap(sleep[0], 500, random_state=0)
    percentile = bootstrap_intervals(result, level=0.9).to_frame()
    basic = bootstrap_intervals(result, level=0.9, method="basic").to_frame()
    quantiles = result.replicates.quantile([0.05, 0.95])
    np.testing.assert_allclose(percentile["lower"], quantiles.iloc[0])
    np.testing.assert_allclose(basic["lower"], 2 * result.estimates - quantiles.iloc[1])
    assert (percentile["lower"] < percentile["upper"]).all()


def test_models_without_random_terms_and_with_weights():
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor().fit(X[["Days"]], y)
    for kind in ("parametric", "residual"):
        result = bootstrap(model, 400, kind=kind, X=X[["Days"]], y=y, random_state=0)
        errors = np.sqrt(np.diag(model.coef_covariance_))
        np.testing.assert_allclose(result.to_frame()["std_error"].iloc[:2], errors, rtol=0.15)
    weights = np.resize([1.0, 2.0, 3.0], len(y))
    for weighting in ("frequency", "precision"):
        weighted = MixedLinearRegressor("(1 | Subject)", weighting=weighting)
        weighted.fit(X, y, weights)
        free = bootstrap(weighted, 1000, random_state=0).to_frame()["std_error"]
        rows = bootstrap(weighted, 1000, X=X, y=y, sample_weight=weights, random_state=1)
        np.testing.assert_allclose(free, rows.to_frame()["std_error"], rtol=0.12)


def test_a_replicate_without_a_maximum_is_nan():
    X = pd.DataFrame({"h": [0, 0, 0, 1, 1, 1], "g": [0, 0, 1, 2, 2, 3]})
    y = np.random.default_rng(0).normal(size=6)
    model = MixedLinearRegressor("(1 | h/g)").fit(X, y)
    result = bootstrap(model, 10, kind="residual", X=X, y=y, random_state=0)
    lost = result.replicates.isna().any(axis=1).to_numpy()
    assert lost.sum() == 1
    assert not result.converged[lost].any()


def test_what_cannot_be_done_is_said(sleep):
    model, X, y = sleep
    with pytest.raises(ValueError, match="needs the training data"):
        bootstrap(model, 2, kind="cases")
    with pytest.raises(ValueError, match="not the rows"):
        bootstrap(model, 2, kind="residual", X=X.head(50), y=y.head(50))
    with pytest.raises(ValueError, match="is not one of"):
        bootstrap(model, 2, kind="wild")
    with pytest.raises(ValueError, match="must be at least 1"):
        bootstrap(model, 0)
    with pytest.raises(ValueError, match="not fitted yet: call fit first"):
        bootstrap(MixedLinearRegressor(), 2)
    with pytest.raises(TypeError, match="a bare fit does not know"):
        bootstrap(model.fit_, 2, kind="cases", X=X, y=y)
    plain = MixedLinearRegressor().fit(X[["Days"]], y)
    with pytest.raises(ValueError, match="without groups"):
        bootstrap(plain, 2, kind="cases", X=X[["Days"]], y=y)
    weights = np.resize([1.0, 2.0], len(y))
    weighted = MixedLinearRegressor("(1 | Subject)").fit(X, y, weights)
    with pytest.raises(ValueError, match="weights count rows"):
        bootstrap(weighted, 2, kind="residual", X=X, y=y, sample_weight=weights)
    with pytest.raises(ValueError, match="exactly"):
        bootstrap(MixedLinearRegressor().fit([[0.0], [1.0]], [0.0, 1.0]), 2)
    result = bootstrap(model, 2, random_state=0)
    with pytest.raises(ValueError, match="percentile"):
        bootstrap_intervals(result, method="bca")
    with pytest.raises(ValueError, match="probability"):
        bootstrap_intervals(result, level=95)


def test_progress_is_shown_on_request(sleep, capsys):
    bootstrap(sleep[0], 10, verbose=1)
    assert "bootstrap: 100%" in capsys.readouterr().err


def test_intervals_of_coefficients_and_components_by_bootstrap():
    model = MixedLinearRegressor("(1 + Days | Subject)").fit(*load_sleepstudy(return_X_y=True))
    table = confidence_intervals(model, method="bootstrap", n_samples=200, random_state=3)
    result = bootstrap_intervals(bootstrap(model, 200, random_state=3)).to_frame()
    frame = table.to_frame()
    pd.testing.assert_frame_equal(frame, result.loc[frame.index])
