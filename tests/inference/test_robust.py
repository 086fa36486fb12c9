"""Cluster-robust covariances, against clubSandwich 0.5.8, sandwich 3.0-2 and dense algebra."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import linalg

from skmixed import MixedLinearRegressor, lmer
from skmixed.datasets import load_sleepstudy
from skmixed.inference import (
    anova,
    coefficient_table,
    confidence_intervals,
    linear_hypothesis,
    marginal_means,
    robust_covariance,
)


def classes():
    """Unbalanced pupils in rooms in schools in regions; z is a column of schools."""
    rng, rows = np.random.default_rng(5), []
    for school in range(12):
        u, z = rng.normal(0, 1.0), float(school % 3 == 0)
        for room in range(int(rng.integers(1, 5))):
            v = rng.normal(0, 0.7)
            for _ in range(int(rng.integers(1, 7))):
                x = rng.normal()
                y = 1 + 0.5 * x - 0.3 * z + u + v + rng.normal()
                rows.append((school // 2, school, room, x, z, y, rng.uniform(0.5, 2)))
    return pd.DataFrame(rows, columns=["region", "school", "room", "x", "z", "y", "w"]).round(6)


DATA = classes()
Y = DATA["y"]

# coef_test(m, vcovCR(m, cluster = d$school, type))[c("SE", "df_Satt")] and Wald_test of x = z = 0
# (Fstat, df_denom, p_val) of m <- lmer(y ~ x + z + (1 | school/room)), lme4 1.1-31 with bobyqa and
# rhoend = 1e-11; "region" is CR2 by regions.
NESTED = {
    "CR0": (
        [0.2239499910751, 0.0995880802675, 0.4763795033164],
        [6.44918778411, 7.60102664376, 6.26886945090],
        [11.0174612665, 6.5111881924, 0.00813349970458],
    ),
    "CR1": (
        [0.233908136986, 0.104016357445, 0.497562163696],
        [6.44918778411, 7.60102664376, 6.26886945090],
        [10.0993394943, 6.5111881924, 0.0100991179189],
    ),
    "CR2": (
        [0.242114445748, 0.105401750839, 0.577355930201],
        [6.34460957798, 7.39520433992, 5.27941898279],
        [9.61516109028, 5.81488945245, 0.0143267365321],
    ),
    "region": (
        [0.2368178734, 0.0793498706833, 0.5743835924787],
        [4.54423574920, 4.37263464990, 3.80383104987],
        [18.7140912943, 3.21575162099, 0.0169270753453],
    ),
}
# The same of lmer(y ~ x + z + (x | school)), a singular fit, and of lm(y ~ x + z).
SLOPES = (
    [0.2775290628528, 0.0926560352858, 0.5332400100740],
    [6.56406183013, 7.08939408313, 5.34728573038],
)
PLAIN = (
    [0.272995665039, 0.121558018056, 0.567519509727],
    [5.58847984584, 7.05095362328, 3.65313161256],
)
# sqrt(diag(vcovCL(lm, cluster = d$school, type = "HC0", cadjust = FALSE))), without and with
# weights = w.
SANDWICH = [0.248592869766, 0.109347422425, 0.402977850295]
WEIGHTED_SANDWICH = [0.232610128788, 0.113059070910, 0.414440606334]


def assert_table(model, robust, errors, degrees, rtol=1e-6):
    frame = coefficient_table(model, covariance=robust).to_frame()
    assert_allclose(frame["std_error"], errors, rtol=rtol)
    assert_allclose(frame["df"], degrees, rtol=rtol)


@pytest.mark.parametrize("case", NESTED)
def test_nested_effects_as_club_sandwich(case):
    model = lmer("y ~ x + z + (1 | school/room)", DATA)
    options = {"cluster": "region"} if case == "region" else {"kind": case}
    order = np.random.default_rng(1).permutation(len(DATA))
    rows = DATA.iloc[order]
    robust = robust_covariance(model, rows, rows["y"], **options)
    errors, degrees, joint = NESTED[case]
    assert_table(model, robust, errors, degrees)
    test = linear_hypothesis(model, np.eye(3)[1:], covariance=robust)
    assert_allclose([test.statistic, test.df, test.p_value], joint, rtol=1e-6)
    again = linear_hypothesis(model, ["x + z = 0", "x - 3 * z = 0"], covariance=robust)
    assert_allclose([again.statistic, again.df], joint[:2], rtol=1e-6)


def test_slopes_as_club_sandwich():
    model = lmer("y ~ x + z + (x | school)", DATA)
    robust = robust_covariance(model, DATA, Y)
    assert_table(model, robust, *SLOPES)
    # conf_int(m, vcov): the limits of x
    limits = confidence_intervals(model, covariance=robust).to_frame().loc["x"]
    assert_allclose(limits[["lower", "upper"]], [0.250939283949, 0.688015081700], rtol=1e-5)


def test_without_random_effects_as_sandwich_and_club_sandwich():
    for reml in (True, False):
        model = lmer("y ~ x + z", DATA, reml=reml)
        plain = robust_covariance(model, DATA, Y, cluster="school", kind="CR0")
        errors = coefficient_table(model, covariance=plain).to_frame()["std_error"]
        assert_allclose(errors, SANDWICH, rtol=1e-10)
        assert_table(model, robust_covariance(model, DATA, Y, cluster=DATA["school"]), *PLAIN, 1e-9)
    weighted = lmer("y ~ x + z", DATA, weights="w")
    found = robust_covariance(weighted, DATA, Y, DATA["w"], cluster="school", kind="CR0")
    errors = coefficient_table(weighted, covariance=found).to_frame()["std_error"]
    assert_allclose(errors, WEIGHTED_SANDWICH, rtol=1e-10)


# --- dense algebra --------------------------------------------------------------------------------


def power(matrix, exponent):
    values, vectors = linalg.eigh(matrix)
    kept = values > 1e-10 * values.max()
    return (vectors[:, kept] * values[kept] ** exponent) @ vectors[:, kept].T


def dense(X, y, V, clusters, kind):
    """Covariance and Satterthwaite's degrees of freedom of every coefficient, as in the paper."""
    inverse = linalg.inv(V)
    bread = linalg.inv(X.T @ inverse @ X)
    residual = y - X @ (bread @ X.T @ inverse @ y)
    hat = X @ bread @ X.T @ inverse
    labels = np.unique(clusters)
    meat, along = np.zeros_like(bread), []
    for label in labels:
        own = np.flatnonzero(clusters == label)
        block, whole = np.ix_(own, own), V[np.ix_(own, own)]
        adjust = np.eye(len(own)) * {"CR0": 1.0}.get(kind, np.sqrt(len(labels) / (len(labels) - 1)))
        if kind == "CR2":
            root = linalg.cholesky(whole)
            left = np.eye(len(y))[own] - hat[own]
            middle = root @ (left @ V @ left.T) @ root.T
            adjust = root.T @ power(middle, -0.5) @ root
        estimating = bread @ X[own].T @ inverse[block] @ adjust
        moved = estimating @ residual[own]
        meat += np.outer(moved, moved)
        along.append(estimating @ (np.eye(len(y)) - hat)[own])
    degrees = []
    for place in range(X.shape[1]):
        vectors = np.array([each[place] for each in along])
        P = vectors @ V @ vectors.T
        degrees.append(np.trace(P) ** 2 / np.sum(P**2))
    return meat, np.array(degrees)


def covariance_of(model, frame, terms, variances):
    """V over sigma^2 of a model whose terms are (labels, columns)."""
    V = np.diag(variances)
    found = list(model.random_covariance_.values())
    for (labels, columns), omega in zip(terms, found, strict=True):
        same = labels.to_numpy()[:, None] == labels.to_numpy()
        Z = np.column_stack(columns)
        V += same * (Z @ omega.to_numpy() @ Z.T) / model.residual_variance_
    return V


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2"])
@pytest.mark.parametrize("weighting", ["none", "precision", "strata", "frequency"])
def test_weights_as_dense_algebra(kind, weighting):
    one, w = np.ones(len(DATA)), DATA["w"].to_numpy()
    counts = 1.0 + DATA.index.to_numpy() % 3
    data, variances = DATA, one
    if weighting == "precision":
        data, variances = DATA.assign(w=np.where(DATA.index % 2, w, 1.5)), None
        model = lmer("y ~ x + z + (x | school)", data, weights="w")
        given = (data, data["y"], data["w"])
        variances = 1.0 / data["w"].to_numpy()
    elif weighting == "frequency":
        columns = DATA[["x", "z", "school"]]
        model = MixedLinearRegressor("(x | school)").fit(columns, Y, counts)
        given = (columns, Y, counts)
        data = DATA.loc[np.repeat(DATA.index, counts.astype(int))]
        variances = np.ones(len(data))
    elif weighting == "strata":
        data = DATA.assign(half=np.where(DATA.index % 2, "a", "b"))
        model = lmer("y ~ x + z + (x | school)", data, residual="var(half)")
        deviations = model.residual_deviations_
        variances = (deviations[data["half"]].to_numpy() / deviations.iloc[0]) ** 2
        given = (data, data["y"])
    else:
        model = lmer("y ~ x + z + (x | school)", data)
        given = (data, data["y"])
    X = data[["x", "z"]].assign(one=1.0)[["one", "x", "z"]].to_numpy()
    V = covariance_of(model, data, [(data["school"], [X[:, 0], X[:, 1]])], variances)
    wanted, degrees = dense(X, data["y"].to_numpy(), V, data["school"].to_numpy(), kind)
    robust = robust_covariance(model, *given, kind=kind)
    assert_allclose(robust.to_frame(), wanted, rtol=1e-8, atol=1e-12)
    assert_table(model, robust, np.sqrt(np.diag(wanted)), degrees, 1e-8)


def test_a_coefficient_of_one_cluster_takes_a_generalised_inverse():
    data = DATA.assign(only=(DATA["school"] == 3) * 1.0)
    model = lmer("y ~ x + only + (1 | school)", data)
    X = data[["x", "only"]].assign(one=1.0)[["one", "x", "only"]].to_numpy()
    V = covariance_of(model, data, [(data["school"], [X[:, 0]])], np.ones(len(X)))
    wanted, _ = dense(X, Y.to_numpy(), V, data["school"].to_numpy(), "CR2")
    robust = robust_covariance(model, data, Y)
    assert_allclose(robust.to_frame().iloc[:2, :2], wanted[:2, :2], rtol=1e-7)
    mean = [1.0, data.loc[data["only"] == 1.0, "x"].mean(), 1.0]  # residuals there add up to zero
    test = linear_hypothesis(model, mean, covariance=robust)
    assert np.isnan(test.p_value)
    assert test.to_frame()[["std_error", "df"]].isna().all(axis=None)
    both = linear_hypothesis(model, [mean, [0.0, 1.0, 0.0]], covariance=robust)
    assert both.num_df == 2
    assert np.isnan(both.p_value)


def test_the_covariance_is_unbiased_where_variances_between_are_huge():
    # With y drawn from the model the mean of CR2 is the model's covariance, here by its moments.
    rng = np.random.default_rng(2)
    n, size = 6, 400
    labels = np.repeat(np.arange(n), size)
    x = rng.normal(size=n * size)
    y = x + 1e5 * rng.normal(size=n)[labels] + rng.normal(size=n * size)
    model = MixedLinearRegressor().fit(pd.DataFrame({"x": x}), y, groups=labels)
    robust = robust_covariance(model, pd.DataFrame({"x": x}), y, groups=labels)
    sandwich = robust._sandwich
    moved = sandwich.seen @ sandwich.bread @ sandwich.seen.transpose(0, 2, 1)
    mean = sandwich.bread @ (sandwich.spread - moved).sum(axis=0) @ sandwich.bread
    assert_allclose(mean, sandwich.bread, rtol=1e-7, atol=1e-7 * np.abs(sandwich.bread).max())


# --- what takes it, and what does not -------------------------------------------------------------


def test_all_tables_take_it():
    data = DATA.assign(kind=np.where(DATA["z"] > 0, "new", "old"))
    model = lmer("y ~ x + kind + (1 | school/room)", data)
    robust = robust_covariance(model, data, Y)
    errors, degrees, _ = NESTED["CR2"]
    by_term = anova(model, covariance=robust).to_frame()
    assert_allclose(by_term["df"], degrees[1:], rtol=1e-6)
    pairs = marginal_means(model, "kind", covariance=robust).pairs()
    assert_allclose(pairs.to_frame()["std_error"], errors[2], rtol=1e-6)
    assert "CR2, 12 clusters of school." in str(pairs)
    normal = coefficient_table(model, df="normal", covariance=robust).to_frame()
    assert np.isinf(normal["df"]).all()
    again = pickle.loads(pickle.dumps(robust))
    assert_allclose(coefficient_table(model, covariance=again).to_frame(),
                    coefficient_table(model, covariance=robust).to_frame())  # fmt: skip


def test_more_restrictions_than_clusters_have_no_test():
    halves = np.where(DATA["school"] < 6, "a", "b")
    model = lmer("y ~ x + z + (1 | school)", DATA)
    robust = robust_covariance(model, DATA, Y, cluster=halves)
    test = linear_hypothesis(model, np.eye(3), covariance=robust)
    assert test.num_df == 3
    assert np.isnan(test.p_value)


def test_what_it_is_not_made_for_is_refused():
    sleep = load_sleepstudy()
    model = lmer("Reaction ~ Days + (Days | Subject)", sleep)
    X, y = sleep, sleep["Reaction"]
    robust = robust_covariance(model, X, y)
    other = lmer("Reaction ~ Days + (1 | Subject)", sleep, reml=False)
    cases = [
        (lambda: robust_covariance(model, X, y, kind="HC3"), "not one of CR0, CR1, CR2"),
        (lambda: robust_covariance(model, X, y, cluster="Days"), "levels of Subject have rows in"),
        (lambda: robust_covariance(model, X, y, cluster="Night"), "nor a column of X"),
        (lambda: robust_covariance(model, X, y, cluster=[1, 2]), "one label for each of the 180"),
        (lambda: robust_covariance(model, X, y, cluster=np.ones(180)), "two or more clusters"),
        (lambda: robust_covariance(model, X, y, cluster=[None] * 180), "180 rows have no cluster"),
        (lambda: robust_covariance(model, X, y + 1.0), "not the rows the model was fitted to"),
        (lambda: robust_covariance(model, None, None), "needs the training data"),
        (lambda: robust_covariance(lmer("Reaction ~ Days", X), X, y), "pass cluster"),
        (lambda: coefficient_table(other, covariance=robust), "belongs to another model"),
        (lambda: coefficient_table(model, df="residual", covariance=robust), "df='satterthwaite'"),
        (lambda: confidence_intervals(model, method="profile", covariance=robust), "'wald'"),
    ]
    for call, reason in cases:
        with pytest.raises(ValueError, match=reason):
            call()
    crossed = lmer("Reaction ~ Days + (1 | Subject) + (1 | Days)", X)
    with pytest.raises(ValueError, match="several clusters"):
        robust_covariance(crossed, X, y)
    with pytest.raises(TypeError, match="the result of robust_covariance"):
        coefficient_table(model, covariance=np.eye(2))
