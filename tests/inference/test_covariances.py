"""Inference for random effects of every covariance structure."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from skmixed import MixedLinearRegressor, distributed, glmer, lmer
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.model.structures.named import STRUCTURES
from skmixed.inference import (
    bootstrap,
    coefficient_table,
    compare_models,
    confidence_intervals,
    random_effects_table,
    ranova,
)
from skmixed.inference.components import components_of
from skmixed.inference.profiling.constrained import ConstrainedDeviance
from tests.structured import machines, visits

TABLE = visits()
LAWS = ["cs", "homcs", "ar1", "hetar1", "toep", "homtoep"]


def fitted(term, table=TABLE, response="y"):
    return lmer(f"{response} ~ x + {term}(0 + f | g)", table, reml=False)


@pytest.mark.parametrize("name", [*LAWS, "rr"])
def test_gradients_of_deviances_with_a_parameter_held(name):
    """The gradient and the slope in what is held are differences of the deviance."""
    fit = fitted(name, response="z" if name == "rr" else "y").fit_
    rng = np.random.default_rng(0)
    for component in components_of(fit):
        held = ConstrainedDeviance(fit, component)
        value, gradient, _ = held.evaluate(held.start, held.optimum)
        assert value == pytest.approx(fit.criterion, abs=1e-7)
        np.testing.assert_allclose(gradient * held.units, 0.0, atol=2e-3)
        assert held.value(held.optimum) == pytest.approx(component.estimate)
        x = held.start + 0.02 * held.units * rng.standard_normal(len(held.start))
        t = held.optimum + 0.05 * held.unit
        _, gradient, slope = held.evaluate(x, t)
        move = rng.standard_normal(len(x)) * held.units
        ends = [held.evaluate(x + step * move, t)[0] for step in (1e-5, -1e-5)]
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(gradient @ move, rel=1e-4, abs=1e-3)
        step = 1e-5 * held.unit
        ends = [held.evaluate(x, t + side * step)[0] for side in (1.0, -1.0)]
        assert (ends[0] - ends[1]) / (2.0 * step) == pytest.approx(slope, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("name", ["homcs", "ar1", "cs"])
def test_profiles_end_where_refits_with_what_is_held_do(name):
    """A correlation of zero is the model without it; its zeta is the root of the ratio."""
    table = TABLE[TABLE["t"] < 4].assign(f=lambda rows: rows["f"].cat.remove_unused_categories())
    model = fitted(name, table)
    smaller = fitted("diag" if name == "cs" else "homdiag", table)
    (component,) = (part for part in components_of(model.fit_) if part.kind == "cor")
    held = ConstrainedDeviance(model.fit_, component)
    end = held.searcher().lowest(held.start, np.pi / 2.0)
    assert end.value == pytest.approx(smaller.criterion_, abs=1e-6)


@pytest.mark.parametrize("name", LAWS)
def test_intervals_of_all_kinds_agree_in_size(name):
    model = fitted(name)
    wald = confidence_intervals(model).to_frame()
    assert list(wald.index[:2]) == [part.name for part in components_of(model.fit_)[:2]]
    assert wald.notna().all(axis=None)
    assert ((wald["lower"] < wald["estimate"]) & (wald["estimate"] < wald["upper"])).all()
    drawn = confidence_intervals(model, method="bootstrap", n_samples=60, random_state=0).to_frame()
    assert list(drawn.index) == list(wald.index)
    widths = (drawn["upper"] - drawn["lower"]) / (wald["upper"] - wald["lower"])
    assert widths.between(0.5, 1.6).all()


def test_profile_intervals_of_laws():
    model = fitted("hetar1")
    wald = confidence_intervals(model).to_frame()
    found = confidence_intervals(model, method="profile").to_frame()
    widths = (found["upper"] - found["lower"]) / (wald["upper"] - wald["lower"])
    assert widths.between(0.9, 1.1).all()


def test_noise_beside_a_latent_state_may_be_nothing():
    """Of one row a visit the likelihood of AR(1) alone is not much lower: sigma has no limit."""
    rows = TABLE.drop_duplicates(["g", "t"])
    rows = rows[rows["g"] < 25]
    model = lmer("y ~ x + ar1(0 + t | g)", rows, reml=False)
    limits = confidence_intervals(model, method="profile").to_frame().loc["sigma"]
    assert limits["lower"] == 0.0
    assert limits["estimate"] < limits["upper"]


def test_profile_of_a_generalized_model():
    model = glmer("count ~ x + ar1(0 + f | g)", TABLE, family="poisson")
    assert isinstance(model.fit_, GeneralizedFit)
    rows = {"X": TABLE[["x", "f", "g"]], "y": TABLE["count"]}
    wald = confidence_intervals(model).to_frame()
    found = confidence_intervals(model, method="profile", **rows).to_frame()
    widths = (found["upper"] - found["lower"]) / (wald["upper"] - wald["lower"])
    assert widths.between(0.8, 1.25).all()
    drawn = bootstrap(model, 12, random_state=0, **rows)
    assert drawn.replicates.shape[0] == 12


# --- comparisons ----------------------------------------------------------------------------------

NESTED = [
    ("homdiag", "homcs", 1),
    ("homcs", "cs", 4),
    ("homcs", "homtoep", 3),
    ("ar1", "hetar1", 4),
    ("ar1", "homtoep", 3),
    ("cs", "toep", 3),
    ("hetar1", "toep", 3),
    ("diag", "cs", 1),
    ("toep", "us", 6),
    ("cs", "us", 9),
]


@pytest.mark.parametrize(("small", "large", "df"), NESTED)
def test_nested_structures_are_compared(small, large, df):
    models = {"small": fitted(small), "large": fitted(large)}
    row = compare_models(*models.values(), names=list(models)).to_frame().loc["large"]
    assert row["df"] == df
    statistic = models["small"].criterion_ - models["large"].criterion_
    assert row["statistic"] == pytest.approx(statistic, abs=1e-6)
    assert row["p_value"] == pytest.approx(stats.chi2.sf(max(statistic, 0.0), df))


def test_ranks_are_on_the_boundary_of_one_another():
    models = {str(rank): lmer(f"z ~ x + rr(0 + f | g, d={rank})", TABLE) for rank in (1, 2)}
    models["us"] = lmer("z ~ x + (0 + f | g)", TABLE)
    table = compare_models(*models.values(), names=list(models)).to_frame()
    assert table["n_parameters"].tolist() == [8, 12, 18]
    assert table["df"].tolist()[1:] == [4, 6]
    assert "p_boundary" not in table or table["p_boundary"].isna().all()


def test_terms_of_structures_can_be_dropped():
    model = lmer("y ~ x + homcs(0 + f | g)", TABLE)
    found = ranova(model).to_frame()
    assert found["df"].notna().sum() == 1
    assert "homcs(0 + f | g)" in found.index[1]


# --- tables, draws and predictions ----------------------------------------------------------------


def test_summary_has_correlations_by_name():
    text = str(fitted("ar1").summary())
    assert re.search(r"g \(ar1\) +f\[1\] +1.39\n +f\[2\] +1.39 0.63", text)
    table = fitted("toep").summary().error_terms
    np.testing.assert_allclose(
        table["Corr"].astype(float)[1:5], [0.74, 0.48, 0.24, -0.03], atol=0.01
    )
    both = lmer("z ~ x + fa(0 + f | g, d=1)", TABLE)
    names = [part.name for part in components_of(both.fit_)]
    assert {"sd_f[1]|g.common", "sd_f[1]|g.unique"} <= set(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["cs", "ar1", "toep", "rr"])
def test_simulated_responses_have_the_covariance(name):
    model = fitted(name, response="z" if name == "rr" else "y")
    drawn = model.simulate(TABLE, n_samples=400, random_state=1)
    drawn = drawn if len(drawn) == len(TABLE) else drawn.T
    rest = drawn - model.predict(TABLE, random="none")[:, None]
    means = pd.DataFrame(rest).groupby([TABLE["g"], TABLE["t"]]).mean()
    wide = means.unstack("t")
    covariance = model.random_covariance_["g"].to_numpy()
    found = np.mean([np.cov(wide[r].dropna().T) for r in range(400)], axis=0)
    upper = np.triu_indices(5, 1)
    np.testing.assert_allclose(found[upper], covariance[upper], atol=0.12)


@pytest.mark.parametrize("name", [*LAWS, "rr"])
def test_effects_are_those_of_the_covariance(name):
    """BLUPs, their errors and predictions of new levels, from V written out."""
    model = fitted(name)
    covariance, sigma2 = model.random_covariance_["g"].to_numpy(), model.fit_.sigma2
    effects = model.random_effects_["g"]
    rows = TABLE[TABLE["g"] == 7]
    Z = np.eye(5)[rows["t"] - 1]
    V = Z @ covariance @ Z.T + sigma2 * np.eye(len(rows))
    rest = (rows["y"] - model.predict(rows, random="none")).to_numpy()
    blup = covariance @ Z.T @ np.linalg.solve(V, rest)
    np.testing.assert_allclose(effects.loc[7], blup, atol=1e-7)
    np.testing.assert_allclose(model.predict(rows), rows["y"] - rest + Z @ blup, atol=1e-7)
    given = covariance - covariance @ Z.T @ np.linalg.solve(V, Z @ covariance)
    np.testing.assert_allclose(model.random_effects_covariance_["g"][7], given, atol=1e-7)
    new = rows.assign(g=1000)
    np.testing.assert_allclose(model.predict(new), model.predict(rows, random="none"))
    interval = model.predict_interval(new)
    widths = interval[:, -1] - interval[:, 0] if isinstance(interval, np.ndarray) else None
    assert widths is None or len(np.unique(widths.round(6))) > 1
    table = random_effects_table(model, ranks=False).to_frame()
    assert len(table) == 300


def test_stored_models_keep_their_structure():
    model = fitted("hetar1")
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(TABLE), model.predict(TABLE))
    assert again.formula_ == model.formula_
    assert [term.covariance for term in again.design_.terms] == ["hetar1"]


@pytest.mark.parametrize("term", ["ar1(0 + t | g)", "toep(0 + f | g)", "rr(0 + C(t) | g, d=1)"])
def test_rows_may_lie_in_files(term, tmp_path):
    for part in range(3):
        TABLE[TABLE["g"] % 3 == part].to_parquet(tmp_path / f"{part}.parquet")
    features = ["x", "t", "f", "g"]
    model = MixedLinearRegressor(term, fixed="x")
    found = distributed.fit(model, tmp_path, target="y", features=features)
    whole = lmer(f"y ~ x + {term}", TABLE)
    assert found.criterion_ == pytest.approx(whole.criterion_, abs=1e-7)
    np.testing.assert_allclose(found.predict(TABLE[features]), whole.predict(TABLE), atol=1e-4)


@pytest.mark.parametrize("name", [*list(STRUCTURES)[3:], "fa(1)"])
def test_rows_may_come_in_parts(name):
    X = TABLE[["x", "f", "g"]]
    whole = MixedLinearRegressor("(0 + f | g)", fixed="x", covariance=name).fit(X, TABLE["y"])
    parts = MixedLinearRegressor("(0 + f | g)", fixed="x", covariance=name)
    half = TABLE["g"] < 30
    parts.partial_fit(X[half], TABLE["y"][half]).partial_fit(X[~half], TABLE["y"][~half])
    assert parts.criterion_ == pytest.approx(whole.criterion_, abs=1e-7)
    np.testing.assert_allclose(parts.predict(X), whole.predict(X), atol=1e-4)


def test_degrees_of_freedom():
    """Satterthwaite's for all structures; Kenward and Roger's for those linear in parameters."""
    balanced = machines()
    model = lmer("score ~ Machine + homcs(0 + Machine | Worker)", balanced)
    tests = coefficient_table(model, df="satterthwaite").to_frame()
    kenward = coefficient_table(model, df="kenward-roger").to_frame()
    # Worker and Worker x Machine are two strata of a balanced design: 5 and 10 degrees.
    np.testing.assert_allclose(tests["df"].iloc[1:], 10.0, rtol=1e-4)
    np.testing.assert_allclose(kenward["df"].iloc[1:], 10.0, rtol=1e-4)
    np.testing.assert_allclose(kenward["std_error"], tests["std_error"], rtol=1e-6)
    curved = lmer("score ~ Machine + ar1(0 + Machine | Worker)", balanced)
    assert coefficient_table(curved).to_frame()["df"].between(1.0, 20.0).all()
    with pytest.raises(ValueError, match="linear in their parameters"):
        coefficient_table(curved, df="kenward-roger")
