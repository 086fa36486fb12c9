"""How much of the package a plain fit walks through, and what an estimator may set."""

import ast
import sys
from pathlib import Path

import skmixed
from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy

PACKAGE = Path(skmixed.__file__).parent
MOST_FILES, MOST_CALLS = 38, 14  # of a random intercept; deep in one another


def test_a_plain_fit_is_a_short_walk():
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor("(1 | Subject)").fit(X, y)  # what is imported late is there
    files, stack, deepest = set(), [], []

    def count(frame, event, arg):
        code = frame.f_code
        if str(PACKAGE) not in code.co_filename or code.co_name.startswith("<"):
            return
        if event == "call":
            files.add(code.co_filename)
            stack.append(code.co_qualname)
            deepest[:] = max(deepest, stack, key=len)
        elif event == "return":
            stack.pop()

    fit = model.fit
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        fit(X, y)
    finally:
        sys.setprofile(before)
    assert len(files) <= MOST_FILES, sorted(files)
    assert len(deepest) <= MOST_CALLS, deepest


def test_an_estimator_sets_its_fitted_state_and_nothing_else():
    for folder in ("estimators", "model_selection", "distributed"):
        for path in (PACKAGE / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    on_self = isinstance(node.value, ast.Name) and node.value.id == "self"
                    assert not (on_self and node.attr.endswith("_")), (path, node.attr)
