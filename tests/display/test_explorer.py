"""The explorer's page: one file, that asks for nothing else, of the size that is promised."""

import re
import sys

import numpy as np
import pandas as pd
import pytest

from skmixed import lmer
from skmixed.display import explore


@pytest.fixture(scope="module")
def model(shops):
    return lmer("sales ~ price * season + (1 + price | shop)", shops)


def test_page_is_one_file_that_asks_for_nothing_else(model, shops, tmp_path):
    page = explore(model, shops, tmp_path / "shops.html", title="Shops")
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "shops.html"
    assert page.stat().st_size < 1.5e6
    around = re.sub(r"(<script[^>]*>).*?</script>", r"\1", text, flags=re.DOTALL)
    assert around.count("<script") >= 3
    assert not re.findall(r"(?:src|href)=", around)
    assert '<html lang="en">' in text
    assert 'name="viewport"' in text
    assert "<title>Shops</title>" in text


def test_size_is_told_before_it_is_written(model, shops, tmp_path):
    with pytest.raises(
        ValueError, match=r"would have at least 1\.4 MB, 20 groups of .*max_size=1\.3"
    ):
        explore(model, shops, tmp_path / "shops.html", max_size=1.3)
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
