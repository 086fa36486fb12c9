"""Correlated and unequal residuals, from an estimator's side."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmixed import MixedLinearRegressor, lmer
from skmixed.datasets import load_orthodont, load_sleepstudy
from skmixed.exceptions import LostPrecisionWarning

SLEEP, TEETH = load_sleepstudy(), load_orthodont()

# nlme 3.1-162 with tolerances of 1e-12: criterion, standard errors of the coefficients, sigma of
# the reference, and parameters. Where its reference stratum is another one, ratio and sigma are
# those of the same model told by ours.
NLME = {
    "lme(Reaction ~ Days, ~1|Subject, corAR1(~Days|Subject))": (
        "Reaction ~ Days + (1 | Subject)", "ar1(Days | Subject)", True,
        1736.191063560, [10.94093, 1.34408], 37.637336, {"ar1": 0.6531333},
    ),
    "lme(Reaction ~ Days, ~1|Subject, corAR1(~Days|Subject)), ML": (
        "Reaction ~ Days + (1 | Subject)", "ar1(Days | Subject)", False,
        1744.830089686, [10.65976, 1.319225], 36.981252, {"ar1": 0.641424},
    ),
    "lme(Reaction ~ Days, ~1|Subject, corCAR1(~Days|Subject))": (
        "Reaction ~ Days + (1 | Subject)", "car1(Days | Subject)", True,
        1736.191063560, [10.94093, 1.34408], 37.637336, {"car1": 0.6531333},
    ),
    "lme(distance ~ age*Sex, ~age|Subject, varIdent(~1|Sex))": (
        "distance ~ age * Sex + (age | Subject)", "var(Sex)", True,
        411.522479851, [0.7797378, 0.0651517, 1.377252, 0.1186357], 1.6295843,
        {"ratio Female/Male": 0.4088466},
    ),
    "lme(distance ~ age*Sex, ~1|Subject, varIdent(~1|Sex)), ML": (
        "distance ~ age * Sex + (1 | Subject)", "var(Sex)", False,
        409.352350961, [0.7902907, 0.05187444, 1.37667, 0.105914], 1.6518422,
        {"ratio Female/Male": 0.4657965},
    ),
    "gls(distance ~ age*Sex, corCompSymm(~1|Subject))": (
        "distance ~ age * Sex", "cs(| Subject)", True,
        433.757249201, [1.183507, 0.09346988, 1.537421, 0.1214209], 2.2848812, {"cs": 0.6318381},
    ),
    "gls(distance ~ age*Sex, corAR1(~1|Subject))": (
        "distance ~ age * Sex", "ar1(| Subject)", True,
        444.587448576, [1.639256, 0.141048, 2.129456, 0.1832268], 2.2835073, {"ar1": 0.6244888},
    ),
    "gls(distance ~ age*Sex, corCAR1(~age|Subject))": (
        "distance ~ age * Sex", "car1(age | Subject)", True,
        444.587448576, [1.639256, 0.141048, 2.129456, 0.1832268], 2.2835073, {"car1": 0.790246},
    ),
    "gls(distance ~ age*Sex, corAR1(~1|Subject), varIdent(~1|Sex))": (
        "distance ~ age * Sex", "ar1(| Subject) * var(Sex)", True,
        433.004698086, [1.127287, 0.09441598, 2.002665, 0.1677332], 3.0827748,
        {"ar1": 0.7473341, "ratio Female/Male": 0.5646827},
    ),
    "gls(distance ~ age*Sex, corAR1(~1|Subject), varIdent(~1|Sex)), ML": (
        "distance ~ age * Sex", "ar1(| Subject) * var(Sex)", False,
        429.026704004, [1.130648, 0.09512683, 1.996033, 0.1679358], 2.9585441,
        {"ar1": 0.7324446, "ratio Female/Male": 0.5699245},
    ),
    "gls(distance ~ age*Sex, varPower(~age))": (
        "distance ~ age * Sex", "power(age)", True,
        483.546388869, [1.70192, 0.1520775, 2.210859, 0.1975545], 2.0654449, {"power": 0.03728021},
    ),
}  # fmt: skip


def table_of(formula):
    return SLEEP if formula.startswith("Reaction") else TEETH


@pytest.mark.parametrize("call", NLME)
def test_fits_are_those_of_nlme(call):
    formula, residual, reml, criterion, errors, sigma, parameters = NLME[call]
    model = lmer(formula, table_of(formula), residual=residual, reml=reml)
    # The criterion of a REML fit of gls leaves out the same constant as lme's.
    assert_allclose(model.criterion_, criterion, atol=1e-7)
    found = np.sqrt(np.diag(model.coef_covariance_))
    if call.startswith("gls") and not reml:  # whose errors are those of the unbiased variance
        found *= np.sqrt(len(TEETH) / (len(TEETH) - model.rank_))
    assert_allclose(found, errors, rtol=2e-5)
    assert_allclose(np.sqrt(model.residual_variance_), sigma, rtol=2e-5)
    assert model.residual_parameters_.index.tolist() == list(parameters)
    assert_allclose(model.residual_parameters_, list(parameters.values()), rtol=5e-5)
    assert model.aic_ == model.criterion_ + 2 * (
        model.rank_ + len(model.theta_) + len(parameters) + 1
    )


def test_residuals_of_every_kind_are_those_of_nlme():
    from skmixed.inference import residuals

    model = lmer("Reaction ~ Days + (1 | Subject)", SLEEP, residual="ar1(Days | Subject)")
    pearson = residuals(model, SLEEP, SLEEP["Reaction"], kind="pearson")
    normalized = residuals(model, SLEEP, SLEEP["Reaction"], kind="normalized")
    assert_allclose(pearson[:4], [-0.91804547, -0.95317478, -1.44127983, 0.15746050], rtol=1e-5)
    assert_allclose(normalized[:4], [-0.91804547, -0.46691582, -1.08119810, 1.45106446], rtol=1e-5)
    effects = model.random_effects_["Subject"]["(Intercept)"]
    assert_allclose(effects[:3], [31.2713408, -54.2226255, -47.7620649], rtol=1e-5)


def test_what_was_found_is_shown_by_name():
    model = lmer(
        "distance ~ age * Sex + (1 | Subject)", TEETH, residual="ar1(| Subject) * var(Sex)"
    )
    assert model.residual_parameters_.index.tolist() == ["ar1", "ratio Female/Male"]
    deviations = model.residual_deviations_
    assert deviations.index.tolist() == ["Male", "Female"]
    assert_allclose(deviations["Male"] ** 2, model.residual_variance_)
    ratio = model.residual_parameters_["ratio Female/Male"]
    assert_allclose(deviations["Female"] / deviations["Male"], ratio)
    text = str(model.summary())
    assert "residual ar1(| Subject) * var(Sex)" in text
    assert f"residuals: ar1 = {model.residual_parameters_['ar1']:.3g}" in text
    assert model.summary().error_terms["Name"].tolist() == ["(Intercept)", "Male", "Female"]
    plain = lmer("distance ~ age + (1 | Subject)", TEETH)
    assert not hasattr(plain, "residual_parameters_")
    assert not hasattr(plain, "residual_deviations_")


# --- tables and groups ----------------------------------------------------------------------------


def simulated(n_series=40, size=8, rho=0.6, seed=0):
    """Series of AR(1) residuals about a random intercept of their shop."""
    rng = np.random.default_rng(seed)
    n = n_series * size
    noise = rng.normal(size=(n_series, size))
    for t in range(1, size):
        noise[:, t] = rho * noise[:, t - 1] + np.sqrt(1 - rho**2) * noise[:, t]
    table = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "week": np.tile(np.arange(size), n_series),
            "shop": np.repeat(np.arange(n_series), size),
            "kind": np.repeat(rng.choice(["a", "b"], n_series), size),
        }
    )
    shop = rng.normal(size=n_series)[table["shop"]]
    scale = np.where(table["kind"] == "b", 2.0, 1.0)
    return table, 1.0 + 0.5 * table["x"] + shop + scale * noise.ravel()


X, Y = simulated()
RESIDUAL = "ar1(week | shop) * var(kind)"


@pytest.fixture(scope="module")
def model():
    return MixedLinearRegressor("(1 | shop)", fixed="x", residual=RESIDUAL).fit(X, Y)


@pytest.mark.parametrize("kind", ["polars", "pyarrow", "shuffled", "array"])
def test_the_same_rows_give_the_same_fit_in_any_form(model, kind):
    if kind == "array":
        numbers = X[["x", "week", "shop"]].assign(kind=(X["kind"] == "b").astype(int))
        again = MixedLinearRegressor(
            "(1 | x2)", residual="ar1(x1 | x2) * var(x3)", weighting="precision"
        ).fit(numbers.to_numpy(dtype=float), Y)
        wanted = MixedLinearRegressor("(1 | shop)", fixed="x + week", residual=RESIDUAL).fit(X, Y)
        assert_allclose(again.criterion_, wanted.criterion_, rtol=1e-9)
        return
    again, order = clone(model), np.arange(len(X))
    if kind == "polars":
        polars = pytest.importorskip("polars")
        again.fit(polars.from_pandas(X), Y)
    elif kind == "pyarrow":
        pyarrow = pytest.importorskip("pyarrow")
        again.fit(pyarrow.Table.from_pandas(X), Y)
    else:
        order = np.random.default_rng(1).permutation(len(X))
        again.fit(X.iloc[order], Y.iloc[order])
    assert_allclose(again.criterion_, model.criterion_, rtol=1e-10)
    assert_allclose(again.predict(X), model.predict(X), rtol=1e-6)


def test_groups_carry_the_labels():
    frame = X[["x", "week"]]
    model = MixedLinearRegressor(residual="ar1(week | shop) * var(kind)")
    model.fit(frame, Y, groups=X[["shop", "kind"]])
    assert model.n_groups_ == {}  # what the structure names has no random intercept unasked
    wanted = MixedLinearRegressor(fixed="x + week", residual=RESIDUAL).fit(X, Y)
    assert_allclose(model.criterion_, wanted.criterion_, rtol=1e-10)
    assert_allclose(
        model.predict_interval(frame, groups=X[["shop", "kind"]]), wanted.predict_interval(X)
    )


def test_it_is_cloned_searched_and_stored(model):
    same = clone(model)
    assert same.residual == RESIDUAL
    for again in (
        pickle.loads(pickle.dumps(model)),
        MixedLinearRegressor.from_dict(model.to_dict()),
    ):
        assert_array_equal(again.predict(X), model.predict(X))
        assert_allclose(again.predict_interval(X), model.predict_interval(X), rtol=1e-9)
        later = X.assign(week=X["week"] + 8)
        assert_allclose(again.predict(later, serial=True), model.predict(later, serial=True))
        assert_allclose(again.residual_parameters_, model.residual_parameters_)
        again.partial_fit(X.assign(shop=X["shop"] + 100), Y)
    assert len(pickle.dumps(model)) < len(pickle.dumps(clone(model).fit(*simulated(400)))) / 4
    scores = cross_val_score(same, X, Y, groups=X["shop"], cv=GroupKFold(4))
    assert np.isfinite(scores).all()
    search = GridSearchCV(
        same, {"residual": [None, "var(kind)", "ar1(week | shop)"]}, cv=GroupKFold(3)
    )
    search.fit(X, Y, groups=X["shop"])
    assert len(search.cv_results_["params"]) == 3


# --- weights --------------------------------------------------------------------------------------


def test_weights_are_precisions_or_rows_where_these_are_independent():
    weights = np.where(X["kind"] == "a", 2.0, 1.0)
    series = MixedLinearRegressor("(1 | shop)", fixed="x", residual="ar1(week | shop)")
    with pytest.raises(ValueError, match="sample weights count rows with weighting='frequency'"):
        series.fit(X, Y, weights)
    series.fit(X, Y, np.ones(len(X)))
    series.set_params(weighting="precision").fit(X, Y, weights)
    strata = MixedLinearRegressor("(1 | shop)", fixed="x", residual="var(kind)").fit(X, Y, weights)
    twice = pd.concat([X, X[X["kind"] == "a"]])
    repeated = clone(strata).fit(twice, np.append(Y, Y[X["kind"] == "a"]))
    assert_allclose(strata.criterion_, repeated.criterion_, rtol=1e-9)


def test_precisions_by_stratum_are_absorbed_by_its_ratio():
    weights = np.where(X["kind"] == "a", 4.0, 1.0)
    model = MixedLinearRegressor("(1 | shop)", fixed="x", residual="var(kind)")
    plain = clone(model).fit(X, Y)
    weighted = model.set_params(weighting="precision").fit(X, Y, weights)
    ratio = plain.residual_parameters_.iloc[0], weighted.residual_parameters_.iloc[0]
    assert sorted([ratio[1] / ratio[0], ratio[0] / ratio[1]])[1] == pytest.approx(2.0, rel=1e-4)


# --- further rows ---------------------------------------------------------------------------------


def test_whole_series_are_added_and_torn_ones_refused(model):
    first = X["shop"] < 15
    part = clone(model).fit(X[first], Y[first])
    part.partial_fit(X[~first], Y[~first])
    assert_allclose(part.criterion_, model.criterion_, rtol=1e-10)
    later = X.assign(week=X["week"] + 8)
    assert_allclose(part.predict(later, serial=True), model.predict(later, serial=True), rtol=1e-5)
    before = part.criterion_
    with pytest.raises(ValueError, match="several parts"):
        part.partial_fit(later, Y)
    with pytest.raises(ValueError, match=r"no stratum of .*'a', 'b'"):
        part.partial_fit(X.assign(shop=X["shop"] + 100, kind="c"), Y)
    assert part.criterion_ == before
    with pytest.raises(ValueError, match=r"residual.* changed since fit"):
        part.set_params(residual=None).partial_fit(X.assign(shop=X["shop"] + 100), Y)
    with pytest.raises(ValueError, match="call partial_fit"):
        model.update_groups(X, Y)


def test_rows_are_left_out_where_they_are_independent(model):
    with pytest.raises(ValueError, match="rows of a series depend on each other"):
        model.loo_predict(X, Y)
    strata = MixedLinearRegressor("(1 | shop)", fixed="x", residual="var(kind)").fit(X, Y)
    found = strata.loo_predict(X, Y)
    kept = np.arange(len(X)) != 5
    variances = np.square(strata.residual_deviations_.loc[X["kind"]].to_numpy())
    other = MixedLinearRegressor("(1 | shop)", fixed="x", weighting="precision")
    other.fit(X, Y, 1.0 / variances)
    assert_allclose(found, other.loo_predict(X, Y, 1.0 / variances), rtol=1e-3)
    assert abs(found[5] - strata.predict(X.iloc[[5]])[0]) > 1e-6
    assert kept.sum() == len(X) - 1


# --- predictions ----------------------------------------------------------------------------------


def test_intervals_have_the_variance_of_their_stratum(model):
    rows = pd.DataFrame({"x": 0.0, "shop": -1, "kind": ["a", "b"], "week": 0})
    low, high = model.predict_interval(rows).T
    means = model.predict_interval(rows, kind="mean")
    assert_allclose(means[0], means[1])
    assert (high - low)[1] > (high - low)[0] * 1.2
    alone = model.predict_interval(rows[["x", "shop", "kind"]])  # weeks tell no variance
    assert_allclose(alone, np.stack([low, high], axis=1))
    unknown = rows.assign(kind=["a", "z"])
    with pytest.raises(ValueError, match="1 have a stratum or visit that is missing"):
        model.predict_interval(unknown)
    assert_allclose(model.predict(unknown), model.predict(rows))
    again = clone(model).set_params(handle_unknown="nan").fit(X, Y)
    known = X.iloc[[0, 1]].assign(kind=["a", "z"])
    assert np.isnan(again.predict_interval(known)[1]).all()
    assert np.isfinite(again.predict_interval(known)[0]).all()


def test_draws_have_the_correlation_and_the_variances(model):
    draws = model.simulate(X, n_samples=4000, random_state=0, random="fitted")
    errors = (draws - model.predict(X)[:, None]) / np.sqrt(model.residual_variance_)
    sizes = model.residual_deviations_ / np.sqrt(model.residual_variance_)
    for kind in "ab":
        rows = (X["kind"] == kind).to_numpy()
        assert errors[rows].std() == pytest.approx(sizes[kind], rel=0.01)
    rho = model.residual_parameters_["ar1"]
    first = errors[X["week"] == 0]
    for lag in (1, 3):
        later = errors[X["week"] == lag]
        found = np.corrcoef(first.ravel(), later.ravel())[0, 1]
        assert found == pytest.approx(rho**lag, abs=0.02)
    alone = MixedLinearRegressor(fixed="x", residual="ar1(week | shop)").fit(X, Y)
    with pytest.raises(ValueError, match=r"no labels of \['shop'\] are given"):
        alone.simulate(X.drop(columns="shop"))


# --- forecasts ------------------------------------------------------------------------------------


def dense_forecast(model, table, y, new):
    """Mean and variance of new rows by the joint normal distribution of all rows."""
    both = pd.concat([table, new], ignore_index=True)
    n = len(table)
    sigma2, rho = model.residual_variance_, model.residual_parameters_["ar1"]
    tau2 = model.random_covariance_["shop"].iloc[0, 0]
    relative = (model.residual_deviations_ / np.sqrt(sigma2)).loc[both["kind"]].to_numpy()
    same = both["shop"].to_numpy()[:, None] == both["shop"].to_numpy()
    lags = np.abs(np.subtract.outer(both["week"].to_numpy(), both["week"].to_numpy()))
    noise = sigma2 * np.outer(relative, relative) * same * rho**lags
    V = tau2 * same + noise
    design = np.column_stack([np.ones(len(both)), both["x"]])
    inverse = np.linalg.inv(V[:n, :n])
    beta = np.append(model.intercept_, model.coef_)
    weights = V[n:, :n] @ inverse
    mean = design[n:] @ beta + weights @ (y - design[:n] @ beta)
    left = design[n:] - weights @ design[:n]
    variance = V[n:, n:] - weights @ V[:n, n:]
    variance += left @ np.linalg.inv(design[:n].T @ inverse @ design[:n]) @ left.T
    return mean, np.diag(variance)


def test_forecasts_are_the_conditional_normal_distribution(model):
    new = X.groupby("shop").tail(1).head(6).assign(x=[0.3, -1.0, 2.0, 0.0, 1.0, -0.5])
    new["week"] += [1, 2, 1, 5, 9, 3]
    new.loc[new.index[-1], "kind"] = "a" if new["kind"].iloc[-1] == "b" else "b"
    mean, variance = dense_forecast(model, X, Y.to_numpy(), new)
    assert_allclose(model.predict(new, serial=True), mean, rtol=1e-7)
    fit = model.fit_
    found, errors = model.predict(new, serial=True, return_std=True)
    assert_allclose(found, mean, rtol=1e-7)
    rho = model.residual_parameters_["ar1"]
    sizes = model.residual_deviations_.loc[new["kind"]].to_numpy()
    noise = np.square(sizes) * (1.0 - rho ** (2.0 * (new["week"].to_numpy() - 7)))
    assert_allclose(np.square(errors) + noise, variance, rtol=1e-7)
    low, high = model.predict_interval(new, serial=True).T
    assert_allclose((low + high) / 2.0, mean, rtol=1e-7)
    # Wider than the normal interval, by what the parameters have of uncertainty, and not by much.
    normal = 2.0 * stats.norm.ppf(0.975) * np.sqrt(variance)
    assert (high - low > normal).all()
    assert (high - low < 1.25 * normal).all()
    assert fit is model.fit_


def test_forecasts_shrink_to_plain_predictions_with_the_distance(model):
    new = X.groupby("shop").tail(1)
    plain, width = model.predict(new), np.diff(model.predict_interval(new))[:, 0]
    after = [model.predict(new.assign(week=week), serial=True) - plain for week in (8, 10, 60)]
    sizes = [np.abs(each).mean() for each in after]
    assert sizes[0] > sizes[1] > sizes[2]
    assert sizes[2] < 1e-8
    wide = [
        np.diff(model.predict_interval(new.assign(week=week), serial=True))[:, 0]
        for week in (8, 10, 60)
    ]
    assert (wide[0] < wide[1]).all()
    assert_allclose(wide[2], width, rtol=1e-6)


def test_rows_that_follow_nothing_get_nothing(model):
    rows = X.head(4).assign(week=[0, 7, 8, 8], shop=[0, 0, 0, -5])
    rows.index = range(4)
    found = model.predict(rows, serial=True) - model.predict(rows)
    assert_array_equal(found[[0, 1, 3]], 0.0)
    assert found[2] != 0.0
    interval = model.predict(rows, serial=True, interval=0.9)
    assert_allclose(interval[:, 0], model.predict(rows, serial=True))


def test_rows_without_visits_follow_in_their_order():
    model = MixedLinearRegressor("(1 | shop)", fixed="x", residual="ar1(| shop)").fit(X, Y)
    with_weeks = MixedLinearRegressor("(1 | shop)", fixed="x", residual="ar1(week | shop)")
    with_weeks.fit(X, Y)
    later = pd.concat([X.assign(week=8), X.assign(week=9)]).groupby(["shop", "week"]).head(1)
    later = later.sample(frac=1.0, random_state=0).sort_values("week", kind="stable")
    assert_allclose(
        model.predict(later, serial=True), with_weeks.predict(later, serial=True), rtol=1e-6
    )


def test_forecasts_are_refused_where_nothing_is_carried_on(model):
    strata = MixedLinearRegressor("(1 | shop)", fixed="x", residual="var(kind)").fit(X, Y)
    shared = MixedLinearRegressor(fixed="x", residual="cs(| shop)").fit(X, Y)
    for other in (strata, shared, MixedLinearRegressor("(1 | shop)", fixed="x").fit(X, Y)):
        with pytest.raises(
            ValueError, match=r"requires residual='ar1\(\.\.\.\)' or 'car1\(\.\.\.\)'"
        ):
            other.predict(X, serial=True)
    with pytest.raises(ValueError, match=r"columns \['week'\] that `residual` names"):
        model.predict(X.drop(columns="week"), serial=True)
    with pytest.raises(ValueError, match="random='none' leaves some out"):
        model.predict(X, serial=True, random="none")


def test_a_series_keeps_its_levels():
    rows = X.assign(town=X["shop"] % 5)
    model = MixedLinearRegressor("(1 | town)", fixed="x", residual="ar1(week | shop)").fit(rows, Y)
    moved = rows.assign(week=9, town=(rows["town"] + 1) % 5)
    with pytest.raises(ValueError, match="row 0 continues a series that was at another"):
        model.predict(moved, serial=True)


def test_a_pipeline_hands_forecasts_on(model):
    pipeline = make_pipeline(FunctionTransformer(), clone(model)).fit(X, Y)
    later = X.assign(week=X["week"] + 8)
    assert_allclose(pipeline.predict(later, serial=True), model.predict(later, serial=True))


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solver": "em"}, "not support residual structures: use 'auto' or 'newton'"),
        ({"solver": "iterative"}, "not support residual structures: use 'auto' or 'newton'"),
        ({"residual": "ar1(week | nobody)"}, "'nobody', which does not exist: X has the"),
        ({"residual": "ar1(week | kind)"}, "at one position"),
        ({"residual": 3}, "must be an instance of 'str' or None"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_the_reason(model, change, message):
    with pytest.raises(ValueError, match=message):
        clone(model).set_params(**change).fit(X, Y)


def test_missing_values_are_dropped_by_lmer_alone():
    gone = X.assign(y=Y, week=X["week"].astype(float))
    gone.loc[[3, 7], "week"] = np.nan
    gone.loc[9, "kind"] = None
    found = lmer("y ~ x + (1 | shop)", gone, residual=RESIDUAL)
    assert found.n_dropped_ == 3
    wanted = lmer("y ~ x + (1 | shop)", gone.dropna(), residual=RESIDUAL)
    assert_allclose(found.criterion_, wanted.criterion_)
    with pytest.raises(ValueError, match="NaN"):
        MixedLinearRegressor("(1 | shop)", fixed="x", residual=RESIDUAL).fit(gone, Y)
    with pytest.raises(ValueError, match=r"names 'nothing'"):
        lmer("y ~ x", gone, residual="var(nothing)")


# --- digits -----------------------------------------------------------------------------------


def far_levels(far):
    X, y = simulated(8, 6, rho=0.5, seed=1)
    return X.assign(y=y + far * X["shop"] ** 2)


def test_levels_far_apart_are_warned_of_and_then_refused():
    formula, residual = "y ~ x + (1 | shop)", "ar1(week | shop)"
    near = lmer(formula, far_levels(1e2), residual=residual)
    with pytest.warns(LostPrecisionWarning, match="times farther apart than the rows within"):
        far = lmer(formula, far_levels(5e3), residual=residual)
    assert_allclose(far.coef_, near.coef_, rtol=1e-3)
    with pytest.raises(ValueError, match="subtract from the response of every level its mean"):
        lmer(formula, far_levels(1e6), residual=residual)


def test_rows_at_nearly_one_time_are_warned_of():
    X, y = simulated(20, 6)
    again = X[X["week"] == 2].assign(week=2 + 1e-12)
    noise = 1e-6 * np.random.default_rng(1).normal(size=len(again))
    table = pd.concat([X.assign(y=y), again.assign(y=y[again.index] + noise)], ignore_index=True)
    with pytest.warns(LostPrecisionWarning, match="average such rows"):
        lmer("y ~ x", table, residual="car1(week | shop)")
