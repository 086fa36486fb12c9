"""Classifiers and regressors of counts with random effects: slopes, and the truth."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.polynomial.hermite_e import hermegauss
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
)
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skmixed import (
    MixedClassifier,
    MixedEffectsClassifier,
    MixedEffectsRegressor,
    MixedGeneralizedRegressor,
    distributed,
)
from skmixed.core.families.catalogue import family_of
from skmixed.estimators.alternation._learned_responses import Classes, EffectsOfRows, PositiveMeans
from skmixed.inference import coefficient_table

FAMILIES = ["poisson", "gamma", "negative_binomial"]


def draw(n_rows=1_200, n_groups=60, seed=0):
    """Rows of two crossed factors with a linear predictor, and draws of every family."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "a": rng.normal(size=n_rows),
            "c": rng.uniform(-1, 1, size=n_rows),
            "g": rng.integers(n_groups, size=n_rows),
            "h": rng.choice(list("uvwxyz"), size=n_rows),
        }
    )
    effect = rng.normal(size=n_groups)[X["g"]]
    eta = 0.2 + 1.2 * X["a"] - X["c"] + effect + 0.3 * (X["h"] > "w")
    mean = np.exp(0.5 * eta).to_numpy()
    draws = {
        "classes": np.where(rng.random(n_rows) < expit(eta), "yes", "no"),
        "poisson": rng.poisson(mean),
        "gamma": rng.gamma(2.0, mean / 2.0),
        "negative_binomial": rng.negative_binomial(3, 3.0 / (3.0 + mean)),
    }
    return X, draws


X, DRAWS = draw()
VARIANCE = 0.58  # of the effects of g, by `MixedClassifier`
Y, GROUPED, PLAIN = DRAWS["classes"], X[["a", "c", "g"]], X[["a", "c"]]


def mean_slope(slope, center, variance):
    """Return the mean of a function of normal variables, (n,), by quadrature."""
    nodes, weights = hermegauss(60)
    values = slope(center[:, None] + np.sqrt(variance)[:, None] * nodes)
    return values @ weights / weights.sum()


@pytest.mark.parametrize("kind", ["classes", *FAMILIES])
def test_targets_have_the_slope_of_the_likelihood(kind):
    """With weights w and response t, w (t - mean(f)) is the mean over Z b of the score in f."""
    rng = np.random.default_rng(1)
    f, shift, variance = rng.normal(size=(2, 40))[0], rng.normal(size=40), rng.uniform(0, 2, 40)
    y, phi = DRAWS[kind][:40], np.array([0.7])
    effects = EffectsOfRows(f, shift, variance, phi)
    column = np.asarray(y == "yes" if kind == "classes" else y, dtype=float)[:, None]
    theta = np.exp(0.7)
    scores = {
        "classes": lambda eta: column - expit(eta),
        "poisson": lambda eta: column - np.exp(eta),
        "gamma": lambda eta: column * np.exp(-eta) - 1.0,
        "negative_binomial": lambda eta: theta * (column - np.exp(eta)) / (theta + np.exp(eta)),
    }
    truth = mean_slope(scores[kind], f + shift, variance)
    if kind == "classes":
        target = Classes(np.array(["no", "yes"]), 1e-3).target(y, effects)
        learned = target.weights * ((target.y == "yes") - expit(f))
    else:
        target = PositiveMeans(family_of(kind), 1e-3).target(y, effects)
        weights = np.exp(-f) if target.weights is None else target.weights
        learned = weights * (target.y - np.exp(f))
    assert_allclose(learned, truth, rtol=1e-7, atol=1e-9)


RANDOM = ["(1 | g)", "(a | g)", "(1 | g) + (1 | h)", "(1 | h/g)", "(I(a ** 2) | h)"]


@pytest.mark.filterwarnings("ignore::skmixed.exceptions.ApproximationWarning")
@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("intercept", [True, False])
def test_logistic_regression_gives_the_logistic_mixed_model(random, intercept):
    whole = LogisticRegression(C=np.inf, fit_intercept=intercept)
    columns = {"group_features": ["g", "h"]}
    ours = MixedEffectsClassifier(whole, random, **columns).fit(X, Y)
    formula = {"fixed": "a + c" if intercept else "0 + a + c"} if "I(" in random else columns
    if "I(" not in random:
        formula["fit_intercept"] = intercept
    theirs = MixedClassifier(random, **formula).fit(X, Y)
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-10)
    assert_allclose(ours.classifier_.coef_[0], theirs.coef_, rtol=1e-10)
    assert_allclose(ours.classifier_.intercept_, theirs.intercept_, rtol=1e-10)
    assert_allclose(ours.predict_interval(X), theirs.predict_interval(X), rtol=1e-10)
    for random_too in ("none", ["h"] if "h" in theirs.n_groups_ else "all"):
        population = theirs.predict_proba(X, random=random_too)
        assert_allclose(ours.predict_proba(X, random=random_too), population, rtol=1e-10)
    assert ours.criterion_ == pytest.approx(theirs.criterion_, rel=1e-12)


@pytest.mark.parametrize(
    ("family", "kind"), [("poisson", PoissonRegressor), ("gamma", GammaRegressor)]
)
@pytest.mark.parametrize("averaging", ["integrate", "plug-in"])
def test_regressions_without_penalty_give_the_generalized_mixed_model(family, kind, averaging):
    y, settings = DRAWS[family], {"family": family, "averaging": averaging}
    ours = MixedEffectsRegressor(kind(alpha=0), "(a | g)", **settings).fit(GROUPED, y)
    theirs = MixedGeneralizedRegressor("(a | g)", **settings).fit(GROUPED, y)
    assert_allclose(ours.predict(GROUPED), theirs.predict(GROUPED), rtol=1e-10)
    assert_allclose(ours.regressor_.coef_, theirs.coef_, rtol=1e-10)
    assert ours.score(GROUPED, y) == pytest.approx(theirs.score(GROUPED, y), rel=1e-10)
    assert ours.dispersion_ == pytest.approx(theirs.dispersion_)
    for asked in ({}, {"kind": "mean"}):
        limits = theirs.predict_interval(GROUPED[:50], **asked)
        assert_allclose(ours.predict_interval(GROUPED[:50], **asked), limits, rtol=1e-10)


LEARNERS = {
    "classes": LogisticRegression(C=1e8, tol=1e-8, max_iter=1_000),
    "poisson": PoissonRegressor(alpha=1e-10, tol=1e-7, max_iter=1_000),
    "gamma": GammaRegressor(alpha=1e-10, tol=1e-7, max_iter=1_000),
    "negative_binomial": PoissonRegressor(alpha=1e-10, tol=1e-7, max_iter=1_000),
}


@pytest.mark.parametrize("kind", ["classes", *FAMILIES])
def test_the_alternation_ends_at_the_maximum_of_the_likelihood(kind):
    """Learners with hardly a penalty, which know nothing of the effects but by their targets."""
    y, settings = DRAWS[kind], {"cross_fit": "none", "tol": 1e-9, "max_iter": 50}
    if kind == "classes":
        ours = MixedEffectsClassifier(LEARNERS[kind], "(1 | g)", **settings).fit(GROUPED, y)
        theirs = MixedClassifier("(1 | g)").fit(GROUPED, y)
    else:
        ours = MixedEffectsRegressor(LEARNERS[kind], "(1 | g)", family=kind, **settings)
        ours.fit(GROUPED, y)
        theirs = MixedGeneralizedRegressor("(1 | g)", family=kind).fit(GROUPED, y)
    assert ours.criterion_ == pytest.approx(theirs.criterion_, abs=1e-2)
    covariance = theirs.random_covariance_["g"]
    assert_allclose(ours.random_covariance_["g"], covariance, rtol=2e-3)
    f = ours.classifier_ if kind == "classes" else ours.regressor_
    assert_allclose(np.ravel(f.coef_), theirs.coef_, rtol=0.02)  # Laplace's beta is not EM's
    assert_allclose(ours.mixed_model_.coef_, 1.0, rtol=0.02)


def curves(seed=0, n_rows=2_000, n_groups=100):
    """Rows of a curve, for training, of the same groups, and of others, with probabilities."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(scale=1.3, size=2 * n_groups)
    parts = []
    for n, low in [(n_rows, 0), (4_000, 0), (4_000, n_groups)]:
        table = pd.DataFrame({"a": rng.uniform(-3, 3, size=n), "b": rng.normal(size=n)})
        table["group"] = rng.integers(low, low + n_groups, size=n)
        p = expit(2.0 * np.sin(table["a"]) + effect[table["group"]])
        parts.append((table, (rng.random(n) < p).astype(int), p))
    return parts, effect[:n_groups]


def test_a_curve_and_the_variance_are_found():
    (train, known, new), effect = curves()
    trees = HistGradientBoostingClassifier(max_iter=20, max_leaf_nodes=8, random_state=0)
    model = MixedEffectsClassifier(trees, "(1 | group)").fit(*train[:2])
    assert model.random_covariance_["group"].iloc[0, 0] == pytest.approx(effect.var(), rel=0.3)
    modes = model.random_effects_["group"].iloc[:, 0]
    assert np.corrcoef(modes, effect[modes.index])[0, 1] > 0.85
    linear = MixedClassifier("(1 | group)").fit(*train[:2])
    alone = trees.fit(train[0][["a", "b"]], train[1])
    for rows, _, p in (known, new):
        truth = np.column_stack([1 - p, p])

        def loss(other, rows=rows, truth=truth):
            return -np.mean(np.sum(truth * np.log(other.predict_proba(rows)), axis=1))

        plain = -np.mean(np.sum(truth * np.log(alone.predict_proba(rows[["a", "b"]])), axis=1))
        assert loss(model) < min(loss(linear), plain) - 0.001
        assert abs(model.predict_proba(rows)[:, 1].mean() - p.mean()) < 0.05
    low, high = model.predict_interval(new[0], level=0.9).T
    assert np.mean((low < new[2]) & (new[2] < high)) == pytest.approx(0.9, abs=0.06)


@pytest.mark.filterwarnings("ignore:.*deviations above 10:skmixed.exceptions.UnidentifiedWarning")
def test_what_is_too_sure_of_new_rows_is_believed_less():
    (train, _, new), _ = curves(n_rows=1_500)
    forest = RandomForestClassifier(20, random_state=0)
    model = MixedEffectsClassifier(forest, "(1 | group)", random_state=0).fit(*train[:2])
    assert model.mixed_model_.coef_[0] < 0.9
    own = forest.fit(train[0][["a", "b"]], train[1]).predict_proba(new[0][["a", "b"]])
    assert log_loss(new[1], model.predict_proba(new[0])) < log_loss(new[1], own) - 0.1
    seen = MixedEffectsClassifier(forest, "(1 | group)", cross_fit="none", max_iter=1, tol=0.0)
    with pytest.warns(ConvergenceWarning):
        seen.fit(*train[:2])
    assert seen.criterion_ < 0.5 * model.criterion_  # of rows that the trees have learned by heart


def test_counts_by_boosting():
    (train, _, new), effect = curves(n_rows=1_500)
    rng = np.random.default_rng(5)
    y, others = rng.poisson(odds(train)), rng.poisson(odds(new))
    small = {"max_iter": 20, "max_leaf_nodes": 8, "random_state": 0}
    trees = HistGradientBoostingRegressor(loss="poisson", **small)
    model = MixedEffectsRegressor(trees, "(1 | group)", family="poisson").fit(train[0], y)
    variance = model.random_covariance_["group"].iloc[0, 0]
    assert variance == pytest.approx(0.25 * effect.var(), rel=0.3)
    assert not hasattr(model, "residual_variance_")
    assert model.score(train[0], y) > model.score(new[0], others) > 0.2
    assert model.predict(new[0]).mean() == pytest.approx(others.mean(), rel=0.15)
    low, high = model.predict_interval(new[0], level=0.9).T
    assert 0.88 < np.mean((low <= others) & (others <= high)) < 0.99
    default = MixedEffectsRegressor(group_features="group", family="gamma", cv=2, max_iter=1)
    y = rng.gamma(3.0, odds(train) / 3.0)
    with pytest.warns(ConvergenceWarning):
        default.fit(train[0], y)
    assert default.regressor_.loss == "gamma"
    assert 0.25 < default.dispersion_ < 0.6


def odds(part):
    """Means of counts: the odds, less extreme."""
    return np.exp(0.5 * logit(part[2]))


def test_predictions_are_averaged_over_what_is_not_known():
    model = MixedEffectsClassifier(GaussianNB(), "(1 | g) + (1 | h)").fit(X, Y)
    mixed, nodes = model.mixed_model_, hermegauss(40)
    assert mixed.coef_.shape == (1,)
    f = mixed.intercept_ + mixed.coef_[0] * logit(model.classifier_.predict_proba(PLAIN)[:, 1])
    variances = [model.random_covariance_[name].iloc[0, 0] for name in "gh"]
    truth = mean_slope(expit, f, np.full(len(f), sum(variances)))
    assert_allclose(model.predict_proba(X, random="none")[:, 1], truth, rtol=1e-6)
    new = X.assign(g=-1, h="new")
    assert_allclose(model.predict_proba(new)[:, 1], truth, rtol=1e-6)
    assert len(nodes[0]) == 40
    plug_in = MixedEffectsClassifier(GaussianNB(), "(1 | g) + (1 | h)", averaging="plug-in")
    b = sum(model.random_effects_[name].iloc[:, 0].loc[X[name]].to_numpy() for name in ("g", "h"))
    assert_allclose(plug_in.fit(X, Y).predict_proba(X)[:, 1], expit(f + b), rtol=1e-8)
    assert_array_equal(model.predict(X) == "yes", model.predict_proba(X)[:, 1] > 0.5)
    assert_allclose(model.decision_function(X), logit(model.predict_proba(X)[:, 1]), rtol=1e-8)
    assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    assert model.score(X, Y) == np.mean(model.predict(X) == Y)


def test_groups_by_argument_are_groups_in_columns():
    learner = LogisticRegression()
    model = MixedEffectsClassifier(learner, group_features=["g", "h"]).fit(X, Y)
    other = MixedEffectsClassifier(learner).fit(PLAIN, Y, groups=X[["g", "h"]])
    again = other.predict_proba(PLAIN, groups=X[["g", "h"]])
    assert_allclose(again, model.predict_proba(X), rtol=1e-9)
    sloped = MixedEffectsClassifier(learner, "(f | g)").fit(GROUPED.rename(columns={"a": "f"}), Y)
    named = MixedEffectsClassifier(learner, "(a | g)").fit(GROUPED, Y)
    assert_allclose(
        sloped.predict_proba(GROUPED.rename(columns={"a": "f"})), named.predict_proba(GROUPED)
    )
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(StandardScaler(), MixedEffectsClassifier(learner))
        fitted = pipeline.fit(PLAIN, Y, groups=X["g"])
        assert fitted.predict_proba(PLAIN, groups=X["g"]).shape == (len(X), 2)
    assert cross_val_score(model, X, Y, cv=3).min() > 0.6


def test_without_groups_it_is_the_learner():
    trees = DecisionTreeClassifier(max_depth=2, min_samples_leaf=30)
    model = MixedEffectsClassifier(trees).fit(PLAIN, Y)
    assert_allclose(model.predict_proba(PLAIN), trees.fit(PLAIN, Y).predict_proba(PLAIN))
    assert model.mixed_model_ is None
    assert model.random_effects_ == {}
    counts = MixedEffectsRegressor(PoissonRegressor(), family="poisson").fit(
        PLAIN, DRAWS["poisson"]
    )
    theirs = PoissonRegressor().fit(PLAIN, DRAWS["poisson"])
    assert_allclose(counts.predict(PLAIN), theirs.predict(PLAIN))
    score = theirs.score(PLAIN, DRAWS["poisson"])
    assert counts.score(PLAIN, DRAWS["poisson"]) == pytest.approx(score)
    low, high = counts.predict_interval(PLAIN).T
    assert np.mean((low <= DRAWS["poisson"]) & (DRAWS["poisson"] <= high)) > 0.8


@pytest.mark.parametrize(
    "learner",
    [LogisticRegression(), DecisionTreeClassifier(max_depth=3, min_samples_leaf=5, random_state=0)],
    ids=str,
)
def test_whole_number_weights_are_rows(learner):
    copies = np.random.default_rng(3).integers(0, 4, size=len(X))
    rows = np.repeat(np.arange(len(X)), copies)
    weighted = MixedEffectsClassifier(learner, "(1 | g)").fit(GROUPED, Y, copies)
    repeated = MixedEffectsClassifier(learner, "(1 | g)").fit(GROUPED.iloc[rows], Y[rows])
    assert weighted.criterion_ == pytest.approx(repeated.criterion_, rel=1e-8)
    assert_allclose(weighted.predict_proba(GROUPED), repeated.predict_proba(GROUPED), rtol=1e-6)
    y = DRAWS["poisson"]
    counts = [
        MixedEffectsRegressor(PoissonRegressor(), "(1 | g)", family="poisson").fit(*given)
        for given in [(GROUPED, y, copies), (GROUPED.iloc[rows], y[rows])]
    ]
    assert_allclose(counts[0].predict(GROUPED), counts[1].predict(GROUPED), rtol=1e-5)


def test_a_fold_of_one_class_is_an_error_and_probabilities_of_zero_are_none():
    y = np.where((X["g"] % 5 == 0) & (np.arange(len(X)) % 2 > 0), "yes", "no")
    with pytest.raises(
        ValueError,
        match="'no', from which nothing can be learned: use another cv, or cross_fit='rows'",
    ):
        MixedEffectsClassifier(LogisticRegression(), "(1 | g)").fit(GROUPED, y)
    tree = MixedEffectsClassifier(DecisionTreeClassifier(random_state=0), "(1 | g)")
    found = tree.fit(GROUPED, Y).predict_proba(GROUPED)
    assert np.all((found > 0.0) & (found < 1.0))


def test_out_of_bag_and_pipelines():
    forest = RandomForestClassifier(60, min_samples_leaf=5, random_state=0)
    model = MixedEffectsClassifier(forest, "(1 | g)", cross_fit="oob").fit(GROUPED, Y)
    assert model.random_covariance_["g"].iloc[0, 0] == pytest.approx(VARIANCE, rel=0.4)
    piped = MixedEffectsClassifier(make_pipeline(StandardScaler(), LogisticRegression()), "(1 | g)")
    plain = MixedEffectsClassifier(LogisticRegression(), "(1 | g)").fit(GROUPED, Y)
    assert_allclose(
        piped.fit(GROUPED, Y).predict_proba(GROUPED), plain.predict_proba(GROUPED), atol=0.02
    )


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="family 'binomial' is fitted with random"):
        MixedEffectsClassifier(KNeighborsClassifier(), "(1 | g)").fit(GROUPED, Y)
    with pytest.raises(ValueError, match=r"predicts the mean -.* family 'poisson' are positive"):
        MixedEffectsRegressor(LinearRegression(), "(1 | g)", family="poisson").fit(
            GROUPED, DRAWS["poisson"]
        )
    with pytest.raises(ValueError, match="a poisson response is a count"):
        MixedEffectsRegressor(family="poisson").fit(PLAIN, -DRAWS["gamma"])
    with pytest.raises(ValueError, match="weighting='precision' requires family='gaussian'"):
        MixedEffectsRegressor(family="gamma", weighting="precision").fit(PLAIN, DRAWS["gamma"])
    with pytest.raises(ValueError, match="Only binary classification is supported"):
        MixedEffectsClassifier(LogisticRegression(), "(1 | g)").fit(GROUPED, X["h"])
    model = MixedEffectsClassifier(LogisticRegression(), "(1 | g)").fit(GROUPED, Y)
    with pytest.raises(ValueError, match="only its probability has an interval"):
        model.predict_interval(GROUPED, kind="observation")
    with pytest.raises(ValueError, match="grouping columns"):
        MixedEffectsClassifier(LogisticRegression(), "(1 | shop)").fit(GROUPED, Y)


@pytest.mark.parametrize("family", FAMILIES)
def test_f_is_the_one_that_the_mixed_model_knows(family):
    """Slopes and f span the same columns: whatever f has in which iteration, the sum is right."""
    learner = GammaRegressor if family == "gamma" else PoissonRegressor
    exact = learner(alpha=1e-10, tol=1e-8, max_iter=1_000)
    ours = MixedEffectsRegressor(exact, "(a | g)", family=family, cross_fit="none")
    ours.fit(GROUPED, DRAWS[family])
    theirs = MixedGeneralizedRegressor("(a | g)", family=family).fit(GROUPED, DRAWS[family])
    assert ours.criterion_ == pytest.approx(theirs.criterion_, rel=1e-10)
    assert_allclose(ours.predict(GROUPED), theirs.predict(GROUPED), rtol=1e-6)


HOURS = GROUPED.assign(hours=np.random.default_rng(7).gamma(1.0, 3.0, len(X)) + 0.05)


def with_hours(family, seed=3):
    rng, mean = np.random.default_rng(seed), HOURS["hours"] * np.exp(0.5 * HOURS["a"] - 0.5)
    mean = mean * np.exp(0.5 * rng.normal(size=60)[HOURS["g"]])
    draws = {
        "poisson": lambda: rng.poisson(mean),
        "gamma": lambda: rng.gamma(2.0, mean / 2.0),
        "negative_binomial": lambda: rng.negative_binomial(3, 3.0 / (3.0 + mean)),
    }
    return draws[family]()


@pytest.mark.parametrize("family", FAMILIES)
def test_exposures_of_regressions_are_those_of_the_generalized_mixed_model(family):
    y, settings = with_hours(family), {"family": family, "exposure": "hours"}
    theirs = MixedGeneralizedRegressor("(a | g)", **settings).fit(HOURS, y)
    learner = GammaRegressor if family == "gamma" else PoissonRegressor
    exact = learner(alpha=1e-10, tol=1e-8, max_iter=1_000)
    rounds = {"cross_fit": "none", "max_iter": 30, "tol": 0.0}
    models = [MixedEffectsRegressor(exact, "(a | g)", **settings, **rounds).fit(HOURS, y)]
    if family != "negative_binomial":
        whole = MixedEffectsRegressor(learner(alpha=0), "(a | g)", **settings)
        models += [clone(whole).fit(HOURS, y)]
        by_position = whole.set_params(exposure=3, group_features=[2]).fit(HOURS, y)
        assert_array_equal(by_position.predict(HOURS), models[1].predict(HOURS))
    for model in models:
        assert_allclose(model.predict(HOURS), theirs.predict(HOURS), rtol=1e-6)
        assert model.score(HOURS, y) == pytest.approx(theirs.score(HOURS, y), rel=1e-6)
        limits = theirs.predict_interval(HOURS[:40])
        assert_allclose(model.predict_interval(HOURS[:40]), limits, rtol=1e-5)
        assert model.regressor_.n_features_in_ == 2


@pytest.mark.parametrize("groups", [True, False])
def test_the_unit_of_exposures_does_not_matter(groups):
    y, table = with_hours("poisson"), HOURS if groups else HOURS.drop(columns="g")
    trees = HistGradientBoostingRegressor(loss="poisson", max_iter=5, random_state=0)
    settings = {"family": "poisson", "exposure": "hours", "max_iter": 3, "tol": 1.0}
    random = "(1 | g)" if groups else None
    by_hour = MixedEffectsRegressor(trees, random, **settings).fit(table, y)
    minutes = table.assign(hours=60.0 * table["hours"])
    by_minute = MixedEffectsRegressor(trees, random, **settings).fit(minutes, y)
    assert_allclose(by_minute.predict(minutes), by_hour.predict(table), rtol=1e-6)
    double = table.assign(hours=2.0 * table["hours"])
    assert_allclose(by_hour.predict(double), 2.0 * by_hour.predict(table), rtol=1e-12)
    if groups:
        given = MixedEffectsRegressor(trees, **settings)
        given.fit(HOURS.drop(columns="g"), y, groups=HOURS["g"])
        again = given.predict(HOURS.drop(columns="g"), groups=HOURS["g"])
        assert_array_equal(again, by_hour.predict(HOURS))


def test_impossible_exposures_are_said():
    y, model = with_hours("poisson"), MixedEffectsRegressor(random="(1 | g)", family="poisson")
    with pytest.raises(ValueError, match="family='gaussian' does not have: use family='poisson'"):
        MixedEffectsRegressor(exposure="hours").fit(HOURS, y)
    with pytest.raises(ValueError, match="exposure names 'days'"):
        clone(model).set_params(exposure="days").fit(HOURS, y)
    with pytest.raises(ValueError, match="the column 'g' is given both as exposure"):
        clone(model).set_params(exposure="g").fit(HOURS, y)
    model.set_params(exposure="hours")
    with pytest.raises(ValueError, match="positive, but the column 'hours' has 0 in row 5"):
        model.fit(HOURS.assign(hours=HOURS["hours"].where(HOURS.index != 5, 0.0)), y)
    alone = MixedEffectsRegressor(KNeighborsRegressor(), family="poisson", exposure="hours")
    with pytest.raises(ValueError, match="family 'poisson' is fitted with exposures"):
        alone.fit(HOURS[["a", "hours"]], y)
    fitted = model.set_params(regressor=PoissonRegressor()).fit(HOURS, y)
    with pytest.raises(ValueError, match="now missing:\n- hours"):
        fitted.predict(GROUPED)


def test_a_splitter_has_the_classes_and_the_groups():
    splitter = StratifiedGroupKFold(3)
    trees = HistGradientBoostingClassifier(max_iter=5, random_state=0)
    model = MixedEffectsClassifier(trees, "(1 | g)", cv=splitter, max_iter=2, tol=1.0)
    weights = np.arange(len(Y)) % 3
    model.fit(GROUPED, Y, weights)
    rows = np.flatnonzero(weights)
    codes = pd.factorize(GROUPED["g"][rows], sort=True)[0]
    places = np.full(len(Y), -1)
    places[rows] = codes
    response = np.where(weights > 0, Y, Y[rows[0]])
    folds = splitter.split(np.empty(len(Y)), response, places)
    pairs = list(folds)
    assert model.criteria_ == clone(model).set_params(cv=pairs).fit(GROUPED, Y, weights).criteria_


@pytest.mark.parametrize("kind", [MixedEffectsClassifier, MixedEffectsRegressor])
def test_what_cannot_be_is_refused_with_the_reason(kind):
    model = kind(random="(1 | g)")
    assert not hasattr(model, "partial_fit")
    assert not hasattr(model, "update_groups")
    with pytest.raises(AttributeError, match="has no partial_fit: f learns from all rows at once"):
        _ = model.partial_fit
    with pytest.raises(AttributeError, match="updating groups requires predictions of"):
        _ = model.update_groups
    with pytest.raises(TypeError, match="Only linear models can be fitted in one"):
        distributed.fit(model, GROUPED.assign(y=1.0), target="y")
    with pytest.raises(ValueError, match="cross_fit='oob' requires a forest with"):
        model.set_params(cross_fit="oob").fit(GROUPED, Y == "yes")
    y = Y == "yes"
    simple = LogisticRegression() if kind is MixedEffectsClassifier else LinearRegression()
    fitted = kind(simple, "(1 | g)").fit(GROUPED, y)
    with pytest.raises(TypeError, match="pass its mixed_model_"):
        coefficient_table(fitted)
    assert "(Intercept)" in coefficient_table(fitted.mixed_model_).frame.index


def test_generalized_models_say_why_they_take_no_batches():
    for model in (MixedClassifier(), MixedGeneralizedRegressor()):
        with pytest.raises(AttributeError, match="generalized models cannot be fitted from"):
            _ = model.partial_fit
