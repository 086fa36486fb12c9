"""The model that PyMC is given, and what is said where PyMC is not installed.

Compiling takes long, so that what needs PyMC is a study.
"""

import importlib.util
import sys

import numpy as np
import pytest
from scipy import stats

from skmixed import MixedGeneralizedRegressor, MixedLinearRegressor
from skmixed.bayes import sample, to_pymc
from skmixed.bayes.priors import ModelPrior
from skmixed.datasets import load_sleepstudy
from tests.reference_set import committed_table

needs_pymc = pytest.mark.skipif(
    importlib.util.find_spec("pymc") is None, reason="the extra pymc is not installed"
)


def test_an_installation_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymc", None)
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    with pytest.raises(ImportError, match=r"scikit-mixed\[pymc\]"):
        to_pymc(model, X=X, y=y)


@needs_pymc
@pytest.mark.study
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("given", ["weak", "rstanarm"])
def test_distributions_before_the_data_are_those_of_a_linear_model(given):
    import pymc

    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    with to_pymc(model, given, X=X, y=y):
        drawn = pymc.sample_prior_predictive(4000, random_seed=0).prior
    prior = ModelPrior.of(model.fit_, given)
    rng = np.random.default_rng(0)
    phi, beta = prior.draw(4000, rng), prior.coef.draw(4000, rng)
    (covariances,) = prior.parametrization.covariances(phi)
    sds = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    pairs = [
        (drawn["sigma"], np.exp(phi[:, -1])),
        (drawn["coef"][..., 0], beta[:, 0]),
        (drawn["coef"][..., 1], beta[:, 1]),
        (drawn["sd_Subject"][..., 0], sds[:, 0]),
        (drawn["sd_Subject"][..., 1], sds[:, 1]),
        (drawn["cor_Subject"][..., 0, 1], covariances[:, 0, 1] / sds.prod(axis=1)),
    ]
    for theirs, ours in pairs:
        assert stats.ks_2samp(theirs.to_numpy().ravel(), ours).pvalue > 1e-4


@needs_pymc
@pytest.mark.study
@pytest.mark.filterwarnings("ignore")
def test_posterior_of_cbpp_is_that_of_nuts():
    import pymc

    table = committed_table("cbpp")
    X, y = table[["herd", "period"]].astype(str), table["incidence"] / table["size"]
    given = {"X": X, "y": y, "sample_weight": table["size"]}
    model = MixedGeneralizedRegressor("(1 | herd)", fixed="period", family="binomial")
    model.fit(X, y, table["size"])
    draws = sample(model, "rstanarm", **given, random_state=0)
    found = pymc.sample(
        draws=1000,
        tune=700,
        chains=2,
        cores=1,
        model=to_pymc(model, "rstanarm", **given),
        random_seed=1,
        progressbar=False,
        target_accept=0.9,
    ).posterior
    error = 4 * np.sqrt(np.diag(draws.coef_covariance) / 500)
    means = found["coef"].mean(("chain", "draw")).to_numpy()
    assert (np.abs(means - draws.coef_mean) < error).all()
    deviation = draws.parameters["sd_(Intercept)|herd"]
    assert abs(float(found["sd_herd"].mean()) - deviation.mean()) < 4 * deviation.std() / 15
    effects = found["effects_herd"].mean(("chain", "draw")).to_numpy()[:, 0]
    assert np.abs(effects - draws.effect_moments("herd")[0][:, 0]).max() < 0.1
