"""Autocorrelation and semivariance of residuals: figures of nlme 3.1-162, and sums by loops."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skmixed import MixedLinearRegressor, glmer, lmer
from skmixed.datasets import load_orthodont, load_sleepstudy
from skmixed.inference import autocorrelation, residuals, variogram

DATA = Path(__file__).parents[1] / "core" / "residual" / "data"
# ACF(lme(follicles ~ sin(2 * pi * Time) + cos(2 * pi * Time), random = ~ 1 | Mare))
OVARY = [
    1.00000000000, 0.50273110314, 0.32887611085, 0.18779959764, 0.16708294445, 0.08478057550,
    0.08239249075, 0.02638796805, -0.04732314344, -0.11611043219, -0.19574196837, -0.25033419481,
    -0.32413704976, -0.33428404215, -0.39068411899,
]  # fmt: skip
# the same with corAR1(), by resType; the mares in the order of the rows, without which normalized
# residuals of nlme are those of other mares' rows
OVARY_AR1 = {
    "normalized": [
        1.0, -0.11450874422, 0.04513150099, -0.03828225382, 0.08666533668, -0.01471264350,
        0.05908561836,
    ],
    "pearson": [
        1.0, 0.5295514817, 0.3646951997, 0.2314487753, 0.2107691138, 0.1344471101, 0.1366285094,
    ],
}  # fmt: skip
# ACF(gls(distance ~ age * Sex, Orthodont, corAR1(form = ~ 1 | Subject)))
ORTHODONT = {
    "normalized": [1.0, -0.25214823095, 0.45381725380, 0.06645675846],
    "response": [1.0, 0.6135925587, 0.6776352601, 0.5124698363],
}
# Variogram(lme(weight ~ Time * Diet, BodyWeight, ~ Time | Rat), ~ Time): distance, variog, n.pairs;
# all distances, and from the second of five classes on
BODY_WEIGHT = {
    20: [(0, 1, 0.412928353, 16), (2, 7, 0.771718724, 144), (18, 63, 0.482826340, 16)],
    5: [
        (1, 14, 0.905859305, 176), (2, 21, 1.062795919, 240), (3, 35, 0.784977115, 112),
        (4, 49, 0.916253800, 176),
    ],
}  # fmt: skip
# with corCAR1(form = ~ Time), normalized
BODY_WEIGHT_CAR1 = [2.329447462, 0.939918566, 0.863317480, 0.634179844, 0.555210265, 0.878277597]


@pytest.fixture(scope="module")
def mares():
    table = pd.read_csv(DATA / "ovary.csv")
    angle = 2.0 * np.pi * table["Time"]
    return table.assign(s=np.sin(angle), c=np.cos(angle), n=table.groupby("Mare").cumcount())


@pytest.fixture(scope="module")
def rats():
    return pd.read_csv(DATA / "body_weight.csv", dtype={"Diet": str, "Rat": str})


def test_follicles_are_correlated_as_in_nlme(mares):
    model = lmer("follicles ~ s + c + (1 | Mare)", mares)
    table = autocorrelation(model, mares, mares["follicles"]).to_frame()
    assert_allclose(table["autocorrelation"], OVARY, atol=2e-6)
    assert table.index.tolist() == list(range(15))
    assert table["n_pairs"].tolist() == [308 - 11 * lag for lag in range(15)]
    assert_allclose(table["upper"][1:], stats.norm.ppf(0.975) / np.sqrt(table["n_pairs"][1:]))
    assert_allclose(table["lower"][1:], -table["upper"][1:])
    again = autocorrelation(model, mares, mares["follicles"], series="Mare", time="n")
    pd.testing.assert_frame_equal(again.to_frame(), table)


@pytest.mark.parametrize("kind", OVARY_AR1)
@pytest.mark.parametrize("order", ["as they are", "shuffled"])
def test_of_residual_structures_series_and_times_are_known(mares, kind, order):
    table = mares.sample(frac=1.0, random_state=1) if order == "shuffled" else mares
    model = lmer("follicles ~ s + c + (1 | Mare)", table, residual="ar1(n | Mare)")
    found = autocorrelation(model, table, table["follicles"], kind=kind, max_lag=6)
    assert_allclose(found.to_frame()["autocorrelation"], OVARY_AR1[kind], atol=5e-6)


@pytest.mark.parametrize("kind", ORTHODONT)
def test_models_without_random_effects(kind):
    teeth = load_orthodont()
    model = lmer("distance ~ age * Sex", teeth, residual="ar1(| Subject)")
    found = autocorrelation(model, teeth, teeth["distance"], kind=kind).to_frame()
    assert_allclose(found["autocorrelation"], ORTHODONT[kind], atol=5e-6)
    assert found["n_pairs"].tolist() == [108, 81, 54, 27]


@pytest.mark.parametrize("n_bins", BODY_WEIGHT)
def test_variograms_are_those_of_nlme(rats, n_bins):
    model = lmer("weight ~ Time * Diet + (Time | Rat)", rats)
    found = variogram(model, rats, rats["weight"], time="Time", n_bins=n_bins).to_frame()
    for row, distance, semivariance, n_pairs in BODY_WEIGHT[n_bins]:
        assert found["distance"][row] == distance
        assert found["n_pairs"][row] == n_pairs
        assert found["semivariance"][row] == pytest.approx(semivariance, rel=1e-5)
    assert found["n_pairs"].sum() == 16 * 55


def test_variograms_beside_continuous_time(rats):
    model = lmer("weight ~ Time * Diet + (Time | Rat)", rats, residual="car1(Time | Rat)")
    found = variogram(model, rats, rats["weight"], max_distance=14).to_frame()
    assert_allclose(found["semivariance"], BODY_WEIGHT_CAR1, rtol=1e-4)
    lags = autocorrelation(model, rats, rats["weight"]).to_frame()
    assert lags.index.tolist() == [0, 1, 6, 7, 8]  # days that are the distance of two weighings


@pytest.mark.parametrize("unit", [1.0, 0.25, 7.0])
def test_lags_are_those_of_the_times(unit):
    """Rows are missing, out of order, and of several series in one loop over all pairs."""
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"g": np.repeat(np.arange(12), 9), "t": np.tile(np.arange(9), 12) * unit})
    table = table.assign(y=rng.normal(size=108), x=rng.normal(size=108), at=100.0 + table["t"])
    table = table[rng.random(108) < 0.7].sample(frac=1.0, random_state=3)
    model = lmer("y ~ x + (1 | g)", table)
    found = autocorrelation(model, table, table["y"], series="g", time="at", max_lag=8).to_frame()
    left = residuals(model, table, table["y"], kind="pearson")
    sums, counts, halves = np.zeros(9), np.zeros(9), np.zeros(9)
    group, place = table["g"].to_numpy(), (table["t"] / unit).to_numpy()
    for i in range(len(table)):
        for j in range(len(table)):
            lag = round(place[j] - place[i])
            if group[i] == group[j] and lag >= 0:
                sums[lag] += left[i] * left[j]
                counts[lag] += 1
                halves[lag] += 0.5 * (left[i] - left[j]) ** 2
    assert_allclose(found["autocorrelation"], (sums / counts) / (sums[0] / counts[0]), atol=1e-12)
    assert_allclose(found["n_pairs"], counts)
    pairs = variogram(model, table, table["y"], time=table["at"].to_numpy()).to_frame()
    assert_allclose(pairs["distance"], unit * np.arange(1, 9))
    assert_allclose(pairs["semivariance"], halves[1:] / counts[1:])


def test_series_may_be_given_as_arrays_and_visits_as_categories():
    table = load_sleepstudy()
    model = lmer("Reaction ~ Days + (Days | Subject)", table)
    expected = autocorrelation(model, table, table["Reaction"]).to_frame()
    days = pd.Categorical.from_codes(table["Days"], list("jihgfedcba"), ordered=True)
    X = table.assign(
        day=days, date=pd.Timestamp("2024-01-01") + pd.to_timedelta(table["Days"], "D")
    )
    for time in ("day", "date", table["Days"].to_numpy()):
        given = {"series": table["Subject"].to_numpy(), "time": time}
        found = autocorrelation(model, X, table["Reaction"], **given).to_frame()
        pd.testing.assert_frame_equal(found, expected)
    array = MixedLinearRegressor(group_features=[1]).fit(
        table[["Days", "Subject"]].to_numpy(float), table["Reaction"]
    )
    rows = table[["Days", "Subject"]].to_numpy(float), table["Reaction"]
    assert len(autocorrelation(array, *rows, time="x0").to_frame()) == 10


def test_generalized_models_have_pearson_residuals():
    rng = np.random.default_rng(2)
    g, t = np.repeat(np.arange(30), 10), np.tile(np.arange(10), 30)
    table = pd.DataFrame({"g": g, "t": t, "y": rng.poisson(3.0, 300)})
    model = glmer("y ~ t + (1 | g)", table, family="poisson")
    found = autocorrelation(model, table, table["y"])
    assert "Pearson residuals" in str(found)
    left = residuals(model, table, table["y"], kind="pearson").reshape(30, 10)
    expected = np.mean(left[:, 1:] * left[:, :-1]) / np.mean(left**2)
    assert found.to_frame()["autocorrelation"][1] == pytest.approx(expected)
    with pytest.raises(TypeError, match="no residual structure"):
        autocorrelation(model, table, table["y"], kind="normalized")


# --- what is refused ------------------------------------------------------------------------------

REFUSED = [
    ({"max_lag": 0}, "must be at least 1, the lag of neighbours"),
    ({"level": 1.0}, "level"),
    ({"time": "nothing"}, "not among the columns"),
    ({"time": [1.0, 2.0]}, "there are 180 rows"),
    ({"time": "Days", "series": np.zeros(180)}, r"share series and time with another.*variogram"),
    ({"time": np.tile(np.r_[0.0, 1.0, np.pi + np.arange(8)], 18)}, r"not multiples.*variogram"),
    ({"time": np.full(180, "late")}, "not numbers"),
    ({"time": np.r_[np.nan, np.arange(179.0)]}, "missing in row 0"),
    ({"series": np.arange(180)}, "no pairs"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_what_makes_no_lags_is_refused(settings, message):
    table = load_sleepstudy()
    model = lmer("Reaction ~ Days + (1 | Subject)", table)
    with pytest.raises(ValueError, match=message):
        autocorrelation(model, table, table["Reaction"], **settings)


def test_what_makes_no_variogram_is_refused(monkeypatch):
    table = load_sleepstudy()
    model = lmer("Reaction ~ Days + (1 | Subject)", table)
    rows = model, table, table["Reaction"]
    with pytest.raises(ValueError, match="n_bins=0"):
        variogram(*rows, n_bins=0)
    with pytest.raises(ValueError, match="no two rows"):
        variogram(*rows, time="Days", max_distance=0.5)
    module = sys.modules["skmixed.inference.autocorrelation"]
    monkeypatch.setattr(module, "_MOST_COMPARED", 200)
    with pytest.raises(ValueError, match=r"more than 200 pairs.*max_distance"):
        variogram(*rows)
    assert len(variogram(*rows, max_distance=1.0).to_frame()) == 1
    plain = lmer("Reaction ~ Days", table)
    with pytest.raises(ValueError, match="pass series="):
        autocorrelation(plain, table, table["Reaction"])
    assert len(autocorrelation(plain, table, table["Reaction"], series="Subject").to_frame()) == 10
