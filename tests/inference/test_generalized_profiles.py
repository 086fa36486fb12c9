"""Profiles of generalized models: against their definition, differences and the figures of R."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.optimize import minimize

from skmixed import MixedClassifier, MixedGeneralizedRegressor, glmer
from skmixed.core.generalized.after_fit.same_rows import evaluate_at, point_of
from skmixed.display import ProfileDisplay
from skmixed.inference import confidence_intervals, profile
from skmixed.inference.components import components_of
from skmixed.inference.fitted import observations_of_fit
from skmixed.inference.profiling.constrained_likelihood import ConstrainedLikelihood
from skmixed.inference.profiling.constrained_search import differenced
from tests import reference_set

CBPP = reference_set.committed_table("cbpp")
SHARE = {"X": CBPP, "y": CBPP["incidence"] / CBPP["size"], "sample_weight": CBPP["size"]}
# confint(glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial, nAGQ),
# devtol = 1e-6) of lme4 1.1-31 with bobyqa, rhoend = 1e-9. It interpolates Laplace's criterion,
# whose random effects it knows to 1e-4; the first row is that of a search by Newton's method.
LME4 = {
    1: [
        [0.346092, 1.099956],
        [-1.9011561073, -0.9477913932],
        [-1.6166786630, -0.4078405204],
        [-1.8009176253, -0.5116103064],
        [-2.5006007107, -0.8008310435],
    ],
    9: [
        [0.3488015516, 1.1112920590],
        [-1.9046829280, -0.9462134732],
        [-1.6160839242, -0.4066109780],
        [-1.8004081919, -0.5104502443],
        [-2.5001923391, -0.7995922522],
    ],
}


def rows(n=160, n_groups=10, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": rng.normal(1.0, 1.0, n),
            "g": rng.permutation(np.arange(n) % n_groups),
            "h": rng.permutation(np.arange(n) % 8),
        }
    )
    level, slope = 0.5 * rng.normal(size=(2, n_groups))
    eta = 0.3 + 0.3 * frame["x"] + level[frame["g"]] + slope[frame["g"]] * frame["x"]
    eta += 0.4 * rng.normal(size=8)[frame["h"]]
    return frame, eta.to_numpy(), rng


X, ETA, RNG = rows()
COUNTS = RNG.poisson(np.exp(ETA))
VARIED = RNG.poisson(np.exp(ETA) * RNG.gamma(2.0, 0.5, len(ETA)))
AMOUNTS = RNG.gamma(2.0, np.exp(ETA) / 2.0)
CLASSES = (RNG.random(len(ETA)) < 1.0 / (1.0 + np.exp(-ETA))).astype(int)
MODELS = {
    "slopes": (MixedGeneralizedRegressor("(x | g)", fixed="x"), COUNTS),
    "crossed": (MixedGeneralizedRegressor("(x | g) + (1 | h)", fixed="x"), COUNTS),
    "dispersion": (
        MixedGeneralizedRegressor("(x || g)", fixed="x", family="negative_binomial"),
        VARIED,
    ),
    "amounts": (MixedGeneralizedRegressor("(1 | g)", fixed="x", family="gamma"), AMOUNTS),
    "one variance": (
        MixedGeneralizedRegressor("(x | g)", fixed="x + offset(x)", covariance="identity"),
        COUNTS,
    ),
    "nodes": (MixedClassifier("(x | g)", fixed="x", quadrature=5), CLASSES),
    "no groups": (MixedClassifier(fixed="x", group_features=[]), CLASSES),
}


@pytest.mark.parametrize("n_nodes", LME4)
def test_intervals_are_those_of_lme4(n_nodes):
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    model = glmer(formula, CBPP, quadrature=n_nodes)
    found = confidence_intervals(model, method="profile", **SHARE).to_frame()
    assert_allclose(found[["lower", "upper"]], LME4[n_nodes], atol=2e-4 if n_nodes == 1 else 3e-6)
    assert_allclose(found.iloc[0, 1:].astype(float), LME4[n_nodes][0], atol=5e-6)


@pytest.mark.parametrize("name", MODELS)
def test_derivatives(name):
    model, y = MODELS[name]
    model.fit(X, y)
    given = observations_of_fit(model, X, y, None, None, "this")
    rng = np.random.default_rng(1)
    for part in components_of(model.fit_):
        held = ConstrainedLikelihood(model.fit_, part, given)
        assert_allclose(held.evaluate(held.start, held.optimum)[0], model.criterion_, rtol=1e-8)
        x, t = held.start + 0.1 * rng.uniform(0.2, 1.0, len(held.start)), held.optimum + 0.1
        _, gradient, slope, hessian = held.evaluate_all(x, t)
        step = 1e-5
        ends = [
            [held.evaluate(x + sign * step * each, t)[0] for sign in (1.0, -1.0)]
            for each in np.eye(len(x))
        ]
        size = max(1.0, np.abs(gradient).max(), abs(slope))
        assert_allclose(gradient, np.diff(ends)[:, 0] / (-2.0 * step), atol=3e-7 * size)
        above, below = held.evaluate(x, t + step)[0], held.evaluate(x, t - step)[0]
        assert_allclose(slope, (above - below) / (2.0 * step), atol=3e-7 * size)
        if held.is_exact:
            by_differences = differenced(held, x, t)
            largest = np.abs(by_differences).max()
            assert_allclose(hessian, by_differences, atol=1e-6 * largest)


def least_deviance(model, y, part, value):
    """Minimise the criterion by BFGS over all else: beta, log deviations, Fisher's z, phi."""
    fit, given = model.fit_, observations_of_fit(model, X, y, None, None, "this")
    parts = components_of(fit)
    free = [other for other in parts if other.name != part.name]

    def criterion(z):
        values = {part.name: value}
        for other, each in zip(free, z, strict=True):
            kind = other.kind
            back = {"sd": np.exp, "cor": np.tanh, "scale": np.exp}.get(kind, float)
            values[other.name] = float(back(each))
        beta = np.array([values[p.name] for p in parts if p.kind == "coefficient"])
        lambdas = []
        for position in range(len(fit.lambdas)):
            size = len(fit.lambdas[position])
            sds, correlations = np.zeros(size), np.eye(size)
            for p in parts:
                if p.term is None or fit.place_of(p.term)[0] != position:
                    continue
                columns = [fit.place_of(p.term)[1].start + c for c in p.columns]
                if p.kind == "sd":
                    sds[columns] = values[p.name]
                else:
                    i, j = columns
                    correlations[i, j] = correlations[j, i] = values[p.name]
            omega = np.outer(sds, sds) * correlations
            lambdas.append(np.linalg.cholesky(omega + 1e-14 * np.eye(size)))
        phi = np.array([np.log(values["dispersion"])] if len(fit.phi) else [])
        phi = -phi if fit.family.name == "gamma" else phi
        point = point_of(given, beta, lambdas, phi)
        return evaluate_at(given, fit.quadrature, point).criterion

    forward = {
        "sd": lambda v: np.log(max(v, 1e-2)),
        "cor": lambda v: np.arctanh(0.9 * v),
        "scale": np.log,
    }
    start = [forward.get(other.kind, float)(other.estimate) for other in free]
    return float(minimize(criterion, start, method="BFGS", options={"gtol": 1e-3}).fun)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        pytest.param("slopes", "sd_x|g", marks=pytest.mark.study),
        ("slopes", "cor_x.(Intercept)|g"),
        ("slopes", "x"),
        pytest.param("crossed", "sd_(Intercept)|h", marks=pytest.mark.study),
        ("dispersion", "dispersion"),
        pytest.param("dispersion", "x", marks=pytest.mark.study),
        pytest.param("amounts", "dispersion", marks=pytest.mark.study),
        pytest.param("amounts", "(Intercept)", marks=pytest.mark.study),
    ],
)
def test_at_a_limit_the_deviance_is_higher_by_the_quantile(name, parameter):
    model, y = MODELS[name]
    model.fit(X, y)
    limits = confidence_intervals(model, method="profile", level=0.9, X=X, y=y).to_frame()
    (part,) = (each for each in components_of(model.fit_) if each.name == parameter)
    higher = stats.chi2.ppf(0.9, 1)
    for end in ("lower", "upper"):
        value = float(limits.loc[parameter, end])
        if part.kind == "cor" and abs(value) == 1.0:
            continue
        rise = least_deviance(model, y, part, value) - model.criterion_
        assert_allclose(rise, higher, atol=1e-4)


def test_profiles_go_through_the_limits():
    model, y = MODELS["slopes"]
    model.fit(X, y)
    limits = confidence_intervals(model, method="profile", X=X, y=y).to_frame()
    curves = profile(model, level=0.95, points=2, X=X, y=y).to_frame()
    for name, curve in curves.groupby("parameter"):
        assert (curve["zeta"].diff().dropna() > 0.0).all()
        assert (curve["value"].diff().dropna() > 0.0).all()
        ends = curve["value"].iloc[[0, -1]]
        assert_allclose(ends, limits.loc[name, ["lower", "upper"]].astype(float), rtol=1e-5)


def test_a_variance_of_zero_and_an_infinite_dispersion_have_a_bound():
    rng = np.random.default_rng(3)
    y = rng.poisson(np.exp(0.2 + 0.3 * X["x"]))
    model = MixedGeneralizedRegressor("(1 | g)", fixed="x", family="negative_binomial").fit(X, y)
    assert model.is_singular_
    limits = confidence_intervals(model, method="profile", X=X, y=y).to_frame()
    assert limits.loc["sd_(Intercept)|g", "lower"] == 0.0
    assert 0.0 < limits.loc["sd_(Intercept)|g", "upper"] < 1.0
    assert limits.loc["dispersion", "upper"] == np.inf
    assert 0.5 < limits.loc["dispersion", "lower"] < 100.0


def test_what_nothing_tells_has_no_limits_and_changes_no_others():
    table = X.assign(row=np.arange(len(X)))
    with pytest.warns(match="grouping factor 'row' has a level per row"):
        model = MixedClassifier("(1 | row) + (1 | g)", fixed="x").fit(table, CLASSES)
    assert model.random_covariance_["row"].iloc[0, 0] == 0.0
    found = confidence_intervals(model, method="profile", X=table, y=CLASSES).to_frame()
    assert found.loc["sd_(Intercept)|row", ["lower", "upper"]].isna().all()
    plain = MixedClassifier("(1 | g)", fixed="x").fit(X, CLASSES)
    expected = confidence_intervals(plain, method="profile", X=X, y=CLASSES).to_frame()
    assert_allclose(found.iloc[1:].astype(float), expected.astype(float), rtol=2e-5)


def test_intervals_by_bootstrap():
    model, y = MODELS["amounts"]
    model.fit(X, y)
    limits = confidence_intervals(
        model, method="bootstrap", n_samples=40, random_state=0, X=X, y=y
    ).to_frame()
    assert limits.index.tolist() == ["sd_(Intercept)|g", "dispersion", "(Intercept)", "x"]
    assert (limits["lower"] < limits["upper"]).all()


def test_a_picture_has_the_units_of_the_link():
    model, y = MODELS["amounts"]
    model.fit(X, y)
    display = ProfileDisplay.from_estimator(model, points=1, X=X, y=y)
    assert [axes.get_xlabel() for axes in display.axes_] == [
        "sd_(Intercept)|g\n[log(y)]",
        "dispersion",
        "(Intercept)\n[log(y)]",
        "x\n[log(y) per unit of x]",
    ]


def test_what_is_refused_and_why():
    model, y = MODELS["amounts"]
    model.fit(X, y)
    with pytest.raises(ValueError, match="a profile likelihood needs the training data"):
        profile(model)
    with pytest.raises(ValueError, match="not the rows the model was fitted to"):
        confidence_intervals(model, method="profile", X=X, y=2.0 * y)
    with pytest.warns(match="separate"):
        parted = MixedClassifier("(1 | g)").fit(X[["g"]].assign(z=CLASSES), CLASSES)
    with pytest.raises(ValueError, match="a profile starts from the estimates"):
        profile(parted, X=X[["g"]].assign(z=CLASSES), y=CLASSES)
