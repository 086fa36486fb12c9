"""Fits of generalized models: figures of R, data without a finite estimate, invariances."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from skmixed.core.elimination.protocol import LostPrecisionError
from skmixed.core.families.catalogue import family_of
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fitting import fit_rows
from skmixed.core.generalized.joint_search.joint_newton import JointNewton
from skmixed.core.generalized.joint_search.start import first_point
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.rows.prediction_errors import mean_predictions, mean_variances
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from tests import reference_set
from tests.core.generalized.drawn import DESIGNS, LINKS, dense_laplace, draw
from tests.core.generalized.reading import read

CRITERION = 1e-9
ESTIMATES = 1e-6
ERRORS = 1e-5
SAME = 5e-7


def fit(drawn, **settings):
    return fit_rows(
        drawn.layout, drawn.rows, drawn.spec, drawn.family, offset=drawn.offset, **settings
    )


def errors(found):
    return np.sqrt(np.diag(found.beta_covariance))


CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
# lme4 1.1-31, its optimum polished with the criterion of exactly converged modes.
LME4 = {
    "criterion": 184.0525637295142,
    "theta": [0.6422614484429205],
    "beta": [-1.3985321423739652, -0.9923327348730155, -1.1286720841679938, -1.5803138851795786],
    "errors": [0.23247199232249, 0.30664249797638, 0.32663785055805, 0.42743658661551],
    "squares": 4.010785202420517,
}


@pytest.mark.parametrize("formula", [CBPP, "incidence/size ~ period + (1 | herd)"])
def test_cbpp_is_that_of_lme4(formula):
    found = fit(read(reference_set.table("cbpp"), formula, "binomial"))
    assert found.report.converged
    assert found.criterion == pytest.approx(LME4["criterion"], abs=CRITERION)
    np.testing.assert_allclose(found.theta, LME4["theta"], atol=ESTIMATES)
    np.testing.assert_allclose(found.beta, LME4["beta"], atol=ESTIMATES)
    np.testing.assert_allclose(errors(found), LME4["errors"], rtol=ERRORS)
    assert np.square(found.modes[0]).sum() == pytest.approx(LME4["squares"], rel=ESTIMATES)
    assert found.aic == pytest.approx(194.05256374299, abs=1e-7)
    assert found.bic == pytest.approx(204.17932219667, abs=1e-7)


def test_other_links_and_dispersions_are_those_of_glmm_tmb():
    # glmmTMB 1.1.5: its searches end at about 1e-5 in the estimates, 1e-9 in the likelihood.
    probit = fit(read(reference_set.table("cbpp"), CBPP, "binomial", "probit"))
    assert probit.criterion == pytest.approx(185.16667540646892, abs=2e-8)
    np.testing.assert_allclose(
        probit.beta, [-0.8318499975, -0.5265962968, -0.6150715733, -0.7979442168], atol=3e-6
    )
    expected = [0.125983789890758, 0.160252153085180, 0.169140881188135, 0.204431348017540]
    np.testing.assert_allclose(errors(probit), expected, rtol=ERRORS)
    assert probit.theta[0] == pytest.approx(0.3386344759, abs=3e-6)
    cloglog = fit(read(reference_set.table("cbpp"), CBPP, "binomial", "cloglog"))
    assert cloglog.criterion == pytest.approx(183.516004, abs=1e-6)
    table = reference_set.table("sleepstudy")
    gamma = fit(read(table, "Reaction ~ Days + (1 | Subject)", "gamma"))
    assert gamma.criterion == pytest.approx(1767.156673399002, abs=1e-8)
    np.testing.assert_allclose(gamma.beta, [5.533944711346241, 0.03384509258194208], atol=3e-6)
    np.testing.assert_allclose(errors(gamma), [0.03227095644741, 0.00250645050309], rtol=ERRORS)
    assert gamma.theta[0] == pytest.approx(0.12458658288807054, abs=3e-6)
    assert np.exp(-0.5 * gamma.phi[0]) == pytest.approx(0.09664165008556456, abs=1e-6)


@pytest.mark.parametrize(("name", "link"), LINKS)
@pytest.mark.parametrize("design", DESIGNS)
def test_no_step_from_the_optimum_leads_down(name, link, design):
    rng = np.random.default_rng(21)
    drawn = draw(rng, design, name, link)
    found = fit(drawn)
    assert found.report.converged
    lowest = dense_laplace(drawn, found.beta, found.lambdas, found.phi)
    assert found.criterion == pytest.approx(lowest, abs=1e-8)
    scale = np.nan_to_num(errors(found))
    for _ in range(4):
        beta = found.beta + 0.02 * scale * rng.normal(size=3)
        lambdas = [lam + 0.02 * np.tril(rng.normal(size=lam.shape)) for lam in found.lambdas]
        phi = found.phi + 0.02 * rng.normal(size=len(found.phi))
        assert dense_laplace(drawn, beta, lambdas, phi) > lowest - 1e-7


@pytest.mark.parametrize("name", ["gamma", "negative_binomial", "poisson"])
@pytest.mark.parametrize("seed", [1, 2, 9])
def test_many_rows_in_one_tell_the_variance_of_levels_by_their_means(name, seed):
    rng = np.random.default_rng(seed)
    codes = np.arange(30) % 5
    mu = np.exp(0.5 + rng.normal(size=5)[codes] + 0.3 * rng.normal(size=30))
    y = (
        rng.gamma(2.0, mu / 2.0)
        if name == "gamma"
        else 1 + rng.poisson(mu * rng.gamma(2.0, 0.5, 30))
    )
    layout = Layout(("1", "x", "y"), (FactorLayout(("g",), (0,)),))
    columns = np.column_stack([np.ones(30), rng.normal(size=30), y])
    counts, index = rng.uniform(0.5, 2.0, 30), GroupIndex(("g",), (np.arange(5),))
    spec, family = ModelSpec((0, 1), (Term(0, (0,)),), "ml"), family_of(name, "log")
    fits = [
        fit_rows(layout, Rows(columns, (codes,), (index,), np.round(times * counts)), spec, family)
        for times in (1e6, 1e9)
    ]
    few, many = fits
    assert few.report.converged
    assert many.report.converged
    assert many.theta == pytest.approx(few.theta, rel=1e-4)
    np.testing.assert_allclose(many.beta, few.beta, atol=1e-4)


@pytest.mark.parametrize("structure", ["diagonal", "identity"])
@pytest.mark.parametrize("design", ["three columns", "crossed, two columns"])
def test_structures_keep_their_form(structure, design):
    drawn = draw(np.random.default_rng(22), design, "poisson", structure=structure)
    found, free = fit(drawn), fit(draw(np.random.default_rng(22), design, "poisson"))
    assert found.report.converged
    assert found.criterion > free.criterion - 1e-8
    for lam in found.lambdas:
        np.testing.assert_array_equal(lam, np.diag(np.diag(lam)))
        assert structure == "diagonal" or np.ptp(np.diag(lam)) == 0.0


def test_zero_variance_is_exact_and_satisfies_the_conditions():
    rng = np.random.default_rng(23)
    drawn = draw(rng, "one column", "poisson", n=150, offset=False)
    drawn.rows.columns[:, -1] = rng.binomial(8, 0.3, 150)
    found = fit(drawn)
    assert found.theta[0] == 0.0
    assert found.is_singular
    plain = fit(replace(drawn, spec=replace(drawn.spec, terms=())))
    assert found.criterion == pytest.approx(plain.criterion, abs=1e-8)
    np.testing.assert_allclose(found.beta, plain.beta, atol=1e-6)
    np.testing.assert_allclose(errors(found), errors(plain), rtol=1e-5)


@pytest.mark.parametrize("name", ["binomial", "poisson", "negative_binomial"])
def test_separation_is_certified_and_named(name):
    rng = np.random.default_rng(24)
    drawn = draw(rng, "one column", name, weights=False)
    columns = drawn.rows.columns
    columns[:, 1] = rng.integers(0, 2, len(columns))
    columns[columns[:, 1] == 1.0, -1] = 0.0
    found = fit(drawn)
    assert found.separated == (1,)
    assert not found.report.converged
    assert "separated" in found.report.message
    assert np.isfinite(found.beta).all()
    assert found.beta[1] < -8.0
    assert np.isnan(errors(found)).tolist() == [False, True, False]
    rest = drawn.rows.take(np.flatnonzero(columns[:, 1] == 0.0))
    spec = replace(drawn.spec, fixed=(0, 2))
    offset = drawn.offset[columns[:, 1] == 0.0]
    without = fit(replace(drawn, rows=rest, spec=spec, offset=offset))
    np.testing.assert_allclose(found.beta[[0, 2]], without.beta, atol=1e-3)
    np.testing.assert_allclose(errors(found)[[0, 2]], errors(without), rtol=1e-3)
    assert np.isfinite(mean_predictions(found.posterior, drawn.rows)).all()


@pytest.mark.parametrize(
    ("name", "value"), [("binomial", 0.0), ("binomial", 1.0), ("poisson", 0.0)]
)
def test_constant_response_separates_the_intercept(name, value):
    drawn = draw(np.random.default_rng(25), "one column", name, weights=False)
    drawn.rows.columns[:, -1] = value
    found = fit(drawn)
    assert found.separated == (0,)
    assert found.criterion == pytest.approx(0.0, abs=1e-3)


def test_pure_levels_have_no_largest_variance():
    drawn = draw(np.random.default_rng(26), "one column", weights=False)
    drawn.rows.columns[:, -1] = drawn.rows.codes[0] % 2
    found = fit(drawn)
    assert found.report.is_unbounded
    assert not found.report.converged
    assert np.isfinite(found.beta).all()
    assert np.isfinite(errors(found)).all()


def test_binary_rows_with_a_level_each_have_no_variance():
    drawn = draw(np.random.default_rng(27), "one column", weights=False)
    n = len(drawn.rows.columns)
    index = GroupIndex(("g0",), (np.arange(n),))
    found = fit(replace(drawn, rows=Rows(drawn.rows.columns, (np.arange(n),), (index,))))
    assert found.unidentified == (0,)
    assert found.theta[0] == 0.0
    assert found.report.converged


@pytest.mark.parametrize("name", ["gamma", "negative_binomial"])
def test_a_dispersion_is_not_told_from_a_level_for_every_row(name):
    drawn = draw(np.random.default_rng(38), "one column", name, weights=False)
    n = len(drawn.rows.columns)
    index = GroupIndex(("g0",), (np.arange(n),))
    model = replace(drawn, rows=Rows(drawn.rows.columns, (np.arange(n),), (index,)))
    found = fit(model)
    assert found.unidentified == (0,)
    assert found.report.converged
    without = fit(replace(drawn, spec=replace(drawn.spec, terms=())))
    assert found.criterion == pytest.approx(without.criterion, abs=1e-8)
    counted = replace(model.rows, weights=np.full(n, 2.0))  # two rows a level tell it again
    assert fit(replace(model, rows=counted)).unidentified == ()


def test_effects_that_explain_every_response_have_no_maximum():
    drawn = draw(np.random.default_rng(40), "one column", "gamma")
    n = len(drawn.rows.columns)
    index = GroupIndex(("g0",), (np.arange(n),))
    rows = Rows(drawn.rows.columns, (np.arange(n),), (index,), np.full(n, 3.0))
    found = fit(replace(drawn, rows=rows))
    assert found.report.is_unbounded
    assert not found.report.converged
    assert "without a rest" in found.report.message


def test_offsets_that_are_far_off_end_in_a_fit_or_say_so():
    """Here modes are lost on the way, and a first step of least squares overflows."""
    rng = np.random.default_rng(39)
    drawn = draw(rng, "crossed", "negative_binomial", weights=False)
    lost = replace(drawn, offset=30.0 * rng.normal(size=len(drawn.rows.columns)))
    found = fit(lost)
    lowest = dense_laplace(lost, found.beta, found.lambdas, found.phi)
    assert found.criterion == pytest.approx(lowest, rel=1e-8)
    with pytest.raises(LostPrecisionError, match="no number where the search begins"):
        fit(replace(draw(rng, "crossed", "poisson"), offset=2e3 * np.sign(lost.offset)))


def test_negative_binomial_without_dispersion_is_poisson():
    rng = np.random.default_rng(28)
    drawn = draw(rng, "one column", "negative_binomial", n=200, offset=False)
    columns = drawn.rows.columns
    columns[:, -1] = rng.binomial(8, 0.4, 200)
    found, poisson = fit(drawn), fit(replace(drawn, family=draw(rng, "none", "poisson").family))
    assert found.report.converged
    assert found.criterion == pytest.approx(poisson.criterion, abs=1e-4)
    np.testing.assert_allclose(found.beta, poisson.beta, atol=1e-4)


@pytest.mark.parametrize("name", ["binomial", "poisson", "gamma", "negative_binomial"])
@pytest.mark.parametrize("design", ["two columns", "crossed"])
def test_weights_are_repeated_rows(name, design):
    drawn = draw(np.random.default_rng(29), design, name, n=100, weights=False)
    counts = np.random.default_rng(30).integers(1, 4, 100)
    rows = drawn.rows
    weighted = replace(drawn, rows=replace(rows, weights=counts.astype(float)))
    chosen = np.repeat(np.arange(100), counts)
    repeated = replace(drawn, rows=rows.take(chosen), offset=drawn.offset[chosen])
    one, other = fit(weighted), fit(repeated)
    np.testing.assert_allclose(one.beta, other.beta, atol=SAME)
    np.testing.assert_allclose(one.theta, other.theta, atol=1e-6)
    np.testing.assert_allclose(errors(one), errors(other), rtol=1e-5)
    assert one.criterion == pytest.approx(other.criterion, abs=1e-7)


@pytest.mark.parametrize("change", [(1e4, 0.0), (1e-6, 0.0), (1.0, 100.0), (1e3, 1e5)])
def test_units_of_columns_do_not_matter(change):
    drawn = draw(np.random.default_rng(31), "two columns", "poisson")
    scale, shift = change
    columns = drawn.rows.columns.copy()
    columns[:, 1] = scale * columns[:, 1] + shift
    moved = replace(drawn, rows=replace(drawn.rows, columns=columns))
    one, other = fit(drawn), fit(moved)
    assert other.criterion == pytest.approx(one.criterion, abs=1e-7)
    assert other.beta[1] * scale == pytest.approx(one.beta[1], abs=1e-5)
    assert other.report.n_evaluations == one.report.n_evaluations


@pytest.mark.parametrize("small", [1.0, 1e-9])
def test_errors_of_scaled_coefficients_keep_their_digits_in_any_unit(small):
    drawn = draw(np.random.default_rng(30), "one column", weights=False)
    drawn.rows.columns[:, 1] *= small
    drawn.rows.columns[:, 2] /= small
    found = fit(drawn)
    np.testing.assert_allclose(
        found.posterior.scaled_beta_covariance, found.scaled_beta_covariance, rtol=1e-6, atol=1e-12
    )


def test_dependent_columns_are_left_out():
    drawn = draw(np.random.default_rng(32), "one column")
    columns = drawn.rows.columns.copy()
    columns[:, 2] = 2.0 * columns[:, 1] - 3.0
    found = fit(replace(drawn, rows=replace(drawn.rows, columns=columns)))
    few = fit(
        replace(
            drawn,
            rows=replace(drawn.rows, columns=columns),
            spec=replace(drawn.spec, fixed=(0, 1)),
        )
    )
    assert found.beta[2] == 0.0
    assert found.n_parameters == few.n_parameters
    assert found.criterion == pytest.approx(few.criterion, abs=1e-9)


@pytest.mark.parametrize("design", ["two columns", "crossed", "nested"])
def test_working_model_has_the_conditional_moments(design):
    drawn = draw(np.random.default_rng(33), design, "poisson")
    found = fit(drawn)
    rows = drawn.rows
    eta = mean_predictions(found.posterior, rows) + drawn.offset
    mean = drawn.family.mean(eta) * rows.weights
    score = rows.columns[:, :3].T @ (rows.weights * rows.columns[:, -1] - mean)
    assert np.abs(score).max() < 5.0  # the modes of beta and b together differ a little
    for factor, (modes, lam) in enumerate(zip(found.modes, found.lambdas, strict=True)):
        rest = rows.weights * rows.columns[:, -1] - mean
        z = rows.columns[:, list(drawn.spec.factor_columns(factor))]
        s = np.zeros_like(modes)
        np.add.at(s, rows.codes[factor], z * rest[:, None])
        np.testing.assert_allclose(modes, s @ (lam @ lam.T), atol=1e-6)
        assert (np.diagonal(found.conditional_covariance(factor), axis1=1, axis2=2) >= 0).all()
    assert (mean_variances(found.posterior, rows) > 0.0).all()


def test_pickle_has_no_rows():
    drawn = draw(np.random.default_rng(34), "crossed", n=2000)
    found = fit(drawn)
    stored = pickle.dumps(found)
    assert len(stored) < 2000 * 8
    again = pickle.loads(stored)
    np.testing.assert_array_equal(again.beta_covariance, found.beta_covariance)
    np.testing.assert_allclose(again.modes[0], found.modes[0])


def test_search_can_be_cut_short_and_watched():
    lines = []
    drawn = draw(np.random.default_rng(35), "two columns")
    found = fit(drawn, search=JointNewton(max_iter=2, callback=lines.append))
    assert not found.report.converged
    assert "max_iter" in found.report.message
    assert len(lines) == found.report.n_iter == 1


def test_impossible_response_is_refused():
    drawn = draw(np.random.default_rng(36), "one column", "poisson")
    drawn.rows.columns[5, -1] = -1.0
    with pytest.raises(ValueError, match="row 5 has y = -1"):
        fit(drawn)


def test_crossed_factors_that_cannot_fit_are_refused_with_their_size(monkeypatch):
    monkeypatch.setattr("skmixed.core.elimination.choose.memory_installed", lambda: 100)
    drawn = draw(np.random.default_rng(37), "crossed")
    with pytest.raises(MemoryError, match=r"dense matrix of 10 x 10 random effects.*; this mach"):
        fit(drawn)
    with pytest.raises(MemoryError, match=r"GiB\. drop a factor or a random slope"):
        fit(drawn)


@pytest.mark.parametrize("name", ["binomial", "poisson"])
def test_a_search_begins_near_the_estimates_of_many_levels(name):
    """What means over all levels tell is put to the center of the random effects."""
    rng = np.random.default_rng(7)
    n, size = 20_000, 1_000
    family, x, codes = family_of(name, "auto"), rng.normal(size=n), rng.integers(0, size, n)
    eta = 0.3 + 0.5 * x + 0.6 * rng.normal(size=size)[codes]
    y = family.draw(eta, None, np.empty(0), rng)
    layout = Layout(("1", "x", "y"), (FactorLayout(("g",), (0,)),))
    index = GroupIndex(("g",), (np.arange(size),))
    rows = Rows(np.column_stack([np.ones(n), x, y]), (codes,), (index,), None)
    spec = ModelSpec((0, 1), (Term(0, (0,), "unstructured"),), "ml", "frequency")
    first = first_point(Observations.of(layout, rows, spec, family))
    found = fit_rows(layout, rows, spec, family)
    away = np.concatenate([first.beta - found.beta, first.lambdas[0][0] - found.theta])
    np.testing.assert_allclose(away, 0.0, atol=0.05)
    assert found.report.n_evaluations <= 4
