"""What the pages for people from elsewhere tell to type is there under that name."""

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
ARGUMENTS = {
    argument
    for thing in PUBLIC.values()
    if callable(thing) and not (inspect.isclass(thing) and issubclass(thing, Exception))
    for method in [thing, *(getattr(thing, n, None) for n in ("fit", "predict"))]
    if callable(method)
    for argument in inspect.signature(method).parameters
}
FORMULAS = {"us", "diag", "homdiag", "homcs", "fa", "ar1", "car1", "var", "offset", "factor"}
FORMULAS |= {"mm", "cbind", "bs", "k", "SSlogis", "TRUE"}
ELSEWHERE = {"GridSearchCV", "GEE", "logit", "print", "pandas", "sp_exp", "gam"}
COLUMNS = {"edf", "missing_information"}
NAMED = re.compile(r"(?<![\w.\"~|])([A-Za-z_]\w+)(?=\()|^([A-Za-z_]\w*)$")


def named_here(page):
    """Names in the second columns of a page's tables: of calls, and those that stand alone."""
    rows = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| ")]
    cells = [re.split(r"(?<!\\) \| ", row.strip("| ")) for row in rows]
    spans = [span for cell in cells if len(cell) > 1 for span in re.findall(r"`([^`]+)`", cell[1])]
    return {call or alone for span in spans for call, alone in NAMED.findall(span)}


@pytest.mark.parametrize("page", WITH_TABLES, ids=lambda page: page.stem)
def test_what_to_type_is_there(page):
    named = named_here(page)
    assert named
    assert not named - set(PUBLIC) - MEMBERS - ARGUMENTS - FORMULAS - ELSEWHERE - COLUMNS


def test_a_name_that_is_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("| there | here |\n|---|---|\n| `f` | `no_such_function(m)`, `predict(X)` |\n")
    assert named_here(page) - set(PUBLIC) - MEMBERS == {"no_such_function"}
