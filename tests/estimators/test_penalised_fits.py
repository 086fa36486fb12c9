"""Fits whose covariances have prior distributions, which keep them from being singular."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2
from sklearn.base import clone
from sklearn.model_selection import KFold
from sklearn.utils._param_validation import InvalidParameterError

from skmixed import (
    BayesianMixedRegressor,
    IterativeSolver,
    MixedClassifier,
    MixedLinearRegressor,
    MixedLinearRegressorCV,
    OrdinalMixedClassifier,
    distributed,
    glmer,
    lmer,
)
from skmixed.bayes import LKJ, Exponential, Gamma, HalfT, InverseGamma, Prior, Wishart, sample
from skmixed.datasets import load_sleepstudy
from skmixed.inference import (
    bootstrap,
    compare_models,
    confidence_intervals,
    profile,
    ranova,
)
from tests import reference_set
from tests.structured import MACHINES

SLEEP = load_sleepstudy()
X, Y = SLEEP.drop(columns="Reaction"), SLEEP["Reaction"]
SLOPES = "(1 + Days | Subject)"
FLAT_GAMMA = Gamma(2.5, np.inf)


def dyestuff2(prior, **settings):
    data = reference_set.committed_table("Dyestuff2")
    return lmer("Yield ~ 1 + (1 | Batch)", data, prior=prior, **settings)


def groups_without_effects(seed=0, n_groups=8, size=6):
    """Draw rows of groups that differ in nothing; fits to them are singular."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"x": rng.normal(size=n_groups * size), "g": np.repeat(np.arange(n_groups), size)}
    )
    return frame, 1.0 + frame["x"].to_numpy() + rng.normal(size=len(frame))


# --- figures of R -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prior", "theta", "likelihood", "penalty", "sigma"),
    [  # blmer(Yield ~ 1 + (1 | Batch), Dyestuff2, cov.prior = ...) of blme 1.0-5
        ("wishart", 0.4105577965, 163.469991419, 2.670715694, 3.626150855),
        (Wishart(), 0.4105577965, 163.469991419, 2.670715694, 3.626150855),
        (FLAT_GAMMA, 0.4105577965, 163.469991419, 2.670715694, 3.626150855),
        (Wishart(df=6), 1.174789658, 169.398415967, -1.288712935, 3.542729658),
        # gamma(shape = 2, rate = 0.5)
        (Gamma(2.0, 2.0), 0.2941603745, 162.699546396, 5.514009434, 3.656809396),
        # invgamma(shape = 1, scale = 0.5, posterior.scale = "var")
        (InverseGamma(1.0, 0.5), 0.4235993249, 163.56607872353, 0.08756191434, 3.6230661232),
    ],
)
def test_dyestuff2_of_blme(prior, theta, likelihood, penalty, sigma):
    model = dyestuff2(prior)
    assert model.theta_[0] == pytest.approx(theta, rel=1e-5)
    assert model.penalty_ == pytest.approx(penalty, abs=3e-5)
    assert model.criterion_ == pytest.approx(likelihood + penalty, abs=1e-7)
    assert -2.0 * model.log_likelihood_ == pytest.approx(likelihood, abs=3e-5)
    assert np.sqrt(model.residual_variance_) == pytest.approx(sigma, rel=1e-5)
    assert not model.is_singular_
    assert dyestuff2(None).is_singular_


def test_penicillin_of_blme():
    """blmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin) of blme 1.0-5."""
    data = reference_set.committed_table("Penicillin")
    model = lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", data, prior="wishart")
    np.testing.assert_allclose(model.theta_, [1.622689095, 4.258706318], rtol=2e-4)
    assert model.criterion_ <= 331.2444460143 - 5.7991504239 + 1e-8
    assert model.criterion_ == pytest.approx(331.2444460143 - 5.7991504239, abs=1e-6)


def test_sleepstudy_is_below_blme():
    """blmer(Reaction ~ Days + (Days | Subject)) of blme 1.0-5 warns, and stops at 1747.9217."""
    model = MixedLinearRegressor(SLOPES, prior="wishart").fit(X, Y)
    np.testing.assert_allclose(model.theta_, [1.06916, 0.00165, 0.25185], atol=1e-5)
    assert model.criterion_ == pytest.approx(1747.8424, abs=5e-5)
    blme = np.array([1.0009519238236, 0.0006965776379, 0.2500725691770])
    assert model.fit_.criterion_at(blme) == pytest.approx(1747.9217, abs=5e-5)
    assert model.fit_.criterion_at(model.theta_) == pytest.approx(model.criterion_, rel=1e-12)


@reference_set.needs_whole_set
def test_nested_slopes_are_not_singular():
    """blme 1.0-5 stops at 3717.58 there, and lme4 at two singular covariances."""
    data = reference_set.table("extroversion")
    model = lmer("extro ~ open + agree + social + (1 + open | school/class)", data, prior="wishart")
    assert model.criterion_ == pytest.approx(3571.23, abs=0.01)
    assert not model.is_singular_


# --- what priors mean -------------------------------------------------------------------------


def test_names_and_objects_are_one():
    plain = MixedLinearRegressor(SLOPES, prior="wishart").fit(X, Y)
    for prior in (Wishart(), Wishart(df=4.5), {"Subject": "wishart"}, {"Subject": Wishart(4.5)}):
        other = MixedLinearRegressor(SLOPES, prior=prior).fit(X, Y)
        np.testing.assert_array_equal(other.theta_, plain.theta_)
        assert other.criterion_ == plain.criterion_
    formula = lmer("Reaction ~ Days + (Days | Subject)", SLEEP, prior="wishart")
    np.testing.assert_allclose(formula.theta_, plain.theta_, rtol=1e-9)


def test_penalty_is_of_densities_in_units_of_the_data():
    prior = Prior(
        scales={"Subject": {"(Intercept)": Gamma(2.0, 3.0), "Days": InverseGamma(1.0, 0.1)}},
        correlation=LKJ(1.5),
    )
    model = MixedLinearRegressor(SLOPES, prior=prior).fit(X, Y)
    relative = model.random_covariance_["Subject"].to_numpy() / model.residual_variance_
    s = np.sqrt(np.diag(relative))
    v = s[1] ** 2
    correlation = np.linalg.det(relative / np.outer(s, s))
    expected = -2.0 * prior.scales["Subject"]["(Intercept)"].logpdf(s[0])
    expected += -2.0 * (InverseGamma(1.0, 0.1).logpdf(s[1]) - np.log(2.0 * s[1]))  # of v
    expected += -2.0 * 0.5 * np.log(correlation)
    assert v > 0.0
    assert model.penalty_ == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("random", ["(1 | g)", "(1 + x | g)", "(1 + x || g)"])
@pytest.mark.parametrize("seed", range(3))
def test_no_fit_is_singular(seed, random, method):
    frame, y = groups_without_effects(seed)
    plain = MixedLinearRegressor(random, method=method).fit(frame, y)
    model = MixedLinearRegressor(random, method=method, prior="wishart").fit(frame, y)
    assert model.converged_
    assert not model.is_singular_
    assert np.linalg.det(model.random_covariance_["g"]) > 0.0
    assert model.log_likelihood_ < plain.log_likelihood_
    assert (model.random_effects_["g"] != 0.0).any(axis=None)


@pytest.mark.parametrize("structure", ["cs", "homcs", "ar1", "hetar1", "toep", "diagonal"])
def test_structures(structure):
    """A deviation that columns share counts once, and the correlations as their determinant."""
    data = reference_set.committed_table("Machines")
    frame, y = data.drop(columns="score"), data["score"].to_numpy()
    model = MixedLinearRegressor(
        "(0 + Machine | Worker)", fixed="Machine", covariance=structure, prior="wishart"
    ).fit(frame, y)
    covariance = model.random_covariance_["Worker"].to_numpy() / model.residual_variance_
    s = np.sqrt(np.diag(covariance))
    distinct = s[:1] if structure in ("homcs", "ar1") else s
    expected = -3.0 * np.log(distinct).sum()
    expected += -1.5 * np.linalg.slogdet(covariance / np.outer(s, s))[1]
    assert model.penalty_ == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert model.converged_
    least = MACHINES.get(structure)
    if least is not None:
        assert model.criterion_ - model.penalty_ >= least - 1e-6
    rng = np.random.default_rng(0)
    for _ in range(10):
        nearby = model.theta_ + 1e-3 * rng.normal(size=len(model.theta_))
        assert model.fit_.criterion_at(nearby) > model.criterion_


def test_a_factor_may_go_without():
    frame, y = groups_without_effects()
    frame["h"] = np.tile(np.arange(6), 8)
    prior = {"g": Gamma(2.0, 1.0)}
    model = MixedLinearRegressor("(1 | g) + (1 | h)", prior=prior).fit(frame, y)
    plain = MixedLinearRegressor("(1 | g) + (1 | h)").fit(frame, y)
    assert model.random_covariance_["g"].to_numpy() > 0.0
    np.testing.assert_array_equal(
        model.random_covariance_["h"].to_numpy() == 0.0,
        plain.random_covariance_["h"].to_numpy() == 0.0,
    )
    assert plain.is_singular_


def test_residual_structures():
    structure = "ar1(Days | Subject)"
    model = MixedLinearRegressor(
        "(1 | Subject)", fixed="Days", residual=structure, prior="wishart"
    ).fit(X, Y)
    plain = MixedLinearRegressor("(1 | Subject)", fixed="Days", residual=structure).fit(X, Y)
    assert not model.is_singular_
    assert model.penalty_ == pytest.approx(-3.0 * np.log(model.theta_[0]), rel=1e-6)
    assert model.log_likelihood_ < plain.log_likelihood_
    fit = model.fit_
    best = fit.criterion_at(fit.theta, fit.phi)
    assert best == pytest.approx(model.criterion_, rel=1e-10)
    for step in (1e-3, -1e-3):
        assert fit.criterion_at(fit.theta + step, fit.phi) > best
        assert fit.criterion_at(fit.theta, fit.phi + step) > best


def test_curves_bend():
    """The variance of a curve is one like others."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": np.linspace(0.0, 1.0, 60), "g": np.repeat(np.arange(6), 10)})
    y = frame["x"].to_numpy() + rng.normal(size=60)
    settings = {"random": "(1 | g)", "fixed": "s(x, 5)"}
    assert MixedLinearRegressor(**settings).fit(frame, y).is_singular_
    model = MixedLinearRegressor(prior=Gamma(2.0, 1.0), **settings).fit(frame, y)
    assert not model.is_singular_


# --- the same fit by other ways ---------------------------------------------------------------


def assert_same(first, second, rtol=1e-7):
    np.testing.assert_allclose(first.theta_, second.theta_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first.coef_, second.coef_, rtol=rtol)
    assert first.criterion_ == pytest.approx(second.criterion_, abs=1e-7)
    assert first.penalty_ == pytest.approx(second.penalty_, abs=1e-4)


def test_batches_chunks_and_repeated_rows():
    frame, y = groups_without_effects(n_groups=12)
    model = MixedLinearRegressor("(1 + x | g)", prior="wishart")
    whole = clone(model).fit(frame, y)
    batches = clone(model).partial_fit(frame[:20], y[:20]).partial_fit(frame[20:], y[20:])
    assert_same(batches, whole)
    data = frame.assign(y=y)
    chunks = distributed.fit(clone(model), [data[:30], data[30:]], target="y")
    assert_same(chunks, whole)
    weights = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    repeated = np.repeat(np.arange(len(y)), weights.astype(int))
    weighted = clone(model).fit(frame, y, weights)
    assert_same(weighted, clone(model).fit(frame.iloc[repeated], y[repeated]))


def test_further_rows_of_groups_at_the_parameters_of_the_fit():
    frame, y = groups_without_effects(n_groups=12)
    model = MixedLinearRegressor("(1 | g)", prior="wishart").fit(frame[:36], y[:36])
    theta = model.theta_
    model.update_groups(frame[36:], y[36:])
    np.testing.assert_array_equal(model.theta_, theta)
    omega = theta[0] ** 2
    rest = y - model.predict(frame[["x"]].assign(g=99))
    sums = pd.Series(rest).groupby(frame["g"].to_numpy()).sum().to_numpy()
    expected = omega * sums / (1.0 + 6.0 * omega)
    np.testing.assert_allclose(model.random_effects_["g"].to_numpy()[:, 0], expected, rtol=1e-8)


def test_folds_are_fitted_as_their_rows_are():
    frame, y = groups_without_effects(n_groups=10, size=8)
    cv = MixedLinearRegressorCV(["(1 | g)", "(1 + x | g)"], prior="wishart", cv=3).fit(frame, y)
    assert not cv.is_singular_
    one = MixedLinearRegressor(cv.random_, prior="wishart").fit(frame, y)
    assert_same(cv, one)
    for number, (train, test) in enumerate(KFold(3).split(frame)):
        model = MixedLinearRegressor("(1 | g)", prior="wishart").fit(frame.iloc[train], y[train])
        score = model.score(frame.iloc[test], y[test])
        assert cv.cv_results_[f"split{number}_test_score"][0] == pytest.approx(score, abs=1e-6)


def test_travels():
    model = MixedLinearRegressor(SLOPES, prior=Prior(scales=Gamma(2.0, 3.0), correlation=LKJ(2.0)))
    assert clone(model).get_params()["prior"] == model.prior
    model.fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    stored = MixedLinearRegressor.from_dict(model.to_dict())
    for other in (again, stored):
        assert other.prior == model.prior
        assert other.penalty_ == model.penalty_
        assert other.fit_.criterion == pytest.approx(model.criterion_, rel=1e-12)
        other.partial_fit(X[:20], Y[:20])
        assert other.penalty_ != model.penalty_


# --- inference --------------------------------------------------------------------------------


def test_profiles_are_of_the_penalised_likelihood():
    model = dyestuff2("wishart", reml=False)
    table = confidence_intervals(model, method="profile")
    assert "Profile of the penalised likelihood." in str(table)
    low, high = table.to_frame().loc["sd_(Intercept)|Batch", ["lower", "upper"]]
    curves = profile(model, level=0.95, points=1).to_frame()
    of_sd = curves[curves["parameter"] == "sd_(Intercept)|Batch"]
    np.testing.assert_allclose(of_sd["value"].iloc[[0, -1]], [low, high], rtol=1e-5)
    fit = model.fit_
    for end in (low, high):
        # over sigma, with the deviation held
        sigmas = np.exp(np.linspace(np.log(2.0), np.log(8.0), 4001))
        omega = (end / sigmas) ** 2
        y = reference_set.committed_table("Dyestuff2")["Yield"].to_numpy().reshape(6, 5)
        within = np.square(y - y.mean(axis=1, keepdims=True)).sum()
        between = 5.0 * np.square(y.mean(axis=1) - y.mean()).sum()
        deviance = 30.0 * np.log(2.0 * np.pi * sigmas**2) + 6.0 * np.log(1.0 + 5.0 * omega)
        deviance += (within + between / (1.0 + 5.0 * omega)) / sigmas**2 - 1.5 * np.log(omega)
        rise = deviance.min() - fit.criterion
        assert rise == pytest.approx(chi2.ppf(0.95, 1), abs=1e-4)


@pytest.mark.parametrize("kind", ["parametric", "residual", "cases"])
def test_replicates_keep_the_prior(kind):
    data = reference_set.committed_table("Dyestuff2")
    rows = {"X": data, "y": data["Yield"]}

    def deviations(prior):
        found = bootstrap(dyestuff2(prior), 40, kind=kind, random_state=0, **rows)
        return found.replicates["sd_(Intercept)|Batch"].to_numpy()

    assert (deviations(Gamma(2.0, 1.0)) > 0.1).all()
    assert (deviations(None) == 0.0).any()


def test_likelihoods_are_not_compared():
    model = dyestuff2("wishart")
    with pytest.raises(ValueError, match="fit it with prior=None"):
        ranova(model)
    other = lmer("Yield ~ 1 + (1 | Batch)", reference_set.committed_table("Dyestuff2"))
    with pytest.raises(ValueError, match="fit it with prior=None"):
        compare_models(model, other)


def test_summary_says_the_prior():
    text = str(dyestuff2("wishart").summary())
    assert "prior: Batch ~ Wishart(df=3.5); penalty = 2.7" in text
    assert "REML criterion = 163.5" in text
    assert "prior:" not in str(dyestuff2(None).summary())
    prior = Prior(scales=Gamma(2.0, 3.0), correlation=LKJ(2.0))
    text = str(MixedLinearRegressor(SLOPES, prior=prior).fit(X, Y).summary())
    assert "prior: Subject ~ Gamma(shape=2.0, scale=3.0), LKJ(eta=2.0)" in text


def test_posteriors_are_drawn_with_their_own_prior():
    """What the fit was penalised by says only where the sampler begins."""
    draws = sample(dyestuff2("wishart"), n_draws=500, random_state=0)
    others = sample(dyestuff2(None), n_draws=500, random_state=1)
    error = draws.sigma.std() * np.sqrt(2.0 / 1000.0)
    assert abs(draws.sigma.mean() - others.sigma.mean()) < 5.0 * error


# --- responses of a family --------------------------------------------------------------------


def cbpp(prior, **settings):
    data = reference_set.committed_table("cbpp").assign(period=lambda D: D["period"].astype(str))
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    return glmer(formula, data, prior=prior, **settings)


@pytest.mark.parametrize(
    ("prior", "theta", "objective"),
    [  # bglmer(..., cov.prior = ...) of blme 1.0-5: it stops above the optimum, as glmer does
        ("wishart", 0.7188966432, 184.2205958220 + 0.9901130471),
        (Gamma(2.0, 2.0), 0.6753325694, 184.086072150 + 4.233021320),
    ],
)
def test_cbpp_of_blme(prior, theta, objective):
    model = cbpp(prior)
    assert model.theta_[0] == pytest.approx(theta, rel=5e-4)
    assert objective - 1e-3 < model.criterion_ < objective
    assert model.deviance_ == pytest.approx(model.criterion_ - model.penalty_, rel=1e-12)
    assert model.fit_.log_likelihood == pytest.approx(-0.5 * model.deviance_, rel=1e-12)
    assert "prior: herd ~" in str(model.summary())


def test_cbpp_by_quadrature():
    """bglmer(..., nAGQ = 9)"""
    model = cbpp("wishart", quadrature=9)
    assert model.theta_[0] == pytest.approx(0.725534413, rel=1e-6)
    expected = [-0.9798114828, -1.1167384239, -1.5665265184]
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-6)
    assert model.penalty_ == pytest.approx(0.9625403228, abs=1e-5)


@pytest.mark.parametrize("random", ["(1 | g)", "(1 + x | g)", "(1 | g) + (1 | h)"])
def test_no_classifier_is_singular(random):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": rng.normal(size=200), "g": np.repeat(np.arange(20), 10), "h": np.arange(200) % 8}
    )
    y = rng.integers(0, 2, 200)
    assert MixedClassifier(random).fit(frame, y).is_singular_
    model = MixedClassifier(random, prior="wishart").fit(frame, y)
    assert model.converged_
    assert not model.is_singular_
    with pytest.raises(ValueError, match="fit it with prior=None"):
        ranova(model, X=frame, y=y)
    again = MixedClassifier.from_dict(model.to_dict())
    assert again.penalty_ == model.penalty_
    assert clone(model).get_params()["prior"] == "wishart"


def test_groups_of_one_class_each_have_a_finite_variance():
    """Without a prior it is held at a convention, with a warning."""
    frame = pd.DataFrame({"g": np.repeat(np.arange(8), 4)})
    y = np.repeat([0, 1, 0, 1, 1, 0, 1, 0], 4)
    model = MixedClassifier("(1 | g)", prior=Gamma(2.0, 1.0)).fit(frame, y)
    assert model.converged_
    assert 1.0 < model.theta_[0] < 10.0


def test_ordered_categories_take_a_prior():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"x": rng.normal(size=120), "g": np.repeat(np.arange(12), 10)})
    y = rng.integers(0, 3, 120)
    assert OrdinalMixedClassifier("(1 | g)").fit(frame, y).is_singular_
    model = OrdinalMixedClassifier("(1 | g)", prior="wishart").fit(frame, y)
    assert not model.is_singular_
    assert model.penalty_ == pytest.approx(-3.0 * np.log(model.theta_[0]), rel=1e-9)


def test_posteriors_of_classes_have_their_own_prior():
    data = reference_set.committed_table("cbpp")
    rows = {"X": data.assign(period=data["period"].astype(str)), "sample_weight": data["size"]}
    rows["y"] = data["incidence"] / data["size"]
    first, second = (
        sample(cbpp(prior), n_draws=200, random_state=0, **rows).to_frame()["mean"].to_numpy()
        for prior in (None, Gamma(8.0, 2.0))
    )
    np.testing.assert_allclose(first, second, rtol=0.02)


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (Gamma(2.0, 1.0), r"has correlations, which LKJ\(eta=1.0\) allows"),
        (Gamma(1.0, 1.0), "not zero at a standard deviation of zero"),
        (HalfT(3, 1.0), "not zero at a standard deviation of zero"),
        (Wishart(3), "df must be more than k \\+ 1, 3 with 2 correlated columns"),
        ({"Sub": "wishart"}, "names 'Sub', which is not a factor with random effects"),
        ({"Subject": "flat"}, "cannot be used in a penalised fit"),
        ({"Subject": 3}, "cannot be used in a penalised fit"),
        (Prior(), "the default, a half-t"),
        (Prior(scales=Gamma(2.0, 1.0)), "use prior='wishart'"),
        (
            Prior(scales={"Subject": {"Day": Gamma(2.0, 1.0)}}, correlation=LKJ(2.0)),
            "names 'Day', which is not a random column of 'Subject'",
        ),
        (
            Prior(scales=Gamma(2.0, 1.0), correlation=LKJ(2.0), sigma=Exponential(1.0)),
            r"Prior\(sigma=...\) has no effect in a penalised fit",
        ),
    ],
)
def test_priors_that_do_not_do(prior, message):
    with pytest.raises((ValueError, TypeError), match=message):
        MixedLinearRegressor(SLOPES, prior=prior).fit(X, Y)


def test_other_refusals():
    with pytest.raises(InvalidParameterError, match="prior"):
        MixedLinearRegressor(SLOPES, prior="flat").fit(X, Y)
    for solver in ("em", "iterative", IterativeSolver()):
        with pytest.raises(ValueError, match="does not support a prior: use 'auto' or 'newton'"):
            MixedLinearRegressor(SLOPES, prior="wishart", solver=solver).fit(X, Y)
    with pytest.raises(ValueError, match="reduced rank and is singular by design"):
        MixedLinearRegressor(SLOPES, prior="wishart", covariance="rr(1)").fit(X, Y)
    with pytest.raises(InvalidParameterError, match="prior"):
        BayesianMixedRegressor(SLOPES, prior="wishart").fit(X, Y)
    two = X["Subject"].isin(X["Subject"].unique()[:2])
    with pytest.raises(ValueError, match=r"too few levels \(2\) beside the fixed columns"):
        MixedLinearRegressor("(1 | Subject)", prior="wishart").fit(X[two], Y[two])
    model = MixedLinearRegressor("(1 | Subject)", prior=Gamma(2.0, 2.0)).fit(X[two], Y[two])
    assert not model.is_singular_
    before = model.theta_
    with pytest.raises(ValueError, match="too few levels"):
        model.set_params(prior="wishart").fit(X[two], Y[two])
    np.testing.assert_array_equal(model.theta_, before)
