"""What is in the explorer's page gives the predictions and intervals of the model."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, PoissonRegressor, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skmixed import (
    BayesianMixedRegressor,
    GroupedModels,
    MixedClassifier,
    MixedEffectsRegressor,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
    MixedLinearRegressorCV,
    OrdinalMixedClassifier,
    Relationship,
    glmer,
    lmer,
)
from skmixed.display._explorer_tables import ExplorerTables
from tests.display.explored import arrays_of, predicted

_TO_WIDTH = 1e-3  # of the interval's half width: what the docstring of `explore` promises


@pytest.fixture(scope="module")
def pupils():
    rng = np.random.default_rng(4)
    n, n_schools = 360, 24
    table = pd.DataFrame(
        {
            "school": rng.choice([f"s{number:02d}" for number in range(n_schools)], n),
            "town": rng.choice(["Ulm", "Bonn", "Kiel", "Graz", "Linz", "Wels"], n),
            "age": rng.integers(60, 180, n),
            "hours": rng.gamma(2.0, 2.0, n),
            "club": rng.choice(["none", "chess", "choir"], n),
        }
    )
    effects = rng.normal(size=(n_schools, 2)) * [4.0, 0.05]
    own = effects[table["school"].str[1:].astype(int)]
    means = 20 + own[:, 0] + (0.1 + own[:, 1]) * table["age"] + 2.0 * np.sqrt(table["hours"])
    means += 3.0 * (table["club"] == "choir") * table["hours"]
    table["score"] = means + rng.normal(0, 5, n)
    eta = (table["score"] - table["score"].mean()) / table["score"].std()
    table["passed"] = rng.random(n) < 1 / (1 + np.exp(-eta))
    table["days"] = rng.uniform(0.5, 3.0, n)
    table["absences"] = rng.poisson(np.exp(0.6 * eta) * table["days"])
    table["cost"] = rng.gamma(4.0, np.exp(0.5 * eta) / 4.0)
    return table


def rows_at(page, table, places, factor, label):
    """Return a row of the table at places of columns, of a group by label or one not known."""
    rows = table.iloc[[0]].copy()
    for column in page["moved"]:
        place = places.get(column["name"], column["place"])
        if column["numbers"] is None:
            (value,) = {v for v in table[column["name"]] if str(v) == column["texts"][place]}
        else:
            value = column["numbers"][place]
            rows[column["name"]] = rows[column["name"]].astype(float)
        rows[column["name"]] = value
    for name in factor:
        rows[name] = rows[name].astype(object)
        rows[name] = None
    for name, own in zip(factor, label or (), strict=False):
        rows[name] = own
    return rows


def check(model, table, page, factor, labels, *, others=(), kinds=("mean",), ends=_TO_WIDTH):
    """Compare predictions and both ends at random places of the columns."""
    generator, cases, rows = np.random.default_rng(1), [], []
    for label in (*labels, None) * 5:
        places = {
            column["name"]: int(generator.integers(len(column["texts"])))
            for column in page["moved"]
        }
        row = rows_at(page, table, places, (*factor, *others), label)
        for name in others:
            row[name] = None
        cases.append((places, None if label is None else ":".join(map(str, label))))
        rows.append(row)
    frame = pd.concat(rows, ignore_index=True)
    is_class = hasattr(model, "predict_proba")
    values = model.predict_proba(frame)[:, 1] if is_class else model.predict(frame)
    for kind in kinds:
        limits = model.predict_interval(frame, kind=kind)
        for case, value, (low, high) in zip(cases, values, limits, strict=True):
            found, width = predicted(page, *case, kind), (high - low) / 2.0
            assert found[0] == pytest.approx(value, abs=1e-4 * width, rel=1e-6)
            assert found[1:] == pytest.approx([low, high], abs=ends * width)


BOTH = ("mean", "observation")


@pytest.mark.parametrize(
    "formula",
    [
        "score ~ age * club + log(hours) + (1 | school)",
        "score ~ age + club:sqrt(hours) + (1 + age | school) + (1 | town)",
        "score ~ 0 + age + poly(hours, 2) + (0 + age | school)",
        "score ~ s(hours) + age + (1 + age || school)",
        "score ~ age + bs(hours, 5) * club + (club | school)",
        "score ~ age + offset(0.1 * hours) + s(hours, by=club) + (1 | school)",
    ],
)
def test_linear_models(pupils, formula):
    model = lmer(formula, pupils)
    page = arrays_of(model, pupils, factor="school")
    others = ("town",) if "town" in formula else ()
    check(model, pupils, page, ("school",), [("s03",), ("s17",)], others=others, kinds=BOTH)


def test_a_chosen_model_and_one_of_related_levels(pupils):
    columns = pupils[["school", "hours", "age"]]
    chosen = MixedLinearRegressorCV(["(1 | school)", "(1 + hours | school)"])
    check_one = {"factor": ("school",), "labels": [("s03",)], "kinds": BOTH}
    chosen.fit(columns, pupils["score"])
    check(chosen, columns, arrays_of(chosen, columns), **check_one)
    schools = sorted(pupils["school"].unique())
    distance = np.abs(np.subtract.outer(range(len(schools)), range(len(schools))))
    kin = {"school": Relationship(np.exp(-distance / 3.0), schools)}
    related = MixedLinearRegressor("(1 | school)", relationship=kin).fit(columns, pupils["score"])
    check(related, columns, arrays_of(related, columns), **check_one)
    several = MixedLinearRegressor("(1 + age | school)", relationship=kin)
    with pytest.raises(ValueError, match="related levels with several effects"):
        arrays_of(several.fit(columns, pupils["score"]), columns)
    formula = "score ~ age + (1 | mm(school, other))"
    members = pupils.assign(other=pupils["school"].sample(frac=1.0, random_state=0).to_numpy())
    with pytest.raises(ValueError, match=r"those of mm\(\) have several"):
        arrays_of(lmer(formula + " + (1 | town)", members), members)


@pytest.mark.parametrize(
    "formula",
    [
        "score ~ year * flag + I(year**2) + (1 + year | school)",
        "score ~ s(year) + s(hours, by=club) + (1 + year | school)",
        "score ~ 0 + club + flag + (0 + flag | school)",
    ],
)
def test_terms_of_columns_far_from_zero(pupils, formula):
    table = pupils.assign(year=2000.0 + pupils["age"] / 20.0, flag=pupils["age"] > 100)
    model = lmer(formula, table)
    check(model, table, arrays_of(model, table), ("school",), [("s03",)], kinds=BOTH)


@pytest.mark.parametrize("random", ["(1 | school)", "(1 + year | school)", "(0 + year | school)"])
def test_columns_far_from_zero(pupils, random):
    columns = pupils[["school"]].assign(year=2000.0 + pupils["age"] / 20.0, hours=pupils["hours"])
    model = MixedLinearRegressor(random).fit(columns, pupils["score"])
    page = arrays_of(model, columns)
    check(model, columns, page, ("school",), [("s03",), ("s17",)], kinds=BOTH)


def test_rooms_bring_the_effects_of_their_schools(pupils):
    model = lmer("score ~ age + (1 + age | town/school)", pupils)
    page = arrays_of(model, pupils)
    names = pupils.loc[[3, 50], ["school", "town"]].itertuples(index=False, name=None)
    check(model, pupils, page, ("school", "town"), list(names), kinds=BOTH)


@pytest.mark.parametrize("family", [None, "poisson"])
def test_unique_labels_bring_the_effects_of_what_contains_them(pupils, family):
    table = pupils.assign(room=pupils["school"] + pupils["town"], days=pupils["days"].round())
    formula = "days ~ age + (1 | room) + (1 + age | town) + (1 | school)"
    model = glmer(formula, table, family=family) if family else lmer(formula, table)
    page, factors = arrays_of(model, table, factor="room"), ("room", "town", "school")
    for label in table.loc[[3, 50], list(factors)].itertuples(index=False, name=None):
        rows = rows_at(page, table, {"age": 2}, factors, label)
        low, high = model.predict_interval(rows, kind="mean")[0]
        found = predicted(page, {"age": 2}, label[0])
        assert found[0] == pytest.approx(model.predict(rows)[0], rel=1e-5)
        assert found[1:] == pytest.approx([low, high], abs=_TO_WIDTH * (high - low) / 2.0)


def test_levels_of_two_columns_and_ranks(pupils):
    model = lmer("score ~ age + (1 | town/school)", pupils)
    page = arrays_of(model, pupils)
    assert page["factor"] == "school:town"
    assert len(page["labels"]) == model.n_groups_["school:town"] == len(set(page["labels"]))
    rows = pupils[pupils["town"] == "Bonn"].iloc[[0]]
    label = f"{rows['school'].iloc[0]}:Bonn"
    frame = model.random_effects_["school:town"]
    number = page["labels"].index(label)
    own = frame.loc[(rows["school"].iloc[0], "Bonn")].to_numpy()
    assert page["effects"].reshape(-1, 2)[number, :1] == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize("random", ["(1 | school)", "(1 + hours | school)"])
@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_probabilities(pupils, random, link):
    columns = pupils[["school", "hours", "age"]]
    model = MixedClassifier(random, link=link).fit(columns, pupils["passed"])
    page = arrays_of(model, columns)
    check(model, columns, page, ("school",), [("s03",), ("s17",)])


@pytest.mark.parametrize("averaging", ["integrate", "plug-in"])
def test_counts_with_exposures_and_positive_numbers(pupils, averaging):
    columns = pupils[["school", "hours", "days"]]
    model = MixedGeneralizedRegressor(
        "(1 + hours | school)", family="poisson", exposure="days", averaging=averaging
    ).fit(columns, pupils["absences"])
    page = arrays_of(model, columns)
    assert [column["name"] for column in page["moved"]] == ["hours", "days"]
    check(model, columns, page, ("school",), [("s03",), ("s17",)])
    gamma = glmer("cost ~ club + s(hours) + (1 | school)", pupils, family="gamma")
    check(gamma, pupils, arrays_of(gamma, pupils), ("school",), [("s03",), ("s17",)])


def test_posteriors_agree_at_the_reference_and_nearly_elsewhere(pupils):
    columns = pupils[["school", "hours", "age"]]
    model = BayesianMixedRegressor("(1 + age | school)", random_state=0)
    model.fit(columns, pupils["score"])
    page = arrays_of(model, columns)
    check(model, columns, page, ("school",), [("s03",), ("s17",)], kinds=BOTH, ends=0.04)
    usual = {column["name"]: column["place"] for column in page["moved"]}
    rows = rows_at(page, columns, usual, ("school",), ("s03",))
    limits = model.predict_interval(rows, kind="mean")[0]
    assert predicted(page, usual, "s03")[1:] == pytest.approx(limits, rel=1e-5)


@pytest.mark.parametrize("inner", [LinearRegression(), Ridge(3.0), PoissonRegressor(alpha=0.1)])
def test_grouped_models(pupils, inner):
    columns = pupils[["town", "school", "hours", "age"]]
    response = "absences" if isinstance(inner, PoissonRegressor) else "score"
    kinds = ("mean",) if response == "absences" else BOTH
    model = GroupedModels(inner, group_features=["school"]).fit(
        columns.drop(columns="town"), pupils[response]
    )
    some = columns.drop(columns="town")
    check(model, some, arrays_of(model, some), ("school",), [("s03",), ("s17",)], kinds=kinds)


def test_groups_by_argument_and_arrays(pupils):
    X, groups = pupils[["age", "hours"]].to_numpy(), pupils["school"].to_numpy()
    model = MixedLinearRegressor("(1 + x1 | group)").fit(X, pupils["score"], groups=groups)
    page = arrays_of(model, X, groups=groups)
    assert [column["name"] for column in page["moved"]] == ["x0", "x1"]
    places = {"x0": 3, "x1": 60}
    row = [[column["numbers"][places[column["name"]]] for column in page["moved"]]]
    limits = model.predict_interval(row, groups=["s05"], kind="mean")[0]
    width = limits[1] - limits[0]
    assert predicted(page, places, "s05")[1:] == pytest.approx(limits, abs=_TO_WIDTH * width)
    with pytest.raises(ValueError, match="fitted with groups"):
        arrays_of(model, X)


def test_pipelines_are_moved_in_the_columns_of_their_first_step(pupils):
    columns = pupils[["school", "age", "hours", "club"]]
    scale = make_column_transformer(
        (StandardScaler(), ["age", "hours"]),
        (OneHotEncoder(sparse_output=False), ["club"]),
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    model = make_pipeline(scale, MixedLinearRegressor("(1 + age | school)"))
    model.set_output(transform="pandas").fit(columns, pupils["score"])
    search = GridSearchCV(model, {"mixedlinearregressor__method": ["ml", "reml"]})
    page = arrays_of(model, columns)
    assert [column["name"] for column in page["moved"]] == ["age", "hours", "club"]
    places = {"age": 30, "hours": 7, "club": 0}
    rows = pd.concat(
        [rows_at(page, columns, places, ("school",), label) for label in (("s03",), None)]
    )
    for label, (value, low, high) in zip(
        ("s03", None), model.predict(rows, interval=0.95), strict=True
    ):
        found = predicted(page, places, label, "observation")
        assert found == pytest.approx([value, low, high], abs=_TO_WIDTH * (high - low))
    best = arrays_of(search.fit(columns, pupils["score"]), columns)
    assert best["labels"] == page["labels"]
    by_place = make_pipeline(
        clone(scale).set_output(transform="default"), MixedLinearRegressor("(1 | x5)")
    )
    by_place.fit(columns, pupils["score"])
    with pytest.raises(ValueError, match=r"no columns \['x5'\].*set_output"):
        arrays_of(by_place, columns)


def test_residual_structures_have_intervals_of_means(pupils):
    columns = pupils[["school", "hours", "club"]]
    model = lmer("score ~ hours + (1 | school)", pupils, residual="var(club)")
    page = arrays_of(model, pupils)
    check(model, pupils, page, ("school",), [("s03",)])
    assert page["noise"] == {}
    assert len(columns) == len(pupils)


def test_what_is_no_product_is_shown_over_one_column(pupils):
    model = lmer("score ~ log(hours + age) + club + (1 | school)", pupils)
    tables = ExplorerTables.of(model, pupils, None, None, 0.95, {}, 6.0, lambda table: table)
    (note,) = tables.tables.notes
    assert "log(hours + age)" in note
    page = arrays_of(model, pupils)
    moved = {column["name"]: column for column in page["moved"]}
    assert set(moved) == {"age", "club"}
    places = {"age": 40}
    rows = rows_at(page, pupils, places, ("school",), ("s03",))
    rows["hours"] = pupils["hours"].median()
    found = predicted(page, places, "s03")[0]
    assert found == pytest.approx(model.predict(rows)[0], rel=2e-3)


def test_reference_and_level(pupils):
    model = lmer("score ~ age + club + (1 | school)", pupils)
    page = arrays_of(model, pupils, reference={"age": 77.5, "club": "choir"}, level=0.5)
    usual = {column["name"]: column["texts"][column["place"]] for column in page["moved"]}
    assert usual == {"age": "77.5", "club": "choir"}
    rows = pd.DataFrame({"age": [77.5], "club": ["choir"], "school": ["s03"]})
    limits = model.predict_interval(rows, level=0.5, kind="mean")[0]
    assert predicted(page, {}, "s03")[1:] == pytest.approx(limits, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": "town"}, "factor='town' is not among"),
        ({"level": 95}, "level"),
        ({"reference": {"school": "s03"}}, "can not be moved"),
        ({"reference": {"club": "golf"}}, "'golf', which is no value of 'club'"),
        ({"reference": {"age": "old"}}, "holds numbers"),
        ({"max_size": 1.0}, "the page would have at least 1.4 MB, 24 groups of"),
    ],
)
def test_refusals(pupils, settings, message):
    model = lmer("score ~ age + club + (1 | school)", pupils)
    with pytest.raises(ValueError, match=message):
        arrays_of(model, pupils, **settings)


def test_kinds_of_estimators_that_have_no_page(pupils):
    with pytest.raises(TypeError, match="not a LinearRegression"):
        arrays_of(LinearRegression(), pupils)
    columns = pupils[["school", "hours", "age"]]
    learner = MixedEffectsRegressor(LinearRegression(), "(1 | school)")
    learner.fit(columns, pupils["score"])
    with pytest.raises(TypeError, match="not a MixedEffectsRegressor"):
        arrays_of(learner, columns)
    with pytest.raises(TypeError, match="not a LinearRegression"):
        arrays_of(make_pipeline(StandardScaler(), LinearRegression()), columns[["age"]])
    alone = MixedLinearRegressor().fit(columns[["hours", "age"]], pupils["score"])
    with pytest.raises(ValueError, match="no grouping factor"):
        arrays_of(alone, columns)
    ordinal = OrdinalMixedClassifier("(1 | school)").fit(columns, pupils["absences"].clip(0, 2))
    with pytest.raises(TypeError, match="not a OrdinalMixedClassifier"):
        arrays_of(ordinal, columns)
    separate = GroupedModels(LinearRegression(), group_features=["school"], shrinkage=None)
    separate.fit(columns, pupils["score"])
    with pytest.raises(ValueError, match="estimates no variances"):
        arrays_of(separate, columns)
    model = lmer("score ~ age + club + (1 | club:school) + (1 | school)", pupils)
    with pytest.raises(ValueError, match="choose another factor"):
        arrays_of(model, pupils, factor="club:school")
