"""Loadings of random effects of reduced rank, and structures of several parts as one."""

import pickle

import matplotlib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skmixed import BayesianMixedRegressor, MixedLinearRegressor, glmer, lmer
from skmixed.display import RandomEffectsDisplay, ShrinkageDisplay
from skmixed.inference import (
    bootstrap,
    confidence_intervals,
    loadings_table,
    random_effects_table,
    ranova,
    sim,
)
from tests.structured import visits

matplotlib.use("Agg")
TABLE = visits()
# glmmTMB 1.1.5, restricted, rel.tol = 1e-14: response and formula, criterion, fact_load, and
# deviations of a diag(0 + f | g) beside it
FIGURES = {
    ("z", "rr(0 + f | g, d=1)"): (
        1407.28305639,
        [[0.78753572], [0.83900618], [0.84452385], [0.91919588], [0.37744154]],
        [0.0] * 5,
    ),
    ("z", "rr(0 + f | g, d=2)"): (
        1293.03582572,
        [
            [1.101613699, 0.0],
            [0.832568023, 0.366063239],
            [0.474965149, 0.743770096],
            [0.273271549, 1.067180069],
            [-0.036363291, 0.568050106],
        ],
        [0.0] * 5,
    ),
    ("z", "fa(0 + f | g, d=1)"): (
        1347.270,
        [[0.43309338], [0.64387673], [0.87300356], [1.08138375], [0.51696645]],
        [1.0091801, 0.6819551, 0.0840891, 0.0001941, 0.1432476],
    ),
    ("y", "fa(0 + f | g, d=1)"): (
        1775.675,
        [[0.084806962], [0.660954769], [0.531997189], [1.320129599], [1.655133610]],
        [0.83189481, 1.3748399, 0.28950945, 0.0, 1.1929699],
    ),
    ("y", "fa(0 + f | g, d=2)"): (
        1763.373,
        [
            [0.777043831, 0.0],
            [1.052324153, 0.615667615],
            [0.060961541, 0.539586888],
            [0.135645735, 1.269159706],
            [-0.156046855, 1.754483622],
        ],
        [0.33498566, 0.95219512, 0.27385082, 0.36364103, 1.03785805],
    ),
}


@pytest.fixture(scope="module")
def factor_analytic():
    return lmer("y ~ x + fa(0 + f | g, d=2)", TABLE)


@pytest.fixture(scope="module")
def in_parts():
    return lmer("y ~ x + rr(0 + f | g, d=2) + diag(0 + f | g)", TABLE)


@pytest.mark.parametrize(("response", "term"), FIGURES)
def test_loadings_are_those_of_r(response, term):
    criterion, loadings, own = FIGURES[response, term]
    model = lmer(f"{response} ~ x + {term}", TABLE)
    assert model.criterion_ == pytest.approx(criterion, abs=6e-4)
    table = loadings_table(model).to_frame()
    assert table.index.tolist() == [("g", f"f[{visit}]") for visit in range(1, 6)]
    found = table.filter(like="latent").to_numpy()
    assert_allclose(found, loadings, atol=1e-4)
    assert_allclose(table["unique_sd"], own, atol=3e-4)
    covariance = model.random_covariance_["g"].to_numpy()
    assert_allclose(found @ found.T + np.diag(table["unique_sd"] ** 2), covariance, atol=1e-10)
    share = np.square(found).sum(axis=1) / np.diag(covariance)
    assert_allclose(table["communality"], share, rtol=1e-10)


def test_loadings_of_what_does_not_vary_are_zero_and_diagonals_are_not_negative():
    """The first column has none, and the signs of the others are told by one of them."""
    model = glmer("count ~ x + rr(0 + f | g, d=1)", TABLE, family="poisson")
    assert loadings_table(model).to_frame()["latent1"].iloc[0] > 0.0
    levels = list("abc")
    rng = np.random.default_rng(3)
    g, f = np.repeat(np.arange(30), 6), np.tile(np.repeat(levels, 2), 30)
    latent = rng.normal(size=30)[g] * np.select([f == "b", f == "c"], [1.0, -2.0])
    noise = np.tile([1.0, -1.0], 90)  # which leaves the mean of no cell
    data = pd.DataFrame({"g": g, "f": f, "y": latent + noise})
    table = loadings_table(lmer("y ~ f + rr(0 + f | g, d=1)", data)).to_frame()
    assert 0.0 <= table["latent1"].iloc[0] < 1e-12
    assert table["latent1"].iloc[1] * table["latent1"].iloc[2] < 0.0


def test_models_without_loadings_are_refused():
    with pytest.raises(ValueError, match=r"no loadings.*rr\(0 \+ x"):
        loadings_table(lmer("y ~ x + cs(0 + f | g)", TABLE))


def test_two_terms_of_reduced_rank_stand_in_one_table():
    table = TABLE.assign(h=TABLE["g"] % 20)
    model = lmer("z ~ x + rr(0 + f | g, d=2) + fa(1 + x + t | h, d=1)", table)
    found = loadings_table(model).to_frame()
    assert found.index.get_level_values("factor").tolist() == ["g"] * 5 + ["h"] * 3
    assert found.loc["h", "latent2"].isna().all()
    assert list(found.columns) == ["latent1", "latent2", "unique_sd", "communality"]


# --- parts of a structure are one to users --------------------------------------------------------


def test_parts_are_added_up(factor_analytic, in_parts):
    names = [f"f[{visit}]" for visit in range(1, 6)]
    assert list(factor_analytic.random_effects_["g"].columns) == names
    assert list(in_parts.random_effects_["g"].columns) == [*names, *(f"{n}.1" for n in names)]
    sums = np.tile(np.eye(5), 2)
    apart = in_parts.random_covariance_["g"].to_numpy()
    assert_allclose(factor_analytic.random_covariance_["g"], sums @ apart @ sums.T, rtol=1e-12)
    apart = in_parts.random_effects_["g"].to_numpy()
    assert_allclose(factor_analytic.random_effects_["g"], apart @ sums.T, atol=1e-12)
    apart = in_parts.random_effects_covariance_["g"]
    found = factor_analytic.random_effects_covariance_["g"]
    assert_allclose(found, sums @ apart @ sums.T, atol=1e-12)
    assert_allclose(factor_analytic.predict(TABLE), in_parts.predict(TABLE), rtol=1e-12)
    again = pickle.loads(pickle.dumps(factor_analytic))
    assert str(again.summary()) == str(factor_analytic.summary())
    assert str(loadings_table(again)) == str(loadings_table(factor_analytic))


def test_summaries_and_formulas_name_the_structure(factor_analytic):
    terms = factor_analytic.summary().error_terms
    assert terms["Groups"].tolist() == ["g (fa)", "", "", "", "", "Residual"]
    covariance = factor_analytic.random_covariance_["g"].to_numpy()
    deviations = np.sqrt(np.diag(covariance))
    assert_allclose(terms["Std.Dev."][:5], deviations)
    assert terms["Corr"][1] == pytest.approx(covariance[0, 1] / deviations[0] / deviations[1])
    model = MixedLinearRegressor("(0 + f | g)", fixed="x", covariance="fa(2)")
    model.fit(TABLE[["x", "f", "g"]], TABLE["y"])
    assert model.formula_ == "y ~ x + fa(0 + f | g, d=2)"


def test_intervals_and_bootstraps_name_the_parts(factor_analytic):
    found = confidence_intervals(factor_analytic).to_frame()
    own = loadings_table(factor_analytic).to_frame()["unique_sd"].to_numpy()
    unique = [name for name in found.index if name.endswith("|g.unique")]
    assert unique == [f"sd_f[{visit}]|g.unique" for visit in range(1, 6)]
    assert_allclose(found.loc[unique, "estimate"], own)
    assert "cor_f[2].f[1]|g.common" in found.index
    assert not any(name.endswith((".1", "|g")) for name in found.index)
    drawn = bootstrap(factor_analytic, 2, random_state=0).to_frame()
    assert "sd_f[3]|g.common" in drawn.index


def test_draws_tables_and_displays_have_a_column_once(factor_analytic):
    draws = sim(factor_analytic, 400, random_state=0)
    found = draws.random_effects["g"]
    assert found.shape == (400, 60, 5)
    effects = factor_analytic.random_effects_["g"]
    errors = np.sqrt(np.diagonal(factor_analytic.random_effects_covariance_["g"], 0, 1, 2))
    assert np.abs((found.mean(axis=0) - effects) / errors).to_numpy().max() < 0.5
    table = random_effects_table(factor_analytic, ranks=False).to_frame()
    assert len(table) == 300
    assert_allclose(table["std_error"], errors.ravel())
    rows = TABLE[["x", "f", "g"]], TABLE["y"]
    shrunk = ShrinkageDisplay.from_estimator(factor_analytic, *rows).shrunk
    assert_allclose(shrunk, effects[["f[1]", "f[2]"]], atol=1e-12)  # the first two are drawn
    assert RandomEffectsDisplay.from_estimator(factor_analytic).figure_ is not None
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("name", ["fa", "rr"])
def test_random_terms_are_dropped_whole(name):
    model = lmer(f"z ~ x + {name}(1 + x + t | g, d=2)", TABLE)
    found = ranova(model)
    assert found.to_frame().index.tolist() == [
        "<none>",
        f"x in {name}(x + t | g, d=2)",
        f"t in {name}(x + t | g, d=2)",
    ]
    smaller = lmer(f"z ~ x + {name}(1 + t | g, d=2)", TABLE)
    log_likelihood = found.to_frame()["log_likelihood"].iloc[1]
    assert log_likelihood == pytest.approx(smaller.log_likelihood_, abs=1e-5)
    whole = ranova(lmer(f"z ~ x + {name}(x | g, d=2)", TABLE)).to_frame()
    assert whole["n_parameters"].tolist() == [6 + 2 * (name == "fa"), 4]


@pytest.mark.parametrize("rank", [1, 2])
def test_there_are_no_prior_distributions_of_loadings(rank):
    """Of rank one, too, whose correlations are all one and which has no parameter for any."""
    model = BayesianMixedRegressor(f"rr(0 + f | g, d={rank})", fixed="x", n_draws=50)
    with pytest.raises(ValueError, match="no priors"):
        model.fit(TABLE[["x", "f", "g"]], TABLE["z"])
