"""Weights as copies of rows and as precisions."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

from skmixed import MixedLinearRegressor, lmer
from skmixed.inference import bootstrap, confidence_intervals
from tests.estimators.example import estimates, pupils

TABLE = pupils()
NAMED, Y = TABLE[["x", "z", "school"]], TABLE["y"]
RNG = np.random.default_rng(3)
COPIES = RNG.integers(0, 4, size=150)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("random", ["(1 + x | school)", None])
def test_a_frequency_weight_is_that_many_rows(method, random):
    table = NAMED if random else NAMED[["x", "z"]]
    rows = np.repeat(np.arange(150), COPIES)
    copied = MixedLinearRegressor(random, method=method).fit(table.iloc[rows], Y.iloc[rows])
    for dtype in (int, float, np.float32):
        model = MixedLinearRegressor(random, method=method)
        model.fit(table, Y, COPIES.astype(dtype))
        assert_allclose(estimates(model), estimates(copied), rtol=1e-6)
        assert model.bic_ == pytest.approx(copied.bic_)
        assert_allclose(model.predict(table), copied.predict(table), rtol=1e-6)


@pytest.mark.parametrize("reml", [True, False])
def test_precision_weights_are_those_of_lmer(reml):
    weights = RNG.uniform(0.2, 3.0, size=150)
    model = MixedLinearRegressor(
        "(1 + x | school)", method="reml" if reml else "ml", weighting="precision"
    ).fit(NAMED, Y, weights)
    formula = "y ~ x + z + (1 + x | school)"
    other = lmer(formula, TABLE, weights=weights, reml=reml)
    assert_allclose(estimates(model), estimates(other), rtol=1e-8)
    # Their scale is that of sigma^2 and touches nothing else.
    scaled = lmer(formula, TABLE, weights=10.0 * weights, reml=reml)
    assert scaled.criterion_ == pytest.approx(other.criterion_)
    assert scaled.residual_variance_ == pytest.approx(10.0 * other.residual_variance_, rel=1e-6)
    assert_allclose(scaled.coef_, other.coef_, rtol=1e-6)
    assert_allclose(
        scaled.random_covariance_["school"], other.random_covariance_["school"], rtol=1e-4
    )


def test_precision_weights_without_groups_are_weighted_least_squares():
    weights = RNG.uniform(0.2, 3.0, size=150)
    root = np.sqrt(weights)
    design = np.column_stack([np.ones(150), NAMED[["x", "z"]]]) * root[:, None]
    beta, rss = np.linalg.lstsq(design, Y.to_numpy() * root, rcond=None)[:2]
    model = lmer("y ~ x + z", TABLE, weights=weights)
    assert_allclose([model.intercept_, *model.coef_], beta)
    assert model.residual_variance_ == pytest.approx(rss[0] / 147)
    log_likelihood = 0.5 * (np.log(weights).sum() - 150 * (np.log(2 * np.pi * rss[0] / 150) + 1))
    assert model.log_likelihood_ == pytest.approx(log_likelihood)


@pytest.mark.parametrize("weighting", ["frequency", "precision"])
def test_rows_of_weight_zero_are_not_there(weighting):
    weights = (TABLE["school"] != "mid").to_numpy(dtype=float)
    kept = weights > 0
    expected = MixedLinearRegressor("(1 | school)").fit(NAMED[kept], Y[kept])
    holes = NAMED.assign(x=NAMED["x"].where(kept))  # what is left out need not be complete
    for table in (NAMED, holes):
        model = MixedLinearRegressor("(1 | school)", weighting=weighting).fit(table, Y, weights)
        assert_allclose(estimates(model), estimates(expected), rtol=1e-8)
        assert model.n_groups_ == {"school": 4}
        assert "mid" not in model.random_effects_["school"].index


@pytest.mark.parametrize(
    "convert",
    [
        lambda frame: frame,
        lambda frame: frame.set_axis(range(150, 0, -1)),
        pl.from_pandas,
        pa.Table.from_pandas,
        lambda frame: frame.to_numpy(),
        lambda frame: frame.to_numpy().tolist(),
    ],
    ids=["pandas", "pandas with an index", "polars", "pyarrow", "array", "lists"],
)
def test_rows_are_left_out_of_every_kind_of_table(convert):
    weights = COPIES.astype(float)
    expected = MixedLinearRegressor("(1 | school)").fit(NAMED, Y, weights)
    model = MixedLinearRegressor(group_features=[2]).fit(convert(NAMED), Y, weights)
    assert_allclose(estimates(model), estimates(expected), rtol=1e-7)


SCHOOL = TABLE["school"]


@pytest.mark.parametrize(
    "groups",
    [
        SCHOOL,
        SCHOOL.set_axis(range(150, 0, -1)),
        SCHOOL.to_numpy(),
        list(SCHOOL),
        tuple(SCHOOL),
        pd.Categorical(SCHOOL),
        pd.Index(SCHOOL),
        SCHOOL.to_frame(),
        pl.Series(list(SCHOOL)),
        pl.DataFrame({"s": list(SCHOOL)}),
        pa.array(list(SCHOOL)),
    ],
    ids=lambda groups: type(groups).__name__,
)
def test_rows_are_left_out_of_every_kind_of_groups(groups):
    weights = COPIES.astype(float)
    expected = MixedLinearRegressor("(1 | school)").fit(NAMED, Y, weights)
    model = MixedLinearRegressor().fit(NAMED[["x", "z"]], Y, weights, groups=groups)
    assert_allclose(estimates(model), estimates(expected), rtol=1e-7)


def test_a_single_weight_is_for_all_rows():
    model = MixedLinearRegressor("(1 | school)").fit(NAMED, Y, 2.0)
    other = MixedLinearRegressor("(1 | school)").fit(NAMED, Y, np.full(150, 2.0))
    assert model.criterion_ == other.criterion_


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-np.ones(150), "Negative values in data passed to `sample_weight`"),
        (np.where(np.arange(150) == 3, np.nan, 1.0), "sample_weight contains NaN"),
        (np.where(np.arange(150) == 3, np.inf, 1.0), "sample_weight contains infinity"),
        (np.ones(149), r"sample_weight\.shape == \(149,\), expected \(150,\)"),
        (np.ones((150, 1)), "Sample weights must be 1D"),
        (np.zeros(150), "(?i)sample weights .*zero"),
        (["a"] * 150, "could not convert string to float"),
    ],
    ids=range(7),
)
def test_bad_weights(weights, message):
    for random in (None, "(1 | school)"):
        table = NAMED if random else NAMED[["x", "z"]]
        with pytest.raises(ValueError, match=message):
            MixedLinearRegressor(random).fit(table, Y, weights)


def test_lengths_are_checked_before_rows_are_left_out():
    weights = COPIES.astype(float)
    longer = pd.concat([Y, Y])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        MixedLinearRegressor("(1 | school)").fit(NAMED, longer, weights)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        MixedLinearRegressor().fit(NAMED[["x"]], Y, weights, groups=pd.concat([SCHOOL, SCHOOL]))


def test_frequencies_that_are_no_counts_warn():
    weights = np.full(150, 1.5)
    with pytest.warns(UserWarning, match="weighting='precision' treats them as inverse variances"):
        MixedLinearRegressor("(1 | school)").fit(NAMED, Y, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MixedLinearRegressor("(1 | school)", weighting="precision").fit(NAMED, Y, weights)
        MixedLinearRegressor().fit(NAMED[["x", "z"]], Y, weights)
        lmer("y ~ x + (1 | school)", TABLE, weights=weights)


def test_frequencies_that_stand_for_too_few_rows():
    weights = np.full(150, 1e-3)
    model = MixedLinearRegressor("(1 | school)")
    with (
        pytest.warns(UserWarning, match="whole numbers"),
        pytest.raises(
            ValueError, match=r"0\.15; as frequencies they stand for that many rows, too few for 3"
        ),
    ):
        model.fit(NAMED, Y, weights)
    model.set_params(weighting="precision").fit(NAMED, Y, weights)


def test_score_is_weighted():
    model = MixedLinearRegressor("(1 | school)").fit(NAMED, Y)
    rows = np.repeat(np.arange(150), COPIES)
    weighted = model.score(NAMED, Y, COPIES)
    assert weighted == pytest.approx(model.score(NAMED.iloc[rows], Y.iloc[rows]))
    assert weighted == pytest.approx(model.score(NAMED, Y, sample_weight=COPIES.astype(float)))


@pytest.mark.parametrize("unit", [4.0**480, 1e-16, 1e-300])
def test_the_unit_of_precision_weights_is_not_seen(unit):
    weights = RNG.uniform(0.2, 3.0, size=150)
    fits = [
        lmer("y ~ x + (1 + x | school)", TABLE, weights=each) for each in (weights, unit * weights)
    ]
    one, other = fits
    assert other.residual_variance_ == pytest.approx(unit * one.residual_variance_, rel=1e-6)
    assert other.criterion_ == pytest.approx(one.criterion_, abs=1e-8)
    rows = TABLE[["x", "school"]]
    assert_allclose(other.predict(rows), one.predict(rows), rtol=1e-6)
    errors = [model.predict(rows, return_std=True)[1] for model in fits]
    assert_allclose(*errors, rtol=1e-4)
    left_out = [
        model.loo_predict(rows, TABLE["y"], sample_weight=each)
        for model, each in zip(fits, (weights, unit * weights), strict=True)
    ]
    assert_allclose(*left_out, rtol=1e-5)
    for method in ("wald", "profile"):
        tables = [confidence_intervals(model, method=method).to_frame() for model in fits]
        ours, theirs = (table.drop(index="sigma")[["lower", "upper"]] for table in tables)
        assert_allclose(ours, theirs, rtol=1e-3)
    draws = [bootstrap(model, 5, random_state=0).replicates for model in fits]
    assert draws[0]["x"].notna().all()
    if np.log2(unit) % 2 == 0:  # no number is rounded another way
        assert_allclose(draws[1].drop(columns="sigma"), draws[0].drop(columns="sigma"), rtol=1e-9)
