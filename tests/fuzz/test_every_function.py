"""Every public function over random tables: finite figures, or an error of the package's own."""

import pickle
import traceback
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skmixed import (
    BLUPEncoder,
    GroupedModels,
    MixedEffectsRegressor,
    MixedLinearRegressor,
    MixedLinearRegressorCV,
    inference,
    model_selection,
)
from tests.fuzz.cases import draw_case, is_own, seeds

MOST_PARAMETERS = 3  # of covariances, where questions search again and again
SEARCHES = (
    *("profile", "intervals by bootstrap", "bootstrap", "bootstrap of residuals"),
    "bootstrap of cases",
)
EXPECTED = (ValueError, TypeError, NotImplementedError)


def strangers(case):
    """Return the rows with levels nobody has seen."""
    labels = {name: 10**6 + np.arange(len(case.X)) for name in case.codes}
    if not all(pd.api.types.is_integer_dtype(case.X[name]) for name in case.codes):
        labels = {name: [f"new {n}" for n in range(len(case.X))] for name in case.codes}
    return case.X.assign(**labels)


def bounds(limits):
    assert (limits[:, 0] <= limits[:, 1]).all()
    return limits


def shown(*objects):
    """Write objects out in every way; labels in HTML are escaped."""
    for item in objects:
        page = item._repr_html_()
        assert "<b>0" not in page
        assert repr(item)
        assert str(item)
    return None


def bootstrapped(kind):
    return lambda m, c: shown(
        inference.bootstrap_intervals(
            inference.bootstrap(m, 4, kind=kind, X=c.X, y=c.y, random_state=0)
        )
        if c.weights is None
        else inference.coefficient_table(m)
    )


def changed(method):
    """Let a copy of a model learn rows of new groups."""

    def change(m, c):
        again = pickle.loads(pickle.dumps(m))
        getattr(again, method)(strangers(c), c.y)
        return again.predict(strangers(c))

    return change


# What is asked of a fitted model; numbers that come back are finite.
QUESTIONS = {
    "predict": lambda m, c: m.predict(c.X),
    "predict strangers": lambda m, c: m.predict(strangers(c)),
    "predict, errors": lambda m, c: m.predict(c.X, return_std=True)[1],
    "intervals": lambda m, c: bounds(m.predict_interval(c.X)),
    "intervals by bootstrap": lambda m, c: bounds(
        m.predict_interval(c.X, method="bootstrap", n_samples=4, random_state=0)
    ),
    "simulate": lambda m, c: m.simulate(c.X, n_samples=2, random_state=0),
    "row by row": lambda m, c: np.testing.assert_allclose(
        np.concatenate([m.predict(c.X.iloc[n : n + 1]) for n in range(len(c.X))]),
        m.predict(c.X),
        rtol=1e-9,
        atol=1e-9 * np.abs(c.y).max(),
    ),
    "rows left out": lambda m, c: m.loo_predict(c.X, c.y, c.weights),
    "levels left out": lambda m, c: m.loo_predict(c.X, c.y, c.weights, leave_out="g0"),
    "summary": lambda m, c: shown(m.summary()),
    "coefficients": lambda m, c: shown(inference.coefficient_table(m)),
    "coefficients, Kenward-Roger": lambda m, c: shown(
        inference.coefficient_table(m, df="kenward-roger")
    ),
    **{
        f"anova {kind}": lambda m, c, kind=kind: shown(inference.anova(m, type=kind))
        for kind in ("I", "II", "III")
    },
    "ranova": lambda m, c: shown(inference.ranova(m)),
    "shares": lambda m, c: shown(inference.icc(m), inference.variance_partition(m)),
    "r2": lambda m, c: repr(inference.r2(m)) and None,
    "Wald": lambda m, c: shown(inference.confidence_intervals(m)),
    "profile": lambda m, c: shown(inference.confidence_intervals(m, method="profile")),
    "bootstrap": bootstrapped("parametric"),
    "bootstrap of residuals": bootstrapped("residual"),
    "bootstrap of cases": bootstrapped("cases"),
    "effects": lambda m, c: shown(inference.random_effects_table(m)),
    "sim": lambda m, c: shown(inference.sim(m, 10, random_state=0).random_effects_table()),
    "influence": lambda m, c: shown(inference.influence(m, c.X, c.y, c.weights)),
    "hypothesis": lambda m, c: repr(
        inference.linear_hypothesis(m, np.eye(len(m.coef_covariance_))[-1:])
    )
    and None,
    "means": lambda m, c: repr(inference.marginal_means(m, c.features[:1])) and None,
    "comparison": lambda m, c: shown(
        inference.compare_models(c.model.set_params(random="(1 | g0)", covariance="unstructured")
                                 .fit(c.X, c.y, c.weights), m)
    ),
    "pickled": lambda m, c: np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(m)).predict(c.X), m.predict(c.X)
    ),
    "update_groups": changed("update_groups"),
    "partial_fit": changed("partial_fit"),
}  # fmt: skip

BINARY, COUNTS, WORDS = "binary", "counts", "words"


def response(case, kind):
    """Return the response as numbers, or as classes made of them."""
    above = case.y > np.median(case.y)
    return {
        None: case.y,
        BINARY: above.astype(int),
        COUNTS: np.round(3 * np.abs(case.y) / (np.abs(case.y).max() or 1.0)),
        WORDS: np.array(["no", "yes"], dtype=object)[above.astype(int)],
    }[kind]


def grouped(estimator, kind, **parameters):
    names = {"group_features": "g0"} | parameters

    def predict(c):
        X = c.X[[*c.features, *np.atleast_1d(names["group_features"])]]
        y = response(c, kind)
        found = GroupedModels(estimator, **names).fit(X, y).predict(X)
        return np.isin(found, y) if kind == WORDS else found

    return predict


def encoded(kind=None, **parameters):
    encoder = BLUPEncoder(**{"columns": ["g0"]} | parameters)
    return lambda c: np.hstack(
        [
            encoder.fit_transform(c.X[[*c.features, "g0"]], response(c, kind)),
            encoder.transform(c.X[[*c.features, "g0"]]),
        ]
    )


def folds(c, **parameters):
    model = c.model.set_params(fixed=None)
    return model_selection.cross_val_predict(model, c.X, c.y, cv=2, **parameters)


# What is made of a table alone.
FITS = {
    "grouped": grouped(None, None),
    "grouped, relative": grouped(Ridge(), None, shrinkage="relative"),
    "grouped, nothing pooled": grouped(Ridge(), None, shrinkage=None),
    "grouped, two levels": lambda c: grouped(Ridge(), None, group_features=list(c.codes))(c),
    "grouped trees": grouped(DecisionTreeRegressor(max_depth=2), None, shrinkage=0.5),
    "grouped classes": grouped(LogisticRegression(), BINARY),
    "grouped words": grouped(DecisionTreeClassifier(max_depth=1), WORDS, shrinkage=None),
    "grouped counts": grouped(PoissonRegressor(), COUNTS),
    "encoder": encoded(),
    "encoder, left out": encoded(cross_fit="loo"),
    "encoder, classes": encoded(BINARY),
    "encoder, more": encoded(extra=["sd", "count"]),
    "encoder, slopes": lambda c: encoded(slopes=c.features[:1])(c),
    "encoder, joint": lambda c: encoded(columns=list(c.codes), joint=True, cross_fit="none")(
        c
    ),
    "effects": lambda c: (
        MixedEffectsRegressor(Ridge(), c.random, max_iter=3).fit(c.X, c.y).predict(c.X)
    ),
    "cross_validate": lambda c: model_selection.cross_validate(
        MixedLinearRegressor("(1 | g0)"), c.X[[*c.features, "g0"]], c.y,
        generalize_to="both", cv=2,
    ) and None,
    "cross_val_predict": folds,
    "splitter": lambda c: list(
        model_selection.WithinGroupKFold(2).split(c.X, c.y, c.X["g0"])
    ) and None,
    "choice": lambda c: (
        MixedLinearRegressorCV(["(1 | g0)", c.random], cv=2).fit(c.X, c.y).predict(c.X)
    ),
}  # fmt: skip


def asked(name, question, *arguments):
    """Ask; numbers are finite, errors the package's own, and warnings are said to the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # all others are errors
        try:
            found = question(*arguments)
        except EXPECTED as error:
            if not is_own(error):
                raise
            return
    if found is not None:
        assert np.isfinite(np.asarray(found, dtype=float)).all(), name


def some(rng, questions, share, n_parameters=0):
    """Draw a share of the questions; those that search again and again are for small models."""
    drawn = [name for name in questions if rng.random() < share]
    return [name for name in drawn if name not in SEARCHES or n_parameters <= MOST_PARAMETERS]


def ask_all(seed, share):
    """Put questions to a random case; a share of them, those that are left are for other seeds."""
    case = draw_case(seed)
    rng = np.random.default_rng(seed)
    failed = []

    def ask(name, question, *arguments):
        try:
            asked(name, question, *arguments)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            failed.append(f"{name}: {error!r} at {place.filename}:{place.lineno}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = case.fit()
    for name in some(rng, QUESTIONS, share, len(model.theta_)):
        ask(name, QUESTIONS[name], model, case)
    for name in some(rng, FITS, share):
        ask(name, FITS[name], case)
    assert not failed, "\n".join(failed)


@seeds(25, 25)
def test_some_functions_over_many_tables(seed):
    ask_all(1000 + seed, share=0.1)


@pytest.mark.study
@seeds(0, 200)
def test_all_functions_over_many_tables(seed):
    ask_all(seed, share=1.0)
