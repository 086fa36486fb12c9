"""The examples run without a warning and print the right figures."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import reference_set

ROOT = Path(__file__).parents[2]


def run(*arguments):
    """Return what an example prints, every warning being an error."""
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quickstart():
    text = run("examples/quickstart.py")
    for figure in ["251.41    6.82", "10.47    1.55", "24.74", "5.92 0.07", "25.59", "1743.6"]:
        assert figure in text
    assert "R2 = 0.72  (KFold over rows)" in text
    assert "R2 = 0.02  (GroupKFold over subjects)" in text


def test_tutorial_on_simulated_schools():
    text = run("examples/tutorial.py")
    assert text.count("###") == 9
    assert "class:school, 24; school, 6" in text


@reference_set.needs_whole_set
def test_tutorial_prints_the_published_figures():
    path = reference_set.WHOLE_SET / "data" / "extroversion.csv"
    text = run("examples/tutorial.py", "--data", str(path.resolve()))
    models = text.split("###")[1:]
    expected = {
        4: ["AIC = 3395.573", "residual sd = 0.98"],
        6: [
            "(Intercept)    59.12    4.10",
            "open            0.01    0.01",
            "agree           0.03    0.02",
            "social          0.00    0.00",
            "school   (Intercept)     9.79",
            "Residual                 2.67",
            "AIC = 5836.1, DIC = 5788.9",
            "deviance = 5806.5",
        ],
        8: ["(Intercept)     2.86", "(Intercept)     9.69", "0.98", "AIC = 3568.6"],
        9: ["REML criterion = 3552.7355", "singular"],
    }
    for number, figures in expected.items():
        for figure in figures:
            assert figure in models[number - 1], (number, figure)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_are_short_and_explained(example):
    text = example.read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert text.count("\n") < 130
