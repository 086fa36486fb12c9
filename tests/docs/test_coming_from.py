"""What the pages for people from elsewhere tell to type is there, and no function is left out."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import skmixed

PAGES = sorted((Path(__file__).parents[2] / "docs" / "coming_from").glob("*.md"))
WITH_TABLES = [page for page in PAGES if page.name != "index.md"]
ROOMS = [skmixed, *filter(inspect.ismodule, (getattr(skmixed, n) for n in skmixed.__all__))]
PUBLIC = {name: getattr(room, name) for room in ROOMS for name in getattr(room, "__all__", [])}
CLASSES = [thing for thing in PUBLIC.values() if inspect.isclass(thing)]
MEMBERS = {name for thing in CLASSES for name in dir(thing)} | {
    field.name
    for thing in CLASSES
    if dataclasses.is_dataclass(thing)
    for field in dataclasses.fields(thing)
}
METHODS = ["fit", "fit_transform", "plot", "predict", "predict_interval", "simulate", "summary"]
METHODS += ["from_estimator", "pairs", "matern"]
ARGUMENTS = {
    argument
    for thing in PUBLIC.values()
    if callable(thing) and not (inspect.isclass(thing) and issubclass(thing, Exception))
    for method in [thing, *(getattr(thing, name, None) for name in METHODS)]
    if callable(method)
    for argument in inspect.signature(method).parameters
}
# Words of formulas, of their functions and of these functions' settings.
FORMULAS = {"us", "diag", "homdiag", "homcs", "fa", "ar1", "car1", "var", "offset", "factor"}
FORMULAS |= {
    "mm",
    "cbind",
    "bs",
    "k",
    "d",
    "low",
    "high",
    "by",
    "SSlogis",
    "TRUE",
    "scale",
    "cs",
    "toeplitz",
    "hom",
    "center",
}
ELSEWHERE = {
    "GEE",
    "GridSearchCV",
    "IterativeImputer",
    "StandardScaler",
    "gam",
    "gls",
    "isinstance",
}
ELSEWHERE |= {"ConvergenceWarning", "logit", "numpy", "pandas", "print", "root_mean_squared_error"}
ELSEWHERE |= {"skmixed", "sp_exp"}
COLUMNS = {"edf", "missing_information", "cooks_distance", "Lambda", "Z"}  # and components
KNOWN = set(PUBLIC) | MEMBERS | ARGUMENTS | FORMULAS | ELSEWHERE | COLUMNS
CALLED = r"(?<![\w.\"~|])([A-Za-z_]\w+)(?=\()"
ALONE = r"^([A-Za-z_]\w*)$"
SET = r"(?<![\w.\"|])([A-Za-z_]\w*)=(?!=)"
NAMED = re.compile(f"{CALLED}|{ALONE}|{SET}")
SPAN = re.compile(r"(?<!`)(`{1,2})(?!`)(.+?)(?<!`)\1(?!`)")


def cells(line):
    """Cells of a row of a table."""
    return re.split(r"(?<!\\) \| ", line.strip("| "))


def named_here(page):
    """Names in the second columns of a page's tables: called, set, and those that stand alone."""
    rows = [cells(line) for line in page.read_text("utf-8").splitlines() if line.startswith("| ")]
    spans = [span for row in rows if len(row) > 1 for _, span in SPAN.findall(row[1])]
    return {name for span in spans for found in NAMED.findall(span) for name in found if name}


@pytest.mark.parametrize("page", WITH_TABLES, ids=lambda page: page.stem)
def test_what_to_type_is_there(page):
    named = named_here(page)
    assert named
    assert sorted(named - KNOWN) == []


@pytest.mark.parametrize("page", WITH_TABLES, ids=lambda page: page.stem)
def test_pages_open_with_what_is_typed_there_and_here(page):
    opening = page.read_text("utf-8").split("\n| ")[0]
    assert "```r\n" in opening or "```text\n" in opening
    assert "\n>>> " in opening


def test_a_name_that_is_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "| there | here |\n|---|---|\n| `f` | `no_such_function(m)`, `predict(X, never=1)` |\n"
    )
    assert named_here(page) - KNOWN == {"no_such_function", "never"}


WORD = re.compile(r"[A-Za-z%.][\w.%]*")


def named_there(page):
    """Names of other packages on a page: in code, but for that of the second columns."""
    text = page.read_text("utf-8")
    code = re.findall(r"^```(?:r|text)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for line in re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL).splitlines():
        shown = cells(line)[0] if line.startswith("| ") else line
        code += [span for _, span in SPAN.findall(shown)]
    words = {word.rstrip(".") for text in code for word in WORD.findall(text)}
    return words | {part for word in words for part in word.split(".")}


NAMED_THERE = set().union(*map(named_there, WITH_TABLES))
# Names by package, "[package version]" and then words.
LISTS = (Path(__file__).parent / "functions_elsewhere.txt").read_text("utf-8")
PACKAGES = dict(re.findall(r"^\[([^\]]+)\]\n(.+?)\n(?=\n|\Z)", LISTS, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_function_of_a_package_has_a_line(package):
    listed = PACKAGES[package].split()
    assert listed
    assert [name for name in listed if name not in NAMED_THERE] == []
