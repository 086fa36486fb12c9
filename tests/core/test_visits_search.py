"""Searches for covariances over visits: that they end well, or say why they cannot."""

import numpy as np
import pytest
from scipy.optimize import minimize

from skmixed.core.residual.visits.visits_covariance import AnyCovariance, LagCovariance
from skmixed.core.residual.visits.visits_likelihood import evaluate_visits
from skmixed.core.residual.visits.visits_search import VisitSearch, local_model
from tests.core.trials import Trial, draw_phi, draw_trial

KINDS = range(len(draw_trial(0).structures()))
WITHOUT_END = (21, 44, 54)  # seeds of trials whose likelihood is unbounded


def fit(trial, structure, method="reml", **settings):
    return VisitSearch(**settings).solve(trial.model(method), structure)


def us(trial):
    return AnyCovariance(trial.labels())


def check_optimum(trial, structure, method="reml"):
    """A search has arrived where the slope is zero and every direction leads up."""
    phi, found, report = fit(trial, structure, method)
    units = structure.units(phi)
    slope, hessian = local_model(found, structure, phi)
    assert report.converged
    assert report.n_evaluations <= 35
    assert np.linalg.eigvalsh(hessian * np.outer(units, units))[0] > 0.0
    left = slope @ np.linalg.solve(hessian, slope) / 2.0
    assert left < 1e-9 + 10.0 * found.rounding
    return found


def draw_any(seed):
    """Draw a trial of any size, of unequal visits and up to half of them missing."""
    rng = np.random.default_rng([9, seed])
    n_visits, n_subjects = int(rng.integers(2, 9)), int(rng.integers(12, 100))
    return draw_trial(seed, n_visits, n_subjects, rng.uniform(0.0, 0.5))


@pytest.mark.parametrize("seed", range(70))
def test_no_search_ends_wrongly_without_saying_so(seed):
    trial = draw_any(seed)
    structure = trial.structures()[seed % len(KINDS) if seed % 2 else 0]
    sums = trial.tables().sums
    method = "ml" if seed % 3 == 0 else "reml"
    if seed not in WITHOUT_END:
        check_optimum(trial, structure, method)
        return
    assert isinstance(structure, AnyCovariance)
    assert sums.n_complete <= sums.n_visits or (sums.together == 0.0).any()
    with pytest.raises(ValueError, match=r"no maximum|no subject was seen"):
        fit(trial, structure, method)


@pytest.mark.parametrize("seed", range(6))
def test_no_start_leads_lower(seed):
    trial = draw_trial(seed, 4, 40)
    rng = np.random.default_rng(seed)
    for structure in trial.structures():
        found = check_optimum(trial, structure)

        def criterion(x, model=found.model, structure=structure):
            return evaluate_visits(model, structure.covariance(x)).criterion

        best = minimize(criterion, draw_phi(structure, rng), method="BFGS").fun
        assert found.criterion < best + 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_units_of_the_response_and_columns_change_nothing(kind):
    trial = draw_trial(kind + 20, 3, 40)
    structure = trial.structures()[kind]
    phi, found, _ = fit(trial, structure)
    units = np.array([1.0, 1e6, 1.0, 1.0, 1e-5])
    other = Trial(trial.X * units, 1e5 + 1e-3 * trial.y, trial.subject, trial.visit, 3)
    again_phi, again, _ = fit(other, structure)
    np.testing.assert_allclose(again_phi, phi, atol=1e-6)
    nu = len(trial.y) - 5
    change = 2.0 * nu * np.log(1e-3) + 2.0 * np.log(units).sum()
    assert again.criterion - change == pytest.approx(found.criterion, abs=1e-6)


def test_visits_in_very_different_units_are_one_matter():
    trial = draw_trial(30, 4, 60, missing=0.1)
    of_visit = np.array([1.0, 1e2, 1e-2, 10.0])
    X = np.eye(4)[trial.visit]
    one = Trial(X, trial.y, trial.subject, trial.visit, 4)
    other = Trial(X, trial.y * of_visit[trial.visit], trial.subject, trial.visit, 4)
    for structure in (us(one), LagCovariance(one.labels(), "toeplitz", True)):
        found, again = (fit(each, structure)[1] for each in (one, other))
        sizes = found.sigma2 * found.sigma.diagonal(), again.sigma2 * again.sigma.diagonal()
        ratio = np.sqrt(sizes[1] / sizes[0])
        np.testing.assert_allclose(ratio / ratio[0], of_visit, rtol=1e-6)


def test_one_visit_is_a_linear_model():
    trial = draw_trial(31, 1, 25, missing=0.0)
    one = Trial(trial.X[:, :2], trial.y, trial.subject, trial.visit, 1)
    for structure in one.structures():
        phi, found, report = fit(one, structure)
        rest = np.linalg.lstsq(one.X, one.y, rcond=None)[1][0]
        assert len(phi) == 0
        assert report.converged
        scale = found.model.independent.model.response_scale
        assert found.sigma2 / scale**2 == pytest.approx(rest / 23)


def test_columns_that_depend_on_others_are_dropped():
    trial = draw_trial(32)
    twice = np.column_stack([trial.X, trial.X[:, 1] - 2.0 * trial.X[:, 2]])
    other = Trial(twice, trial.y, trial.subject, trial.visit, 4)
    found, again = fit(trial, us(trial))[1], fit(other, us(trial))[1]
    assert again.model.independent.model.kept == tuple(range(trial.X.shape[1]))
    assert again.criterion == pytest.approx(found.criterion, rel=1e-12)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("n_complete", [1, 3, 5])
def test_likelihoods_without_a_maximum_are_refused(n_complete, method):
    rng = np.random.default_rng(n_complete)
    n_visits, n_subjects = 6, 40
    seen = np.tile(np.arange(n_visits) < 5, (n_subjects, 1))
    seen[n_complete:] &= rng.random((n_subjects - n_complete, n_visits)) < 0.7
    seen[:n_complete, 5] = seen[n_complete:, 0] = True
    subject, visit = np.nonzero(seen)
    y = rng.standard_normal((n_subjects, 1)) + rng.standard_normal((n_subjects, n_visits))
    X = np.column_stack([np.ones(len(visit)), visit])
    trial = Trial(X, y[seen], subject, visit, n_visits)
    message = (
        rf"the likelihood of us\(\.\.\.\) has no maximum: .* singular, .*\({n_complete} of 40 have "
        r"all visits\)\. Leave out .* take toeplitz\(\.\.\.\), ar1\(\.\.\.\) or cs\(\.\.\.\)"
    )
    with pytest.raises(ValueError, match=message):
        fit(trial, us(trial), method)
    check_optimum(trial, LagCovariance(trial.labels(), "ar1", False), method)


def test_means_that_follow_the_subjects_are_found_out():
    # seven complete subjects of five visits, but each visit has a regression on four columns
    rng = np.random.default_rng(33)
    of_subject = np.column_stack([np.ones(7), rng.standard_normal((7, 3))])
    subject, visit = np.divmod(np.arange(35), 5)
    X = np.einsum("ni,nj->nij", np.eye(5)[visit], of_subject[subject]).reshape(35, 20)
    X = np.column_stack([np.ones(35), X[:, 1:]])
    trial = Trial(X, rng.standard_normal(35), subject, visit, 5)
    with pytest.raises(ValueError, match=r"us\(\.\.\.\)"):
        fit(trial, us(trial))


def test_visits_never_seen_together_are_named():
    trial = draw_trial(34, 3, 40, missing=0.0)
    apart = np.where(trial.subject % 2 == 0, trial.visit != 1, trial.visit != 2)
    other = trial.take(apart)
    message = "no subject was seen at both 'week 2' and 'week 4', so that us"
    with pytest.raises(ValueError, match=message):
        fit(other, us(other))
    check_optimum(other, LagCovariance(other.labels(), "cs", True))


def test_lags_that_nobody_has_are_named():
    trial = draw_trial(35, 4, 60, missing=0.0)
    near = np.where(trial.subject % 2 == 0, trial.visit < 3, trial.visit > 0)
    other = trial.take(near)
    with pytest.raises(ValueError, match="no subject was seen at two visits 3 apart, so that toep"):
        fit(other, LagCovariance(other.labels(), "toeplitz", False))
    check_optimum(other, LagCovariance(other.labels(), "ar1", True))


def test_visits_without_rows_are_named():
    trial = draw_trial(36)
    other = trial.take(trial.visit != 2)
    with pytest.raises(ValueError, match="no row is at the visit 'week 4': leave it out"):
        fit(other, us(other))


def test_a_visit_seen_once_is_no_estimate():
    trial = draw_trial(37, 4, 40, missing=0.0)
    once = (trial.visit != 3) | (trial.subject == trial.subject.min())
    by_line = Trial(
        np.column_stack([np.ones(len(trial.y)), trial.visit]),
        trial.y, trial.subject, trial.visit, 4,
    ).take(once)  # fmt: skip
    for other in (trial.take(once), by_line):
        with pytest.raises(ValueError, match=r"us\(\.\.\.\)"):
            fit(other, us(other))
        check_optimum(other, LagCovariance(other.labels(), "ar1", False))


def test_a_variance_that_vanishes_by_maximum_likelihood_is_refused():
    rng = np.random.default_rng(5)
    y = rng.standard_normal((40, 1)) + rng.standard_normal((40, 6))
    seen = rng.random((40, 6)) < 0.7
    seen[:, 0], seen[:, 5] = True, np.arange(40) == 0
    subject, visit = np.nonzero(seen)
    X = np.column_stack([np.ones(len(visit)), visit, visit**2])
    trial = Trial(X, y[seen], subject, visit, 6)
    structure = LagCovariance(trial.labels(), "ar1", True)
    with pytest.raises(ValueError, match="the variance of the visit 'week 10' vanishes"):
        fit(trial, structure, "ml")
    check_optimum(trial, structure)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_one_subject_tells_nothing_of_correlations_but_autoregressive_ones(method):
    rng = np.random.default_rng(38)
    noise = np.zeros(30)
    for t in range(1, 30):
        noise[t] = 0.6 * noise[t - 1] + rng.standard_normal()
    trial = Trial(np.ones((30, 1)), noise, np.zeros(30, int), np.arange(30), 30)
    check_optimum(trial, LagCovariance(trial.labels(), "ar1", False), method)
    for structure in (us(trial), LagCovariance(trial.labels(), "cs", False)):
        with pytest.raises(ValueError, match=r"do not tell|no maximum"):
            fit(trial, structure, method)


def test_nearly_equal_visits_of_many_subjects_are_estimated():
    rng = np.random.default_rng(39)
    first = rng.standard_normal(60)
    y = np.column_stack([first, first + 1e-4 * rng.standard_normal(60)])
    trial = Trial(
        np.column_stack([np.ones(120), np.tile([0.0, 1.0], 60)]),
        y.ravel(), np.repeat(np.arange(60), 2), np.tile([0, 1], 60), 2,
    )  # fmt: skip
    found = check_optimum(trial, us(trial))
    covariance = found.sigma2 * found.sigma / found.model.independent.model.response_scale**2
    np.testing.assert_allclose(covariance, np.cov(y.T), rtol=1e-6)


def test_a_search_that_is_cut_short_says_so():
    trial = draw_trial(40)
    report = fit(trial, us(trial), max_iter=2)[2]
    assert not report.converged
    assert report.n_evaluations == 2
    assert report.message == "the number of evaluations reached max_iter"


def test_a_search_without_digits_says_so():
    trial = draw_trial(42, 4, 60, missing=0.1)
    of_visit = np.array([1e5, 1.0, 1e-5, 1.0])[trial.visit]
    X = np.column_stack([np.ones(len(trial.y)), np.eye(4)[trial.visit][:, 1:]])
    other = Trial(X, trial.y * of_visit, trial.subject, trial.visit, 4)
    report = fit(other, us(other))[2]
    assert not report.converged
    assert "the sums have too few digits" in report.message


def test_iterations_are_called_back():
    trial, lines = draw_trial(41), []
    _, found, report = fit(trial, us(trial), callback=lines.append)
    assert tuple(lines) == report.trace
    assert lines[-1].criterion == found.criterion
