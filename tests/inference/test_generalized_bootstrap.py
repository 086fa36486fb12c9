"""The bootstrap of generalized models: against fits of what was drawn, and its bookkeeping."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skmixed import MixedClassifier, MixedGeneralizedRegressor, glmer
from skmixed.core.generalized.after_fit.redrawn import (
    Refitted,
    draw_observations,
    one_response_a_row,
)
from skmixed.inference import bootstrap, bootstrap_intervals
from skmixed.inference.fitted import observations_of_fit


def table(n=240, n_groups=12, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": rng.integers(-2, 3, n) / 2.0,
            "hours": rng.choice([0.5, 1.0, 2.0], n),
            "g": rng.permutation(np.arange(n) % n_groups),
        }
    )
    effects = 0.7 * rng.normal(size=n_groups)[frame["g"]]
    return frame, 0.4 + 0.5 * frame["x"].to_numpy() + effects, rng


X, ETA, RNG = table()
PROBABILITY = 1.0 / (1.0 + np.exp(-ETA))
BOUGHT = np.where(RNG.random(240) < PROBABILITY, "yes", "no")
TRIALS = RNG.integers(1, 6, 240).astype(float)
SHARES = RNG.binomial(TRIALS.astype(int), PROBABILITY) / TRIALS
VISITS = RNG.poisson(X["hours"] * np.exp(ETA))
AMOUNTS = RNG.gamma(2.0, np.exp(ETA) / 2.0)
WEIGHTS = RNG.integers(1, 3, 240).astype(float)
CASES = {
    "classes": (MixedClassifier("(1 | g)", fixed="x"), BOUGHT, None),
    "shares": (MixedGeneralizedRegressor("(1 | g)", family="binomial", fixed="x"), SHARES, TRIALS),
    "rates": (MixedGeneralizedRegressor("(x | g)", exposure="hours"), VISITS, None),
    "offsets": (
        MixedGeneralizedRegressor("(1 | g)", fixed="x + offset(hours)", family="negative_binomial"),
        VISITS,
        None,
    ),
    "nodes": (MixedGeneralizedRegressor("(1 | g)", fixed="x", quadrature=5), VISITS, None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_refit_is_the_fit_of_what_was_drawn(name):
    model, y, weights = CASES[name]
    model.fit(X, y, weights)
    rows = observations_of_fit(model, X, y, weights, None, "this")
    (drawn,) = draw_observations(model.fit_, rows, 1, np.random.default_rng(1))
    found = Refitted.of(drawn, model.quadrature)
    values = drawn.given.columns[:, -1]
    assert not np.array_equal(values, rows.given.columns[:, -1])
    classes = getattr(model, "classes_", None)
    again = type(model)(**model.get_params())
    again.fit(X, values if classes is None else classes[values.astype(int)], weights)
    estimates = found.estimates(model.fit_)
    assert_allclose(estimates.beta, again.fit_.beta, rtol=1e-6, atol=1e-9)
    assert_allclose(estimates.covariances[0], again.fit_.covariances[0], rtol=1e-5, atol=1e-9)
    assert_allclose(estimates.scales, [*again.fit_.scales.values()], rtol=1e-5)
    assert_allclose(found.fit.criterion, again.fit_.criterion, rtol=1e-9)
    assert_allclose(found.fit.beta_covariance, again.fit_.beta_covariance, rtol=1e-5)


def test_a_weight_is_so_many_rows_with_responses_of_their_own():
    model = MixedGeneralizedRegressor("(1 | g)", fixed="x", family="gamma")
    model.fit(X, AMOUNTS, WEIGHTS)
    rows = one_response_a_row(observations_of_fit(model, X, AMOUNTS, WEIGHTS, None, "this"))
    assert len(rows.given.columns) == WEIGHTS.sum()
    (drawn,) = draw_observations(model.fit_, rows, 1, np.random.default_rng(1))
    twice = np.flatnonzero(WEIGHTS == 2.0)[0]
    first = int(WEIGHTS[:twice].sum())
    values = drawn.given.columns[first : first + 2, -1]
    assert values[0] != values[1]
    model.fit(X, AMOUNTS, 0.5 * WEIGHTS)
    with pytest.raises(ValueError, match=r"whole numbers of rows, and sample_weight is 0\.5"):
        bootstrap(model, 2, X=X, y=AMOUNTS, sample_weight=0.5 * WEIGHTS)


def test_errors_of_many_rows_are_those_of_the_curvature():
    frame, eta, rng = table(n=600, n_groups=40, seed=3)
    y = rng.poisson(np.exp(eta))
    model = glmer("y ~ x + (1 | g)", frame.assign(y=y), family="poisson")
    result = bootstrap(model, 120, X=frame, y=y, random_state=0)
    assert result.replicates.columns.tolist() == ["(Intercept)", "x", "sd_(Intercept)|g"]
    errors = np.sqrt(np.diag(model.coef_covariance_))
    assert_allclose(result.replicates.std()[:2], errors, rtol=0.25)
    assert_allclose(result.replicates.mean(), result.estimates, atol=4.0 * errors.max() / 10.0)
    limits = bootstrap_intervals(result).to_frame()
    assert (limits["lower"] < limits["estimate"]).all()
    assert (limits["estimate"] < limits["upper"]).all()


def test_threads_and_the_order_of_rows_change_nothing():
    model, y, weights = CASES["shares"]
    model.fit(X, y, weights)
    given = {"X": X, "y": y, "sample_weight": weights, "random_state": 5}
    first = bootstrap(model, 30, **given)
    second = bootstrap(model, 30, n_jobs=2, **given)
    assert_array_equal(first.replicates, second.replicates)
    turned = np.random.default_rng(0).permutation(len(X))
    other = {"X": X.iloc[turned], "y": y[turned], "sample_weight": weights[turned]}
    bootstrap(model, 2, **other, random_state=0)
    plain = MixedGeneralizedRegressor("(1 | g)", family="binomial", fixed="x").fit(X, y, weights)
    again = bootstrap(plain, 30, statistic=lambda fit: fit.criterion, **given)
    assert_array_equal(again.replicates.iloc[:, :3], first.replicates)
    assert again.replicates["statistic"].notna().all()


def test_replicates_without_a_maximum_are_missing():
    rng = np.random.default_rng(0)
    rare = pd.DataFrame({"z": np.repeat([0, 1], [55, 5]), "g": np.arange(60) % 6})
    y = (rng.random(60) < 0.5).astype(int)
    y[-5:] = [1, 1, 1, 1, 0]
    model = MixedClassifier("(1 | g)").fit(rare, y)
    result = bootstrap(model, 60, X=rare, y=y, random_state=1, statistic=lambda fit: fit.aic)
    lost = result.replicates["z"].isna()
    assert 0.05 < lost.mean() < 0.8  # the five rows have one class with a probability of a third
    assert not result.converged[lost].any()
    assert result.converged[~lost].all()
    assert result.replicates[~lost][["(Intercept)", "statistic"]].notna().all().all()
    assert result.share_not_converged == lost.mean()


def test_whole_levels_are_drawn_with_their_offsets():
    model, y, _ = CASES["rates"]
    model.fit(X, y)
    result = bootstrap(model, 20, kind="cases", X=X, y=y, random_state=0)
    assert result.converged.all()
    errors = np.sqrt(np.diag(model.coef_covariance_))
    found = result.replicates[["(Intercept)", "x"]]
    assert (np.abs(found - model.fit_.beta) < 5.0 * errors).all().all()


def test_what_is_refused_and_why():
    model, y, _ = CASES["classes"]
    model.fit(X, y)
    with pytest.raises(ValueError, match="needs the training data"):
        bootstrap(model, 2)
    with pytest.raises(ValueError, match="kind='residual' is for linear models"):
        bootstrap(model, 2, kind="residual", X=X, y=y)
    changed = y.copy()
    changed[0] = "yes" if y[0] == "no" else "no"
    for rows in [(X, changed), (X.iloc[1:], y[1:]), (X.assign(x=-X["x"]), y)]:
        with pytest.raises(ValueError, match="not the rows the model was fitted to"):
            bootstrap(model, 2, X=rows[0], y=rows[1])
    with pytest.raises(ValueError, match="not the rows the model was fitted to"):
        bootstrap(model, 2, X=X.assign(g=X["g"] + 1), y=y)
    with pytest.warns(match="separate"):
        parted = MixedClassifier("(1 | g)").fit(X[["g"]].assign(z=y == "yes"), y)
    with pytest.raises(ValueError, match=r"coefficients of \['.*z'\] are infinite"):
        bootstrap(parted, 2, X=X[["g"]].assign(z=y == "yes"), y=y)
