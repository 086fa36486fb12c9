"""Displays follow scikit-learn's conventions, and say what to install."""

import inspect
import subprocess
import sys

import pytest

from skmixed import display

DISPLAYS = [getattr(display, name) for name in display.__all__ if name != "explore"]

WITHOUT = """
import sys
sys.modules["matplotlib"] = None
from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy
from skmixed.display import RandomEffectsDisplay
from skmixed.inference import random_effects_table

model = MixedLinearRegressor("(1 | Subject)").fit(*load_sleepstudy(return_X_y=True))
figures = RandomEffectsDisplay(random_effects_table(model))
for draw in (figures.plot, lambda: RandomEffectsDisplay.from_estimator(model)):
    try:
        draw()
    except ImportError as error:
        print(error)
"""


@pytest.mark.parametrize("kind", DISPLAYS, ids=lambda kind: kind.__name__)
def test_methods_are_those_of_scikit_learn_displays(kind):
    plot = inspect.signature(kind.plot).parameters
    assert list(plot)[:2] == ["self", "ax"]
    assert plot["ax"].default is None
    rest = [each for name, each in plot.items() if name not in ("self", "ax")]
    assert all(each.kind is inspect.Parameter.KEYWORD_ONLY for each in rest)
    made = inspect.signature(kind.from_estimator).parameters
    assert next(iter(made)) == "estimator"
    assert set(plot) - {"self"} <= set(made)


def test_without_matplotlib_the_figures_are_there_and_the_error_says_what_to_install():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("RandomEffectsDisplay.plot needs matplotlib")
    assert lines[1].startswith("RandomEffectsDisplay.from_estimator needs matplotlib")
    assert all("pip install 'scikit-mixed[plot]'" in line for line in lines)
