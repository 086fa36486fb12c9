"""Cluster-robust covariances of generalized models, against R's sandwich 3.0-2 and integrals."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import special, stats
from sklearn.exceptions import ConvergenceWarning

from skmixed import clmm, glmer
from skmixed.inference import (
    anova,
    coefficient_table,
    confidence_intervals,
    linear_hypothesis,
    marginal_means,
    robust_covariance,
)
from tests import reference_set

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
LOG_WEIGHTS = np.log(WEIGHTS / np.sqrt(2 * np.pi))


def visits():
    """Persons in clinics who are seen several times, with three kinds of responses."""
    rng, rows = np.random.default_rng(8), []
    for person in range(40):
        u, slope, arm = rng.normal(0, 0.9), rng.normal(0, 0.6), "ab"[person % 2]
        for _ in range(int(rng.integers(3, 9))):
            x = rng.normal()
            eta = 0.2 + (0.6 + slope) * x + 0.5 * (arm == "b") + u
            latent = eta + rng.logistic()
            count = rng.poisson(np.exp(0.5 * eta))
            rows.append((person // 4, person, x, arm, latent > 0, count, latent))
    found = pd.DataFrame(rows, columns=["clinic", "person", "x", "arm", "yes", "count", "latent"])
    grade = pd.cut(found.pop("latent"), [-np.inf, -1.0, 1.0, np.inf], labels=["low", "mid", "high"])
    return found.assign(yes=found["yes"] * 1.0, b=(found["arm"] == "b") * 1.0, grade=grade)


DATA = visits()


def by_person(log_density):
    """Log-likelihoods of persons, whose effects are normal of deviation exp(last parameter)."""
    codes = DATA["person"].to_numpy()

    def at(parameters):
        each = log_density(parameters, np.exp(parameters[-1]) * NODES)  # (n, n_nodes)
        sums = np.zeros((codes.max() + 1, len(NODES)))
        np.add.at(sums, codes, each)
        return special.logsumexp(sums + LOG_WEIGHTS, axis=1)

    return at


def sandwich(at, estimates, clusters, step=1e-3):
    """H^-1 S'S H^-1 by central differences."""
    steps = step * np.eye(len(estimates))
    scores = np.array([(at(estimates + s) - at(estimates - s)) / (2 * step) for s in steps]).T
    hessian = [
        [
            (
                at(estimates + s + t).sum()
                - at(estimates + s - t).sum()
                - at(estimates - s + t).sum()
                + at(estimates - s - t).sum()
            )
            / (4 * step**2)
            for t in steps
        ]
        for s in steps
    ]
    summed = np.zeros((clusters.max() + 1, len(estimates)))
    np.add.at(summed, clusters, scores)
    assert np.abs(scores.sum(axis=0)).max() < 1e-4
    errors = summed @ np.linalg.inv(-np.array(hessian))
    return errors.T @ errors


def errors_of(table):
    return table.to_frame()["std_error"].to_numpy()


# --- other programs -------------------------------------------------------------------------------

# sqrt(diag(vcovCL(m, cluster = ~herd, type = "HC0", cadjust = FALSE))) of sandwich 3.0-2, with
# m <- glm(cbind(incidence, size - incidence) ~ period, binomial, cbpp), epsilon = 1e-14
CBPP = [0.275026064652, 0.439569642929, 0.495650088901, 0.387960892241]


def test_without_random_effects_as_sandwich():
    cbpp = reference_set.committed_table("cbpp")
    model = glmer("incidence / size ~ period", cbpp, family="binomial", weights="size")
    given = (cbpp, cbpp["incidence"] / cbpp["size"], cbpp["size"])
    robust = robust_covariance(model, *given, cluster="herd", kind="CR0")
    assert_allclose(errors_of(coefficient_table(model, covariance=robust)), CBPP, rtol=1e-7)
    n = cbpp["herd"].nunique()
    more = robust_covariance(model, *given, cluster=cbpp["herd"])
    assert more.kind == "CR1"
    assert_allclose(more.to_frame(), robust.to_frame() * n / (n - 1), rtol=1e-12)


@pytest.mark.parametrize("given", ["as they are", "equal rows"])
def test_without_variance_it_is_that_of_independent_rows(given):
    """Counts of every group have the same sum, so that its variance is zero."""
    rng = np.random.default_rng(3)
    x = (
        np.tile([0.0, 0.0, 1.0, 1.0, 1.0, 2.0], 12)
        if given == "equal rows"
        else rng.normal(size=72)
    )
    data = pd.DataFrame({"x": x, "g": np.repeat(np.arange(12), 6)})
    data["y"] = np.concatenate([rng.permutation([0, 1, 1, 2, 3, 5]) for _ in range(12)])
    model = glmer("y ~ x + (1 | g)", data, family="poisson")
    plain = glmer("y ~ x", data, family="poisson")
    assert model.random_covariance_["g"].to_numpy().item() == 0.0
    X = np.column_stack([np.ones(72), data["x"]])
    mean = np.exp(X @ plain.fit_.beta)
    scores = (X * (data["y"] - mean).to_numpy()[:, None]).reshape(12, 6, 2).sum(axis=1)
    bread = np.linalg.inv((X.T * mean) @ X)
    wanted = bread @ scores.T @ scores @ bread
    for each in (model, plain):
        robust = robust_covariance(each, data, data["y"], cluster="g", kind="CR0")
        assert_allclose(robust.to_frame(), wanted, rtol=1e-6)


# --- integrals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", ["person", "clinic"])
def test_two_classes_as_by_numerical_scores(cluster):
    model = glmer("yes ~ x + b + (1 | person)", DATA, family="binomial", quadrature=25)
    X, y = np.column_stack([np.ones(len(DATA)), DATA[["x", "b"]]]), DATA["yes"].to_numpy()

    def log_density(parameters, effects):
        eta = (X @ parameters[:3])[:, None] + effects
        return y[:, None] * eta - np.logaddexp(0.0, eta)

    deviation = np.sqrt(model.random_covariance_["person"].to_numpy().item())
    estimates = np.append(model.fit_.beta, np.log(deviation))
    clusters = DATA[cluster].drop_duplicates().to_numpy()
    if cluster == "clinic":
        clusters = DATA.drop_duplicates("person")["clinic"].to_numpy()
    wanted = sandwich(by_person(log_density), estimates, clusters)
    order = np.random.default_rng(1).permutation(len(DATA))
    rows = DATA.iloc[order]
    robust = robust_covariance(model, rows, rows["yes"], cluster=cluster, kind="CR0")
    assert_allclose(robust.to_frame(), wanted[:3, :3], rtol=2e-4, atol=1e-6)
    test = linear_hypothesis(model, ["x = 0", "b = 0"], covariance=robust)
    part, beta = wanted[1:3, 1:3], model.fit_.beta[1:]
    statistic = beta @ np.linalg.solve(part, beta)
    assert_allclose([test.statistic, test.df], [statistic, np.inf], rtol=1e-3)
    assert_allclose(test.p_value, stats.chi2.sf(statistic, 2), rtol=1e-2)


def test_ordered_categories_as_by_numerical_scores():
    model = clmm("grade ~ x + b + (1 | person)", DATA, quadrature=25)
    X, place = DATA[["x", "b"]].to_numpy(), DATA["grade"].cat.codes.to_numpy()

    def log_density(parameters, effects):
        ends = np.array([-np.inf, parameters[0], parameters[1], np.inf])
        eta = (X @ parameters[2:4])[:, None] + effects
        upper = special.expit(ends[place + 1][:, None] - eta)
        return np.log(upper - special.expit(ends[place][:, None] - eta))

    deviation = np.sqrt(model.random_covariance_["person"].to_numpy().item())
    estimates = np.concatenate([model.fit_.thresholds, model.fit_.beta[1:], [np.log(deviation)]])
    persons = np.arange(40)
    wanted = np.sqrt(np.diag(sandwich(by_person(log_density), estimates, persons)))
    robust = robust_covariance(model, DATA, DATA["grade"], kind="CR0")
    table = coefficient_table(model, covariance=robust)
    assert_allclose(errors_of(table), wanted[2:4], rtol=2e-4)
    limits = confidence_intervals(model, covariance=robust).to_frame()
    half = (limits["upper"] - limits["lower"]) / 2.0
    names = [*model.fit_.threshold_names, "x", "b"]
    assert_allclose(half[names], stats.norm.ppf(0.975) * wanted[:4], rtol=2e-4)


# --- what takes it, and what does not -------------------------------------------------------------


def test_it_knows_that_slopes_differ_and_units_do_not_matter():
    model = glmer("count ~ x + (1 | person)", DATA, family="poisson")
    robust = robust_covariance(model, DATA, DATA["count"])
    with_it, without = (errors_of(coefficient_table(model, covariance=c)) for c in (robust, None))
    assert with_it[1] > 1.2 * without[1]
    far = DATA.assign(x=1000.0 + DATA["x"] * 0.01)
    other = glmer("count ~ x + (1 | person)", far, family="poisson")
    moved = robust_covariance(other, far, far["count"]).to_frame()
    assert_allclose(moved.loc["x", "x"], robust.to_frame().loc["x", "x"] * 1e4, rtol=1e-5)


@pytest.mark.parametrize("random", ["(x | person)", "(1 | clinic / person)"])
@pytest.mark.parametrize("family", ["poisson", "negative_binomial"])
def test_all_tables_take_it(random, family):
    model = glmer(f"count ~ x + arm + {random}", DATA, family=family)
    robust = robust_covariance(model, DATA, DATA["count"])
    wanted = np.sqrt(np.diag(robust.to_frame()))
    table = coefficient_table(model, covariance=robust)
    assert "Wald tests, normal distribution." in str(table)
    assert_allclose(errors_of(table), wanted, rtol=1e-10)
    by_term = anova(model, covariance=robust).to_frame()
    z = model.fit_.beta / wanted
    assert_allclose(by_term["statistic"], z[1:] ** 2, rtol=1e-8)
    means = marginal_means(model, "arm", covariance=robust)
    assert_allclose(errors_of(means.pairs()), wanted[2], rtol=1e-8)
    limits = confidence_intervals(model, parameters="fixed", covariance=robust).to_frame()
    half = (limits["upper"] - limits["lower"]) / 2.0
    assert_allclose(half, stats.norm.ppf(0.975) * wanted, rtol=1e-8)


def test_means_of_the_response_take_it():
    plain = glmer("count ~ arm", DATA, family="poisson")
    robust = robust_covariance(plain, DATA, DATA["count"], cluster="person")
    on_link = marginal_means(plain, "arm", covariance=robust).to_frame()
    means = marginal_means(plain, "arm", scale="response", covariance=robust)
    found = means.to_frame()
    assert_allclose(found["std_error"], found["estimate"] * on_link["std_error"], rtol=1e-8)
    assert "40 clusters of person" in str(means)


def test_a_coefficient_of_one_cluster_has_no_error():
    data = DATA.assign(only=(DATA["person"] == 3) * 1.0)
    model = glmer("count ~ only", data, family="poisson")
    robust = robust_covariance(model, data, data["count"], cluster="person")
    errors = errors_of(linear_hypothesis(model, [1.0, 1.0], covariance=robust))
    assert np.isnan(errors).all()


def test_what_it_is_not_made_for_is_refused():
    model = glmer("count ~ x + (1 | person)", DATA, family="poisson")
    X, y = DATA, DATA["count"]
    robust = robust_covariance(model, X, y)
    days = DATA.assign(day=DATA.index % 7)
    crossed = glmer("count ~ x + (1 | person) + (1 | day)", days, family="poisson")
    with pytest.warns(ConvergenceWarning, match="separate"):
        separated = glmer("yes ~ one + (1 | person)", X.assign(one=X["yes"]), family="binomial")
    other = glmer("count ~ b + (1 | person)", DATA, family="poisson")
    cases = [
        (lambda: robust_covariance(model, X, y, kind="CR2"), "use kind='CR1'"),
        (lambda: robust_covariance(model, X, y, kind="HC3"), "not one of CR0, CR1, CR2"),
        (lambda: robust_covariance(model, X, y, cluster="x"), "levels of person have rows in"),
        (lambda: robust_covariance(model, X, y + 1), "not the rows the model was fitted to"),
        (lambda: robust_covariance(model, None, None), "needs the training data"),
        (lambda: robust_covariance(crossed, days, y), "several clusters"),
        (lambda: robust_covariance(separated, X.assign(one=X["yes"]), X["yes"]), "are infinite"),
        (lambda: coefficient_table(other, covariance=robust), "belongs to another model"),
        (lambda: coefficient_table(model, df="satterthwaite", covariance=robust), "df='normal'"),
    ]
    for call, reason in cases:
        with pytest.raises(ValueError, match=reason):
            call()
