"""Every picture beside a residual structure: it is drawn, or says what the model has not."""

import matplotlib.pyplot as plt
import pytest

from skmixed import display, lmer
from skmixed.datasets import load_orthodont

TEETH = load_orthodont()
Y = TEETH["distance"]
MODELS = {
    "series": ("distance ~ age * Sex", "ar1(| Subject) * var(Sex)"),
    "visits": ("distance ~ age * Sex", "us(age | Subject)"),
    "strata": ("distance ~ age * Sex + (age | Subject)", "var(Sex)"),
}
# How every display is drawn, and why not without random effects; None where it is.
NO_EFFECTS = "no random effects"
DRAWN = {
    "AutocorrelationDisplay": (
        lambda cls, m: cls.from_estimator(m, TEETH, Y, series="Subject", time="age"), None,
    ),
    "CoefficientDisplay": (lambda cls, m: cls.from_estimator(m), None),
    "PredictionDisplay": (lambda cls, m: cls.from_estimator(m, TEETH, "age"), None),
    "RandomEffectsDisplay": (lambda cls, m: cls.from_estimator(m), NO_EFFECTS),
    "ResidualsDisplay": (lambda cls, m: cls.from_estimator(m, TEETH, Y), None),
    "ShrinkageDisplay": (lambda cls, m: cls.from_estimator(m, TEETH, Y), NO_EFFECTS),
}  # fmt: skip

# Curves, profiles and pages have tests of their own; posteriors know no residual structures.
OTHERS = {"PredictiveCheckDisplay", "ProfileDisplay", "SmoothDisplay", "explore"}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    formula, residual = MODELS[request.param]
    return lmer(formula, TEETH, residual=residual)


@pytest.mark.parametrize("name", sorted(set(display.__all__) - OTHERS))
def test_displays_are_drawn_or_refused(model, name):
    draw, without_effects = DRAWN[name]
    if without_effects and not model.random_effects_:
        with pytest.raises(ValueError, match=without_effects):
            draw(getattr(display, name), model)
        return
    assert draw(getattr(display, name), model).figure_.axes
    plt.close("all")


def test_profiles_are_drawn_with_the_parameters_of_residuals():
    formula, residual = MODELS["series"]
    model = lmer(formula, TEETH, residual=residual)
    wanted = ["ar1", "ratio Female/Male"]
    shown = display.ProfileDisplay.from_estimator(model, parameters=wanted, level=0.5, points=1)
    assert shown.panels_ == wanted
    for panel, name in enumerate(wanted):
        assert model.residual_parameters_[name] < shown.lines_[panel].get_xdata()[-1]
    plt.close("all")


def test_curves_are_asked_for_where_there_are_none(model):
    with pytest.raises(ValueError, match="no smooth terms"):
        display.SmoothDisplay.from_estimator(model)
