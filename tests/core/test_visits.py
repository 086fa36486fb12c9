"""Covariances over planned visits: structures, sums by pattern and the criterion."""

import dataclasses
import re

import numpy as np
import pytest

from skmixed.core.residual.fitting import fit_tables
from skmixed.core.residual.visits import visits_sums
from skmixed.core.residual.visits.visits_covariance import AnyCovariance
from skmixed.core.residual.visits.visits_likelihood import evaluate_visits
from skmixed.core.residual.visits.visits_search import local_model
from skmixed.core.residual.visits.visits_tables import VisitTables
from tests.core.trials import draw_phi, draw_trial

KINDS = range(len(draw_trial(0).structures()))
N_VISITS = [1, 2, 5]


def differences(function, x, step=1e-5):
    """Central differences of a function of x, along a new first axis."""
    steps = step * np.eye(len(x))
    return np.array([(function(x + s) - function(x - s)) / (2.0 * step) for s in steps])


@pytest.mark.parametrize("n_visits", N_VISITS)
@pytest.mark.parametrize("kind", KINDS)
def test_covariances_and_their_derivatives(kind, n_visits):
    rng = np.random.default_rng(kind)
    structure = draw_trial(0, n_visits).structures()[kind]
    phi = draw_phi(structure, rng)
    sigma = structure.covariance(phi)
    assert sigma[0, 0] == pytest.approx(1.0)
    assert np.linalg.eigvalsh(sigma)[0] > 0.0
    gradient = rng.standard_normal((n_visits, n_visits))
    gradient = gradient + gradient.T
    shape = (structure.n_phi, n_visits, n_visits)
    slopes = differences(structure.covariance, phi).reshape(shape)
    np.testing.assert_allclose(structure.slopes(phi), slopes, atol=1e-8)
    second = differences(structure.slopes, phi).reshape(structure.n_phi, *shape)
    curvature = np.tensordot(second, gradient, 2)
    np.testing.assert_allclose(structure.curvature(phi, gradient), curvature, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_read_off_the_covariance(kind):
    structure = draw_trial(0, 4).structures()[kind]
    phi = draw_phi(structure, np.random.default_rng(kind))
    sigma = structure.covariance(phi)
    deviations = np.sqrt(sigma.diagonal())
    found = {each.name: each for each in structure.parameters(phi)}
    if kind == 0:
        assert len(found) == structure.n_phi
        assert found["ratio week 2/week 0"].value == pytest.approx(deviations[1])
        between = sigma[1, 3] / deviations[1] / deviations[3]
        assert found["correlation week 2:week 6"].value == pytest.approx(between)
    for name, each in found.items():

        def value(x, name=name):
            return next(p.value for p in structure.parameters(x) if p.name == name)

        np.testing.assert_allclose(each.slopes, differences(value, phi), atol=1e-8)
        assert each.lower <= each.value <= each.upper


@pytest.mark.parametrize("n_visits", N_VISITS)
@pytest.mark.parametrize("kind", KINDS[:5])
def test_starts_are_the_covariance_itself_where_there_is_one(kind, n_visits):
    structure = draw_trial(0, n_visits).structures()[kind]
    phi = draw_phi(structure, np.random.default_rng(kind))
    sigma = structure.covariance(phi)
    deviations = np.sqrt(sigma.diagonal())
    counts = np.full(sigma.shape, 20.0)
    again = structure.near(deviations, sigma / np.outer(deviations, deviations), counts)
    np.testing.assert_allclose(structure.covariance(again), sigma, atol=1e-8)


def dense(trial, sigma, method):
    """The criterion, the covariance of beta and sigma^2 with the matrix of all rows."""
    V, X, y = trial.dense_covariance(sigma), trial.X, trial.y
    inverse = np.linalg.inv(V)
    information = X.T @ inverse @ X
    beta = np.linalg.solve(information, X.T @ inverse @ y)
    rest = y - X @ beta
    nu = len(y) - X.shape[1] if method == "reml" else len(y)
    sigma2 = rest @ inverse @ rest / nu
    criterion = np.linalg.slogdet(V)[1] + nu * (1.0 + np.log(2.0 * np.pi * sigma2))
    if method == "reml":
        criterion += np.linalg.slogdet(information)[1]
    return criterion, sigma2 * np.linalg.inv(information), sigma2


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("seed", range(4))
def test_the_criterion_is_that_of_the_whole_matrix(seed, method):
    trial = draw_trial(seed, 2 + seed, weighted=seed % 2 == 1)
    structure = AnyCovariance(trial.labels())
    sigma = structure.covariance(draw_phi(structure, np.random.default_rng(seed)))
    model = trial.model(method)
    found = evaluate_visits(model, sigma)
    criterion, covariance, sigma2 = dense(trial, sigma, method)
    assert found.criterion == pytest.approx(criterion, rel=1e-12)
    scale = model.independent.model.response_scale
    assert found.sigma2 / scale**2 == pytest.approx(sigma2, rel=1e-11)
    maps = model.independent.model.to_raw[: trial.X.shape[1], :-1] / scale
    raw = found.sigma2 * maps @ found.fixed_covariance @ maps.T
    np.testing.assert_allclose(raw, covariance, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_of_the_criterion(kind, method):
    trial = draw_trial(kind)
    model, structure = trial.model(method), trial.structures()[kind]

    def at(x):
        return evaluate_visits(model, structure.covariance(x))

    phi = draw_phi(structure, np.random.default_rng(kind))
    slope, hessian = local_model(at(phi), structure, phi)
    expected = differences(lambda x: at(x).criterion, phi)
    np.testing.assert_allclose(slope, expected, atol=1e-6 * np.abs(expected).max())
    expected = differences(lambda x: local_model(at(x), structure, x)[0], phi)
    np.testing.assert_allclose(hessian, expected, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_combinations_of_tables_have_the_inverse_and_its_derivatives(kind):
    trial = draw_trial(kind, 3)
    structure = trial.structures()[kind]
    rows = trial.residual_rows()
    selections = structure.selections(rows)
    keys = np.array([each.key for each in selections])
    counts = np.array([each.count for each in selections])

    def table(each):
        found = np.zeros((len(trial.y), len(trial.y)))
        second = each.first if each.second is None else each.second
        found[each.first, second] = 1.0
        return found if each.second is None else found + found.T

    phi = draw_phi(structure, np.random.default_rng(kind))
    found = structure.at(phi, keys, counts)
    whole = trial.dense_covariance(structure.covariance(phi))
    tables = np.array([table(each) for each in selections])
    inverse = np.tensordot(found.weights, tables, 1)
    np.testing.assert_allclose(inverse, np.linalg.inv(whole), atol=1e-10)
    assert found.log_det == pytest.approx(np.linalg.slogdet(whole)[1])

    def of(name):
        return differences(lambda x: getattr(structure.at(x, keys, counts), name), phi)

    np.testing.assert_allclose(found.slopes, of("weights"), atol=1e-7)
    np.testing.assert_allclose(found.curvatures, of("slopes"), atol=1e-7)
    np.testing.assert_allclose(found.log_det_slope, of("log_det"), atol=1e-6)
    np.testing.assert_allclose(found.log_det_curvature, of("log_det_slope"), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_residuals_are_whitened_and_coloured(kind):
    trial = draw_trial(kind)
    structure, rows = trial.structures()[kind], trial.residual_rows()
    phi = draw_phi(structure, np.random.default_rng(kind))
    whole = trial.dense_covariance(structure.covariance(phi))
    white = structure.whitened(phi, rows, np.eye(len(trial.y)))
    np.testing.assert_allclose(white @ whole @ white.T, np.eye(len(trial.y)), atol=1e-10)
    back = structure.coloured(phi, rows, white)
    np.testing.assert_allclose(back, np.eye(len(trial.y)), atol=1e-10)
    deviations = structure.deviations(phi, rows)
    np.testing.assert_allclose(deviations, np.sqrt(whole.diagonal()))


@pytest.mark.parametrize("weighted", [False, True])
def test_merged_sums_are_sums_of_all(weighted):
    trial = draw_trial(5, 5, 40, weighted=weighted)
    parts = [trial.take(trial.subject % 3 == part) for part in range(3)]
    parts = [dataclasses.replace(part, y=part.y + 1000.0) for part in parts]  # another shift
    structure = AnyCovariance(trial.labels())
    whole = dataclasses.replace(trial, y=trial.y + 1000.0)
    expected = whole.fit(structure)
    first, second, third = [part.tables() for part in parts]
    for merged in (VisitTables.merged([first, second, third]), third + second + first):
        assert merged.n_bytes == whole.tables().n_bytes
        found = fit_tables(merged, trial.spec())
        assert found.criterion == pytest.approx(expected.criterion, rel=1e-11)
        np.testing.assert_allclose(found.phi, expected.phi, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found.beta_covariance, expected.beta_covariance, rtol=1e-6)


def test_parts_that_tear_a_subject_are_refused():
    trial = draw_trial(6)
    half = np.arange(len(trial.y)) < len(trial.y) // 2
    with pytest.raises(ValueError, match=r"series of 'subject', '1\d\d' for one, are in several"):
        trial.take(half).tables() + trial.take(~half).tables()


def test_weights_that_count_rows_are_refused():
    trial = draw_trial(6, weighted=True)
    spec = dataclasses.replace(trial.spec(), weighting="frequency")
    with pytest.raises(ValueError, match="sample weights that count rows have no meaning"):
        fit_tables(trial.tables(), spec)


def test_two_rows_of_a_subject_at_a_visit_are_refused():
    trial = draw_trial(7)
    twice = trial.take(np.append(np.arange(len(trial.y)), 3))
    message = f"subject {trial.subject[3]} is twice at one visit, in rows 3 and {len(trial.y)}"
    with pytest.raises(ValueError, match=re.escape(message)):
        twice.tables()


def test_sums_that_are_too_large_are_refused_before_they_are_taken(monkeypatch):
    trial = draw_trial(8, 6, 50)
    size = trial.tables().n_bytes
    monkeypatch.setattr(visits_sums, "memory_installed", lambda: 2 * size)
    trial.tables()
    monkeypatch.setattr(visits_sums, "memory_installed", lambda: 2 * size - 1)
    with pytest.raises(MemoryError, match=r"sums over \d+ patterns of 6 visits seen, of 9 columns"):
        trial.tables()


def test_more_visits_than_there_can_be_patterns_of_are_refused():
    trial = draw_trial(8, 60, 5)
    with pytest.raises(ValueError, match="a covariance of 60 visits has too many patterns"):
        trial.tables()


def test_combined_products_are_those_of_independent_rows():
    trial = draw_trial(9, weighted=True)
    structure = AnyCovariance(trial.labels())
    phi = np.full(structure.n_phi, 0.3)
    found = trial.tables().combined(phi, structure)
    inverse = np.linalg.inv(trial.dense_covariance(structure.covariance(phi)))
    columns = np.column_stack([trial.X, trial.y]) @ found.basis
    np.testing.assert_allclose(found.gram * found.unit, columns.T @ inverse @ columns, rtol=1e-9)
