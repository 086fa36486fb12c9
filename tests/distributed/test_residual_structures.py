"""Residual structures of rows in parts: whole series add up, and torn ones are refused."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skmixed import MixedLinearRegressor, distributed
from skmixed.datasets import load_orthodont, load_sleepstudy
from skmixed.exceptions import PartitionError

SLEEP, TEETH = load_sleepstudy(), load_orthodont()


def parts_of(table, key, n):
    """Cut a table into parts of whole groups."""
    numbers = pd.factorize(table[key])[0] % n
    return [table[numbers == part] for part in range(n)]


def test_whole_series_in_parts_give_the_fit_to_all_rows():
    model = MixedLinearRegressor("(1 | Subject)", residual="ar1(Days | Subject)")
    whole = MixedLinearRegressor(**model.get_params()).fit(
        SLEEP[["Days", "Subject"]], SLEEP["Reaction"]
    )
    distributed.fit(model, parts_of(SLEEP, "Subject", 4), target="Reaction")
    assert_allclose(model.criterion_, whole.criterion_, rtol=1e-11)
    later = SLEEP.assign(Days=SLEEP["Days"] + 10)[["Days", "Subject"]]
    assert_allclose(model.predict(later, serial=True), whole.predict(later, serial=True), rtol=1e-6)
    torn = [SLEEP.iloc[:95], SLEEP.iloc[95:]]
    with pytest.raises(ValueError, match="in several parts"):
        distributed.fit(model, torn, target="Reaction")


def test_strata_of_all_parts_are_those_of_the_first_or_given():
    parts = [TEETH[TEETH["Sex"] == sex] for sex in ("Male", "Female")]
    whole = MixedLinearRegressor("(1 | Subject)", fixed="age", residual="var(Sex)")
    whole.fit(TEETH, TEETH["distance"])
    model = MixedLinearRegressor("(1 | Subject)", fixed="age", residual="var(Sex)")
    with pytest.raises(PartitionError, match=r"the strata \['Female'\].*\['Male'\].*`categories`"):
        distributed.fit(model, parts, target="distance")
    distributed.fit(model, parts, target="distance", categories={"Sex": ["Female", "Male"]})
    assert_allclose(model.criterion_, whole.criterion_, rtol=1e-10)
    assert model.residual_deviations_.index.tolist() == ["Male", "Female"]


def test_visits_of_all_parts_add_up():
    table = TEETH.assign(boy=(TEETH["Sex"] == "Male").astype(float))
    model = MixedLinearRegressor(fixed="age * boy", residual="us(age | Subject)")
    distributed.fit(model, parts_of(table, "Subject", 3), target="distance")
    whole = MixedLinearRegressor(**model.get_params()).fit(table, table["distance"])
    assert_allclose(model.criterion_, whole.criterion_, rtol=1e-10)
    assert np.isfinite(model.predict_interval(table)).all()
    named = MixedLinearRegressor(fixed="age * Sex", residual="us(age | Subject)")
    with pytest.raises(PartitionError, match=r"\['Sex'\] are categorical in a formula"):
        distributed.fit(named, parts_of(table, "Subject", 3), target="distance")
