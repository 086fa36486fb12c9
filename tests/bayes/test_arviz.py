"""What ArviZ makes of draws, and what is said where it is not installed."""

import importlib.util
import sys

import numpy as np
import pytest

from skmixed import MixedLinearRegressor
from skmixed.bayes import sample
from skmixed.core.posterior.mixing import effective_draws, split_r_hat
from skmixed.datasets import load_sleepstudy

needs_arviz = pytest.mark.skipif(
    importlib.util.find_spec("arviz_stats") is None,
    reason="the extra bayes is not installed",
)


@pytest.fixture(scope="module")
def draws():
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    return sample(model, "rstanarm", random_state=0)


@needs_arviz
def test_chains_mix(draws):
    table = draws.diagnostics().to_frame()
    assert list(table.index) == list(draws.parameters)
    assert (table["r_hat"] < 1.01).all()
    assert (table[["ess_bulk", "ess_tail"]] > 1200).all(axis=None)
    spread = np.array([each.std() for each in draws.parameters.values()])
    np.testing.assert_allclose(table["mcse"], spread / np.sqrt(table["ess_bulk"]), rtol=0.15)


@needs_arviz
def test_data_tree_has_names_and_values(draws):
    tree = draws.to_datatree()
    posterior = tree["posterior"]
    assert posterior["coef"].dims == ("chain", "draw", "coefficient")
    assert list(posterior["coef"]["coefficient"].values) == ["(Intercept)", "Days"]
    effects = posterior["effects_Subject"].sel(Subject="309", Subject_column="Days")
    np.testing.assert_array_equal(effects, draws.effects("Subject", ["309"])[:, :, 0, 1])
    slope = posterior["cor_Subject"].sel(Subject_column="Days", Subject_other_column="(Intercept)")
    named = draws.parameters["cor_Days.(Intercept)|Subject"]
    np.testing.assert_allclose(slope, named)
    assert tree["sample_stats"]["lp"].shape == (4, 1000)


@pytest.mark.parametrize(
    ("method", "package"), [("diagnostics", "arviz_stats"), ("to_datatree", "arviz_base")]
)
def test_without_the_extra_an_error_names_it(draws, method, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.base", None)
    with pytest.raises(ImportError, match=r"scikit-mixed\[bayes\]"):
        getattr(draws, method)()


@needs_arviz
def test_mixing_is_told_as_by_arviz():
    from arviz_stats.base import array_stats

    rng = np.random.default_rng(0)
    draws = np.cumsum(rng.standard_normal((4, 400, 3)), axis=1) * 0.02
    draws += rng.standard_normal((4, 400, 3)) * [0.1, 1.0, 10.0]
    draws[:, :, 2] += np.arange(4)[:, None]
    axes = {"chain_axis": 0, "draw_axis": 1}
    found = zip(effective_draws(draws), split_r_hat(draws), strict=True)
    for number, (worth, r_hat) in enumerate(found):
        own = draws[:, :, number]
        assert worth == pytest.approx(array_stats.ess(own, method="mean", **axes), rel=0.03)
        assert r_hat == pytest.approx(array_stats.rhat(own, method="split", **axes), rel=1e-9)
