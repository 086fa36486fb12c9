"""Every generalized model of the reference set, compared with its exactly converged criterion.

The whole set is needed; the figures that the project carries are in
tests/core/generalized/test_generalized_fit.py. lme4 has expected weights in the approximation for
links that are not canonical, and a dispersion of the gamma distribution of its own, so that there
the other program of the set, glmmTMB, is compared with.
"""

import json

import numpy as np
import pytest

from skmixed.core.generalized.approximation.laplace import evaluate_laplace
from skmixed.core.generalized.approximation.modes import Point
from skmixed.core.generalized.generalized_fitting import fit_rows
from skmixed.core.generalized.joint_search.start import first_point
from tests import reference_set
from tests.core.generalized.reading import read

CRITERION = 1e-9
ESTIMATES = 1e-6
ERRORS = 1e-5
MODES = 1e-5
# Its searches end at about this, relative to the standard errors.
OTHER_PROGRAM = 1e-4

PREPARATIONS = {
    "D$use01 <- as.numeric(D$use == 'Y')": lambda D: D.assign(use01=1.0 * (D["use"] == "Y")),
    "D$r01 <- as.numeric(D$r2 == 'Y')": lambda D: D.assign(r01=1.0 * (D["r2"] == "Y")),
    "D$prop <- D$incidence/D$size": lambda D: D,
}
SHARES = {"prop ~": "incidence/size ~"}
NAMES = {"Gamma": "gamma", "nbinom2": "negative_binomial"}


def names(n_nodes):
    found = []
    for path in sorted((reference_set.WHOLE_SET / "fits").glob("*.json")):
        head = path.read_text(encoding="utf-8")[:400]
        if '"type": "glmm"' in head:
            figures = json.loads(path.read_text(encoding="utf-8"))
            canonical = figures["link"] != "probit" and figures["family"] != "Gamma"
            if figures["nAGQ"] in n_nodes and (canonical or n_nodes & {9, 25}):
                found.append(path.stem)
    return found


def model(figures):
    table = reference_set.whole_set_table(figures["dataset"])
    if "factor_levels" in figures:
        table = reference_set.ordered(table, figures["factor_levels"])
    if figures["prep"]:
        table = PREPARATIONS[figures["prep"]](table)
    formula = figures["formula"]
    for old, new in SHARES.items():
        formula = formula.replace(old, new)
    family, link = figures["family"], figures.get("link", "auto")
    if "(" in family:
        family, link = family.rstrip(")").split("(")
    return read(table, formula, NAMES.get(family, family), link)


def fitted(figures, quadrature=1):
    drawn = model(figures)
    return fit_rows(
        drawn.layout,
        drawn.rows,
        drawn.spec,
        drawn.family,
        offset=drawn.offset,
        quadrature=quadrature,
    )


def figures_of(name):
    path = reference_set.WHOLE_SET / "fits" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


@reference_set.needs_whole_set
@pytest.mark.parametrize("name", names({1}))
def test_laplace(name):
    figures = figures_of(name)
    truth = figures["converged"]
    found = fitted(figures)
    assert found.report.converged
    assert found.criterion == pytest.approx(truth["minus2_log_lik"], abs=CRITERION)
    np.testing.assert_allclose(found.theta, truth["theta"], atol=ESTIMATES)
    scale = np.maximum(1.0, np.abs(truth["fixef"]))
    np.testing.assert_allclose(found.beta / scale, truth["fixef"] / scale, atol=ESTIMATES)
    errors = np.sqrt(np.diag(np.array(truth["vcov_fixef"])))
    np.testing.assert_allclose(np.sqrt(np.diag(found.beta_covariance)), errors, rtol=ERRORS)
    squares = sum(float(np.square(modes).sum()) for modes in found.modes)
    assert squares == pytest.approx(truth["ranef_sum_sq"], rel=MODES)


@reference_set.needs_whole_set
@pytest.mark.parametrize("number", [0, 1, 3, 4, 5])  # 2 is a linear model
def test_other_program(number):
    figures = figures_of("xcheck_glmmtmb")["fits"][number]
    found = fitted(figures)
    expected = np.array(list(figures["fixef"].values()))
    errors = np.array(figures["fixef_se"])
    assert found.log_likelihood == pytest.approx(figures["log_lik"], abs=2e-8)
    np.testing.assert_allclose((found.beta - expected) / errors, 0.0, atol=OTHER_PROGRAM)
    np.testing.assert_allclose(np.sqrt(np.diag(found.beta_covariance)), errors, rtol=ERRORS)
    deviations = sorted(d for own in figures["sd"].values() for d in own)
    np.testing.assert_allclose(sorted(found.theta), deviations, atol=1e-5)


@reference_set.needs_whole_set
@pytest.mark.parametrize("name", names({9, 25}))
def test_quadrature(name):
    figures = figures_of(name)
    found = fitted(figures, figures["nAGQ"])
    assert found.report.converged
    np.testing.assert_allclose(found.theta, figures["theta"], atol=ESTIMATES)
    expected = np.array(list(figures["fixef"].values()))
    scale = np.maximum(1.0, np.abs(expected))
    np.testing.assert_allclose(found.beta / scale, expected / scale, atol=ESTIMATES)
    if "exact_marginal" in figures:
        exact = figures["exact_marginal"]["log_lik"]
        assert found.log_likelihood == pytest.approx(exact, abs=1e-4)


def at_joint_mode(observations, lambdas):
    """The criterion with beta, too, at the mode of the density of y and u: lme4's nAGQ = 0."""
    p, kept = observations.rank, None
    beta = first_point(observations).beta
    for _ in range(30):
        found = evaluate_laplace(observations, Point(beta, lambdas, np.empty(0)), kept)
        kept = found.remembered
        slope = np.zeros(p)
        for rows, own in zip(observations.blocks, kept, strict=True):
            eta = rows.predictor(beta) + rows.effects(own.effects)
            slope += (
                rows.fixed.T
                @ observations.family.derivatives(eta, rows.y, rows.weights, np.empty(0))[1]
            )
        step = np.linalg.solve(found.fixed_information, slope)
        if slope @ step < 1e-20:
            break
        beta = beta - step
    return found


@reference_set.needs_whole_set
@pytest.mark.parametrize("name", names({0}))
def test_internal_criterion(name):
    figures = figures_of(name)
    truth = figures["converged"]
    drawn = model(figures)
    observations = drawn.observations()
    theta, lambdas = list(truth["theta"]), {}
    sizes = observations.n_levels
    for factor in sorted(range(len(sizes)), key=lambda factor: -sizes[factor]):
        structure = observations.structures[factor]
        own, theta = np.array(theta[: structure.n_theta]), theta[structure.n_theta :]
        lam = structure.lam(own, structure.natural_order)
        lambdas[factor] = np.linalg.solve(observations.units.random_maps[factor], lam)
    found = at_joint_mode(observations, [lambdas[factor] for factor in range(len(sizes))])
    assert found.criterion == pytest.approx(truth["minus2_log_lik"], abs=2e-8)
    beta = (observations.units.to_raw[:, :-1] @ found.point.beta)[list(drawn.spec.fixed)]
    scale = np.maximum(1.0, np.abs(truth["fixef"]))
    np.testing.assert_allclose(beta / scale, truth["fixef"] / scale, atol=ESTIMATES)
