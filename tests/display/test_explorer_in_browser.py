"""The explorer in a Chromium, moved by keys alone; what it shows is what the models predict."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, PoissonRegressor

from skmixed import (
    BayesianMixedRegressor,
    GroupedModels,
    MixedClassifier,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
    glmer,
    lmer,
)
from skmixed.display import explore
from tests.display.browser import CHROMIUM, Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open a page in")
_TO_WIDTH = 1e-3  # of the interval's width: what the docstring of `explore` promises
SPRING = {"season": "spring"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Return a function that writes the page of a model and opens it."""
    pages = []

    def open_page(model, X, settings=None, **view):
        pages.append(
            Page(browser, explore(model, X, tmp_path / "page.html", **settings or {}), **view)
        )
        return pages[-1]

    yield open_page
    for page in pages:
        assert page.faults() == []
        page.close()


@pytest.fixture(scope="module")
def model(shops):
    return lmer("sales ~ price * season + (1 + price | shop)", shops)


def focus(page, name):
    """Press Tab until an element has the focus."""
    for _ in range(60):
        if page.evaluate("document.activeElement.id") == name:
            return
        page.press("Tab")
    raise AssertionError(f"{name} is not reached")


def choose(page, name, text):
    """Choose from a list by arrows."""
    focus(page, name)
    page.press("Home")
    for _ in range(60):
        if page.evaluate("document.activeElement.selectedOptions[0].textContent") == text:
            return
        page.press("ArrowDown")
    raise AssertionError(f"{text} is not in {name}")


def slide(page, name, value):
    """Move a slider by arrows to the step that reads as a value."""
    value = value.replace("-", "\N{MINUS SIGN}")
    focus(page, name)
    page.press("Home")
    for _ in range(200):
        if page.evaluate("document.activeElement.getAttribute('aria-valuetext')") == value:
            return
        page.press("ArrowRight")
    raise AssertionError(f"{name} has no {value}")


def add(page, text):
    """Search for a group and take the first that is found."""
    focus(page, "adding")
    page.type(text)
    page.press("Enter")


def source(page, name):
    """Return the columns of a picture's data."""
    script = (
        "Object.fromEntries([...Object.entries(Bokeh.documents[0].get_model_by_name('{}').data)]"
        ".map(([key, each]) => [key, Array.from(each, one => "
        "typeof one === 'object' ? Array.from(one) : one)]))"
    )
    return page.evaluate(script.format(name))


def rows_of(found, shop="shop", **columns):
    """Return rows of what is shown, the new group without a label."""
    labels = [None if label == "new group" else label for label in found["label"]]
    return pd.DataFrame({**columns, shop: labels})


def agree(model, rows, found, *, kind="mean", ends=_TO_WIDTH):
    """Compare what is shown with predict and predict_interval."""
    if hasattr(model, "feature_names_in_"):
        rows = rows[list(model.feature_names_in_)]
    is_class = hasattr(model, "predict_proba")
    values = model.predict_proba(rows)[:, 1] if is_class else model.predict(rows)
    limits = model.predict_interval(rows, kind=kind)
    width = (limits[:, 1] - limits[:, 0]).min()
    assert found["value"] == pytest.approx(values, rel=1e-5, abs=1e-5 * width)
    shown = np.column_stack([found["low"], found["high"]])
    assert shown == pytest.approx(limits, abs=ends * width)


def test_every_control_is_reached_by_tab_in_the_order_of_the_page(opened, model, shops):
    page = opened(model, shops)
    seen = []
    for _ in range(40):
        page.press("Tab")
        each = page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            "return [e.id || e.getAttribute('aria-label') || e.tagName, s.outlineStyle,"
            "parseFloat(s.outlineWidth)]; })()"
        )
        if each[0] == "BODY" or (seen and each == seen[0]):
            break
        seen.append(each)
    names = [name for name, *_ in seen]
    chosen = [name for name in names if name.startswith("Remove shop ")]
    assert len(chosen) == 3
    assert names[3:] == [
        *("adding", "with-new", "kinds", "reset", "column-0", "column-1", "along", "ranked")
    ]
    assert all(style == "solid" and width >= 2 for _, style, width in seen)
    page.press("Shift+Tab", "Shift+Tab")
    assert page.evaluate("document.activeElement.id") in names


def test_controls_have_names_and_roles_for_a_screen_reader(opened, model, shops):
    page = opened(model, shops)
    tree = page.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "combobox", "slider", "checkbox", "listbox", "image", "table"}
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if node.get("role", {}).get("value") in roles and not node.get("ignored")
    ]
    assert all(name for role, name in found if role != "table"), found
    assert ("combobox", "Add a group of shop") in found
    assert ("slider", "price") in found
    assert ("combobox", "season") in found
    assert ("checkbox", "show a new group") in found
    images = [name for role, name in found if role == "image" and name]
    assert any("predicted sales over price" in name for name in images)
    assert any("All 20 groups" in name for name in images)


def test_groups_are_searched_for_by_letters_and_arrows(opened, model, shops):
    page = opened(model, shops)
    shown = page.explored()["label"]
    focus(page, "adding")
    page.type("SHOP 1")
    assert page.evaluate("document.getElementById('matches').textContent") == "11 found"
    state = "(() => { const e = document.activeElement; return [e.getAttribute('aria-expanded'),"
    state += "document.getElementById(e.getAttribute('aria-activedescendant'))?.textContent]; })()"
    assert page.evaluate(state) == ["true", None]
    page.press("ArrowDown", "ArrowDown")
    _, second = page.evaluate(state)
    assert page.evaluate("document.querySelectorAll('[aria-selected=true]').length") == 1
    page.press("ArrowUp", "ArrowUp")
    assert page.evaluate(state)[1] != second
    page.press("Escape")
    assert page.evaluate(state) == ["false", None]
    assert page.evaluate("document.activeElement.value") == "SHOP 1"
    page.press("Escape")
    assert page.evaluate("document.activeElement.value") == ""
    page.type("nowhere")
    assert page.evaluate("document.getElementById('matches').textContent") == "0 found"
    page.press("Enter", "Escape", "Escape")
    wanted = next(name for name in ("shop 7", "shop 8", "shop 9", "shop 11") if name not in shown)
    page.type(wanted)
    page.press("Enter")
    assert page.explored()["label"] == [*shown[:-1], wanted, "new group"]
    page.type(wanted)
    page.press("Enter")
    assert page.explored()["label"].count(wanted) == 1
    page.press(*["Shift+Tab"] * 4)
    button = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(button) == f"Remove {shown[0]}"
    page.press("Enter")
    assert page.explored()["label"] == [*shown[1:-1], wanted, "new group"]
    assert page.evaluate(button) == f"Remove {shown[1]}"
    focus(page, "with-new")
    page.press(" ")
    assert page.explored()["label"] == [*shown[1:-1], wanted]


def test_six_groups_at_most_and_each_keeps_its_colour(opened, model, shops):
    page = opened(model, shops)
    shown = page.explored()["label"]
    for name in [name for name in shops["shop"].unique() if name not in shown][:4]:
        add(page, name)
    assert "remove one first" in page.evaluate("document.getElementById('matches').textContent")
    found = page.explored()["label"]
    assert len(found) == 7
    marked = source(page, "marked")
    colours = dict(zip(marked["label"], marked["colour"], strict=True))
    assert len(set(colours.values())) == 6
    page.evaluate("document.querySelector('#chosen button').focus()")
    page.press("Enter")
    page.explored()
    marked = source(page, "marked")
    for label, colour in zip(marked["label"], marked["colour"], strict=True):
        assert colours[label] == colour


def test_linear_predictions_and_intervals(opened, model, shops):
    page = opened(model, shops)
    slide(page, "column-0", "6")
    choose(page, "column-1", "spring")
    found = page.explored()
    agree(model, rows_of(found, price=6.0, **SPRING), found)
    add(page, "shop 7")
    choose(page, "kinds", "a single observation")
    found = page.explored()
    assert "shop 7" in found["label"]
    agree(model, rows_of(found, price=6.0, **SPRING), found, kind="observation")
    caption = "document.querySelector('#predictions caption').textContent"
    assert page.evaluate(caption).startswith("95% intervals for a single observation")
    page.wait_for("document.getElementById('said').textContent.includes('shop 7: ')")
    said = page.evaluate("document.getElementById('said').textContent")
    numbers = [float(each) for each in re.findall(r"-?\d+\.\d+", said.replace("−", "-"))]
    shown = np.column_stack([found["value"], found["low"], found["high"]]).ravel()
    assert numbers == pytest.approx(shown, abs=0.06)
    focus(page, "reset")
    page.press("Enter")
    usual = page.evaluate("document.getElementById('column-0').getAttribute('aria-valuetext')")
    assert float(usual) == pytest.approx(shops["price"].median(), abs=0.1)


def test_curves_ranks_and_contributions(opened, model, shops):
    page = opened(model, shops)
    slide(page, "column-0", "6")
    choose(page, "column-1", "spring")
    found = page.explored()
    rows = rows_of(found, price=6.0, **SPRING)
    curves, bands = source(page, "lines"), source(page, "bands")
    for label, x, y, ends in zip(
        rows["shop"], curves["xs"], curves["ys"], bands["ys"], strict=True
    ):
        along = pd.DataFrame({"price": x, "season": "spring", "shop": label})
        limits = model.predict_interval(along, kind="mean")
        assert y == pytest.approx(model.predict(along), rel=1e-5)
        width = (limits[:, 1] - limits[:, 0]).min()
        assert ends[: len(x)] == pytest.approx(limits[:, 0], abs=_TO_WIDTH * width)
        assert ends[len(x) :][::-1] == pytest.approx(limits[:, 1], abs=_TO_WIDTH * width)
    known = model.random_effects_["shop"]
    everyone = pd.DataFrame({"price": 6.0, **SPRING, "shop": known.index})
    predictions = pd.Series(model.predict(everyone), known.index)
    assert found["rank"] == [predictions.rank().get(label) for label in rows["shop"]]
    ranks = source(page, "everyone")
    assert ranks["label"] == predictions.sort_values().index.tolist()
    order = everyone.set_index("shop").loc[ranks["label"]].reset_index()
    limits = model.predict_interval(order, kind="mean")
    assert ranks["low"] == pytest.approx(limits[:, 0], abs=1e-3)
    assert ranks["high"] == pytest.approx(limits[:, 1], abs=1e-3)
    assert source(page, "level")["value"] == pytest.approx([found["value"][-1]] * 2)
    average = model.predict(rows.assign(shop=None))[0]
    added = found["made"]
    assert added["total"] == pytest.approx(average)
    assert added["own"] == pytest.approx(model.predict(rows)[:-1] - average, rel=1e-4)
    assert added["start"] + sum(each["part"] for each in added["terms"]) == pytest.approx(average)
    assert {each["name"] for each in added["terms"]} == {"price", "season", "price × season"}


def test_effects_are_ranked_with_their_intervals_and_the_chosen_marked(opened, model, shops):
    page = opened(model, shops)
    choose(page, "ranked", "effect: price")
    found = page.explored()
    effects = model.random_effects_["shop"]["price"]
    ranks, marked = source(page, "everyone"), source(page, "marked")
    assert ranks["label"] == effects.sort_values().index.tolist()
    assert ranks["value"] == pytest.approx(effects.sort_values().to_numpy(), rel=1e-5)
    half = (np.array(ranks["high"]) - ranks["low"]) / 2.0
    errors = np.sqrt(model.random_effects_covariance_["shop"][:, 1, 1])
    errors = pd.Series(errors, effects.index)[ranks["label"]]
    assert half == pytest.approx(1.959964 * errors.to_numpy(), rel=1e-4)
    assert marked["label"] == found["label"][:-1]
    assert marked["value"] == pytest.approx(effects[marked["label"]].to_numpy(), rel=1e-5)
    assert source(page, "level")["value"] == [0, 0]


def test_curves_over_categories_have_a_point_for_each(opened, model, shops):
    page = opened(model, shops)
    choose(page, "along", "season")
    found = page.explored()
    points = source(page, "points")
    assert len(points["x"]) == 2 * len(found["label"])
    seasons = sorted(shops["season"].unique())
    price = float(
        page.evaluate("document.getElementById('column-0').getAttribute('aria-valuetext')")
    )
    labels = [None if label == "new group" else label for label in points["label"]]
    rows = pd.DataFrame({"price": price, "season": seasons * len(found["label"]), "shop": labels})
    agree(model, rows, points)


@pytest.mark.parametrize("family", ["poisson", "negative_binomial", "gamma"])
def test_observations_of_families(opened, shops, family):
    response = "cost" if family == "gamma" else "returns"
    costs = np.random.default_rng(3).gamma(4.0, (1.0 + shops["returns"]) / 4.0)
    table = shops.assign(cost=costs)
    fitted = glmer(f"{response} ~ price + (1 | shop)", table, family=family)
    page = opened(fitted, table)
    slide(page, "column-0", "3")
    found = page.explored()
    rows = rows_of(found, price=3.0)
    agree(fitted, rows, found)
    choose(page, "kinds", "a single observation")
    found = page.explored()
    agree(fitted, rows, found, kind="observation", ends=1e-9 if family != "gamma" else _TO_WIDTH)
    bands = source(page, "bands")
    for label, x, ends in zip(rows["shop"], bands["xs"], bands["ys"], strict=True):
        along = pd.DataFrame({"price": x[: len(x) // 2], "shop": label})
        limits = fitted.predict_interval(along)
        shown = np.column_stack([ends[: len(along)], ends[len(along) :][::-1]])
        if family == "gamma":
            assert shown == pytest.approx(limits, rel=2e-3)
        else:  # where a quantile is at the edge between two counts, it may be the other
            assert np.abs(shown - limits).max() <= 1.0
            assert (shown == limits).mean() > 0.99


def test_counts_with_exposures(opened, shops):
    X = shops[["shop", "price"]].assign(days=np.linspace(0.5, 3.0, len(shops)))
    fitted = MixedGeneralizedRegressor("(1 | shop)", exposure="days").fit(X, shops["returns"])
    page = opened(fitted, X)
    slide(page, "column-1", "2.5")
    choose(page, "kinds", "a single observation")
    price = float(
        page.evaluate("document.getElementById('column-0').getAttribute('aria-valuetext')")
    )
    found = page.explored()
    rows = rows_of(found, price=price, days=2.5)
    agree(fitted, rows, found, kind="observation", ends=1e-9)


def test_probabilities_have_intervals_of_the_probability_alone(opened, shops):
    X = shops[["shop", "price"]]
    fitted = MixedClassifier("(1 + price | shop)").fit(X, shops["returns"] > 0)
    page = opened(fitted, X)
    assert page.evaluate("document.getElementById('kinds-label').hidden")
    slide(page, "column-0", "7")
    found = page.explored()
    agree(fitted, rows_of(found, price=7.0), found)
    caption = page.evaluate("document.querySelector('#predictions caption').textContent")
    assert "95% intervals for the probability in a group" in caption
    scale = page.evaluate("document.querySelector('#contributions caption').textContent")
    assert "logit(" in scale
    log_odds = fitted.intercept_ + 7.0 * fitted.coef_.ravel()[0]
    own = fitted.random_effects_["shop"].loc[found["label"][:-1]].to_numpy() @ [1.0, 7.0]
    assert found["made"]["total"] == pytest.approx(log_odds)
    assert found["made"]["own"] == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize("inner", [LinearRegression(), PoissonRegressor(alpha=0.1)])
def test_models_of_groups(opened, shops, inner):
    X = shops[["shop", "price"]]
    is_count = isinstance(inner, PoissonRegressor)
    fitted = GroupedModels(inner, group_features=["shop"])
    fitted.fit(X, shops["returns" if is_count else "sales"])
    page = opened(fitted, X)
    slide(page, "column-0", "6")
    found = page.explored()
    agree(fitted, rows_of(found, price=6.0), found)
    choose(page, "kinds", "a single observation")
    found = page.explored()
    ends = 1e-9 if is_count else _TO_WIDTH
    agree(fitted, rows_of(found, price=6.0), found, kind="observation", ends=ends)
    scale = page.evaluate("document.querySelector('#contributions caption').textContent")
    assert ("log(y)" in scale) == is_count


def test_posteriors(opened, shops):
    X = shops[["shop", "price"]]
    fitted = BayesianMixedRegressor("(1 | shop)", random_state=0).fit(X, shops["sales"])
    page = opened(fitted, X, {"level": 0.8})
    slide(page, "column-0", "6")
    found = page.explored()
    rows = rows_of(found, price=6.0)
    rows = rows[["shop", "price"]]
    limits = fitted.predict_interval(rows, level=0.8, kind="mean")
    width = (limits[:, 1] - limits[:, 0]).min()
    assert found["value"] == pytest.approx(fitted.predict(rows), rel=1e-5)
    shown = np.column_stack([found["low"], found["high"]])
    assert shown == pytest.approx(limits, abs=0.04 * width)
    caption = page.evaluate("document.querySelector('#predictions caption').textContent")
    assert "80% credible intervals for the mean of a group" in caption


def test_a_class_brings_the_effect_of_its_school(opened):
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"school": np.repeat(list("ABCDEF"), 40), "room": np.tile(list("xyzw"), 60)})
    X["age"] = rng.uniform(6, 12, len(X))
    own = rng.normal(0, 5, 6)[X["school"].map("ABCDEF".index)]
    y = own + X["age"] + rng.normal(size=len(X))
    fitted = MixedLinearRegressor("(1 + age | school/room)").fit(X, y)
    page = opened(fitted, X)
    slide(page, "column-0", "8")
    found = page.explored()
    keys = [(None, None) if name == "new group" else name.split(":") for name in found["label"]]
    rows = pd.DataFrame(keys, columns=["room", "school"]).assign(age=8.0)
    agree(fitted, rows, found)


def test_labels_are_text_whatever_they_hold(opened, shops):
    evil = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    table = shops.assign(shop=shops["shop"].str.replace("shop 7", evil + " 7", regex=False))
    table["season"] = table["season"].replace("spring", evil)
    fitted = lmer("sales ~ season + (1 | shop)", table)
    page = opened(fitted, table, {"title": evil})
    add(page, "</script>")
    choose(page, "column-0", evil)
    found = page.explored()
    assert evil + " 7" in found["label"]
    agree(fitted, rows_of(found, season=evil), found)
    columns = table[["shop", "price"]].rename(columns={"price": evil})
    by_name = opened(MixedLinearRegressor("(1 | shop)").fit(columns, table["sales"]), columns)
    for each in (page, by_name):
        assert each.evaluate("window.hacked === undefined && document.images.length === 0")
        assert evil in each.evaluate("document.body.textContent")


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_a_telephone_and_colours_have_contrast(opened, model, shops, dark):
    page = opened(model, shops, width=390, height=844, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    style = "getComputedStyle(document.documentElement).getPropertyValue('--{}').trim()"
    paper, panel = (page.evaluate(style.format(name)) for name in ("paper", "panel"))
    assert (luminance(paper) < 0.1) == dark
    for names, least in (
        (["ink", "faint"], 4.5),
        (["accent", "edge", "many", "new", *(f"group-{n}" for n in range(1, 7))], 3.0),
    ):
        for name in names:
            for ground in (paper, panel):
                assert contrast(page.evaluate(style.format(name)), ground) >= least, name
    accent = page.evaluate(style.format("accent"))
    assert contrast(accent, paper) >= 4.5  # the text of a marked group
    drawn = "Bokeh.documents[0].get_model_by_name('curves').background_fill_color"
    assert page.evaluate(drawn) == paper


def test_long_names_are_wrapped(opened, shops):
    shop, price = "a_factor_with_a_name_" * 4, "how_often_did_you_eat_fish_last_month_" * 3
    X = shops[["shop", "price"]].rename(columns={"shop": shop, "price": price})
    X[shop] = "x" * 90 + X[shop]
    fitted = MixedLinearRegressor(f"(1 | {shop})").fit(X, shops["sales"])
    page = opened(fitted, X, width=390, height=844)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def luminance(colour):
    """Return the relative luminance of #rrggbb, by WCAG 2."""
    shares = [int(colour[place : place + 2], 16) / 255.0 for place in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one, other):
    """Return the contrast of two colours, by WCAG 2."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_ten_thousand_groups_are_searched_without_a_network(opened):
    rng = np.random.default_rng(5)
    X = pd.DataFrame({"a": rng.normal(size=20_000), "clinic": np.arange(20_000) % 10_000})
    y = rng.normal(size=10_000)[X["clinic"]] + X["a"] + rng.normal(size=20_000)
    fitted = MixedLinearRegressor("(1 | clinic)").fit(X, y)
    page = opened(fitted, X)
    add(page, "9876")
    focus(page, "column-0")
    page.press("Home")
    start = page.evaluate("document.activeElement.getAttribute('aria-valuetext')")
    found = page.explored()
    assert "9876" in found["label"]
    labels = [None if name == "new group" else int(name) for name in found["label"]]
    start = float(start.replace("\N{MINUS SIGN}", "-"))
    agree(fitted, pd.DataFrame({"a": start, "clinic": pd.array(labels, "Int64")}), found)
    assert [address.partition(":")[0] for address in page.requests()] == ["file"]
