"""The examples run without a warning and print the right figures."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import reference_set

ROOT = Path(__file__).parents[2]

# The models of the tutorial by number, and R's fit of each.
MODELS_IN_R = {
    1: "seed_glm1",
    2: "seed_glm2",
    3: "seed_glm3",
    4: "seed_glm4",
    5: "seed_glm5",
    6: "seed_m6_reml",
    7: "seed_m7_reml",
    8: "seed_m8_reml",
    9: "seed_m9_reml",
}
NUMBER = r"-?\d+\.\d+"


def run(*arguments):
    """Return what an example prints, every warning being an error."""
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def coefficients(lines):
    """Estimate and standard error by R's name of the coefficient, from the lines before '---'."""
    found = {}
    for line in lines[: lines.index("---")]:
        if match := re.fullmatch(rf"(\S+) +({NUMBER}) +({NUMBER}) *", line):
            # Ours is class[T.b], R's classb.
            name = re.sub(r"\[(?:T\.)?([^]]*)\]", r"\1", match[1])
            found[name] = (float(match[2]), float(match[3]))
    return found


def error_terms(lines):
    """Words and numbers of the table of error terms."""
    if "Error terms:" not in lines:
        return []
    return [line.split() for line in lines[lines.index("Error terms:") + 2 : lines.index("---")]]


def figures(lines, *names):
    """Printed value of each name that is there, as text: ``name = value``."""
    text = "\n".join(lines)
    matches = {name: re.search(rf"\b{name} = ({NUMBER})", text) for name in names}
    return {name: match[1] for name, match in matches.items() if match}


def in_r(number):
    """R's fit of a model of the tutorial."""
    path = reference_set.WHOLE_SET / "fits" / f"{MODELS_IN_R[number]}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def tutorial(*arguments):
    """Lines that the tutorial prints, by number of the model."""
    sections = run("examples/tutorial.py", *arguments).split("\n### ")[1:]
    return {int(section.split(".")[0]): section.splitlines() for section in sections}


@pytest.fixture(scope="module")
def published():
    """Lines of the tutorial on the data of the original."""
    return tutorial("--data", str((reference_set.WHOLE_SET / "data/extroversion.csv").resolve()))


def test_quickstart():
    text = run("examples/quickstart.py")
    for figure in ["251.41    6.82", "10.47    1.55", "24.74", "5.92 0.07", "25.59", "1743.6"]:
        assert figure in text
    assert re.search(r"^308 +2\.26 +9\.20$", text, re.MULTILINE)
    rows = text[text.index("never met") :]
    predictions = re.findall(r"^\d +([09]) +(308|new) +(\S+)$", rows, re.MULTILINE)
    assert predictions == [
        ("0", "308", "253.7"),
        ("9", "308", "430.7"),
        ("0", "new", "251.4"),
        ("9", "new", "345.6"),
    ]
    assert "R2 = 0.72  (KFold over rows)" in text
    assert "R2 = 0.02  (GroupKFold over subjects)" in text


def test_encoder():
    text = run("examples/encoder.py")
    held_out = {name: float(value) for name, value in re.findall(r"^  (\S+) +(\S+)$", text, re.M)}
    assert held_out["BLUPEncoder"] > held_out["TargetEncoder"] > held_out["one-hot"]
    variances = re.findall(r"variance between labels of \w+: (\S+)", text)
    assert [float(value) for value in variances] == pytest.approx([0.64, 0.0], abs=0.1)


def test_boosting_with_groups():
    text = run("examples/boosting_with_groups.py")
    errors = dict(re.findall(r"^  (\D+?) +(\d\.\d\d) +\d\.\d\d$", text, re.M))
    assert float(errors["boosting with random effects"]) < 1.15
    assert float(errors["linear mixed model"]) > 1.25
    for inside in re.findall(r"intervals hold (\d+)%", text):
        assert 86 <= int(inside) <= 94
    assert len(re.findall(r"intervals hold", text)) == 2


def test_tutorial_on_simulated_schools():
    models = tutorial()
    assert sorted(models) == list(MODELS_IN_R)
    # The cells of 4 and 5 are the same, and the truth is a residual deviation of 1.
    assert figures(models[4], "AIC", "residual sd") == figures(models[5], "AIC", "residual sd")
    assert figures(models[4], "residual sd") == {"residual sd": "0.96"}
    assert "number of obs: 1200, groups: class:school, 24; school, 6" in models[8]


def test_grouped_models():
    text = run("examples/grouped_models.py")
    assert "school = I, class = a" in text
    scores = dict(re.findall(r"^  (\S.*?\S) +(-?\d+\.\d+)$", text, re.MULTILINE))
    assert float(scores["pooled by REML"]) > 0.97
    assert float(scores["pooled by REML"]) > max(
        float(scores["each class apart"]), float(scores["half"])
    )


@reference_set.needs_whole_set
def test_tutorial_prints_the_published_figures(published):
    assert coefficients(published[6]) == {
        "(Intercept)": (59.12, 4.10),
        "open": (0.01, 0.01),
        "agree": (0.03, 0.02),
        "social": (0.00, 0.00),
    }
    assert error_terms(published[6]) == [["school", "(Intercept)", "9.79"], ["Residual", "2.67"]]
    assert figures(published[6], "AIC", "DIC", "deviance") == {
        "AIC": "5836.1",
        "DIC": "5788.9",
        "deviance": "5806.5",
    }
    assert figures(published[4], "AIC", "residual sd") == {"AIC": "3395.573", "residual sd": "0.98"}
    nested = [row[-1] for row in error_terms(published[8])]
    assert nested == ["2.86", "9.69", "0.98"]
    assert figures(published[8], "AIC") == {"AIC": "3568.6"}


@reference_set.needs_whole_set
def test_tutorial_reaches_the_optimum_of_its_last_model(published):
    # The published figures of this model stop short of it, at 3552.9.
    assert figures(published[9][-4:], "REML criterion") == {"REML criterion": "3552.7355"}
    assert any("singular fit" in line for line in published[9])


def test_streaming():
    text = run("examples/streaming.py")
    assert "groups: customer, 5000" in text
    assert re.search(r"^discount +7\.\d\d ", text, re.MULTILINE)
    assert "200000 predictions" in text
    assert "after 210000 orders" in text


@reference_set.needs_whole_set
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_ordinary_regressions_are_those_of_r(number, published):
    theirs = in_r(number)
    if number != 4:  # where the coding differs from R's
        assert coefficients(published[number]) == coefficients(theirs["arm_display"])
    assert figures(published[number], "AIC", "residual sd") == {
        "AIC": f"{theirs['AIC']:.3f}",
        "residual sd": f"{theirs['residual_sd']:.2f}",
    }


@reference_set.needs_whole_set
@pytest.mark.parametrize("number", [6, 7, 8, 9])
def test_mixed_models_print_what_r_prints(number, published):
    display = in_r(number)["arm_display"]
    assert coefficients(published[number]) == coefficients(display)
    assert error_terms(published[number]) == error_terms(display)
    names = "AIC", "DIC", "deviance"
    assert figures(published[number], *names) == figures(display, *names)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_are_short_and_explained(example):
    text = example.read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert text.count("\n") < 120
