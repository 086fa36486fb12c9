import numpy as np
import pandas as pd
import pytest

from skmixed.datasets import (
    load_cbpp,
    load_orthodont,
    load_sleepstudy,
    make_mixed_regression,
    make_schools,
)


def test_sleepstudy_is_the_published_table():
    frame = load_sleepstudy()
    assert frame.shape == (180, 3)
    assert list(frame.columns) == ["Reaction", "Days", "Subject"]
    assert frame.groupby("Subject").size().tolist() == [10] * 18
    assert all(isinstance(label, str) for label in frame["Subject"])
    # The normal equations of Reaction ~ Days, published with the data in lme4.
    slope, intercept = np.polyfit(frame["Days"], frame["Reaction"], 1)
    np.testing.assert_allclose([intercept, slope], [251.40510485, 10.46728596], rtol=1e-9)
    assert np.isclose(frame["Reaction"].sum(), 53731.4205)


def test_cbpp_is_the_published_table():
    frame = load_cbpp()
    assert frame.shape == (56, 4)
    rows_of = frame.groupby("herd").size()
    assert rows_of[rows_of < 4].to_dict() == {"2": 3, "8": 1}
    assert len(rows_of) == 15
    # New cases and animals at risk, by period.
    by_period = frame.groupby("period")[["incidence", "size"]].sum()
    assert by_period.to_numpy().tolist() == [[61, 278], [17, 212], [14, 197], [7, 155]]
    assert all(isinstance(label, str) for name in ("herd", "period") for label in frame[name])


def test_orthodont_is_the_published_table():
    frame = load_orthodont()
    assert frame.shape == (108, 4)
    assert frame.groupby("Sex")["Subject"].nunique().to_dict() == {"Female": 11, "Male": 16}
    # Means by sex and age, Potthoff & Roy (1964), section 5.
    means = frame.groupby(["Sex", "age"])["distance"].mean()
    assert means["Female"].round(2).tolist() == [21.18, 22.23, 23.09, 24.09]
    assert means["Male"].round(2).tolist() == [22.88, 23.81, 25.72, 27.47]
    X, y = load_orthodont(return_X_y=True)
    assert list(X) == ["age", "Subject", "Sex"]
    assert y.equals(frame["distance"])


def test_sleepstudy_as_predictors_and_response():
    X, y = load_sleepstudy(return_X_y=True)
    frame = load_sleepstudy()
    pd.testing.assert_frame_equal(X, frame[["Days", "Subject"]])
    pd.testing.assert_series_equal(y, frame["Reaction"])


def test_sleepstudy_is_a_new_table_at_every_call():
    frame = load_sleepstudy()
    frame.loc[0, "Reaction"] = 0.0
    assert load_sleepstudy().loc[0, "Reaction"] == 249.56


def test_schools_layout():
    pupils = make_schools()
    assert pupils.shape == (1200, 6)
    assert list(pupils.columns) == ["extro", "open", "agree", "social", "class", "school"]
    assert sorted(pupils["school"].unique()) == ["I", "II", "III", "IV", "V", "VI"]
    assert sorted(pupils["class"].unique()) == ["a", "b", "c", "d"]
    assert (pupils.groupby(["school", "class"]).size() == 50).all()


def test_schools_variances_and_absent_effects():
    pupils = make_schools(200, 20, 5, random_state=1)
    rooms = pupils.groupby(["school", "class"])["extro"]
    within = np.sqrt(rooms.var().mean())
    means = rooms.mean()
    between_classes = np.sqrt(means.groupby("school").var().mean() - within**2 / 5)
    between_schools = means.groupby("school").mean().std()
    assert np.isclose(within, 1.0, rtol=0.02)
    assert np.isclose(between_classes, 2.9, rtol=0.05)
    assert np.isclose(between_schools, 9.7, rtol=0.15)
    residual = pupils["extro"] - rooms.transform("mean")
    for trait in ["open", "agree", "social"]:
        assert abs(np.corrcoef(residual, pupils[trait])[0, 1]) < 0.03


def test_schools_labels_go_on():
    pupils = make_schools(14, 28, 1)
    assert pupils["class"].unique().tolist()[-3:] == ["z", "aa", "ab"]
    assert pupils["school"].unique().tolist()[8:] == ["IX", "X", "XI", "XII", "XIII", "XIV"]


def test_schools_random_state():
    pd.testing.assert_frame_equal(make_schools(), make_schools())
    assert not make_schools(random_state=1).equals(make_schools(random_state=2))


def test_schools_needs_pupils():
    with pytest.raises(ValueError, match="at least 1"):
        make_schools(n_pupils=0)


def linear_predictor(problem, codes):
    """Rebuild the noiseless response from the truth that came with the data."""
    X = problem.data[[c for c in problem.data if c.startswith("x")]].to_numpy()
    k = next(iter(problem.random_covariance.values())).shape[0]
    Z = np.column_stack([np.ones(len(X)), X[:, : k - 1]])
    mean = problem.intercept + X @ problem.coef
    for name, code in codes.items():
        mean = mean + (Z * problem.random_effects[name][code]).sum(axis=1)
    return mean


def test_regression_one_factor_rebuilds_from_its_truth():
    problem = make_mixed_regression(
        300, 4, n_levels=7, n_slopes=2, residual_sd=0.0, intercept=3.0, random_state=0
    )
    assert list(problem.data.columns) == ["x0", "x1", "x2", "x3", "group"]
    assert problem.random_effects["group"].shape == (7, 3)
    expected = linear_predictor(problem, {"group": problem.groups["group"]})
    np.testing.assert_allclose(problem.target, expected, atol=1e-12)


def test_regression_crossed_rebuilds_from_its_truth():
    problem = make_mixed_regression(
        300, 2, n_levels=(7, 3), random_sd=(1.0, 5.0), residual_sd=0.0, random_state=0
    )
    assert {n: e.shape for n, e in problem.random_effects.items()} == {
        "group0": (7, 1),
        "group1": (3, 1),
    }
    expected = linear_predictor(problem, {n: problem.groups[n] for n in ["group0", "group1"]})
    np.testing.assert_allclose(problem.target, expected, atol=1e-12)


def test_regression_nested_rebuilds_from_its_truth():
    problem = make_mixed_regression(
        480, 2, n_levels=(4, 3, 2), n_slopes=1, nested=True, residual_sd=0.0, random_state=0
    )
    assert {n: e.shape for n, e in problem.random_effects.items()} == {
        "group0": (4, 2),
        "group1:group0": (12, 2),
        "group2:group1:group0": (24, 2),
    }
    assert problem.groups.max().tolist() == [3, 2, 1]
    middle = problem.groups["group0"] * 3 + problem.groups["group1"]
    codes = {
        "group0": problem.groups["group0"],
        "group1:group0": middle,
        "group2:group1:group0": middle * 2 + problem.groups["group2"],
    }
    np.testing.assert_allclose(problem.target, linear_predictor(problem, codes), atol=1e-12)


def test_regression_deals_every_level():
    counts = make_mixed_regression(105, n_levels=10, random_state=0).groups.value_counts()
    assert len(counts) == 10
    assert set(counts) == {10, 11}


def test_regression_covariance():
    problem = make_mixed_regression(
        10, 2, n_levels=20000, n_slopes=1, random_sd=2.0, correlation=-0.5, random_state=0
    )
    truth = problem.random_covariance["group"]
    np.testing.assert_array_equal(truth, [[4.0, -2.0], [-2.0, 4.0]])
    np.testing.assert_allclose(np.cov(problem.random_effects["group"].T), truth, atol=0.15)


def test_regression_singular_covariance():
    problem = make_mixed_regression(10, 1, n_levels=5, n_slopes=1, correlation=1, random_state=0)
    effects = problem.random_effects["group"]
    np.testing.assert_allclose(effects[:, 0], effects[:, 1])


def test_regression_as_arrays():
    kwargs = {"n_samples": 50, "n_levels": (5, 2), "coef": [1, 2, 3], "random_state": 0}
    arrays = make_mixed_regression(as_frame=False, **kwargs)
    frames = make_mixed_regression(**kwargs)
    assert arrays.data.shape == (50, 3)
    assert arrays.groups.shape == (50, 2)
    np.testing.assert_array_equal(arrays.target, frames.target)
    np.testing.assert_array_equal(arrays.coef, [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"n_slopes": 4}, "n_slopes"), ({"n_slopes": 2, "correlation": -0.9}, "correlation")],
)
def test_regression_rejects_impossible_parameters(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_mixed_regression(**kwargs)
