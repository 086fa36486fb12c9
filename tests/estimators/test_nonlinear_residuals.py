"""Nonlinear mixed models whose residuals have variances of their own, as estimators."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skmixed import MixedNonlinearRegressor, lmer, nlmer
from skmixed.exceptions import FormulaSyntaxError
from skmixed.inference import bootstrap, compare_models, confidence_intervals, residuals
from tests.core.nonlinear.curve_tables import table

ORANGE = pd.DataFrame(table("orange")).assign(
    Tree=lambda t: t["Tree"].astype(int), when=lambda t: np.where(t["age"] < 700, "early", "late")
)
X, Y = ORANGE[["Tree", "age", "when"]], ORANGE["circumference"]
FORMULA = "circumference ~ SSlogis(age, Asym, xmid, scal) ~ Asym | Tree"


def trees(residual, **settings):
    return MixedNonlinearRegressor("logistic", random="Asym | Tree", residual=residual, **settings)


BY_AGE = trees("power(age)", inputs="age").fit(X, Y)
IN_TWO = trees("var(when)", method="lindstrom-bates").fit(X, Y)
OF_FITTED = nlmer(FORMULA, ORANGE, residual="power()", method="lindstrom-bates")


def test_strata_are_no_inputs_and_are_those_of_nlme():
    """Figures of nlme 3.1: tests/core/nonlinear/test_curve_noise.py."""
    assert IN_TWO.inputs_ == ("age",)
    assert IN_TWO.criterion_ == pytest.approx(263.166787759, abs=1e-6)
    assert IN_TWO.residual_parameters_.to_dict() == {
        "ratio early/late": pytest.approx(1.0 / 1.02622373048, rel=1e-5)
    }
    assert list(IN_TWO.residual_deviations_.index) == ["late", "early"]
    assert IN_TWO.residual_deviations_["early"] == pytest.approx(7.74293347527, rel=1e-5)
    text = str(IN_TWO.summary())
    assert "residual var(when)" in text
    assert " Residual late" in text
    assert OF_FITTED.residual_parameters_["power"] == pytest.approx(0.26571969, rel=1e-5)
    assert "residuals: power = 0.266" in str(OF_FITTED.summary())


def test_tables_of_other_kinds_and_of_numbers():
    numbers = np.column_stack([X["Tree"], X["age"], X["when"] == "late"]).astype(float)
    model = MixedNonlinearRegressor(
        "logistic", random="Asym | x0", residual="var(x2)", method="lindstrom-bates"
    ).fit(numbers, Y)
    assert model.inputs_ == ("x1",)
    assert model.criterion_ == pytest.approx(IN_TWO.criterion_, abs=1e-8)
    apart = trees("var(when)", method="lindstrom-bates")
    apart.fit(X[["age", "when"]], Y, groups=X["Tree"])
    assert apart.criterion_ == pytest.approx(IN_TWO.criterion_, abs=1e-8)
    for one in (BY_AGE, OF_FITTED):
        again = pickle.loads(pickle.dumps(one))
        np.testing.assert_array_equal(again.predict_interval(X), one.predict_interval(X))
        stored = MixedNonlinearRegressor.from_dict(one.to_dict())
        np.testing.assert_allclose(stored.predict_interval(X), one.predict_interval(X), rtol=1e-12)
        assert clone(one).residual == one.residual


@pytest.mark.parametrize("model", [BY_AGE, IN_TWO, OF_FITTED])
def test_draws_and_intervals_have_the_deviations_of_rows(model):
    expected = np.sqrt(model.residual_variance_) * np.ones(len(X))
    if model is BY_AGE:
        expected *= X["age"] ** model.residual_parameters_["power"]
    elif model is OF_FITTED:
        expected *= model.predict(X) ** model.residual_parameters_["power"]
    else:
        expected = X["when"].map(model.residual_deviations_).to_numpy()
    drawn = model.simulate(X, n_samples=4000, random_state=0, random="fitted")
    np.testing.assert_allclose(drawn.std(axis=1), expected, rtol=0.06)
    observation = np.diff(model.predict_interval(X, level=0.683))[:, 0] / 2.0
    mean = np.diff(model.predict_interval(X, level=0.683, kind="mean"))[:, 0] / 2.0
    np.testing.assert_allclose(observation**2 - mean**2, expected**2, rtol=0.05)
    three = model.predict(X, interval=0.683)
    np.testing.assert_array_equal(three[:, 1:], model.predict_interval(X, level=0.683))


def test_rows_of_which_nothing_says_the_variance():
    other = X.assign(when="later")
    assert np.isfinite(IN_TWO.predict(other)).all()
    assert np.isfinite(IN_TWO.predict_interval(other, kind="mean")).all()
    for rows in (other, X[["Tree", "age"]]):
        with pytest.raises(ValueError, match="their residual variance is unknown"):
            IN_TWO.predict_interval(rows)
    nan = clone(IN_TWO).set_params(handle_unknown="nan").fit(X, Y)
    assert np.isnan(nan.predict_interval(other)).all()
    line = lmer("circumference ~ age + (1 | Tree)", ORANGE.assign(z=1.0 + ORANGE.index),
                residual="power(z)")  # fmt: skip
    with pytest.raises(ValueError, match=r"lack the covariate of power\(...\)"):
        line.predict_interval(ORANGE)


def test_residuals_by_their_deviations_are_those_of_nlme():
    """Pearson residuals of nlme 3.1, fitted as in tests/core/nonlinear/test_curve_noise.py."""
    expected = [1.001539077393, 0.482136467658, 1.671825177066, 0.249537132366]
    found = residuals(OF_FITTED, ORANGE, Y, kind="pearson")
    np.testing.assert_allclose(found[:4], expected, rtol=1e-6)
    np.testing.assert_allclose(residuals(OF_FITTED, ORANGE, Y, kind="normalized"), found)
    plain = residuals(IN_TWO, X, Y, kind="response")
    deviations = X["when"].map(IN_TWO.residual_deviations_)
    np.testing.assert_allclose(residuals(IN_TWO, X, Y, kind="pearson"), plain / deviations)
    serial = trees("ar1(| Tree)", inputs="age", method="lindstrom-bates").fit(X, Y)
    independent = residuals(serial, X, Y, kind="normalized")
    rho = serial.residual_parameters_["ar1"]
    found = residuals(serial, X, Y, kind="pearson")
    second = (found[1] - rho * found[0]) / np.sqrt(1.0 - rho**2)
    np.testing.assert_allclose(independent[:2], [found[0], second], rtol=1e-10)
    with pytest.raises(
        TypeError, match=r"kind='quantile' is not available.*'pearson' and 'normalized'"
    ):
        residuals(OF_FITTED, ORANGE, Y)


def test_intervals_comparisons_and_replicates():
    found = confidence_intervals(BY_AGE).to_frame()
    assert list(found.index) == ["sd_Asym|Tree", "power", "sigma", "Asym", "xmid", "scal"]
    assert found.loc["power", "lower"] < 0.0 < found.loc["power", "upper"]
    plain = trees(None, inputs="age").fit(X, Y)
    compared = compare_models(plain, BY_AGE).to_frame()
    assert compared["df"].iloc[1] == 1
    assert 0.2 < compared["p_value"].iloc[1] < 0.3
    draws = bootstrap(BY_AGE, 3, X=X, random_state=0)
    assert "power" in draws.replicates
    assert draws.converged.all()


def test_weights_beside_variances_of_rows():
    settings = {"residual": "power(age)", "inputs": "age"}
    for method in ("laplace", "lindstrom-bates"):
        twice = pd.concat([X, X], ignore_index=True), np.tile(Y, 2)
        repeated = trees(method=method, **settings).fit(*twice)
        counted = trees(method=method, **settings).fit(X, Y, np.full(len(X), 2.0))
        assert counted.criterion_ == pytest.approx(repeated.criterion_, rel=1e-9)
        weights = 1.0 / X["age"] ** 0.4
        precise = trees(None, inputs="age", method=method, weighting="precision")
        shifted = trees(method=method, weighting="precision", **settings)
        shifted.fit(X, Y, weights)
        own = trees(method=method, **settings).fit(X, Y)
        assert shifted.criterion_ == pytest.approx(own.criterion_, abs=1e-7)
        power = own.residual_parameters_["power"] - 0.2
        assert shifted.residual_parameters_["power"] == pytest.approx(power, abs=1e-5)
        assert precise.fit(X, Y, weights).criterion_ > own.criterion_


REFUSED = [
    ({"residual": "power()"}, ValueError, "for method='lindstrom-bates', whose passes hold"),
    ({"residual": "ar1(| Tree)"}, ValueError, "correlated residuals are for method='lindstrom"),
    ({"residual": "power(height)"}, ValueError, "'height', which does not exist: X has the"),
    ({"residual": "power(when)"}, ValueError, "the column 'when', to a power of which"),
    ({"residual": "power(age) * power()"}, FormulaSyntaxError, "expected one power"),
    ({"residual": "spread(age)"}, FormulaSyntaxError, "expected ar1"),
    ({"residual": "var(age)"}, None, None),
]


@pytest.mark.parametrize(("settings", "kind", "message"), REFUSED)
def test_what_is_refused(settings, kind, message):
    model = trees(None, inputs="age").set_params(**settings)
    if kind is None:
        assert len(model.fit(X, Y).residual_deviations_) == 7
        return
    with pytest.raises(kind, match=message):
        model.fit(X, Y)


def test_a_line_has_no_power_of_fitted_values():
    with pytest.raises(
        ValueError, match=r"power\(\) of the fitted values requires MixedNonlinearRegressor"
    ):
        lmer("circumference ~ age + (1 | Tree)", ORANGE, residual="power()")
