"""Ovary and BodyWeight of nlme through formulas: figures of lme, nlme 3.1-162."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skmixed import lmer

DATA = Path(__file__).parents[1] / "core" / "residual" / "data"


def agrees(model, criterion, sigma, **parameters):
    assert model.criterion_ == pytest.approx(criterion, abs=1e-5)
    assert np.sqrt(model.residual_variance_) == pytest.approx(sigma, rel=2e-5)
    assert model.residual_parameters_.to_dict() == pytest.approx(parameters, rel=2e-4)


@pytest.fixture(scope="module")
def rats():
    return pd.read_csv(DATA / "body_weight.csv", dtype={"Diet": str, "Rat": str})


@pytest.mark.parametrize("order", ["as they are", "reversed", "shuffled"])
def test_follicles_of_mares_depend_on_the_observation_before(order):
    mares = pd.read_csv(DATA / "ovary.csv")
    angle = 2.0 * np.pi * mares["Time"]
    mares = mares.assign(s=np.sin(angle), c=np.cos(angle), n=mares.groupby("Mare").cumcount())
    if order == "reversed":
        mares = mares[::-1]
    if order == "shuffled":
        mares = mares.sample(frac=1.0, random_state=0)
    model = lmer("follicles ~ s + c + (1 | Mare)", mares, residual="ar1(n | Mare)", reml=False)
    agrees(model, 1553.03462178, 3.6167634, ar1=0.5974665)
    assert model.aic_ == pytest.approx(1565.034622, abs=1e-4)


def test_weights_of_rats_in_continuous_time(rats):
    formula = "weight ~ Time * Diet + (Time | Rat)"
    agrees(
        lmer(formula, rats, residual="car1(Time | Rat)"), 1132.05918012, 4.5501260, car1=0.7603818
    )
    agrees(lmer(formula, rats, residual="power(Time)"), 1150.53356752, 5.4634900, power=-0.0658053)


def test_weights_of_rats_vary_by_diet(rats):
    model = lmer("weight ~ Time * Diet", rats, residual="cs(| Rat) * var(Diet)")
    ratios = {"ratio 2/1": 2.4705967, "ratio 3/1": 2.0277094}
    agrees(model, 1180.61308299, 17.4717194, cs=0.9536680, **ratios)
