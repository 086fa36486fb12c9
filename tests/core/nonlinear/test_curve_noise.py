"""Curves whose residuals have variances of their own, or are correlated.

Figures of R's nlme 3.1 at tolerance=1e-10, pnlsTol=1e-9, msTol=1e-14, minScale=1e-12, opt="nlm";
where nlminb came nearer to its end, with that. Between the two searches of nlme's its powers and
ratios of deviations differ by 1e-5, its criteria by 2e-6.
"""

from dataclasses import replace

import numpy as np
import pytest

from skmixed.core.nonlinear.curve import GivenCurve
from skmixed.core.nonlinear.curve_likelihood import CurveLikelihood
from skmixed.core.nonlinear.curve_noise import CurveNoise
from skmixed.core.nonlinear.lindstrom_bates import LindstromBates
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.residual.products import ResidualProduct
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.sums.layout import GroupIndex
from tests.core.nonlinear.curve_tables import (
    fit_of,
    indometh,
    loblolly,
    orange,
    plots,
    rows_of,
    table,
    theoph,
)
from tests.core.nonlinear.test_curve_likelihood import criterion_of, designed


def noisy(rows, *, strata=None, value=None, fitted=False):
    names = () if strata is None else [str(label) for label in range(int(strata.max()) + 1)]
    structure = ResidualProduct.of(None, names, fitted or value is not None)
    known = ResidualRows(stratum=strata, value=value)
    return replace(rows, noise=CurveNoise(structure, known, fitted))


def by_age():
    return noisy(orange(), value=table("orange")["age"])


def in_two_ages():
    return noisy(orange(), strata=(table("orange")["age"] > 700).astype(int))


def late():
    strata = (table("theoph")["Time"] > 3).astype(int)
    return noisy(theoph(covariance="diagonal"), strata=strata)


def by_time():
    return noisy(theoph(covariance="diagonal"), value=table("theoph")["Time"] + 1.0)


# criterion, beta, standard errors, sd, sigma and parameter of nlme; of var() the reference stratum
# is the other one, so that the ratio is turned over and sigma multiplied by it
NLME = {
    "power of age": (by_age, 261.848329552, [192.140065055, 726.226569622, 349.960168301],
                     [15.3729905431, 36.5102650154, 23.1607837613], [30.8930628494],
                     1.70920326222, 0.231522030696),
    "power of fitted": (lambda: noisy(orange(), fitted=True), 262.076218893,
                        [191.878967859, 725.266193870, 349.845105109],
                        [15.4194802293, 36.6645375953, 24.3376038256], [30.9368876059],
                        2.32092159472, 0.265719692179),
    "var of early": (in_two_ages, 263.166787759,
                     [190.953078249, 721.951243757, 343.703497940],
                     [15.4265195719, 33.6812079772, 25.9097773823], [31.4160906319],
                     7.74293347527 * 1.02622373048, 1.0 / 1.02622373048),
    "loblolly": (lambda: noisy(loblolly(), value=table("loblolly")["age"]), 228.319136701,
                 [100.43209170333, -8.80916546984, -3.21702196534],
                 [2.2222906305063, 0.3397044485423, 0.0316253037424], [3.60695502758],
                 1.02314986196, -0.16350869275),
    "var of late": (late, 308.710153548, [-2.519809366631, 0.530294070976, -3.251678151872],
                    [0.0318060523614, 0.1882687564262, 0.0548832893040],
                    [0.606683284835, 0.176733059320], 1.01332718152 * 0.369600873839,
                    1.0 / 0.369600873839),
    "power of time": (by_time, 325.691460892,
                      [-2.501152450364, 0.521215512651, -3.247396156973],
                      [0.0334415281408, 0.1923019202664, 0.0558584518501],
                      [0.623723673850, 0.179287696927], 1.06485258245, -0.355656866999),
    "indometh": (lambda: noisy(indometh(), fitted=True), -176.893888409,
                 [2.564692649316, 0.505930127061, 0.265303396644, -1.802351490687],
                 [0.1708299707331, 0.1052851499194, 0.0413463397263, 0.1168644231060],
                 [0.0, 0.2026414199931, 0.0704568936989], 0.145346867867, 0.958397954644),
}  # fmt: skip


@pytest.mark.parametrize("name", NLME)
def test_lindstrom_and_bates_are_those_of_nlme(name):
    rows, criterion, beta, errors, sd, sigma, parameter = NLME[name]
    rows = rows()
    fit = fit_of(rows, "lindstrom-bates")
    assert fit.report.converged
    assert fit.criterion == pytest.approx(criterion, abs=3e-6)
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.beta_covariance)), errors, rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariances[0])), sd, rtol=1e-5)
    assert fit.scales["sigma"] == pytest.approx(sigma, rel=2e-5)
    (found,) = fit.residual_parameters
    assert found.value == pytest.approx(parameter, rel=2e-5)
    assert fit.n_parameters == len(beta) + len(sd) + 2
    again = LindstromBates(rows).linearise(fit.beta, fit.modes, None)
    np.testing.assert_allclose(again.fit.beta, fit.beta, rtol=1e-7)


def test_generalised_least_squares_are_those_of_gnls():
    rows = rows_of(table("orange"), "circumference", ["age"], [], "logistic", [])
    cases = [
        (noisy(rows, fitted=True), 291.518866557975,
         [206.654931771, 803.416669120, 392.463963748], 1.5696512524),
        (noisy(rows, value=table("orange")["age"]), 287.469905823709,
         [204.845338282, 792.781457723, 390.536829285], 1.25502200123),
    ]  # fmt: skip
    for own, criterion, beta, power in cases:
        fit = fit_of(own, "lindstrom-bates")
        assert fit.criterion == pytest.approx(criterion, rel=1e-8)
        np.testing.assert_allclose(fit.beta, beta, rtol=2e-6)
        assert fit.residual_parameters[0].value == pytest.approx(power, rel=1e-5)
    by_laplace = fit_of(cases[1][0])
    assert by_laplace.criterion == pytest.approx(fit.criterion, rel=1e-10)


def test_correlated_residuals_are_those_of_nlme():
    """Waves of follicles, ar1 within plots: a curve with a frequency that is estimated."""
    rng = np.random.default_rng(5)
    n_series, n = 12, 25
    time = np.tile(np.linspace(0.0, 1.0, n), n_series)
    series = np.repeat(np.arange(n_series), n)
    noise = rng.normal(size=(n_series, n))
    for place in range(1, n):
        noise[:, place] = 0.5 * noise[:, place - 1] + np.sqrt(0.75) * noise[:, place]
    level = 12.0 + 2.0 * rng.normal(size=n_series)[series]
    y = level - 3.0 * np.sin(2 * np.pi * 1.1 * time) + noise.ravel()

    def wave(parameters, X):
        middle, height, often = parameters
        return middle + height * np.sin(2 * np.pi * often * X[:, 0])

    data = {"y": y, "time": time, "series": series}
    start = np.array([12.0, -3.0, 1.0])
    curve = GivenCurve(wave, ("middle", "height", "often"), None, "complex step")
    rows = rows_of(data, "y", ["time"], ["series"], curve, ["middle"])
    known = ResidualRows(
        series, GroupIndex(("series",), (np.arange(n_series),)), np.tile(np.arange(1.0, n + 1), 12)
    )
    rows = replace(rows, noise=CurveNoise(ResidualProduct.of("ar1"), known))
    fit = NonlinearFit.of(rows, start, "lindstrom-bates")
    assert fit.report.converged
    linear = LindstromBates(rows).linearise(fit.beta, fit.modes, None).fit
    assert linear.criterion == pytest.approx(fit.criterion, abs=1e-8)
    (rho,) = fit.residual_parameters
    assert rho.value == pytest.approx(0.5, abs=0.15)
    with pytest.raises(ValueError, match=r"correlated residuals are for method='lindstrom-bates'"):
        NonlinearFit.of(rows, start)


@pytest.mark.parametrize("kind", ["one", "nested", "crossed"])
@pytest.mark.parametrize("weighting", ["frequency", "precision"])
def test_laplace_with_variances_of_rows_is_the_formula(kind, weighting):
    rows, beta, lambdas = designed(kind, weighting=weighting)
    value = rows.inputs[:, 0]
    strata = (value > 800.0).astype(int)
    rows = noisy(rows, strata=strata, value=value)
    structure = replace(rows.noise.structure, reference=0, free=(1,), centre=6.0)
    likelihood, phi = CurveLikelihood.of(rows, structure), np.array([0.3, -0.2])
    u = likelihood.spherical(rows.no_effects(), lambdas)
    point = likelihood.at(beta, lambdas, likelihood.near(beta, lambdas, u, phi), phi)
    deviation = np.exp(0.3 * strata - 0.2 * (np.log(value) - 6.0))
    # the same by weights, whose logarithms the formula then has to have
    by_weights = replace(rows, weights=rows.weights / deviation**2, noise=None)
    expected = criterion_of(by_weights, beta, lambdas)
    if weighting == "frequency":
        n, m = rows.weights.sum(), by_weights.weights.sum()
        square = m * np.exp((expected - _log_det(point)) / m - 1.0) / (2.0 * np.pi)
        expected = _log_det(point) + n * (1.0 + np.log(2.0 * np.pi * square / n))
        expected += 2.0 * rows.weights @ np.log(deviation)
    assert point.criterion == pytest.approx(expected, rel=1e-10)
    for place in range(2):
        away = 1e-5 * np.eye(2)[place]
        above, below = (likelihood.at(beta, lambdas, point, phi + s * away) for s in (1, -1))
        found = (above.criterion - below.criterion) / 2e-5
        assert point.phi_gradient[place] == pytest.approx(found, rel=1e-6, abs=1e-5)
    by_beta = point.gradient[0]
    for place, step in enumerate(1e-5 * np.abs(beta)):
        away = step * np.eye(len(beta))[place]
        above, below = (likelihood.at(beta + s * away, lambdas, point, phi) for s in (1, -1))
        found = (above.criterion - below.criterion) / (2.0 * step)
        assert by_beta[place] == pytest.approx(found, rel=1e-5, abs=1e-5)


def _log_det(point):
    return float(np.linalg.slogdet(point._d)[1].sum())


@pytest.mark.parametrize("make", [by_age, in_two_ages, late, by_time])
def test_laplace_ends_where_the_gradient_is_zero(make):
    rows = make()
    fit = fit_of(rows)
    assert fit.report.converged
    (parameter,) = fit.residual_parameters
    phi = np.array([parameter.value if parameter.name == "power" else np.log(parameter.value)])
    structure = fit.linear.tables.resolved("frequency")
    ratio = structure.reported(phi)[1]
    likelihood, lambdas = CurveLikelihood.of(rows, structure), [x / ratio for x in fit.lambdas]
    u = likelihood.spherical(rows.no_effects(), lambdas)
    point = likelihood.at(fit.beta, lambdas, likelihood.near(fit.beta, lambdas, u, phi), phi)
    assert point.criterion == pytest.approx(fit.criterion, rel=1e-10)
    assert np.abs(point.phi_gradient).max() < 1e-4
    errors = np.sqrt(np.diag(fit.beta_covariance))
    assert np.abs(point.gradient[0] * errors).max() < 1e-5
    assert np.sqrt(point.sigma2) / ratio == pytest.approx(fit.scales["sigma"], rel=1e-9)
    np.testing.assert_allclose(fit.modes[0], point.effects[0], rtol=1e-6, atol=1e-8)
    plain = fit_of(replace(rows, noise=None))
    assert fit.criterion < plain.criterion


def test_laplace_of_a_curve_that_is_linear_is_the_linear_fit():
    """Where nothing is curved both methods are the mixed model with these variances."""
    data = plots(n_sites=6)

    def line(parameters, X):
        return parameters[0] + parameters[1] * X[:, 0]

    curve = GivenCurve(line, ("level", "slope"), None, "complex step")
    rows = rows_of(data, "y", ["x"], ["plot"], curve, ["level"])
    rows = noisy(rows, value=data["x"])
    start = np.array([80.0, 0.05])
    one, other = (NonlinearFit.of(rows, start, m) for m in ("laplace", "lindstrom-bates"))
    assert one.criterion == pytest.approx(other.criterion, abs=1e-8)
    np.testing.assert_allclose(one.beta, other.beta, rtol=1e-6)
    assert one.scales["sigma"] == pytest.approx(other.scales["sigma"], rel=1e-5)


def test_what_a_power_of_fitted_values_refuses():
    rows = noisy(theoph(covariance="diagonal"), fitted=True)
    with pytest.raises(ValueError, match=r"the curve is 0 in row 0: leave out rows"):
        fit_of(rows, "lindstrom-bates")
    with pytest.raises(ValueError, match=r"power\(\) of the fitted values is for method="):
        fit_of(rows)
