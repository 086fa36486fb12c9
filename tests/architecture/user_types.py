"""What a type checker knows of this package in a user's program; mypy reads it, nothing runs it.

Lines with the comment ``# error`` are wrong, and mypy says so.
"""

from typing import Any, assert_type

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from skmixed import (
    BayesianMixedRegressor,
    BLUPEncoder,
    GroupedModels,
    IterativeSolver,
    MixedClassifier,
    MixedEffectsClassifier,
    MixedEffectsRegressor,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
    MixedLinearRegressorCV,
    MixedNonlinearRegressor,
    OrdinalMixedClassifier,
    Relationship,
    bayes,
    clmm,
    display,
    distributed,
    glmer,
    inference,
    lmer,
    model_selection,
    nlmer,
)
from skmixed.bayes import HalfT, LeaveOneOut, PosteriorDraws, Prior
from skmixed.core.fit import Fit
from skmixed.datasets import load_sleepstudy, make_mixed_regression, make_schools
from skmixed.inference import Bootstrap, Draws, MarginalMeans, Profile, Table
from skmixed.inference.summary import GroupSummary, Summary

Numbers = NDArray[np.float64]


def data() -> None:
    X, y = load_sleepstudy(return_X_y=True)
    assert_type(X, pd.DataFrame)
    assert_type(y, "pd.Series[float]")
    assert_type(load_sleepstudy(), pd.DataFrame)
    assert_type(make_schools(), pd.DataFrame)
    make_mixed_regression(200, n_levels=(10, 5), random_sd=[1.0, 0.5])
    make_schools(n_schools="six")  # error


def posterior(X: pd.DataFrame, y: "pd.Series[float]") -> None:
    prior = Prior(scales={"Subject": HalfT(3, 50.0)})
    model = BayesianMixedRegressor("(1 + Days | Subject)", prior=prior, n_draws=10)
    assert_type(model.fit(X, y), BayesianMixedRegressor)
    assert_type(model.predict(X), Numbers)
    assert_type(model.predict(X, return_std=True), tuple[Numbers, Numbers])
    assert_type(model.predict_interval(X, kind="mean"), Numbers)
    assert_type(model.sample_y(X, n_samples=3), Numbers)
    assert_type(model.loo(X, y), LeaveOneOut)
    assert_type(model.posterior_, PosteriorDraws)
    assert_type(model.log_evidence_, float)
    draws = bayes.sample(lmer("Reaction ~ Days + (Days | Subject)", X), "rstanarm")
    assert_type(draws, PosteriorDraws)
    assert_type(draws.effects("Subject"), Numbers)
    assert_type(bayes.compare({"a": draws}), Table)
    BayesianMixedRegressor(prior="vague")  # error
    BayesianMixedRegressor(covariance="ar1")  # error


def linear(X: pd.DataFrame, y: "pd.Series[float]") -> None:
    model = MixedLinearRegressor("(1 + Days | Subject)", method="ml", handle_unknown="nan")
    assert_type(model.fit(X, y), MixedLinearRegressor)
    assert_type(model.fit(X, y, groups=X["Subject"]), MixedLinearRegressor)
    assert_type(model.partial_fit(X, y), MixedLinearRegressor)
    assert_type(model.update_groups(X, y), MixedLinearRegressor)
    assert_type(model.predict(X), Numbers)
    assert_type(model.predict(X, random=["Subject"], return_std=True), tuple[Numbers, Numbers])
    assert_type(model.predict_interval(X, kind="mean"), Numbers)
    assert_type(model.simulate(X, n_samples=3), Numbers)
    assert_type(model.loo_predict(X, y), Numbers)
    assert_type(model.score(X, y), float)
    assert_type(model.summary(), Summary)
    assert_type(model.coef_, Numbers)
    assert_type(model.intercept_, float)
    assert_type(model.coef_covariance_, pd.DataFrame)
    assert_type(model.random_effects_, dict[str, pd.DataFrame])
    assert_type(model.random_covariance_, dict[str, pd.DataFrame])
    assert_type(model.random_effects_covariance_, dict[str, Numbers])
    assert_type(model.converged_, bool)
    assert_type(model.n_groups_, dict[str, int])
    assert_type(model.aic_, float)
    assert_type(model.fit_, Fit)
    assert_type(model.n_features_in_, int)
    assert_type(lmer("Reaction ~ Days + (Days | Subject)", X), MixedLinearRegressor)
    MixedLinearRegressor(covariance={"Subject": "diagonal"}, solver=IterativeSolver(tol=1e-6))
    MixedLinearRegressor(method=3)  # error
    MixedLinearRegressor(method="REML")  # error
    MixedLinearRegressor(handle_unknown="zero")  # error
    MixedLinearRegressor(solver="fast")  # error
    MixedLinearRegressor(covariance="spherical")  # error
    MixedLinearRegressor(formula="y ~ x")  # error
    model.fit(X)  # error
    model.fit(X, y, None, X["Subject"])  # error
    model.predict(X, random=3)  # error
    model.predict_interval(X, level="95 %")  # error
    model.predict_interval(X, kind="median")  # error
    lmer("y ~ x", X, na_action="omit")  # error


def residual_structures(X: pd.DataFrame, y: "pd.Series[float]") -> None:
    model = MixedLinearRegressor(residual="ar1(Days | Subject) * var(Sex)").fit(X, y)
    assert_type(model.residual_parameters_, "pd.Series[float]")
    assert_type(model.residual_deviations_, "pd.Series[float]")
    assert_type(model.predict(X, serial=True), Numbers)
    assert_type(inference.visit_covariance(model, kind="std_error"), Table)
    assert_type(lmer("y ~ x", X, residual="us(t | g)"), MixedLinearRegressor)
    MixedLinearRegressor(residual=3)  # error
    lmer("y ~ x", X, residual=["us(t | g)"])  # error


def classes(X: pd.DataFrame, y: "pd.Series[bool]") -> None:
    model = MixedClassifier("(1 | g)", link="probit", quadrature=9, averaging="plug-in")
    assert_type(model.fit(X, y, groups=X["g"]), MixedClassifier)
    assert_type(model.predict(X), NDArray[Any])
    assert_type(model.predict_proba(X, random=["g"]), Numbers)
    assert_type(model.predict_log_proba(X), Numbers)
    assert_type(model.decision_function(X), Numbers)
    assert_type(model.score(X, y), float)
    assert_type(model.simulate(X, n_samples=3), NDArray[Any])
    assert_type(model.classes_, NDArray[Any])
    assert_type(model.coef_, Numbers)
    assert_type(model.separated_, list[str])
    assert_type(model.approximation_shift_, float)
    curve = MixedNonlinearRegressor("logistic", random="Asym | g", method="lindstrom-bates")
    assert_type(curve.fit(X, y), MixedNonlinearRegressor)
    MixedNonlinearRegressor(method="saem")  # error
    assert_type(nlmer("y ~ SSlogis(x, a, b, c) ~ a | g", X), MixedNonlinearRegressor)
    counts = MixedGeneralizedRegressor("(1 | g)", family="gamma", exposure="hours")
    assert_type(counts.fit(X, y), MixedGeneralizedRegressor)
    assert_type(counts.predict(X, random="none"), Numbers)
    assert_type(counts.score(X, y), float)
    assert_type(counts.simulate(X, sample_weight=y, random="fitted"), NDArray[Any])
    assert_type(counts.dispersion_, float)
    assert_type(glmer("y ~ x + (1 | g)", X, family="poisson"), MixedGeneralizedRegressor)
    glmer("y ~ x + (1 | g)", X, family="tweedie")  # error
    assert_type(clmm("y ~ x + (1 | g)", X, link="probit"), OrdinalMixedClassifier)
    clmm("y ~ x + (1 | g)", X, link="log")  # error
    MixedGeneralizedRegressor(family="tweedie")  # error
    MixedClassifier(link="log")  # error
    MixedClassifier(averaging="none")  # error
    MixedClassifier(method="ml")  # error
    model.fit(X)  # error


class MyRegressor(MixedLinearRegressor):
    """A subclass keeps its type."""

    def name(self) -> str:
        return "mine"


def others(X: pd.DataFrame, y: "pd.Series[float]") -> None:
    assert_type(MyRegressor().fit(X, y).name(), str)
    related = {"g": Relationship(pd.DataFrame([[1.0]], ["a"], ["a"]))}
    animals = MixedLinearRegressor("(1 | g)", relationship=related)
    assert_type(animals.fit(X, y), MixedLinearRegressor)
    chosen = MixedLinearRegressorCV(["(1 | g)", "(x | g)"]).fit(X, y)
    assert_type(chosen, MixedLinearRegressorCV)
    assert_type(chosen.predict(X), Numbers)
    assert_type(chosen.best_score_, float)
    effects = MixedEffectsRegressor(HistGradientBoostingRegressor(), "(1 | g)").fit(X, y)
    assert_type(effects, MixedEffectsRegressor)
    assert_type(effects.predict(X, groups=X["g"]), Numbers)
    assert_type(effects.predict_interval(X), Numbers)
    assert_type(effects.mixed_model_, MixedLinearRegressor | MixedGeneralizedRegressor | None)
    classes = MixedEffectsClassifier(random="(1 | g)").fit(X, y)
    assert_type(classes, MixedEffectsClassifier)
    assert_type(classes.predict_proba(X, groups=X["g"]), Numbers)
    assert_type(classes.mixed_model_, MixedClassifier | None)
    assert_type(effects.random_effects_, dict[str, pd.DataFrame])
    encoder = BLUPEncoder(columns=["g"], cross_fit="loo")
    assert_type(encoder.fit(X, y), BLUPEncoder)
    assert_type(encoder.fit_transform(X, y), Numbers)
    assert_type(encoder.transform(X), Numbers)
    assert_type(encoder.get_feature_names_out(), NDArray[np.object_])
    grouped = GroupedModels(group_features=["g"], fallback="error").fit(X, y)
    assert_type(grouped, GroupedModels)
    assert_type(grouped.predict(X), NDArray[Any])
    assert_type(grouped.predict_proba(X), NDArray[Any])
    assert_type(grouped.coef_table(), pd.DataFrame)
    assert_type(grouped.summary(), GroupSummary)
    MixedEffectsRegressor(cross_fit="folds")  # error
    BLUPEncoder(cross_fit="folds")  # error
    GroupedModels(fallback="zero")  # error
    MixedEffectsRegressor().fit(X)  # error
    GroupedModels().fit(X)  # error
    BLUPEncoder().fit(X)  # error


def of_a_fit(model: MixedLinearRegressor, X: pd.DataFrame, y: "pd.Series[float]") -> None:
    assert_type(inference.coefficient_table(model, df="residual"), Table)
    assert_type(inference.anova(model, "II"), Table)
    assert_type(inference.confidence_intervals(model, method="profile").to_frame(), pd.DataFrame)
    assert_type(inference.profile(model), Profile)
    assert_type(inference.bootstrap(model, 10, kind="cases", X=X, y=y), Bootstrap)
    assert_type(inference.sim(model).random_effects, dict[str, Numbers])
    assert_type(inference.sim(model), Draws)
    assert_type(inference.marginal_means(model, "Days"), MarginalMeans)
    assert_type(inference.random_effects_table(model), Table)
    assert_type(inference.ranova(model), Table)
    assert_type(inference.influence(model, X, y), Table)
    found = display.ProfileDisplay.from_estimator(model, kind="density")
    assert_type(found, display.ProfileDisplay)
    assert_type(model_selection.cross_validate(model, X, y), dict[str, Any])
    assert_type(distributed.fit(model, [X], target="Reaction"), MixedLinearRegressor)
    inference.coefficient_table(model, df="exact")  # error
    inference.anova(model, "IV")  # error
    inference.bootstrap(model, kind="wild")  # error
    inference.confidence_intervals(model, method="exact")  # error
    inference.profile(model, points="six")  # error
