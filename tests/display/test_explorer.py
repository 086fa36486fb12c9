"""The explorer's page: one file, safe whatever labels are, that a browser makes predictions of."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedGeneralizedRegressor, MixedLinearRegressor, lmer
from skmixed.display import explore

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium to open a page in"
)
_SECONDS = 120  # a busy machine takes its time to start a browser

# Moves controls, each a list of names of models with properties, and writes down what is shown.
SCRIPT = """
<script>
const steps = %s, found = [];
const pause = (time) => new Promise((done) => setTimeout(done, time));
async function play() {
  while (!(window.Bokeh && Bokeh.documents.length)) await pause(20);
  const model = (name) => Bokeh.documents[0].get_model_by_name(name);
  while (model("summary").text === "") await pause(20);
  for (const step of steps) {
    for (const [name, properties] of Object.entries(step)) model(name).setv(properties);
    await pause(60);
    found.push({ ...window.explored, text: model("summary").text });
  }
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify({ found, hacked: window.hacked ?? null });
  document.body.appendChild(out);
}
play();
</script>
"""


def played(page, steps, folder):
    """Open a page, move its controls in steps, and return what it shows after each."""
    before, end, after = page.read_text(encoding="utf-8").rpartition("</body>")
    text = before + SCRIPT % json.dumps(steps).replace("<", "\\u003c") + end + after
    moved = folder / "moved.html"
    moved.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={folder}/profile",
            "--virtual-time-budget=20000",
            "--dump-dom",
            moved.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=_SECONDS,
    )
    (found,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    for mark, sign in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        found = found.replace(mark, sign)
    return json.loads(found)


@pytest.fixture(scope="module")
def shops():
    rng = np.random.default_rng(2)
    n = 300
    table = pd.DataFrame(
        {
            "shop": rng.choice([f"shop {number}" for number in range(20)], n),
            "price": rng.uniform(1.0, 9.0, n),
            "season": rng.choice(["spring", "autumn"], n),
        }
    )
    own = rng.normal(size=(20, 2)) * [3.0, 0.5]
    own = own[table["shop"].str.split().str[1].astype(int)]
    table["sales"] = 30 + own[:, 0] + (own[:, 1] - 2.0) * table["price"] + rng.normal(0, 2, n)
    table["sales"] += 4.0 * (table["season"] == "spring")
    table["returns"] = rng.poisson(np.exp(own[:, 0] / 3.0))
    return table


@pytest.fixture(scope="module")
def model(shops):
    return lmer("sales ~ price * season + (1 + price | shop)", shops)


def test_page_is_one_file_that_asks_for_nothing_else(model, shops, tmp_path):
    page = explore(model, shops, tmp_path / "shops.html", title="Shops")
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "shops.html"
    assert page.stat().st_size < 2e6
    around = re.sub(r"(<script[^>]*>).*?</script>", r"\1", text, flags=re.DOTALL)
    assert around.count("<script") > 3
    assert not re.findall(r"(?:src|href)=", around)
    assert '<html lang="en">' in text
    assert 'name="viewport"' in text
    assert "<title>Shops</title>" in text


def test_size_is_told_before_it_is_written(model, shops, tmp_path):
    with pytest.raises(
        ValueError, match=r"would have at least 1\.8 MB, 20 groups of .*max_size=1\.75"
    ):
        explore(model, shops, tmp_path / "shops.html", max_size=1.75)
    assert not (tmp_path / "shops.html").exists()


def test_without_bokeh_the_error_says_how_to_install_it(model, shops, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with pytest.raises(ImportError, match=r"scikit-mixed\[explore\]"):
        explore(model, shops, tmp_path / "shops.html")


def test_ten_thousand_groups_stay_below_six_megabytes(tmp_path):
    rng = np.random.default_rng(5)
    n = 40_000
    X = pd.DataFrame(rng.normal(size=(n, 6)), columns=list("abcdef"))
    X["clinic"] = rng.permutation(np.arange(n) % 10_000)
    own = rng.normal(size=(10_000, 2))[X["clinic"]]
    y = own[:, 0] + own[:, 1] * X["a"] + X["b"] + rng.normal(size=n)
    model = lmer("y ~ a + b + c + d + e + f + (1 + a | clinic)", X.assign(y=y))
    assert explore(model, X, tmp_path / "clinics.html").stat().st_size < 6e6


@needs_browser
def test_a_browser_makes_the_predictions_and_intervals_of_the_model(model, shops, tmp_path):
    page = explore(model, shops, tmp_path / "shops.html")
    steps = [
        {},
        {"column0": {"value": 5.5}, "column1": {"value": "1"}},
        {"adding": {"value": "shop 7"}},
        {"kinds": {"value": "observation"}, "chosen": {"active": [3]}},
        {"ranked_by": {"value": "1"}, "axis_column": {"value": "1"}},
    ]
    found = played(page, steps, tmp_path)["found"]
    assert [len(each["label"]) for each in found] == [4, 4, 5, 2, 2]
    seasons = sorted(shops["season"].unique())
    for number, each in enumerate(found[1:]):
        kind = "mean" if number < 2 else "observation"
        labels = [None if label == "new group" else label for label in each["label"]]
        rows = pd.DataFrame({"price": 5.5, "season": seasons[1], "shop": labels})
        limits = model.predict_interval(rows, kind=kind)
        width = limits[:, 1] - limits[:, 0]
        assert each["value"] == pytest.approx(model.predict(rows), rel=1e-5)
        assert (np.abs(np.array(each["low"]) - limits[:, 0]) < 1e-3 * width).all()
        assert (np.abs(np.array(each["high"]) - limits[:, 1]) < 1e-3 * width).all()
    assert found[3]["label"] == ["shop 7", "new group"]
    known = model.random_effects_["shop"]
    everyone = pd.DataFrame({"price": 5.5, "season": seasons[1], "shop": known.index})
    rank = pd.Series(model.predict(everyone), known.index).rank()
    assert found[3]["rank"][0] == rank["shop 7"]
    assert found[4]["rank"][0] == known["price"].rank()["shop 7"]
    assert "95% intervals of an observation" in found[4]["text"]


@needs_browser
def test_a_browser_takes_the_means_of_families(shops, tmp_path):
    columns = shops[["price", "shop"]]
    fits = MixedGeneralizedRegressor("(1 | shop)").fit(columns, shops["returns"])
    page = explore(fits, columns, tmp_path / "returns.html")
    (found,) = played(page, [{"column0": {"value": 3.0}}], tmp_path)["found"]
    labels = [None if label == "new group" else label for label in found["label"]]
    rows = pd.DataFrame({"price": 3.0, "shop": labels})
    limits = fits.predict_interval(rows, kind="mean")
    assert found["value"] == pytest.approx(fits.predict(rows), rel=1e-4)
    assert np.column_stack([found["low"], found["high"]]) == pytest.approx(limits, rel=1e-3)


@needs_browser
def test_labels_are_text_whatever_they_hold(shops, tmp_path):
    evil = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    table = shops.assign(shop=shops["shop"].str.replace("shop 7", evil + " 7", regex=False))
    table["season"] = table["season"].replace("spring", evil)
    columns = table[["shop", "price"]].rename(columns={"price": evil})
    columns["season"] = table["season"] == evil
    model = MixedLinearRegressor("(1 | shop)").fit(columns, table["sales"])
    page = explore(model, columns, tmp_path / "evil.html", title=evil)
    by_formula = lmer("sales ~ season + (1 | shop)", table)
    other = explore(by_formula, table, tmp_path / "formula.html")
    assert played(other, [{}, {"column0": {"value": "1"}}], tmp_path)["hacked"] is None
    steps = [{}, {"adding": {"value": evil + " 7"}}, {"axis_column": {"value": "0"}}]
    done = played(page, steps, tmp_path)
    assert done["hacked"] is None
    assert evil + " 7" in done["found"][1]["label"]
    assert "<script>" not in done["found"][1]["text"]
