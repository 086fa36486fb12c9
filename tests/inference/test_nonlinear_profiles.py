"""Profile likelihoods of nonlinear mixed models, against refits with a parameter held."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from skmixed import MixedNonlinearRegressor, nlmer
from skmixed.inference import confidence_intervals, profile
from skmixed.inference.components import components_of
from skmixed.inference.fitted import curve_of_fit
from skmixed.inference.profiling.constrained_curve import ConstrainedCurve
from tests.core.nonlinear.curve_tables import table

ORANGE = pd.DataFrame(table("orange")).assign(Tree=lambda t: t["Tree"].astype(int))
THEOPH = pd.DataFrame(table("theoph"))
X, Y = ORANGE[["Tree", "age"]], ORANGE["circumference"]
MODEL = MixedNonlinearRegressor("logistic", random="Asym | Tree").fit(X, Y)
LIMITS = confidence_intervals(MODEL, method="profile", X=X, y=Y).to_frame()
LEVEL = stats.chi2.ppf(0.95, 1)


def held_at(name, value):
    """Return a logistic curve with a parameter held, of the others by name."""

    def curve(parameters, inputs):
        values = dict(zip([n for n in ("Asym", "xmid", "scal") if n != name], parameters,
                          strict=True))  # fmt: skip
        values[name] = value
        return values["Asym"] / (1.0 + np.exp((values["xmid"] - inputs[:, 0]) / values["scal"]))

    return curve


@pytest.mark.parametrize("name", ["xmid", "scal"])
@pytest.mark.parametrize("end", ["lower", "upper"])
def test_limits_of_coefficients_are_those_of_refits_without_them(name, end):
    start = dict(zip(("Asym", "xmid", "scal"), MODEL.coef_, strict=True))
    del start[name]
    held = held_at(name, LIMITS.loc[name, end])
    again = MixedNonlinearRegressor(held, start, random="Asym | Tree").fit(X, Y)
    assert again.criterion_ - MODEL.criterion_ == pytest.approx(LEVEL, abs=1e-5)


def least(criterion, held, x):
    """Minimise a criterion of (beta, log sd, log sigma) over all but the entry that is held."""
    free = np.delete(np.arange(len(x)), held)
    sizes = np.abs(x[free])

    def of_free(z):
        moved = x.copy()
        moved[free] = x[free] + sizes * z
        return criterion(moved)

    found = optimize.minimize(of_free, np.zeros(len(free)), method="Nelder-Mead",
                              options={"xatol": 1e-7, "fatol": 1e-8, "maxfev": 4000})  # fmt: skip
    return found.fun


@pytest.mark.parametrize(("name", "place"), [("sd_Asym|Tree", 3), ("sigma", 4)])
@pytest.mark.parametrize("end", ["lower", "upper"])
def test_limits_of_deviations_are_those_of_refits_with_them_held(name, place, end):
    point = curve_of_fit(MODEL, X, Y, None, None, "a test")

    def criterion(x):
        sd, sigma = np.exp(x[3:])
        found = point.of.at(x[:3], [np.array([[sd / sigma]])], point)
        return found.criterion_at(sigma**2)

    x = np.append(MODEL.coef_, np.log(LIMITS.loc[["sd_Asym|Tree", "sigma"], "estimate"]))
    assert criterion(x) == pytest.approx(MODEL.criterion_, rel=1e-10)
    x[place] = np.log(LIMITS.loc[name, end])
    assert least(criterion, place, x) - MODEL.criterion_ == pytest.approx(LEVEL, abs=1e-4)


SETTINGS = {
    "correlated": ("lKa + lCl | Subject", None),
    "stratified": ("lKa | Subject", "var(late) * power(when)"),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_gradients_with_a_parameter_held_are_those_of_differences(kind):
    random, residual = SETTINGS[kind]
    data = THEOPH.assign(late=THEOPH["Time"] > 3, when=THEOPH["Time"] + 1.0)
    formula = f"conc ~ SSfol(Dose, Time, lKe, lKa, lCl) ~ {random}"
    model = nlmer(formula, data, residual=residual)
    point = curve_of_fit(model, data, data["conc"], None, None, "a test")
    for part in components_of(model.fit_):
        constrained = ConstrainedCurve(model.fit_, part, point)
        t, start = constrained.optimum, constrained.start
        value, gradient, slope = constrained.evaluate(start, t)
        assert value == pytest.approx(model.criterion_, rel=1e-9)
        assert np.abs(gradient).max(initial=0.0) < 0.02
        away = 1.03 * t if part.kind != "cor" else t + 0.05
        x = start + 0.02 * constrained.units
        value, gradient, slope = constrained.evaluate(x, away)
        for place, step in enumerate(1e-4 * constrained.units):
            moved = step * np.eye(len(x))[place]
            ends = [constrained.evaluate(x + sign * moved, away)[0] for sign in (1, -1)]
            expected = (ends[0] - ends[1]) / (2.0 * step)
            assert gradient[place] == pytest.approx(expected, rel=1e-5, abs=1e-4)
        step = 1e-4 * constrained.unit
        ends = [constrained.evaluate(x, away + sign * step)[0] for sign in (1, -1)]
        assert slope == pytest.approx((ends[0] - ends[1]) / (2.0 * step), rel=1e-5, abs=1e-4)


def test_curves_and_intervals_agree_and_need_the_rows():
    order = np.random.default_rng(0).permutation(len(X))
    again = confidence_intervals(
        MODEL, method="profile", parameters=["sigma", "xmid"], X=X.iloc[order], y=Y.iloc[order]
    ).to_frame()
    np.testing.assert_allclose(again, LIMITS.loc[["sigma", "xmid"]], rtol=1e-5)
    curves = profile(MODEL, level=0.95, points=1, X=X, y=Y, parameters="fixed").to_frame()
    ends = curves[curves["parameter"] == "xmid"]["value"]
    np.testing.assert_allclose(ends.iloc[[0, -1]], LIMITS.loc["xmid", ["lower", "upper"]], 1e-6)
    with pytest.raises(ValueError, match="needs the training data"):
        profile(MODEL)
    with pytest.raises(ValueError, match="not the rows the model was fitted to"):
        profile(MODEL, X=X, y=Y + 1.0)
    with pytest.raises(ValueError, match="not the rows the model was fitted to"):
        profile(MODEL, X=X.assign(age=X["age"] + 1.0), y=Y)
    with pytest.raises(ValueError, match="levels of 'Tree'"):
        profile(MODEL, X=X.assign(Tree=X["Tree"] + 1), y=Y)


def test_least_squares_have_profiles_and_passes_have_none():
    """Limits of a curve without random effects by searches of its squares."""
    least_squares = MixedNonlinearRegressor("logistic").fit(X[["age"]], Y)
    found = confidence_intervals(least_squares, method="profile", X=X[["age"]], y=Y).to_frame()
    for end in ("lower", "upper"):
        curve = held_at("xmid", found.loc["xmid", end])
        start = {"Asym": least_squares.coef_[0], "scal": least_squares.coef_[2]}
        again = MixedNonlinearRegressor(curve, start).fit(X[["age"]], Y)
        assert again.criterion_ - least_squares.criterion_ == pytest.approx(LEVEL, abs=1e-5)
    passes = MixedNonlinearRegressor("logistic", random="Asym | Tree", method="lindstrom-bates")
    with pytest.raises(ValueError, match="ends at a fixed point, which is no maximum"):
        profile(passes.fit(X, Y), X=X, y=Y)


def test_a_variance_that_may_be_zero_has_a_limit_of_zero():
    data = THEOPH.assign(Subject=np.arange(len(THEOPH)) % 6)
    model = nlmer("conc ~ SSfol(Dose, Time, lKe, lKa, lCl) ~ lKa | Subject", data)
    found = confidence_intervals(
        model, method="profile", parameters="random", X=data, y=data["conc"]
    ).to_frame()
    assert found.loc["sd_lKa|Subject", "lower"] == 0.0
    assert found.loc["sd_lKa|Subject", "upper"] > 0.0
