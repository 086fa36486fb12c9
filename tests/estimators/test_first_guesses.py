"""What people write at first is taken, or answered by what to write."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skmixed import (
    BLUPEncoder,
    GroupedModels,
    MixedEffectsClassifier,
    MixedEffectsRegressor,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
    MixedNonlinearRegressor,
)
from skmixed.display import explore
from skmixed.inference import coefficient_table, random_effects_table

N, STORES = 400, 20
RNG = np.random.default_rng(0)
SALES = pd.DataFrame(
    {
        "store": [f"S{i}" for i in np.arange(N) % STORES],
        "region": RNG.choice(["east", "west"], N),
        "price": RNG.uniform(5.0, 15.0, N).round(2),
        "promo": RNG.random(N) < 0.2,
    }
)
UNITS = 60.0 + RNG.normal(size=STORES)[np.arange(N) % STORES] * 8.0 - 2.0 * SALES["price"]
UNITS += RNG.normal(size=N)
NUMBERS = SALES[["store", "price", "promo"]]


def refused(message, estimator, X=NUMBERS, y=UNITS):
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.fit(X, y)


def test_columns_and_terms_in_lists_are_answered_by_formulas():
    refused(
        r"It is a formula: fixed='price \+ `list price`'",
        MixedLinearRegressor("(1 | store)", fixed=["price", "list price"]),
    )
    refused(
        r"random='\(1 \| store\) \+ \(1 \| region\)'", MixedLinearRegressor(["store", "region"])
    )
    refused(r"random='\(1 \| store\)'", MixedLinearRegressor(["1 | store"]))
    refused(r"did you mean \(1 \| store\)\? All else", MixedLinearRegressor("store"))


@pytest.mark.parametrize("text", ["store", "1 | store", "(1 | store)"])
def test_a_learner_comes_first(text):
    term = r"\(1 \| store\)"
    message = rf"MixedEffectsRegressor\(regressor, '{term}'\), or random='{term}'"
    refused(message, MixedEffectsRegressor(text))
    refused(r"MixedEffectsClassifier\(classifier, ", MixedEffectsClassifier(text), y=UNITS > 60)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("negbin", "negative_binomial"),
        ("nbinom", "negative_binomial"),
        ("NB", "negative_binomial"),
        ("Gamma", "gamma"),
        ("poison", "poisson"),
        ("binom", "binomial"),
    ],
)
def test_abbreviated_words(word, meant):
    model = MixedGeneralizedRegressor("(1 | store)", family=word)
    refused(f"Did you mean '{meant}'", model)


def test_words_that_stand_for_nothing():
    for word in ("tweedie", "n", "x" * 40):
        with pytest.raises(ValueError, match=r"Got '\w+' instead\.$"):
            MixedGeneralizedRegressor("(1 | store)", family=word).fit(NUMBERS, UNITS)
    refused("Did you mean 'reml'", MixedLinearRegressor(method="REML"))


def test_intervals_in_percent():
    models = [
        MixedLinearRegressor("(1 | store)"),
        MixedGeneralizedRegressor("(1 | store)"),
        MixedEffectsRegressor(LinearRegression(), "(1 | store)"),
        GroupedModels(group_features="store"),
    ]
    for model in models:
        fitted = model.fit(NUMBERS, UNITS.clip(0).round())
        with pytest.raises(ValueError, match=r"interval=90 is not .* use interval=0\.9"):
            fitted.predict(NUMBERS.head(2), interval=90)
    hours = pd.DataFrame({"t": np.arange(20.0), "who": np.arange(20) % 2})
    curve = MixedNonlinearRegressor("asymptotic", inputs="t").fit(
        hours[["t"]], 3.0 - 2.0 * np.exp(-0.3 * hours["t"]) + 0.1 * np.cos(np.arange(20))
    )
    with pytest.raises(ValueError, match="interval=90 is not"):
        curve.predict(hours[["t"]], interval=90)


def test_columns_of_text():
    message = (
        r"\['region'\] are not numeric: encode them, as OneHotEncoder .* fixed='... \+ region'"
    )
    refused(message, MixedLinearRegressor("(1 | store)"), SALES)
    refused(r"or name them in `group_features`$", GroupedModels(group_features="store"), SALES)


@pytest.mark.parametrize("kind", ["object", "category"])
def test_columns_of_text_that_a_learner_does_not_take(kind):
    table = SALES.astype({"region": kind})
    message = r"the columns \['region'\] hold text, which LinearRegression does not take"
    refused(message, MixedEffectsRegressor(LinearRegression(), "(1 | store)"), table)
    classifier = MixedEffectsClassifier(LogisticRegression(), "(1 | store)")
    refused(r"HistGradientBoostingClassifier\(cat", classifier, table, UNITS > 60)


def test_what_to_do_with_columns_of_text_for_a_learner():
    trees = HistGradientBoostingRegressor(max_iter=5, categorical_features="from_dtype")
    refused(
        "the columns .'region'. hold text",
        MixedEffectsRegressor(
            HistGradientBoostingRegressor(max_iter=5, categorical_features=None), "(1 | store)"
        ),
        SALES,
    )
    table = SALES.astype({"region": "category"})
    MixedEffectsRegressor(trees, "(1 | store)").fit(table, UNITS)
    encoded = make_pipeline(
        ColumnTransformer([("region", OneHotEncoder(), ["region"])], remainder="passthrough"),
        LinearRegression(),
    )
    MixedEffectsRegressor(encoded, "(1 | store)").fit(SALES, UNITS)


def test_text_for_a_response():
    words = pd.Series(np.where(UNITS.median() < UNITS, "yes", "no"))
    for y in (words, words.to_numpy(), words.astype("category"), words.tolist()):
        refused(
            "y is text, such as '(yes|no)', .* MixedClassifier",
            MixedLinearRegressor("(1 | store)"),
            y=y,
        )
    spelled = MixedLinearRegressor("(1 | store)").fit(NUMBERS, UNITS.astype(str))
    whole = MixedLinearRegressor("(1 | store)").fit(NUMBERS, UNITS)
    assert_array_equal(spelled.coef_, whole.coef_)
    MixedLinearRegressor("(1 | store)").fit(NUMBERS, UNITS > 60)


def after(*, verbose, named):
    """Return a pipeline whose transformer renames columns, or has them in an array."""
    transformer = ColumnTransformer(
        [("fill", SimpleImputer(), ["price"])],
        remainder="passthrough",
        verbose_feature_names_out=verbose,
    )
    if named:
        transformer.set_output(transform="pandas")
    return make_pipeline(transformer, MixedLinearRegressor("(1 | store)"))


def test_columns_after_a_transformer():
    refused(
        r"set_output\(transform='pandas'\), or use positions, as in group_features=\[0\]",
        after(verbose=False, named=False),
        NUMBERS,
    )
    message = r"Did you mean 'remainder__store'\? .*verbose_feature_names_out=False"
    refused(message, after(verbose=True, named=True))
    by_name = after(verbose=True, named=True)
    by_name[-1].set_params(random=None, group_features="store")
    refused(message, by_name)
    after(verbose=False, named=True).fit(NUMBERS, UNITS)


def test_functions_of_a_model_in_a_pipeline(tmp_path):
    pipe = after(verbose=False, named=True).fit(NUMBERS, UNITS)
    wanted = random_effects_table(pipe[-1]).to_frame()
    grid = {"mixedlinearregressor__method": ["reml"]}
    search = GridSearchCV(pipe, grid, cv=2).fit(NUMBERS, UNITS)
    for model in (pipe, search, make_pipeline("passthrough", pipe)):
        pd.testing.assert_frame_equal(random_effects_table(model).to_frame(), wanted)
    with pytest.raises(
        TypeError, match=r"pass its last step, pipe\[-1\], .*pipe\[:-1\]\.transform"
    ):
        coefficient_table(pipe)
    with pytest.raises(
        TypeError, match="a GridSearchCV is not a mixed model: pass its best_estimator_"
    ):
        coefficient_table(search)
    explore(search, NUMBERS, tmp_path / "page.html")


def test_the_first_parameter_of_an_encoder_is_columns():
    one, other = BLUPEncoder(["store"]), BLUPEncoder(columns=["store"])
    assert_array_equal(
        one.fit(SALES, UNITS).transform(SALES), other.fit(SALES, UNITS).transform(SALES)
    )


def test_fractions_are_no_labels():
    message = (
        r"'price' has \d+ different fractional values.* columns=\['store', 'region', 'promo'\]"
    )
    with pytest.warns(UserWarning, match=message):
        BLUPEncoder().fit(SALES, UNITS)
    # Without a word: columns that are named, whole numbers, few values, and arrays.
    BLUPEncoder(["store", "price"]).fit(SALES, UNITS)
    BLUPEncoder().fit(SALES.assign(price=np.arange(N) // 1.5), UNITS)
    BLUPEncoder().fit(SALES.assign(price=SALES["price"].round() / 2), UNITS)
    BLUPEncoder().fit(SALES[["price"]].to_numpy(), UNITS)
