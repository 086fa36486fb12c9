"""Tables and draws of random effects, against merTools and arm."""

import numpy as np
import pytest
from scipy.stats import norm

from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy
from skmixed.inference import random_effects_table, sim
from skmixed.inference.random_effects import expected_ranks

# merTools::expectedRank of Reaction ~ Days + (Days | Subject) (fits/mertools_sleep.json of the
# reference set).
RANKS = {
    "(Intercept)": [
        9.63472,
        1.96388,
        2.10374,
        14.9864,
        14.68618,
        11.4393,
        13.44169,
        7.26324,
        8.95931,
        16.8556,
        3.82687,
        5.9842,
        10.24926,
        14.38094,
        9.90329,
        3.76618,
        9.25464,
        12.30057,
    ],
    "Days": [
        17.19377,
        2.14317,
        3.95546,
        4.43637,
        5.99208,
        9.09229,
        9.14982,
        10.68378,
        1.36383,
        16.93104,
        10.79869,
        15.78774,
        6.04628,
        13.32816,
        10.44719,
        14.47235,
        8.25125,
        10.92672,
    ],
}
# arm::sim of the same, 20,000 draws (fits/armsim_sleep.json): standard deviations of the draws.
ARM_COEF = {"(Intercept)": 6.840464946861582, "Days": 1.55552077052889}
ARM_SIGMA = (25.691253213863153, 1.3645239352010081)
ARM_INTERCEPTS = [13.18973073279692, 13.031209495026745, 13.059717969513645]
# lme4's postVar, whose roots arm::se.ranef shows.
SE = [12.070836908382626, 2.304837015225807]


@pytest.fixture(scope="module")
def sleep():
    X, y = load_sleepstudy(return_X_y=True)
    return MixedLinearRegressor("(1 + Days | Subject)").fit(X, y), X, y


def test_expected_ranks_as_mertools(sleep):
    table = random_effects_table(sleep[0]).to_frame()
    for column, ranks in RANKS.items():
        own = table.xs(column, level="column")
        np.testing.assert_allclose(own["expected_rank"], ranks, atol=2e-4)
        np.testing.assert_allclose(own["percentile"], 100 * (own["expected_rank"] - 0.5) / 18)
    np.testing.assert_allclose(table["std_error"], np.tile(SE, 18), rtol=1e-6)


@pytest.mark.parametrize(("scale", "ratio"), [(1.0, 1.0), (0.5, 20.0), (3.0, 200.0)])
def test_ranks_of_many_levels_are_interpolated(scale, ratio):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(12_000)
    variances = scale * ratio ** rng.random(len(values))
    found = expected_ranks(values, variances)
    some = rng.choice(len(values), 50)
    spread = np.sqrt(variances[some, None] + variances)
    exact = norm.cdf((values[some, None] - values) / spread).sum(axis=1) + 0.5
    np.testing.assert_allclose(found[some], exact, atol=1e-5)
    assert np.any(found[some] != exact)


@pytest.mark.parametrize("variance", [0.0, 1e-320, 1e-300, 1e300])
def test_ranks_of_effects_next_to_no_or_all_doubt_are_plain(variance):
    values = np.array([3.0, -1.0, 1e10, 2.0])
    ranks = expected_ranks(values, np.full(4, variance))
    plain = [2.5] * 4 if variance > 1.0 else [3.0, 1.0, 4.0, 2.0]
    np.testing.assert_allclose(ranks, plain)


def test_intervals_hold_the_estimates(sleep):
    table = random_effects_table(sleep[0], level=0.5, ranks=False).to_frame()
    middle = (table["lower"] + table["upper"]) / 2.0
    np.testing.assert_allclose(middle, table["estimate"], atol=1e-9)
    np.testing.assert_allclose(table["upper"] - middle, 0.6744897501960817 * table["std_error"])
    assert "expected_rank" not in table


def test_nested_factors_have_rows_of_their_own():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (80, 2))
    y = rng.standard_normal(80) + labels[:, 0] + rng.standard_normal(16)[labels @ [4, 1]]
    model = MixedLinearRegressor("(1 | group0/group1)").fit(
        rng.standard_normal((80, 1)), y, groups=labels
    )
    table = random_effects_table(model).to_frame()
    assert table.groupby("factor").size().to_dict() == model.n_groups_
    ranks = table.groupby("factor")["expected_rank"].agg(["mean", "size"])
    np.testing.assert_allclose(ranks["mean"], (ranks["size"] + 1) / 2.0)  # ranks add up


def test_without_variance_all_levels_rank_the_same():
    y = np.tile([1.0, 2.0, 4.0], 4)
    model = MixedLinearRegressor().fit(
        np.arange(12.0)[:, None] % 3, y, groups=np.repeat(np.arange(4), 3)
    )
    table = random_effects_table(model).to_frame()
    np.testing.assert_allclose(table["expected_rank"], 2.5)


def test_after_update_groups_the_table_has_all_levels(sleep):
    _, X, y = sleep
    first = X["Subject"].isin(X["Subject"].unique()[:10])
    model = MixedLinearRegressor("(1 + Days | Subject)").fit(X[first], y[first])
    model.update_groups(X[~first], y[~first])
    assert len(random_effects_table(model).frame) == 36
    with pytest.raises(ValueError, match="partial_fit"):
        sim(model)


def test_draws_as_arm(sleep):
    n = 20_000
    draws = sim(sleep[0], n, random_state=0)
    error = 4.0 / np.sqrt(n)
    for name, sd in ARM_COEF.items():
        assert draws.coef[name].std() == pytest.approx(sd, rel=error)
    assert draws.sigma.mean() == pytest.approx(ARM_SIGMA[0], rel=error / 10)
    assert draws.sigma.std() == pytest.approx(ARM_SIGMA[1], rel=error)
    effects = draws.random_effects["Subject"]
    np.testing.assert_allclose(effects[:, :3, 0].std(axis=0), ARM_INTERCEPTS, rtol=error)
    assert draws.to_frame().loc["Days", "mean"] == pytest.approx(10.467, abs=0.05)
    summary = draws.random_effects_table().to_frame()
    np.testing.assert_allclose(summary["mean"].iloc[:2], [2.26, 9.2], atol=0.4)
    assert "20000 draws" in repr(draws)


@pytest.mark.parametrize(
    "random", ["(1 + Days | Subject)", "(1 | Subject) + (1 | half)", "(1 | half/Subject)"]
)
def test_draws_have_the_joint_covariance(sleep, random):
    """The inverse of Henderson's mixed model equations, which arm's draws of slopes miss by 4 %."""
    _, X, y = sleep
    if "half" in random:
        upper = (X["Subject"] if "/" in random else X["Days"].astype(str)) < (
            "35" if "/" in random else "5"
        )
        X, y = X.assign(half=np.where(upper, "a", "b")), y + 50.0 * upper
    model = MixedLinearRegressor(random).fit(X, y)
    assert not model.is_singular_
    n = 20_000
    draws = sim(model, n, random_state=1)
    columns = [np.column_stack([np.ones(len(X)), X["Days"]])]
    penalties, parts = [np.zeros((2, 2))], [draws.coef.to_numpy()]
    for name, frame in model.random_effects_.items():
        keys = list(zip(*[X[key] for key in name.split(":")], strict=True))
        levels = [level if isinstance(level, tuple) else (level,) for level in frame.index]
        member = np.array([[key == level for level in levels] for key in keys], dtype=float)
        z = np.column_stack([np.ones(len(X)), X["Days"]])[:, : frame.shape[1]]
        columns.append((member[:, :, None] * z[:, None]).reshape(len(X), -1))
        inverse = np.linalg.inv(model.random_covariance_[name].to_numpy())
        penalties.append(np.kron(np.eye(len(levels)), inverse))
        parts.append(draws.random_effects[name].reshape(n, -1))
    T = np.concatenate(columns, axis=1)
    system = T.T @ T / model.residual_variance_
    start = 0
    for penalty in penalties:
        stop = start + len(penalty)
        system[start:stop, start:stop] += penalty
        start = stop
    theirs = np.linalg.inv(system) * 178 / 176  # the mean of nu over chi-square
    ours = np.cov(np.concatenate(parts, axis=1).T)
    units = np.sqrt(np.diag(theirs))
    assert np.abs((ours - theirs) / np.outer(units, units)).max() < 0.06


def test_a_coefficient_may_be_called_sigma(sleep):
    model, X, y = sleep
    renamed = MixedLinearRegressor("(1 + sigma | Subject)").fit(
        X.rename(columns={"Days": "sigma"}), y
    )
    wanted, found = (sim(fitted, 20, random_state=0).to_frame() for fitted in (model, renamed))
    assert list(found.index) == ["(Intercept)", "sigma", "sigma"]
    np.testing.assert_array_equal(found.to_numpy(), wanted.to_numpy())


def test_wrong_arguments(sleep):
    model, X, y = sleep
    with pytest.raises(ValueError, match="probability"):
        random_effects_table(model, level=95)
    with pytest.raises(ValueError, match="no random effects"):
        random_effects_table(MixedLinearRegressor().fit(X[["Days"]], y))
    with pytest.raises(ValueError, match="must be at least 1"):
        sim(model, 0)
    for function in [sim, random_effects_table]:
        with pytest.raises(TypeError, match="a bare fit does not know"):
            function(model.fit_)


def test_draws_of_a_linear_model(sleep):
    _, X, y = sleep
    model = MixedLinearRegressor().fit(X[["Days"]], y)
    draws = sim(model, 4000, random_state=0)
    errors = np.sqrt(np.diag(model.coef_covariance_))
    np.testing.assert_allclose(draws.coef.std(), errors, rtol=0.05)
    assert draws.random_effects == {}
