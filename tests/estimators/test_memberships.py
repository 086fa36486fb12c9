"""Rows that belong to several levels, from a user's side."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.model_selection import KFold, cross_val_predict

from skmixed import MixedLinearRegressor, bayes, clmm, glmer, lmer, nlmer
from skmixed.distributed import fit as distributed_fit
from skmixed.inference import (
    anova,
    bootstrap,
    compare_models,
    confidence_intervals,
    icc,
    influence,
    r2,
    ranova,
    sim,
)
from skmixed.model_selection import cross_val_predict as grouped_cross_val_predict

THREE = "mm(first, second, third, weights=cbind(u, v, w))"
Q = 17


def weights_of(data):
    """Membership weights of rows, (n, Q), that sum to one."""
    weights = data[["u", "v", "w"]].to_numpy(float)
    weights /= weights.sum(axis=1, keepdims=True)
    found = np.zeros((len(data), Q))
    for name, of_rows in zip(["first", "second", "third"], weights.T, strict=True):
        np.add.at(found, (np.arange(len(data)), data[name]), of_rows)
    return found


@pytest.fixture(scope="module")
def data():
    """Rows of three levels each, without a random number: R has the same ones."""
    i = np.arange(240)
    table = pd.DataFrame(
        {
            "first": (i * 7 + i // 11) % Q,
            "second": (i * 5 + 3 + i // 7) % Q,
            "third": (i * 3 + 1 + (i // 5) * 2) % Q,
            "u": 1 + (i * 13 % 5),
            "v": 1 + (i * 11 % 4),
            "w": (i * 17 % 3).astype(float),
            "x": ((i * 37) % 101) / 50.0 - 1.0,
            "site": (i * 29 + i // 13) % 9,
        }
    )
    levels = np.arange(Q)
    of_levels = weights_of(table) @ np.sin(levels * 2.3) * 1.4
    slopes = weights_of(table) @ np.cos(levels * 1.1) * 0.9
    table["y"] = 2 + 0.7 * table.x + of_levels + table.x * slopes
    table["y"] += np.cos(np.arange(9) * 1.7)[table.site] * 0.8 + np.sin(i * 12.9898) * 1.1
    table["high"] = (table.y > 2).astype(int)
    return table


@pytest.fixture(scope="module")
def model(data):
    return lmer(f"y ~ x + (1 | {THREE})", data)


# lme4 1.1, Zt of lFormula() replaced by the weights, its criterion lowered to 1e-12 by nloptwrap
# (glmer with tolPwrss=1e-13): criterion, coefficients, their standard errors, sigma, deviations.
R_FITS = {
    "alone": ("(1 | M)", {}, 723.3358547231, [2.0438478307, 0.7633248841],
              [0.2176037390, 0.1146731593], 1.0248962737, [0.8480063490]),
    "ml": ("(1 | M)", {"reml": False}, 719.5893087039, [2.0440331265, 0.7634177264],
           [0.2094116845, 0.1144284497], 1.0229169836, [0.8125145199]),
    "crossed": ("(1 | M) + (1 | site)", {}, 654.7891507812, [2.0717370677, 0.7550132899],
                [0.2886761684, 0.0943220471], 0.8406254416, [0.8683832268, 0.5630462363]),
    "slopes": ("(1 + x || M) + (1 | site)", {}, 648.0549941818, [2.0799167157, 0.7429665389],
               [0.2927696336, 0.1814952413], 0.8023933268,
               [0.8829131093, 0.6376260601, 0.5720449957]),
}  # fmt: skip


@pytest.mark.parametrize("case", R_FITS)
def test_fits_are_those_of_lme4_with_the_weights_in_z(case, data):
    random, options, criterion, coef, errors, sigma, deviations = R_FITS[case]
    model = lmer(f"y ~ x + {random.replace('M', THREE)}", data, **options)
    assert model.criterion_ == pytest.approx(criterion, abs=1e-7)
    assert model.criterion_ < criterion + 1e-9
    near = {"rel": 1e-5}  # of a flat optimum, which R's search ends beside
    assert [model.intercept_, *model.coef_] == pytest.approx(coef, **near)
    assert np.sqrt(np.diag(model.coef_covariance_)) == pytest.approx(errors, **near)
    assert model.residual_variance_**0.5 == pytest.approx(sigma, **near)
    found = [np.sqrt(np.diag(each)) for each in model.random_covariance_.values()]
    assert np.concatenate(found) == pytest.approx(deviations, rel=3e-5)


def test_effects_of_levels_are_those_of_lme4(model):
    effects = model.random_effects_[THREE]
    assert effects.iloc[:3, 0].to_numpy() == pytest.approx(
        [0.08544148, 0.58491407, -1.16092098], abs=1e-6
    )
    assert effects.columns.tolist() == ["(Intercept)"]
    assert effects.index.tolist() == list(range(Q))
    assert model.n_groups_ == {THREE: Q}


def test_a_binomial_model_is_that_of_glmer(data):
    model = glmer(f"high ~ x + (1 | {THREE})", data, family="binomial")
    assert model.criterion_ == pytest.approx(302.030450566, abs=1e-7)
    deviation = np.sqrt(model.random_covariance_[THREE].iloc[0, 0])
    found = [deviation, model.intercept_, *model.coef_]
    assert found == pytest.approx([1.214080775, 0.280615892, 1.030289176], rel=1e-5)


def test_all_is_that_of_the_dense_model(model, data):
    Z = weights_of(data)
    tau2 = model.random_covariance_[THREE].iloc[0, 0]
    sigma2 = model.residual_variance_
    V = tau2 * Z @ Z.T + sigma2 * np.eye(len(data))
    inverse = np.linalg.inv(V)
    X = np.column_stack([np.ones(len(data)), data.x])
    beta_covariance = np.linalg.inv(X.T @ inverse @ X)
    beta = beta_covariance @ X.T @ inverse @ data.y
    modes = tau2 * Z.T @ inverse @ (data.y - X @ beta)
    assert model.random_effects_[THREE].iloc[:, 0].to_numpy() == pytest.approx(modes, abs=1e-10)
    covariance = tau2 * np.eye(Q) - tau2**2 * Z.T @ inverse @ Z
    found = model.random_effects_covariance_[THREE]
    assert found[:, 0, 0] == pytest.approx(np.diag(covariance), rel=1e-9)
    assert model.predict(data) == pytest.approx(X @ beta + Z @ modes, abs=1e-10)
    new = data.iloc[:4].assign(first=[0, 99, 98, 3], second=[99, 97, 96, 4], third=[1, 99, 5, 6])
    known = np.zeros((4, Q))
    share = new[["u", "v", "w"]].to_numpy(float)
    share /= share.sum(axis=1, keepdims=True)
    known[[0, 0, 2, 3, 3, 3], [0, 1, 5, 3, 4, 6]] = share[[0, 0, 2, 3, 3, 3], [0, 2, 2, 0, 1, 2]]
    # 99 twice in the second row is one level, with both weights.
    others = np.array([share[0, 1] ** 2, (share[1, 0] + share[1, 2]) ** 2 + share[1, 1] ** 2,
                       share[2, 0] ** 2 + share[2, 1] ** 2, 0.0])  # fmt: skip
    x = np.column_stack([np.ones(4), new.x])
    assert model.predict(new) == pytest.approx(x @ beta + known @ modes, abs=1e-10)
    left = x - tau2 * known @ Z.T @ inverse @ X
    errors = np.einsum("ij,jk,ik->i", known, covariance, known) + tau2 * others
    errors += np.einsum("ij,jk,ik->i", left, beta_covariance, left)
    assert model.predict(new, return_std=True)[1] == pytest.approx(np.sqrt(errors), rel=1e-8)
    assert model.predict(new, random="none") == pytest.approx(x @ beta, abs=1e-10)


def test_simulated_rows_share_their_levels(model, data):
    new = data.iloc[:3].assign(
        first=[0, 0, 99], second=[1, 99, 99], third=[99, 98, 2], u=1, v=1, w=1
    )
    found = np.cov(model.simulate(new, n_samples=40_000, random_state=0))
    tau2 = model.random_covariance_[THREE].iloc[0, 0]
    weights = np.array([[1, 1, 0, 1, 0], [1, 0, 0, 1, 1], [0, 0, 1, 2, 0]]) / 3  # 0, 1, 2, 99, 98
    expected = tau2 * weights @ weights.T + model.residual_variance_ * np.eye(3)
    np.testing.assert_allclose(found, expected, atol=0.04)
    fitted = model.simulate(data[:3], n_samples=20_000, random="fitted", random_state=0).mean(
        axis=1
    )
    np.testing.assert_allclose(fitted, model.predict(data[:3]), atol=0.04)


@pytest.fixture(scope="module")
def single(data):
    """Rows whose members are one level."""
    return data[["y", "x", "first", "site"]].assign(again=data["first"])


@pytest.mark.parametrize("beside", ["", " + (1 | site)"])
def test_rows_of_one_level_are_a_plain_random_intercept(beside, single):
    tight = {"tol": 1e-12}
    plain = lmer(f"y ~ x + (1 | first){beside}", single, **tight)
    model = lmer(f"y ~ x + (1 | mm(first, again)){beside}", single, **tight)
    assert model.criterion_ == pytest.approx(plain.criterion_, abs=1e-10)
    assert model.predict(single) == pytest.approx(plain.predict(single), rel=1e-8)
    near = {"rtol": 1e-5, "atol": 1e-6}
    for function in (
        lambda m: m.predict_interval(single),
        lambda m: m.predict_interval(single.assign(first=99, again=99)),
        lambda m: m.loo_predict(single, single.y),
        lambda m: influence(m, single, single.y).to_frame(),
        lambda m: anova(m, df="kenward-roger").to_frame(),
        lambda m: confidence_intervals(m).to_frame(),
        lambda m: confidence_intervals(m, method="profile").to_frame(),
        lambda m: r2(m).to_frame(),
        lambda m: icc(m).to_frame(),
        lambda m: ranova(m).to_frame().sort_values("log_likelihood")[["statistic", "df"]],
        lambda m: next(iter(m.random_effects_.values())),
        lambda m: m.random_effects_covariance_[next(iter(m.n_groups_))],
    ):
        numbers = [function(each) for each in (plain, model)]
        numbers = [
            each.select_dtypes("number").to_numpy() if isinstance(each, pd.DataFrame) else each
            for each in numbers
        ]
        np.testing.assert_allclose(*numbers, **near)
    if not beside:
        spread = [bootstrap(m, 300, random_state=0).to_frame().std_error for m in (plain, model)]
        np.testing.assert_allclose(*spread, rtol=0.25)


def test_draws_around_the_estimates_are_of_levels(model):
    drawn = sim(model, 3_000, random_state=0).random_effects[THREE]
    assert drawn.shape == (3_000, Q, 1)
    errors = np.sqrt(model.random_effects_covariance_[THREE][:, 0, 0])
    np.testing.assert_allclose(drawn[:, :, 0].mean(axis=0), model.random_effects_[THREE].iloc[:, 0],
                               atol=0.06)  # fmt: skip
    assert (drawn[:, :, 0].std(axis=0) > 0.9 * errors).all()  # and that of the coefficients


def test_weights_without_sums_of_one_are_taken_as_they_are(data):
    twice = data.assign(u=2 * data.u, v=2 * data.v, w=2 * data.w)
    raw = THREE.replace("))", "), scale=FALSE)")
    one, two = (lmer(f"y ~ x + (1 | {raw})", each) for each in (data, twice))
    assert two.criterion_ == pytest.approx(one.criterion_, abs=1e-9)
    variances = [each.random_covariance_[raw].iloc[0, 0] for each in (one, two)]
    assert variances[0] == pytest.approx(4.0 * variances[1], rel=1e-5)
    equal = lmer("y ~ x + (1 | mm(first, second, third))", data)
    given = data.assign(u=3.0, v=3.0, w=3.0)
    assert lmer(f"y ~ x + (1 | {THREE})", given).criterion_ == pytest.approx(equal.criterion_)


def test_rows_and_columns_come_any_way(model, data):
    X, y = data.drop(columns=["y", "high", "site"]), data.y
    regressor = MixedLinearRegressor(f"(1 | {THREE})").fit(X, y)
    assert regressor.criterion_ == pytest.approx(model.criterion_, abs=1e-9)
    assert regressor.formula_ == f"y ~ x + (1 | {THREE})"
    of_mapping = MixedLinearRegressor({THREE: ["1"]}).fit(pl.from_pandas(X), y)
    assert of_mapping.predict(pl.from_pandas(X)) == pytest.approx(regressor.predict(X), abs=1e-9)
    labels = X.drop(columns="x")
    beside = MixedLinearRegressor(f"(1 | {THREE})").fit(X[["x"]], y, groups=labels)
    assert beside.predict(X[["x"]], groups=labels) == pytest.approx(regressor.predict(X), abs=1e-9)
    texts = data.assign(
        **{each: data[each].map("a{}".format) for each in ("first", "second", "third")}
    )
    assert lmer(f"y ~ x + (1 | {THREE})", texts).criterion_ == pytest.approx(model.criterion_)
    copy = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copy.predict(data), model.predict(data))
    assert np.array_equal(copy.predict_interval(data), model.predict_interval(data))


def test_sums_of_parts_are_those_of_all(data):
    X, y = data.drop(columns=["y", "high", "site"]), data.y
    model = MixedLinearRegressor(f"(1 | {THREE})").fit(X, y)
    parts = MixedLinearRegressor(f"(1 | {THREE})").partial_fit(X[:120], y[:120])
    assert parts.partial_fit(X[120:], y[120:]).criterion_ == pytest.approx(
        model.criterion_, abs=1e-9
    )
    fewer = MixedLinearRegressor(f"(1 | {THREE})").fit(X[:120], y[:120])
    moved = fewer.update_groups(X[120:], y[120:]).random_effects_[THREE]
    assert np.corrcoef(moved.iloc[:, 0], model.random_effects_[THREE].iloc[:, 0])[0, 1] > 0.99
    by_sums = grouped_cross_val_predict(model, X, y, cv=KFold(4))
    refitted = cross_val_predict(model, X, y, cv=KFold(4))
    np.testing.assert_allclose(by_sums, refitted, atol=1e-5)
    assert compare_models(model, fewer.fit(X, y)).to_frame()["aic"].nunique() == 1


def test_levels_that_are_not_known_are_told_of(data):
    X, y = data.drop(columns=["y", "high", "site"]), data.y
    odd = X.assign(first=[99, *X["first"][1:]])
    strict = MixedLinearRegressor(f"(1 | {THREE})", handle_unknown="error").fit(X, y)
    with pytest.raises(ValueError, match="1 rows have levels of 'mm"):
        strict.predict(odd)
    gaps = MixedLinearRegressor(f"(1 | {THREE})", handle_unknown="nan").fit(X, y)
    assert np.flatnonzero(np.isnan(gaps.predict(odd))).tolist() == [0]
    with pytest.raises(ValueError, match=r"1 are not among them, such as \[99\]: call fit"):
        MixedLinearRegressor(f"(1 | {THREE})").partial_fit(X, y).partial_fit(odd, y)


MISUSES = [
    (lambda d: lmer(f"y ~ x + (s(x, 5) | {THREE})", d), "for which there are no curves"),
    (lambda d: lmer("y ~ (1 | mm(first))", d), "two grouping columns at least"),
    (lambda d: lmer("y ~ (1 | mm(first, first))", d), "each once"),
    (lambda d: lmer("y ~ (1 | mm(first, second, weights=cbind(u)))", d), "not 1"),
    (lambda d: lmer("y ~ (1 | mm(first, second, weights=u))", d), "expected weights=cbind"),
    (lambda d: lmer("y ~ (1 | mm(first, u + 1))", d), "the name of a column"),
    (lambda d: lmer("y ~ (1 | mm(first, second, by=u))", d), r"mm\(\) takes"),
    (lambda d: lmer("y ~ cs(0 + x | mm(first, second))", d), r"no cs\(...\) around"),
    (lambda d: lmer("y ~ (1 | mm(first, eighth))", d), "do not exist"),
    (lambda d: lmer(f"y ~ (1 | {THREE})", d.assign(u=-1.0)), "negative, but 'u' has -1 in row 0"),
    (lambda d: lmer(f"y ~ (1 | {THREE})", d.assign(u="a")), "are not numbers"),
    (lambda d: lmer(f"y ~ (1 | {THREE})", d.assign(u=0, v=0, w=0)), "scale=FALSE leaves"),
    (lambda d: lmer("y ~ (1 | mm(first, second))", d.assign(second="a")), "share their levels"),
    (
        lambda d: MixedLinearRegressor("(1 | mm(first, second))", fixed="x").fit(
            d.assign(second=[None, *d["second"][1:].astype(str)], first=d["first"].astype(str)), d.y
        ),
        "is missing in rows",
    ),
    (lambda d: nlmer("y ~ logistic(x, A, b, c) ~ (A | mm(first, second))", d), "one curve has"),
    (lambda d: bayes.sample(lmer("y ~ (1 | mm(first, second))", d)), "have no sampler"),
    (lambda d: lmer(f"y ~ (1 | {THREE})", d).loo_predict(d, d.y, leave_out=THREE), "none is left"),
    (lambda d: influence(lmer(f"y ~ (1 | {THREE})", d), d, d.y, by=THREE), "none is left out"),
    (
        lambda d: bootstrap(lmer(f"y ~ (1 | {THREE})", d), 3, kind="residual", X=d, y=d.y),
        "kind='parametric'",
    ),
    (
        lambda d: distributed_fit(
            MixedLinearRegressor(f"(1 | {THREE})", fixed="x"), [d[:9], d[9:]], target="y"
        ),
        "call fit with all rows",
    ),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MISUSES)))
def test_what_does_not_go_is_refused_in_words(number, data):
    call, message = MISUSES[number]
    with pytest.raises(ValueError, match=message):
        call(data)


def test_other_responses_and_residuals_have_members(data, single):
    plain = clmm("site ~ x + (1 | first)", single)
    again = clmm("site ~ x + (1 | mm(first, again))", single)
    assert again.criterion_ == pytest.approx(plain.criterion_, abs=1e-7)
    unequal = lmer(f"y ~ x + (1 | {THREE})", data, residual="var(site)")
    assert unequal.criterion_ < lmer(f"y ~ x + (1 | {THREE})", data).criterion_
    members = lmer("y ~ x + (1 | mm(first, again))", single, residual="var(site)")
    alone = lmer("y ~ x + (1 | first)", single, residual="var(site)")
    assert members.criterion_ == pytest.approx(alone.criterion_, abs=1e-7)
