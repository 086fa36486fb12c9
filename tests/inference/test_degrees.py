"""Satterthwaite and Kenward-Roger against dense textbook formulas, and closed forms."""

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedLinearRegressor, lmer
from skmixed.core.search.coordinates import Coordinates
from skmixed.datasets import load_sleepstudy
from skmixed.inference import anova, coefficient_table
from skmixed.inference.fixed_effects import degrees
from skmixed.inference.fixed_effects.degrees import Curvature, KenwardRoger
from skmixed.inference.fixed_effects.testing import CoefficientTests


def crossed(n=60, seed=3):
    """Rows of two crossed factors, a random slope on the first, unequal weights."""
    rng = np.random.default_rng(seed)
    g, h = rng.integers(0, 7, n), rng.integers(0, 5, n)
    x, z = rng.normal(size=n), rng.normal(size=n) + 10.0
    y = 1.0 + x + rng.normal(size=7)[g] + 0.7 * x * rng.normal(size=7)[g]
    y += rng.normal(size=5)[h] + 0.5 * rng.normal(size=n)
    table = pd.DataFrame({"y": y, "x": x, "z": z, "g": g.astype(str), "h": h.astype(str)})
    return table, rng.uniform(0.5, 2.0, n)


FORMULAS = {
    "one factor": "y ~ x + z + (1 + x | g)",
    "crossed": "y ~ x + z + (1 + x | g) + (1 | h)",
    "independent": "y ~ x + z + (x || g)",
}


def dense(table, weights, model):
    """Return X, the matrices G_r of V = sum phi_r G_r, and phi, written out row by row."""
    X = np.column_stack([np.ones(len(table)), table["x"], table["z"]])
    ones = np.ones(len(table))
    bases, phi = [], []
    covariances = model.random_covariance_
    for factor, covariance in covariances.items():
        columns = [ones if name == "(Intercept)" else table[name] for name in covariance.columns]
        same = (table[factor].to_numpy()[:, None] == table[factor].to_numpy()).astype(float)
        for i in range(len(columns)):
            for j in range(i + 1):
                if i != j and "||" in model.formula_:
                    continue
                outer = np.outer(columns[i], columns[j])
                outer = outer if i == j else outer + outer.T
                bases.append(same * outer)
                phi.append(covariance.iloc[i, j])
    bases.append(np.diag(1.0 / weights))
    phi.append(model.residual_variance_)
    return X, np.array(bases), np.array(phi)


def textbook_kenward_roger(X, bases, phi):
    V = np.tensordot(phi, bases, axes=1)
    Vi = np.linalg.inv(V)
    phi_x = np.linalg.inv(X.T @ Vi @ X)
    P = np.array([-X.T @ Vi @ G @ Vi @ X for G in bases])
    Q = np.array([[X.T @ Vi @ G @ Vi @ H @ Vi @ X for H in bases] for G in bases])
    information = np.array(
        [
            [
                np.trace(Vi @ G @ Vi @ H) - 2 * np.trace(phi_x @ Q[i, j])
                + np.trace(phi_x @ P[i] @ phi_x @ P[j])
                for j, H in enumerate(bases)
            ]
            for i, G in enumerate(bases)
        ]
    )  # fmt: skip
    W = 2 * np.linalg.inv(information)
    middle = sum(
        W[i, j] * (Q[i, j] - P[i] @ phi_x @ P[j])
        for i in range(len(bases))
        for j in range(len(bases))
    )
    return phi_x, phi_x + 2 * phi_x @ middle @ phi_x, W, P


def restricted_deviance(X, y, bases, phi):
    V = np.tensordot(phi, bases, axes=1)
    Vi = np.linalg.inv(V)
    information = X.T @ Vi @ X
    beta = np.linalg.solve(information, X.T @ Vi @ y)
    r = y - X @ beta
    return np.linalg.slogdet(V)[1] + np.linalg.slogdet(information)[1] + r @ Vi @ r


def hessian(function, at, step):
    n = len(at)
    result = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            value = 0.0
            for a in (1, -1):
                for b in (1, -1):
                    moved = at.copy()
                    moved[i] += a * step[i]
                    moved[j] += b * step[j]
                    value += a * b * function(moved)
            result[i, j] = value / (4 * step[i] * step[j])
    return result


@pytest.fixture(params=FORMULAS)
def case(request):
    table, weights = crossed()
    model = lmer(FORMULAS[request.param], table, weights=weights)
    assert not model.is_singular_
    return table, model, dense(table, weights, model)


def test_kenward_roger_is_that_of_the_textbook(case):
    _, model, (X, bases, phi) = case
    plain, adjusted, W, P = textbook_kenward_roger(X, bases, phi)
    tests = CoefficientTests.of(model, "kenward-roger")
    ours = KenwardRoger.of(model.fit_)
    maps = tests.scaled(np.eye(3))
    np.testing.assert_allclose(maps @ ours.covariance @ maps.T * model.residual_variance_, plain)
    np.testing.assert_allclose(
        maps @ ours.adjusted @ maps.T * model.residual_variance_, adjusted, rtol=1e-7, atol=1e-9
    )
    L = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    theta = L.T @ np.linalg.inv(L @ plain @ L.T) @ L
    parts = [theta @ plain @ p @ plain for p in P]
    first = sum(W[i, j] * np.trace(parts[i]) * np.trace(parts[j])
                for i in range(len(P)) for j in range(len(P)))  # fmt: skip
    second = sum(W[i, j] * np.trace(parts[i] @ parts[j])
                 for i in range(len(P)) for j in range(len(P)))  # fmt: skip
    q = 2
    b = (first + 6 * second) / (2 * q)
    g = ((q + 1) * first - (q + 4) * second) / ((q + 2) * second)
    d = 3 * q + 2 * (1 - g)
    mean = 1 / (1 - second / q)
    variance = 2 / q * (1 + g / d * b) / ((1 - (q - g) / d * b) ** 2 * (1 - (q + 2 - g) / d * b))
    rho = variance / (2 * mean**2)
    df = 4 + (q + 2) / (q * rho - 1)
    scale = df / (mean * (df - 2))
    joint = tests.joint(L)
    beta = model.fit_.beta
    wald = beta @ L.T @ np.linalg.solve(L @ adjusted @ L.T, L @ beta) / q
    assert joint.df == pytest.approx(df, rel=1e-6)
    assert joint.statistic == pytest.approx(scale * wald, rel=1e-6)


def test_satterthwaite_is_that_of_the_textbook(case):
    table, model, (X, bases, phi) = case
    y = table["y"].to_numpy()
    A = 2 * np.linalg.inv(
        hessian(lambda at: restricted_deviance(X, y, bases, at), phi, 1e-3 * np.abs(phi) + 1e-4)
    )
    Vi = np.linalg.inv(np.tensordot(phi, bases, axes=1))
    plain = np.linalg.inv(X.T @ Vi @ X)
    slopes = np.array([plain @ X.T @ Vi @ G @ Vi @ X @ plain for G in bases])
    variances = np.diag(plain)
    g = np.array([np.diag(slope) for slope in slopes])
    df = 2 * variances**2 / np.einsum("ri,rs,si->i", g, A, g)
    ours = coefficient_table(model).to_frame()["df"]
    np.testing.assert_allclose(ours, df, rtol=2e-3)


def test_balanced_split_plot_has_the_degrees_of_its_strata():
    rng = np.random.default_rng(0)
    blocks, whole, split = np.meshgrid(range(6), range(3), range(4), indexing="ij")
    table = pd.DataFrame(
        {
            "block": blocks.ravel().astype(str),
            "whole": np.array(list("abc"))[whole.ravel()],
            "split": np.array(list("uvwx"))[split.ravel()],
        }
    )
    table["y"] = (
        3 * rng.normal(size=6)[blocks.ravel()]
        + 2 * rng.normal(size=(6, 3))[blocks.ravel(), whole.ravel()]
        + rng.normal(size=72)
    )
    model = lmer("y ~ whole * split + (1 | block) + (1 | block:whole)", table)
    assert not model.is_singular_
    for df in ["satterthwaite", "kenward-roger"]:
        for type in [1, 2, 3]:
            ours = anova(model, type, df=df).to_frame()["df"]
            np.testing.assert_allclose(ours, [10.0, 45.0, 45.0], rtol=1e-6)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger", "residual"])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_ordinary_regression_is_exact(df, method):
    table, _ = crossed()
    X = table[["x", "z"]]
    ours = coefficient_table(MixedLinearRegressor(method=method).fit(X, table["y"]), df=df)
    design = np.column_stack([np.ones(len(X)), X])
    residual = table["y"] - design @ np.linalg.lstsq(design, table["y"], rcond=None)[0]
    s2 = residual @ residual / (len(X) - 3)
    errors = np.sqrt(s2 * np.diag(np.linalg.inv(design.T @ design)))
    np.testing.assert_allclose(ours.to_frame()["std_error"], errors)
    assert ours.to_frame()["df"].tolist() == [57.0] * 3


def test_frequency_weights_are_repeated_rows():
    table, _ = crossed()
    w = np.tile([1, 2, 3], 20)
    X = table[["x", "z", "g"]]
    model = MixedLinearRegressor("(1 + x | g)").fit(X, table["y"], w)
    rows = np.repeat(np.arange(60), w)
    repeated = MixedLinearRegressor("(1 + x | g)").fit(X.iloc[rows], table["y"].iloc[rows])
    for df in ["satterthwaite", "kenward-roger", "residual", "normal"]:
        pd.testing.assert_frame_equal(
            coefficient_table(model, df=df).to_frame(),
            coefficient_table(repeated, df=df).to_frame(),
            rtol=1e-5,
        )


def test_units_do_not_matter():
    table, weights = crossed()
    other = table.assign(x=1e6 * table["x"], z=table["z"] / 1e3 + 50.0, y=1e-3 * table["y"] + 7.0)
    for formula in FORMULAS.values():
        fits = [lmer(formula, data, weights=weights) for data in (table, other)]
        for df in ["satterthwaite", "kenward-roger"]:
            first, second = (coefficient_table(fit, df=df).to_frame() for fit in fits)
            columns = ["df", "statistic", "p_value"]
            pd.testing.assert_frame_equal(
                first.loc[["x", "z"], columns], second.loc[["x", "z"], columns], rtol=1e-4
            )


def test_exact_curvature_agrees_with_differences():
    model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    exact = Curvature.of(model.fit_).hessian
    coordinates = Coordinates.natural(model.fit_.problem.structures)
    theta = coordinates.read(model.fit_.evaluation.lambdas)
    differences = degrees._differences(model.fit_.evaluation, coordinates, theta)
    np.testing.assert_allclose(exact, differences, rtol=1e-5, atol=1e-4)


def test_a_variance_of_zero_counts_for_nothing():
    rng = np.random.default_rng(1)
    x = np.tile(np.arange(6.0), 10)
    y = x + np.tile(rng.permutation(6), 10) * 1e-3 + rng.normal(size=60)
    y -= np.repeat(y.reshape(10, 6).mean(axis=1), 6)  # no differences between groups at all
    X = pd.DataFrame({"x": x, "g": np.repeat(np.arange(10), 6).astype(str)})
    model = MixedLinearRegressor("(1 | g)").fit(X, y)
    assert model.is_singular_
    assert coefficient_table(model).to_frame()["df"].tolist() == pytest.approx([58.0, 58.0])


def test_what_cannot_be_done_is_refused():
    table = load_sleepstudy()
    ml = lmer("Reaction ~ Days + (Days | Subject)", table, reml=False)
    with pytest.raises(ValueError, match="fit it by REML, or use df='satterthwaite'"):
        coefficient_table(ml, df="kenward-roger")
    with pytest.raises(ValueError, match="df='exact' is not one of"):
        coefficient_table(ml, df="exact")
    with pytest.raises(ValueError, match="call fit first"):
        coefficient_table(MixedLinearRegressor("(1 | g)"))
    with pytest.raises(TypeError, match="not a str"):
        coefficient_table("model")
    exact = MixedLinearRegressor().fit(np.arange(4.0)[:, None], np.arange(4.0))
    with pytest.raises(ValueError, match="leaves no residual variance"):
        coefficient_table(exact)
