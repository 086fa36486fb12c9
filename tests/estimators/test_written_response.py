"""What a whole formula says of y and weights, read off the data frame after the fit."""

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedGeneralizedRegressor, MixedLinearRegressor, clmm, glmer, lmer, nlmer
from skmixed.bayes import loo, posterior_predictive_check, sample
from skmixed.datasets import load_cbpp, load_sleepstudy
from skmixed.inference import (
    autocorrelation,
    bootstrap,
    confidence_intervals,
    influence,
    profile,
    ranova,
    residual_tests,
    residuals,
    robust_covariance,
    row_table,
)
from skmixed.model_selection import all_fits, bootstrap_test, cross_validate, drop1, refit, update

TRIALS = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def cbpp():
    return load_cbpp()


@pytest.fixture(scope="module")
def of_trials(cbpp):
    return glmer(TRIALS, cbpp)


def share_of(cbpp):
    return cbpp["incidence"] / cbpp["size"]


def test_trials_are_those_of_the_formula_and_never_one_a_row(cbpp, of_trials):
    # residuals(m, "pearson") of lme4 2.0: -1.33957, 1.07480, 2.87909
    for given in ((cbpp,), (cbpp, share_of(cbpp)), (cbpp, share_of(cbpp), cbpp["size"])):
        pearson = residuals(of_trials, *given, kind="pearson")
        np.testing.assert_allclose(pearson[:3], [-1.33957, 1.07480, 2.87909], atol=2e-3)
    drawn = of_trials.simulate(cbpp, n_samples=200, random_state=0)
    hits = drawn * cbpp["size"].to_numpy()[:, None]
    np.testing.assert_allclose(hits, hits.round(), atol=1e-9)
    assert hits.max() > 5
    known = of_trials.simulate(cbpp, sample_weight=cbpp["size"], n_samples=200, random_state=0)
    np.testing.assert_array_equal(drawn, known)


def test_trials_that_nothing_tells_are_an_error(cbpp, of_trials):
    bare = cbpp[["period", "herd"]]
    for ask in (
        lambda: of_trials.simulate(bare),
        lambda: residuals(of_trials, bare, share_of(cbpp)),
        lambda: influence(of_trials, bare, share_of(cbpp)),
        lambda: of_trials.score(bare, share_of(cbpp)),
        lambda: refit(of_trials, share_of(cbpp), bare),
    ):
        with pytest.raises(ValueError, match=r"numbers of trials: pass sample_weight"):
            ask()
    assert of_trials.simulate(bare, sample_weight=cbpp["size"]).shape == (56, 1)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_trials_and_exposures_of_a_fit_by_arrays_are_asked_for(cbpp, family):
    X, share, size = cbpp[["period", "herd"]], share_of(cbpp), cbpp["size"]
    model = MixedGeneralizedRegressor("(1 | herd)", fixed="1 + period", family=family)
    model.fit(X, share, size)
    asked = "numbers of trials" if family == "binomial" else "exposures"
    for ask in (
        lambda: model.simulate(X),
        lambda: residuals(model, X, share),
        lambda: residual_tests(model, X, share),
        lambda: influence(model, X, share),
    ):
        with pytest.raises(ValueError, match=f"fitted with {asked} as sample_weight"):
            ask()
    single = model.simulate(X, sample_weight=np.ones(56), random_state=0)
    np.testing.assert_array_equal(single, single.round())


def test_single_outcomes_need_no_trials(cbpp):
    any_ill = (cbpp["incidence"] > 0).astype(float)
    X = cbpp[["period", "herd"]]
    counted = MixedGeneralizedRegressor("(1 | herd)", fixed="1 + period", family="binomial").fit(
        X, any_ill, cbpp["size"]
    )
    assert set(counted.simulate(X, random_state=0).ravel()) == {0.0, 1.0}


def test_other_rows_are_said_to_be_shares_and_trials(cbpp, of_trials):
    with pytest.raises(
        ValueError, match=r"y = incidence / size and sample_weight = size; without y both are read"
    ):
        influence(of_trials, cbpp, cbpp["incidence"])


def test_every_function_of_rows_takes_the_data_frame_alone(cbpp, of_trials):
    share, size = share_of(cbpp), cbpp["size"]
    of_fit = {
        "influence": lambda *rows: influence(of_trials, *rows).to_frame(),
        "row_table": lambda *rows: row_table(of_trials, *rows, leverage=True).to_frame(),
        "robust": lambda *rows: robust_covariance(of_trials, *rows).to_frame(),
        "autocorrelation": lambda *rows: autocorrelation(of_trials, *rows).to_frame(),
        "tests": lambda *rows: residual_tests(
            of_trials, *rows, n_samples=20, random_state=0
        ).to_frame(),
        "score": lambda *rows: pd.Series(of_trials.score(*rows)),
    }
    for name, ask in of_fit.items():
        alone, given = ask(cbpp), ask(cbpp, share, size)
        np.testing.assert_array_equal(alone.to_numpy(), given.to_numpy(), err_msg=name)
    by_name = {
        "ranova": lambda **rows: ranova(of_trials, **rows).to_frame(),
        "drop1": lambda **rows: drop1(of_trials, **rows).to_frame(),
        "all_fits": lambda **rows: all_fits(of_trials, 0, **rows).to_frame(),
        "bootstrap": lambda **rows: bootstrap(of_trials, 3, random_state=0, **rows).replicates,
        "profile": lambda **rows: confidence_intervals(
            of_trials, parameters="(Intercept)", method="profile", **rows
        ).to_frame(),
        "curve": lambda **rows: profile(of_trials, parameters="(Intercept)", **rows).curves[
            ["value", "zeta"]
        ],
    }
    given = {"X": cbpp, "y": share, "sample_weight": size}
    for name, ask in by_name.items():
        np.testing.assert_array_equal(
            ask(X=cbpp).to_numpy(float), ask(**given).to_numpy(float), err_msg=name
        )


def test_posteriors_of_trials_take_the_data_frame_alone(cbpp, of_trials):
    draws = sample(of_trials, X=cbpp, n_draws=100, random_state=0)
    assert np.isfinite(loo(of_trials, draws, cbpp, random_state=0).total)
    check = posterior_predictive_check(of_trials, draws, cbpp, n_draws=20, random_state=0)
    hits = check.replicated * cbpp["size"].to_numpy()[:, None]
    np.testing.assert_allclose(hits, hits.round(), atol=1e-9)
    with pytest.raises(ValueError, match="numbers of trials: pass sample_weight"):
        draws.sample_y(cbpp[["period", "herd"]])
    assert draws.predict_interval(cbpp).shape == (56, 2)


def test_intervals_of_observations_take_trials_that_are_there(cbpp, of_trials):
    found = of_trials.predict_interval(cbpp)
    np.testing.assert_array_equal(
        found, of_trials.predict_interval(cbpp, sample_weight=cbpp["size"])
    )
    np.testing.assert_array_equal(of_trials.predict(cbpp, interval=0.95)[:, 1:], found)
    with pytest.raises(ValueError, match="a prediction interval of a proportion requires"):
        of_trials.predict_interval(cbpp[["period", "herd"]])


def test_folds_are_fitted_to_trials(cbpp, of_trials):
    share, weights = share_of(cbpp), {"sample_weight": cbpp["size"].to_numpy(float)}
    alone = cross_validate(of_trials, cbpp, cv=3, return_estimator=True)
    for rows in ({"y": share}, {"y": share, "params": weights}):
        given = cross_validate(of_trials, cbpp, cv=3, return_estimator=True, **rows)
        np.testing.assert_array_equal(alone["test_score"], given["test_score"])
    assert all(model._fitted.has_sizes for model in alone["estimator"])


def test_another_response_is_not_that_of_the_formula(cbpp, of_trials):
    again = refit(of_trials, share_of(cbpp), cbpp)
    assert np.isclose(again.log_likelihood_, of_trials.log_likelihood_)
    with pytest.raises(ValueError, match="refitted to another response"):
        residuals(again, cbpp)
    given = residuals(again, cbpp, share_of(cbpp), kind="pearson")
    np.testing.assert_allclose(given, residuals(of_trials, cbpp, kind="pearson"), rtol=1e-5)
    data = load_sleepstudy()
    linear = lmer("Reaction ~ Days + (1 | Subject)", data)
    with pytest.raises(ValueError, match="refitted to another response"):
        residuals(refit(linear, 2.0 * data["Reaction"], data), data)


def test_another_formula_keeps_the_trials(cbpp, of_trials):
    given = update(of_trials, None, cbpp, share_of(cbpp))
    assert np.isclose(given.log_likelihood_, of_trials.log_likelihood_)


def test_weights_of_a_linear_model_are_read_too():
    data = load_sleepstudy()
    data["v"] = 1.0 + data["Days"] % 3
    model = lmer("Reaction ~ Days + (1 | Subject)", data, weights="1 / v")
    y, w = data["Reaction"], 1.0 / data["v"]
    expected = residuals(model, data, y, w, kind="pearson")
    np.testing.assert_array_equal(residuals(model, data, kind="pearson"), expected)
    np.testing.assert_array_equal(residuals(model, data, y, kind="pearson"), expected)
    drawn = model.simulate(data, random_state=0)
    np.testing.assert_array_equal(drawn, model.simulate(data, sample_weight=w, random_state=0))
    np.testing.assert_array_equal(
        influence(model, data).to_frame(), influence(model, data, y, w).to_frame()
    )
    with pytest.raises(ValueError, match=r"X has no columns \['v'\]"):
        model.simulate(data.drop(columns="v"))
    by_array = lmer("Reaction ~ Days + (1 | Subject)", data, weights=w)
    with pytest.raises(ValueError, match="given as an array"):
        residuals(by_array, data)


def test_rows_and_groups_are_left_out_of_the_data_frame_alone():
    data = load_sleepstudy().assign(w=lambda table: 1.0 + table["Days"] % 3)
    model = lmer("Reaction ~ Days + (Days | Subject)", data, weights="w")
    for leave_out in (None, "Subject"):
        found = model.loo_predict(data, leave_out=leave_out)
        known = model.loo_predict(data, data["Reaction"], data["w"], leave_out=leave_out)
        np.testing.assert_array_equal(found, known)


def test_incomplete_rows_are_left_out_or_nan():
    data = load_sleepstudy()
    data["spare"] = np.nan  # no column of the formula
    data.loc[[3, 7], "Reaction"] = np.nan
    data.loc[5, "Days"] = np.nan
    model = lmer("log(Reaction) ~ Days + (1 | Subject)", data)
    complete = data.dropna(subset=["Reaction", "Days"])
    found = bootstrap(model, 3, kind="cases", X=data, random_state=0).replicates
    expected = bootstrap(model, 3, kind="cases", X=complete, random_state=0).replicates
    pd.testing.assert_frame_equal(found, expected)
    padded = residuals(model, data, missing="nan")
    assert np.flatnonzero(np.isnan(padded)).tolist() == [3, 5, 7]
    np.testing.assert_array_equal(padded[~np.isnan(padded)], residuals(model, complete))
    with pytest.raises(ValueError, match="NaN"):
        influence(model, data)


def test_categories_and_curves_are_read_too():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"price": rng.normal(size=400), "shop": np.arange(400) % 20})
    latent = rng.logistic(size=400) - data["price"] + rng.normal(size=20)[data["shop"]]
    data["stars"] = np.digitize(latent, [-1.0, 0.5]) + 1
    model = clmm("factor(stars) ~ price + (1 | shop)", data)
    assert model.score(data) == model.score(data, data["stars"])
    np.testing.assert_array_equal(
        residuals(model, data, random_state=0),
        residuals(model, data, data["stars"], random_state=0),
    )
    age, tree = np.tile(np.arange(1.0, 9.0), 10), np.arange(80) // 8
    top = 100.0 + 10.0 * rng.normal(size=10)[tree]
    trees = pd.DataFrame({"age": age, "tree": tree})
    trees["size"] = top / (1.0 + np.exp(4.0 - age)) + rng.normal(size=80)
    curve = nlmer("size ~ SSlogis(age, Asym, xmid, scal) ~ Asym | tree", trees)
    assert curve.score(trees) == curve.score(trees, trees["size"])
    np.testing.assert_array_equal(
        residuals(curve, trees, kind="pearson"),
        residuals(curve, trees, trees["size"], kind="pearson"),
    )
    found = confidence_intervals(curve, parameters="xmid", method="profile", X=trees)
    expected = confidence_intervals(
        curve, parameters="xmid", method="profile", X=trees, y=trees["size"]
    )
    np.testing.assert_array_equal(found.to_frame(), expected.to_frame())


def test_labels_of_outcomes_are_read_as_in_the_fit(cbpp):
    data = cbpp.assign(ill=np.where(cbpp["incidence"] > 0, "yes", "no"))
    model = glmer("ill ~ period + (1 | herd)", data)
    found = residuals(model, data, kind="response")
    expected = residuals(model, data, (data["ill"] == "yes").astype(float), kind="response")
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="1 categories"):
        residuals(model, data[data["ill"] == "yes"], kind="response")


def test_the_response_is_stored_with_the_model(cbpp, of_trials):
    again = MixedGeneralizedRegressor.from_dict(of_trials.to_dict())
    np.testing.assert_array_equal(
        residuals(again, cbpp, kind="pearson"), residuals(of_trials, cbpp, kind="pearson")
    )


def test_models_without_a_whole_formula_need_y():
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor("(1 | Subject)").fit(X, y)
    for ask in (
        lambda: residuals(model, X),
        lambda: influence(model, X),
        lambda: model.score(X),
        lambda: row_table(model, X),
    ):
        with pytest.raises(ValueError, match="requires y to be passed"):
            ask()


def test_pairs_of_models_of_trials_are_compared_by_the_data_frame(cbpp, of_trials):
    found = bootstrap_test(of_trials, ". ~ . - period", 3, X=cbpp, random_state=0)
    assert found.to_frame().loc["LRT", "statistic"] == pytest.approx(25.61, abs=0.01)
