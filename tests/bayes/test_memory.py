import numpy as np
import pytest

from skmixed import BayesianMixedRegressor, MixedLinearRegressor
from skmixed.bayes import coefficient_draws, density, memory, prior_predict, row_predictions, sample
from skmixed.datasets import load_sleepstudy


def fitted():
    X, y = load_sleepstudy(return_X_y=True)
    return X, MixedLinearRegressor("(Days | Subject)").fit(X, y)


def test_draws_in_parts_are_draws_at_once(monkeypatch):
    _, model = fitted()
    whole = sample(model, n_draws=50, random_state=0)
    monkeypatch.setattr(density, "_KEPT_SUMS_CELLS", 0)
    monkeypatch.setattr(density, "_CELLS_AT_ONCE", 0)
    parts = sample(model, n_draws=50, random_state=0)
    assert parts.n_evaluations == whole.n_evaluations
    for name in ("phi", "coef", "coef_mean", "coef_covariance", "log_density"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-7)
    for name in ("phi", "means", "covariances"):
        np.testing.assert_allclose(
            getattr(parts.nodes, name), getattr(whole.nodes, name), rtol=1e-7
        )


def test_there_are_fewer_nodes_of_very_many_coefficients():
    assert coefficient_draws.n_nodes(2, 4000) == 400
    assert coefficient_draws.n_nodes(2, 40) == 40
    assert coefficient_draws.n_nodes(300, 4000) == 222
    assert coefficient_draws.n_nodes(2000, 4000) == 100


def test_rows_in_parts_are_rows_at_once(monkeypatch):
    X, y = load_sleepstudy(return_X_y=True)
    model = BayesianMixedRegressor("(Days | Subject)", random_state=0, n_draws=40).fit(X, y)
    whole = model.predict_interval(X)
    monkeypatch.setattr(row_predictions, "_MOMENTS_CELLS", 7 * len(model.posterior_.nodes))
    np.testing.assert_allclose(model.predict_interval(X), whole, rtol=1e-10)


def test_more_draws_than_the_machine_holds_are_refused(monkeypatch):
    X, model = fitted()
    draws = sample(model, n_draws=50, random_state=0)
    y = load_sleepstudy(return_X_y=True)[1]
    bayesian = BayesianMixedRegressor("(Days | Subject)", random_state=0, n_draws=40).fit(X, y)
    monkeypatch.setattr(memory, "memory_installed", lambda: 2**30)
    with pytest.raises(
        MemoryError, match=r"40000000 draws of 2 coefficients and 4 variance .* GiB"
    ):
        sample(model, n_draws=10**7)
    with pytest.raises(MemoryError, match=r"1000000 draws of 180 rows would take about 4\.0 GiB"):
        prior_predict(model, X, n_draws=10**6)
    with pytest.raises(MemoryError, match=r"this machine has 1\.0 GiB\. Draw fewer"):
        bayesian.sample_y(X, n_samples=10**6)
    monkeypatch.setattr(memory, "memory_installed", lambda: 2**18)
    with pytest.raises(MemoryError, match="200 draws of 2 effects of 18 levels"):
        draws.effects("Subject")
    assert draws.effects("Subject", ["308"]).shape == (4, 50, 1, 2)
    monkeypatch.setattr(memory, "memory_installed", lambda: None)  # where the system does not tell
    assert draws.effects("Subject").shape == (4, 50, 18, 2)
