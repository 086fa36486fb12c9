"""The picture of profiles goes through the points of `profile`."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import trapezoid

from skmixed import GroupedModels, lmer
from skmixed.datasets import load_orthodont, load_sleepstudy, make_mixed_regression
from skmixed.display import ProfileDisplay
from skmixed.inference import confidence_intervals, profile


@pytest.fixture(scope="module")
def model():
    return lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())


def test_curves_go_through_the_points(model):
    display = ProfileDisplay.from_estimator(model, points=4)
    curves = profile(model, points=4).to_frame()
    assert display.panels_ == list(curves["parameter"].unique())
    for panel, (_, part) in enumerate(curves.groupby("parameter", sort=False)):
        assert np.allclose(display.points_[panel].get_xdata(), part["value"])
        assert np.allclose(display.points_[panel].get_ydata(), part["zeta"], atol=1e-9)
        x, y = display.lines_[panel].get_data()
        assert np.all(np.diff(y) > 0)
        assert np.allclose(np.interp(part["value"], x, y), part["zeta"], atol=1e-2)
    assert display.axes_[0].get_xlabel() == "sd_(Intercept)|Subject\n[Reaction]"
    assert display.axes_[2].get_xlabel() == "sd_Days|Subject\n[Reaction per unit of Days]"
    assert display.axes_[1].get_xlabel() == "cor_Days.(Intercept)|Subject"


def test_curves_end_where_an_effect_may_vanish():
    """Without the effect of a deviation of zero its correlation may be anything."""
    model = lmer("distance ~ age + (age | Subject)", load_orthodont())
    display = ProfileDisplay.from_estimator(model, points=3)
    curves = profile(model, points=3).to_frame()
    assert display.panels_ == list(curves["parameter"].unique())
    without = lmer("distance ~ age + (0 + age | Subject)", load_orthodont(), reml=False)
    most = without.criterion_ - model.fit_.with_method("ml").criterion
    angle = curves[curves["parameter"].str.startswith("cor")]
    assert angle["value"].iloc[[0, -1]].tolist() == [-1.0, 1.0]
    assert (angle["zeta"] ** 2).max() < most + 1e-6
    assert np.all(np.diff(angle["zeta"]) >= -1e-6)
    limits = confidence_intervals(model, method="profile").to_frame()
    assert limits.loc["cor_age.(Intercept)|Subject", "lower"] == -1.0


def test_lines_lead_to_the_ends_of_profile_intervals(model):
    display = ProfileDisplay.from_estimator(model)
    limits = confidence_intervals(model, method="profile").to_frame()
    for panel, name in enumerate(display.panels_):
        found = {
            round(float(segment[1, 1]), 4): segment[0, 0]
            for segment in display.intervals_[panel].get_segments()
        }
        assert len(found) == 8
        wanted = limits.loc[name]
        width = wanted["upper"] - wanted["lower"]
        assert abs(found[-1.96] - wanted["lower"]) < 0.01 * width
        assert abs(found[1.96] - wanted["upper"]) < 0.01 * width


def test_densities_integrate_to_their_probability(model):
    display = ProfileDisplay.from_estimator(model, kind="density", level=0.99)
    for line in display.lines_:
        x, y = line.get_data()
        assert np.all(y >= 0)
        assert trapezoid(y, x) == pytest.approx(0.99, abs=5e-3)
    assert display.axes_[0].get_ylabel() == "density"
    assert not display.points_


def test_density_of_a_normal_estimate_is_normal():
    data = make_mixed_regression(2_000, 1, n_levels=100, random_state=0)
    model = lmer("y ~ x0 + (1 | group)", data.data.assign(y=data.target))
    display = ProfileDisplay.from_estimator(model, kind="density", parameters="x0", points=10)
    error = float(np.sqrt(model.coef_covariance_.loc["x0", "x0"]))
    x, y = display.lines_[0].get_data()
    assert np.allclose(y, stats.norm.pdf(x, model.coef_[0], error), atol=0.02 * y.max())


def test_curves_that_end_at_the_boundary_are_drawn_as_far_as_they_go():
    data = make_mixed_regression(60, 1, n_levels=6, random_sd=0.2, random_state=3)
    model = lmer("y ~ x0 + (1 | group)", data.data.assign(y=data.target))
    display = ProfileDisplay.from_estimator(model, parameters="sd_(Intercept)|group")
    x, _ = display.lines_[0].get_data()
    assert x[0] == pytest.approx(0.0, abs=1e-6)
    assert len(display.intervals_[0].get_segments()) < 8


def test_columns_may_be_called_as_parameters_are():
    names = {"Days": "sigma", "late": "sd_of", "high": "cor_x.z"}
    table = load_sleepstudy().assign(late=lambda t: t["Days"] > 5, high=lambda t: t["Days"] % 2)
    table = table.astype({"late": float}).rename(columns=names)
    model = lmer("Reaction ~ sigma + sd_of + `cor_x.z` + (1 | Subject)", table)
    curves = profile(model, points=2)
    display = ProfileDisplay.from_estimator(model, points=2)
    labels = [axes.get_xlabel().replace("\n", " ") for axes in display.axes_]
    assert labels == [
        "sd_(Intercept)|Subject [Reaction]",
        "sigma [Reaction]",
        "(Intercept) [Reaction]",
        "sigma [Reaction per unit of sigma]",
        "sd_of [Reaction per unit of sd_of]",
        "cor_x.z [Reaction per unit of cor_x.z]",
    ]
    assert [len(line.get_xdata()) for line in display.points_] == [5] * 6
    assert curves._table().frame["points"].tolist() == [5] * 6


def test_wrong_arguments(model):
    draw = ProfileDisplay.from_estimator
    with pytest.raises(ValueError, match="kind='box' is neither 'zeta' nor 'density'"):
        draw(model, kind="box")
    with pytest.raises(ValueError, match="parameters='x' is not among"):
        draw(model, parameters="x")
    with pytest.raises(TypeError, match="not a GroupedModels"):
        draw(GroupedModels())
    with pytest.raises(ValueError, match=r"between 0 and 1; for 2% use level=0\.02"):
        draw(model, level=2)
