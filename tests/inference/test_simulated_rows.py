"""Responses drawn with weights and at other parameters, and bootstraps given the random effects."""

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedLinearRegressor, glmer, lmer, nlmer
from skmixed.datasets import load_orthodont, load_sleepstudy
from skmixed.inference import bootstrap
from tests import reference_set
from tests.inference.test_named_results import crossed, trees

SLEEP = load_sleepstudy()


@pytest.fixture(scope="module")
def sleep():
    return lmer("Reaction ~ Days + (Days | Subject)", SLEEP)


def test_weights_are_precisions(sleep):
    weights = np.where(SLEEP["Days"] == 0, 1e8, 0.25)
    drawn = sleep.simulate(
        SLEEP, sample_weight=weights, random="fitted", n_samples=200, random_state=0
    )
    noise = drawn - sleep.predict(SLEEP)[:, None]
    is_exact = SLEEP["Days"].to_numpy() == 0
    assert np.abs(noise[is_exact]).max() < 0.02
    assert noise[~is_exact].std() == pytest.approx(2 * sleep.residual_variance_**0.5, rel=0.02)
    same = sleep.simulate(SLEEP, sample_weight=np.ones(180), random_state=1)
    np.testing.assert_array_equal(same, sleep.simulate(SLEEP, random_state=1))
    X, y = load_sleepstudy(return_X_y=True)
    counted = MixedLinearRegressor("(1 | Subject)").fit(X, y)
    with pytest.raises(ValueError, match="weighting='precision'"):
        counted.simulate(X, sample_weight=np.ones(180))
    with pytest.raises(ValueError, match="sample_weight is 0 in row 3"):
        sleep.simulate(SLEEP, sample_weight=np.arange(180) != 3)


def test_other_parameters(sleep):
    given = {
        "Days": 0.0,
        "sd_Days|Subject": 0.0,
        "sd_(Intercept)|Subject": 100.0,
        "sigma": 1.0,
    }
    drawn = sleep.simulate(SLEEP, parameters=given, n_samples=400, random_state=0)
    assert drawn.mean() == pytest.approx(sleep.intercept_, abs=5)
    of_subjects = drawn.reshape(18, 10, 400).mean(axis=1)
    assert of_subjects.std(axis=0).mean() == pytest.approx(100, rel=0.05)
    within = drawn.reshape(18, 10, 400) - of_subjects[:, None]
    assert within.std() == pytest.approx(np.sqrt(0.9), rel=0.02)
    correlated = {"cor_Days.(Intercept)|Subject": 0.9, "sd_Days|Subject": 25.0}
    drawn = sleep.simulate(SLEEP, parameters=correlated, n_samples=400, random_state=0)
    days = drawn.reshape(18, 10, 400)
    sd, slope = sleep.random_covariance_["Subject"].iloc[0, 0] ** 0.5, 25.0
    expected = sd**2 + 0.9 * sd * slope * (0 + 9) + 0  # of the first day and the last
    found = np.mean((days[:, 0] - days[:, 0].mean()) * (days[:, 9] - days[:, 9].mean()))
    assert found == pytest.approx(expected, rel=0.1)
    estimates = dict(sleep.summary().to_frame()["estimate"])
    same = sleep.simulate(SLEEP, parameters=estimates, n_samples=400, random_state=0)
    plain = sleep.simulate(SLEEP, n_samples=400, random_state=1)
    assert same.std() == pytest.approx(plain.std(), rel=0.05)


def test_other_parameters_of_counts():
    table = reference_set.committed_table("cbpp")
    model = glmer("incidence ~ period + (1 | herd)", table, family="poisson")
    given = {"(Intercept)": np.log(50.0), "sd_(Intercept)|herd": 0.0}
    drawn = model.simulate(table, parameters=given, n_samples=300, random_state=0)
    first = drawn[(table["period"].astype(str) == "1").to_numpy()]
    assert first.mean() == pytest.approx(50, rel=0.02)
    assert first.var() == pytest.approx(50, rel=0.1)  # no herd differs from another


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"days": 1.0}, "names \\['days'\\]; the model has"),
        ({"sigma": -1.0}, "'sigma' cannot be -1"),
        ({"cor_Days.(Intercept)|Subject": 1.5}, "cannot be 1.5"),
        ({"Days": np.nan}, "'Days' cannot be nan"),
    ],
)
def test_parameters_that_cannot_be(sleep, given, match):
    with pytest.raises(ValueError, match=match):
        sleep.simulate(SLEEP, parameters=given)


def test_parameters_of_structures():
    teeth = load_orthodont()
    model = lmer("distance ~ age", teeth, residual="ar1(age | Subject)")
    name = next(iter(model.residual_parameters_.index))
    with pytest.raises(ValueError, match="cannot be changed"):
        model.simulate(teeth, parameters={name: 0.5})
    drawn = model.simulate(teeth, parameters={"sigma": 1e-9}, random_state=0)
    np.testing.assert_allclose(drawn[:, 0], model.predict(teeth), atol=1e-6)
    table = crossed()
    compound = lmer("y ~ x + cs(0 + C(firm) | clerk)", table)
    frame = compound.summary().to_frame()
    name = next(name for name in frame.index if name.startswith("cor_"))
    with pytest.raises(ValueError, match="by itself"):
        compound.simulate(table, parameters={name: 0.5})
    wide = lmer("y ~ x + (0 + C(firm) | clerk)", table)
    names = [name for name in wide.summary().to_frame().index if name.startswith("cor_")]
    with pytest.raises(ValueError, match="not positive semidefinite"):
        wide.simulate(table, parameters=dict(zip(names, [0.9, 0.9, -0.9], strict=False)))


def test_bootstraps_given_the_random_effects(sleep):
    # bootMer(m, FUN, use.u = TRUE) of lme4: the same subjects in every replicate
    found = bootstrap(sleep, 400, random="fitted", random_state=0)
    fresh = bootstrap(sleep, 400, random_state=0)
    X = np.column_stack([np.ones(180), SLEEP["Days"]])
    Z = np.kron(np.eye(18), X[:10])
    omega = sleep.random_covariance_["Subject"].to_numpy()
    V = Z @ np.kron(np.eye(18), omega) @ Z.T + sleep.residual_variance_ * np.eye(180)
    precision = np.linalg.inv(V)
    maps = np.linalg.solve(X.T @ precision @ X, X.T @ precision)
    errors = np.sqrt(sleep.residual_variance_ * np.diag(maps @ maps.T))
    names = ["(Intercept)", "Days"]
    np.testing.assert_allclose(found.replicates[names].std(), errors, rtol=0.1)
    assert (found.replicates[names].std() < 0.6 * fresh.replicates[names].std()).all()
    with_rows = bootstrap(sleep, 200, random="fitted", X=SLEEP, y=SLEEP["Reaction"], random_state=0)
    np.testing.assert_allclose(with_rows.replicates[names].std(), errors, rtol=0.15)


def test_bootstraps_given_the_effects_of_other_models():
    table = reference_set.committed_table("cbpp")
    counts = glmer("incidence ~ period + (1 | herd)", table, family="poisson")
    rows = {"X": table, "y": table["incidence"], "random_state": 0}
    given = bootstrap(counts, 30, random="fitted", **rows).replicates["(Intercept)"].std()
    assert given < bootstrap(counts, 30, **rows).replicates["(Intercept)"].std()
    crossed_model = lmer("y ~ x + (1 | clerk) + (1 | firm:shop)", crossed())
    given = bootstrap(crossed_model, 30, random="fitted", random_state=0)
    fresh = bootstrap(crossed_model, 30, random_state=0)
    assert given.replicates["(Intercept)"].std() < fresh.replicates["(Intercept)"].std()
    teeth = load_orthodont()
    strata = lmer("distance ~ age + (1 | Subject)", teeth, residual="var(Sex)")
    settings = {"X": teeth, "y": teeth["distance"], "random_state": 0}
    given = bootstrap(strata, 20, random="fitted", **settings)
    assert given.replicates["age"].notna().all()
    curve_rows = trees()
    curve = nlmer("y ~ SSlogis(x, Asym, xmid, scal) ~ Asym | tree", curve_rows)
    given = bootstrap(curve, 10, random="fitted", X=curve_rows, random_state=0)
    fresh = bootstrap(curve, 10, X=curve_rows, random_state=0)
    assert given.replicates["Asym"].std() < fresh.replicates["Asym"].std()


def test_bootstraps_that_cannot_be_given_effects(sleep):
    rows = {"X": SLEEP, "y": SLEEP["Reaction"]}
    for kind in ("residual", "cases"):
        with pytest.raises(ValueError, match="random='fitted' needs kind='parametric'"):
            bootstrap(sleep, 3, kind=kind, random="fitted", **rows)
    with pytest.raises(ValueError, match="neither 'new' nor 'fitted'"):
        bootstrap(sleep, 3, random="old")
    assert isinstance(bootstrap(sleep, 3, random="new").replicates, pd.DataFrame)
