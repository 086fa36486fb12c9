"""Covariance structures of random effects beside what else a model may have."""

import re

import matplotlib
import numpy as np
import pytest
import skops.io
from numpy.testing import assert_allclose

from skmixed import (
    MixedClassifier,
    MixedLinearRegressor,
    glmer,
    lmer,
)
from skmixed.display import RandomEffectsDisplay
from tests.structured import visits

matplotlib.use("Agg")
TABLE = visits()
TABLE["place"] = TABLE.groupby("g").cumcount()  # of a row in its series
TABLE["h"] = np.random.default_rng(4).integers(0, 9, len(TABLE))  # crossed with g
NAMES = ["cs", "homcs", "ar1", "hetar1", "toep", "homtoep", "rr(2)", "fa(1)"]
TERMS = [f"{name}(0 + f | g)" for name in NAMES if name.isalnum()]
TERMS += ["rr(0 + f | g, d=2)", "fa(0 + f | g, d=1)"]
X = TABLE[["x", "f", "g", "h"]]


def dense_criterion(model, of_rows):
    """-2 restricted log-likelihood of a model whose residuals have a covariance, (n, n)."""
    omega = model.random_covariance_["g"]
    visits_of_rows = TABLE["f"].astype(str).to_numpy()
    dummies = (
        visits_of_rows[:, None] == [re.findall(r"\[(.+)\]", name)[0] for name in omega]
    ).astype(float)
    together = TABLE["g"].to_numpy()[:, None] == TABLE["g"].to_numpy()
    covariance = dummies @ omega.to_numpy() @ dummies.T * together
    covariance += of_rows
    fixed = np.column_stack([np.ones(len(TABLE)), TABLE["x"]])
    inverse = np.linalg.inv(covariance)
    information = fixed.T @ inverse @ fixed
    rest = TABLE["y"] - fixed @ np.linalg.solve(information, fixed.T @ inverse @ TABLE["y"])
    logdets = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(information)[1]
    return logdets + rest @ inverse @ rest + (len(TABLE) - 2) * np.log(2.0 * np.pi)


@pytest.mark.parametrize("term", TERMS)
def test_residuals_that_are_correlated(term):
    model = lmer(f"y ~ x + {term}", TABLE, residual="ar1(place | g)")
    assert model.converged_
    (correlation,) = model.residual_parameters_
    lags = np.abs(np.subtract.outer(TABLE["place"].to_numpy(), TABLE["place"].to_numpy()))
    together = TABLE["g"].to_numpy()[:, None] == TABLE["g"].to_numpy()
    of_rows = model.residual_variance_ * correlation**lags * together
    assert model.criterion_ == pytest.approx(dense_criterion(model, of_rows), rel=1e-10)
    assert model.criterion_ <= lmer(f"y ~ x + {term}", TABLE).criterion_ + 1e-7


@pytest.mark.parametrize("term", TERMS)
def test_residuals_of_unequal_variance(term):
    model = lmer(f"y ~ x + {term}", TABLE, residual="var(f)")
    deviations = TABLE["f"].astype(str).map(model.residual_deviations_.rename(index=str))
    of_rows = np.diag(deviations.to_numpy(dtype=float) ** 2)
    assert model.criterion_ == pytest.approx(dense_criterion(model, of_rows), rel=1e-10)
    free = lmer("y ~ x + (0 + f | g)", TABLE, residual="var(f)")
    assert free.criterion_ <= model.criterion_ + 1e-7


SLOW = pytest.mark.study  # EM goes to the optimum in thousands of steps


@pytest.mark.parametrize(
    "name", ["homcs", *(pytest.param(each, marks=SLOW) for each in NAMES if each != "homcs")]
)
def test_every_solver_ends_at_one_optimum(name):
    def fitted(solver):
        model = MixedLinearRegressor(
            "(0 + f | g) + (1 | h)", fixed="x", covariance={"g": name}, solver=solver
        )
        return model.fit(X, TABLE["y"])

    newton, iterative = fitted("newton"), fitted("iterative")
    assert fitted("em").criterion_ == pytest.approx(newton.criterion_, abs=1e-6)
    assert iterative.criterion_ == pytest.approx(newton.criterion_, abs=1e-4)
    found, expected = (m.random_covariance_["g"].to_numpy() for m in (iterative, newton))
    assert_allclose(found, expected, atol=2e-3 * expected.max())


@pytest.mark.parametrize("term", TERMS[-2:])
def test_displays_draw_them(term):
    model = lmer(f"y ~ x + {term}", TABLE)
    effects = RandomEffectsDisplay.from_estimator(model)
    assert effects.figure_ is not None
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("term", ["cs(1 + x | g)", "homcs(1 + x | g)", "rr(1 + x | g, d=1)"])
def test_quadrature(term):
    free = glmer("hit ~ x + (1 + x | g)", TABLE, family="binomial", quadrature=7)
    model = glmer(f"hit ~ x + {term}", TABLE, family="binomial", quadrature=7)
    laplace = glmer(f"hit ~ x + {term}", TABLE, family="binomial")
    assert model.criterion_ >= free.criterion_ - 1e-6
    assert 0.0 < abs(model.criterion_ - laplace.criterion_) < 0.05 * abs(laplace.criterion_)
    if term.startswith("cs"):  # of two columns it is any covariance
        assert model.criterion_ == pytest.approx(free.criterion_, abs=1e-6)


@pytest.mark.parametrize("name", ["hetar1", "rr(2)", "fa(1)"])
def test_they_are_read_back_by_skops(name):
    for model, response in (
        (MixedLinearRegressor("(0 + f | g)", fixed="x", covariance=name), "y"),
        (MixedClassifier("(0 + f | g)", fixed="x", covariance=name), "hit"),
    ):
        model.fit(X, TABLE[response])
        data = skops.io.dumps(model)
        again = skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
        assert_allclose(again.predict(X), model.predict(X), rtol=1e-12)
        assert_allclose(again.random_covariance_["g"], model.random_covariance_["g"], rtol=1e-12)
        assert str(again.summary()) == str(model.summary())


@pytest.mark.parametrize("left", ["0 + width", "0 + x + width", "0 + width + x"])
def test_levels_too_far_apart_are_refused_by_whatever_column(left):
    """The columns of a term may stand in any order."""
    rng = np.random.default_rng(0)
    table = TABLE.assign(width=1.0 + 1e-3 * rng.normal(size=len(TABLE)))
    far = 1e9 * rng.normal(size=60)[table["g"]] * table["width"] + table["y"]
    with pytest.raises(ValueError, match=r"times farther apart.*subtract"):
        lmer(f"far ~ x + ({left} | g)", table.assign(far=far), residual="ar1(place | g)")
