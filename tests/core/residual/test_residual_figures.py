"""Fits of residual structures against R's nlme 3.1 (lme and gls), at tight controls.

Ovary and BodyWeight are data sets of nlme; Orthodont (Potthoff & Roy) and sleepstudy (lme4) are
those of `skmixed.datasets`. The figures are -2 logLik (restricted unless ML is said), sigma and the
parameters of the structure; nlme's sigma and ratios are of the stratum that comes first in the
data.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.residual.products import ResidualProduct
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from skmixed.datasets import load_orthodont, load_sleepstudy


@dataclass
class Table:
    features: np.ndarray
    y: np.ndarray
    series: np.ndarray
    position: np.ndarray
    stratum: np.ndarray | None = None
    strata: tuple[str, ...] = ()

    def fit(self, correlation=None, *, random=(), covariance="unstructured", var=False,
            power=None, method="reml"):  # fmt: skip
        n = len(self.y)
        labels, codes = np.unique(self.series, return_inverse=True)
        columns = np.column_stack([np.ones(n), self.features, self.y])
        names = tuple(map(str, range(columns.shape[1])))
        factors = (FactorLayout(("g",), random),) if random else ()
        rows = Rows(columns, (codes,), (GroupIndex(("g",), (labels,)),))
        if not random:
            rows = Rows(columns)
        residual_rows = ResidualRows(
            codes, GroupIndex(("g",), (labels,)), self.position, self.stratum, power
        )
        structure = ResidualProduct.of(correlation, self.strata if var else (), power is not None)
        tables = ResidualTables.of(Layout(names, factors), rows, residual_rows, structure)
        terms = (Term(0, random, covariance),) if random else ()
        spec = ModelSpec(tuple(range(columns.shape[1] - 1)), terms, method)
        self.residual_rows = residual_rows
        return ResidualFit.of_tables(tables, spec)


def within(series):
    return np.array([np.sum(series[:i] == s) for i, s in enumerate(series)], dtype=float)


def read(name):
    with (Path(__file__).parent / "data" / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


@pytest.fixture(scope="module")
def sleepstudy():
    table = load_sleepstudy()
    days = table["Days"].to_numpy(float)
    return Table(
        days[:, None], table["Reaction"].to_numpy(float), table["Subject"].to_numpy(), days
    )


@pytest.fixture(scope="module")
def ovary():
    data = read("ovary")
    angle = 2 * np.pi * data["Time"].astype(float)
    X = np.column_stack([np.sin(angle), np.cos(angle)])
    return Table(X, data["follicles"].astype(float), data["Mare"], within(data["Mare"]))


@pytest.fixture(scope="module")
def body_weight():
    data = read("body_weight")
    time, diet = data["Time"].astype(float), data["Diet"].astype(int) - 1
    dummies = np.eye(3)[diet][:, 1:]
    X = np.column_stack([time, dummies, dummies * time[:, None]])
    return Table(X, data["weight"].astype(float), data["Rat"], time, diet, ("1", "2", "3"))


@pytest.fixture(scope="module")
def orthodont():
    table = load_orthodont()
    age, male = table["age"].to_numpy(float), (table["Sex"] == "Male").to_numpy()
    X = np.column_stack([age, ~male, age * ~male])
    stratum, subject = np.where(male, 0, 1), table["Subject"].to_numpy()
    y = table["distance"].to_numpy(float)
    return Table(X, y, subject, (age - 8) / 2, stratum, ("Male", "Female"))


def agrees(fit, criterion, sigma, **parameters):
    assert fit.report.converged
    assert fit.criterion == pytest.approx(criterion, abs=1e-6)
    assert np.sqrt(fit.sigma2) == pytest.approx(sigma, rel=2e-6)
    found = {p.name: p.value for p in fit.residual_parameters}
    assert found == pytest.approx(parameters, rel=2e-5)


def test_sleepstudy_random_intercepts_ar1(sleepstudy):
    fit = sleepstudy.fit("ar1", random=(0,))
    agrees(fit, 1736.19106356, 37.6373356, ar1=0.6531333)
    assert fit.beta == pytest.approx([252.8414446, 10.4668737], rel=1e-6)


def test_sleepstudy_slopes_end_below_lme_which_does_not_converge(sleepstudy):
    fit = sleepstudy.fit("ar1", random=(0, 1))
    assert fit.criterion == pytest.approx(1724.116456, abs=1e-6)  # lme: 1724.116500


def test_ovary(ovary):
    fit = ovary.fit("ar1", random=(0,), method="ml")
    agrees(fit, 1553.03462178, 3.6167634, ar1=0.5974665)
    assert fit.aic == pytest.approx(1565.034622, abs=1e-5)
    fit = ovary.fit("ar1", random=(0, 1), covariance="diagonal")
    agrees(fit, 1549.44791630, 3.5070533, ar1=0.5721866)
    errors = np.sqrt(fit.beta_covariance.diagonal())
    assert errors == pytest.approx([0.9436602, 0.6055968, 0.4777821], rel=1e-5)


def test_orthodont_variances(orthodont):
    fit = orthodont.fit(random=(0, 1), var=True)
    ratio = {"ratio Female/Male": 1 / 2.4459051}
    agrees(fit, 411.52247985, 0.6662500 * 2.4459051, **ratio)
    fit = orthodont.fit(random=(0,), var=True, method="ml")
    ratio = {"ratio Female/Male": 1 / 2.1468582}
    agrees(fit, 409.35235096, 0.7694226 * 2.1468582, **ratio)


def test_orthodont_without_random_terms(orthodont):
    fit = orthodont.fit("cs")
    agrees(fit, 433.75724920, 2.2848812, cs=0.6318381)
    assert fit.aic == pytest.approx(445.757249, abs=1e-5)
    fit = orthodont.fit("ar1")
    agrees(fit, 444.58744858, 2.2835073, ar1=0.6244888)
    errors = np.sqrt(fit.beta_covariance.diagonal())
    assert errors == pytest.approx([1.3591995, 0.1169509, 2.1294564, 0.1832268], rel=1e-5)


def test_body_weight_in_continuous_time(body_weight):
    agrees(body_weight.fit("car1", random=(0, 1)), 1132.05918012, 4.5501260, car1=0.7603818)
    fit = body_weight.fit("car1", method="ml")
    agrees(fit, 1167.28304868, 33.9625982, car1=0.9975122)


def test_body_weight_power_of_time(body_weight):
    time = body_weight.position
    fit = body_weight.fit(random=(0, 1), power=time)
    agrees(fit, 1150.53356752, 5.4634900, power=-0.0658053)
    fit = body_weight.fit("car1", random=(0,), power=time)
    agrees(fit, 1150.55629125, 10.7988441, car1=0.9651631, power=-0.0375504)


def test_body_weight_products_with_variances(body_weight):
    body_weight.position, time = within(body_weight.series), body_weight.position
    fit = body_weight.fit("ar1", random=(0,), var=True)
    body_weight.position = time
    ratios = {"ratio 2/1": 1.3458866, "ratio 3/1": 1.6321803}
    agrees(fit, 1121.29278256, 28.3983871, ar1=0.9885026, **ratios)  # lme: 1121.29278268
    fit = body_weight.fit("cs", var=True)
    ratios = {"ratio 2/1": 2.4705967, "ratio 3/1": 2.0277094}
    agrees(fit, 1180.61308299, 17.4717194, cs=0.9536680, **ratios)


def test_normalised_residuals(ovary):
    fit = ovary.fit("ar1", random=(0,), method="ml")
    mares = np.unique(ovary.series)
    effects = fit.modes[0][np.searchsorted(mares, ovary.series), 0]
    X = np.column_stack([np.ones(len(ovary.y)), ovary.features])
    e = (ovary.y - X @ fit.beta - effects) / np.sqrt(fit.sigma2)
    normalised = fit.structure.whitened(fit.phi, ovary.residual_rows, e[:, None])[:, 0]
    wanted = [0.886549, -1.002969, 1.541337, -0.196614, -0.516933, -0.869434]
    assert normalised[:6] == pytest.approx(wanted, abs=3e-5)
