"""Bootstrapped likelihood ratios against pbkrtest 0.5.2, and searches that agree."""

import numpy as np
import pytest
from scipy import stats

from skmixed import BayesianMixedRegressor, glmer, lmer, nlmer
from skmixed.datasets import load_sleepstudy
from skmixed.model_selection import RatioBootstrap, all_fits, bootstrap_test
from tests.model_selection.changes import sleep_with_more
from tests.model_selection.test_update import trees

STATISTIC = 2.77332848985
# statistic, ddf and p.value
OF_PBKRTEST = {
    "LRT": (2.77332848985, np.nan, 0.0958466681981),
    "PBtest": (2.77332848985, np.nan, 0.3),
    "Gamma": (2.77332848985, np.nan, 0.1932642193443),
    "Bartlett": (1.63994457350, np.nan, 0.2003330730367),
    "F": (2.77332848985, 4.89389067524, 0.1579947071518),
}


def test_p_values_are_those_of_pbkrtest():
    # summary(PBmodcomp(large, small, ref = c(...))) of the models below
    drawn = np.array([0.5, 1.2, 2.4, 0.1, 3.3, -0.001, 0.9, 5.1, 0.02, 1.7])
    result = RatioBootstrap(STATISTIC, 1, drawn)
    frame = result.to_frame()
    for name, (statistic, denominator, p_value) in OF_PBKRTEST.items():
        assert frame.loc[name, "statistic"] == pytest.approx(statistic, rel=1e-6)
        assert frame.loc[name, "p_value"] == pytest.approx(p_value, rel=1e-6)
        np.testing.assert_allclose(frame.loc[name, "denominator_df"], denominator, rtol=1e-6)
    assert result.p_value == pytest.approx(3 / 11)


def few_subjects():
    data = load_sleepstudy()
    subjects = sorted(data["Subject"].unique())[:7]
    return data[data["Days"].isin([0, 5]) & data["Subject"].isin(subjects)]


def test_a_bootstrap_is_that_of_pbkrtest():
    data = few_subjects()
    large = lmer("Reaction ~ Days + (1 | Subject)", data)
    small = lmer("Reaction ~ 1 + (1 | Subject)", data)
    result = bootstrap_test(large, small, 2000, random_state=0)
    assert result.statistic == pytest.approx(STATISTIC, rel=1e-6)
    # PBmodcomp(large, small, nsim = 2000): .1544, .1503, .1506 and .1352, Monte Carlo error .008
    frame = result.to_frame()
    expected = [0.0958, 0.1544, 0.1503, 0.1506, 0.1352]
    np.testing.assert_allclose(frame["p_value"], expected, atol=0.025)


@pytest.mark.parametrize(
    ("large", "small"),
    [
        ("Reaction ~ Days + (1 | Subject)", "Reaction ~ 1 + (1 | Subject)"),
        ("Reaction ~ Days + (Days | Subject)", "Reaction ~ Days + (1 | Subject)"),
        ("Reaction ~ Days + (1 | Subject)", "Reaction ~ Days"),
        ("Reaction ~ Days + (1 | Subject) + (1 | h)", "Reaction ~ Days + (1 | Subject)"),
    ],
)
def test_sums_and_rows_draw_from_one_distribution(large, small):
    data = sleep_with_more()
    models = lmer(large, data), lmer(small, data)
    n = 25 if "h" in large else 400
    by_sums = bootstrap_test(*models, n, random_state=0).reference
    by_rows = bootstrap_test(*models, n, X=data, random_state=1).reference
    assert stats.ks_2samp(by_sums, by_rows).pvalue > 1e-3
    assert (by_sums >= -1e-7).all()


def test_ratios_are_those_of_fits_to_the_responses():
    data = sleep_with_more()
    large = lmer("Reaction ~ Days + z + (1 | Subject)", data)
    small = lmer("Reaction ~ Days + (1 | Subject)", data)
    shifted = lmer("Reaction ~ I(Days - 4) + (1 | Subject)", data)  # the same without its columns
    fitted = bootstrap_test(large, shifted, 60, X=data, random_state=0)
    summed = bootstrap_test(large, small, 400, random_state=0)
    assert fitted.statistic == pytest.approx(summed.statistic, abs=1e-7)
    assert stats.ks_2samp(fitted.reference, summed.reference).pvalue > 1e-3


def test_replicates_do_not_depend_on_threads():
    data = sleep_with_more()
    large = lmer("Reaction ~ Days + (1 | Subject)", data)
    small = lmer("Reaction ~ 1 + (1 | Subject)", data)
    one = bootstrap_test(large, small, 2100, random_state=3)
    two = bootstrap_test(large, small, 2100, random_state=3, n_jobs=2)
    np.testing.assert_array_equal(one.reference, two.reference)


def test_events_and_curves_are_drawn_too():
    data = sleep_with_more().assign(slow=lambda t: (t["Reaction"] > 300) * 1)
    model = glmer("slow ~ Days + z + (1 | Subject)", data)
    result = bootstrap_test(model, ". ~ . - z", 40, X=data, random_state=0)
    assert result.statistic == pytest.approx(0.72454, abs=1e-4)
    assert 0.05 < result.p_value < 0.9
    correlated = lmer("Reaction ~ Days + z", data, residual="ar1(Days | Subject)")
    result = bootstrap_test(correlated, "~ . - z", 4, X=data, random_state=0)
    assert np.isfinite(result.reference).all()


def test_what_cannot_be_compared_says_so():
    data = sleep_with_more()
    large = lmer("Reaction ~ Days + (1 | Subject)", data)
    small = lmer("Reaction ~ 1 + (1 | Subject)", data)
    with pytest.raises(ValueError, match="which comes first"):
        bootstrap_test(small, large, 10)
    with pytest.raises(ValueError, match="pass X"):
        bootstrap_test(large, ". ~ . - Days", 10)
    with pytest.raises(ValueError, match="at least one replicate"):
        bootstrap_test(large, small, 0)
    with pytest.raises(ValueError, match="not fitted to the same data"):
        bootstrap_test(large, lmer("Reaction ~ 1 + (1 | Subject)", data.head(90)), 10)
    shifted = lmer("Reaction ~ I(Days - 4) + (1 | Subject)", data)
    with pytest.raises(ValueError, match="neither model has all columns of the other"):
        bootstrap_test(lmer("Reaction ~ Days + z + (1 | Subject)", data), shifted, 10)


def test_searches_end_at_one_place():
    data = sleep_with_more()
    frame = all_fits(lmer("Reaction ~ Days + (Days | Subject)", data)).to_frame()
    assert frame["above_lowest"].max() < 1e-6
    assert frame["converged"].all()
    assert np.ptp(frame["sd_Days|Subject"]) < 1e-4
    assert "em" in frame.index
    events = data.assign(slow=(data["Reaction"] > 300) * 1)
    model = glmer("slow ~ Days + (1 | Subject)", events)
    assert all_fits(model, 2, X=events).to_frame()["above_lowest"].max() < 1e-6
    with pytest.raises(ValueError, match="does not store"):
        all_fits(model)


def test_searches_of_other_kinds():
    data = sleep_with_more()
    correlated = lmer("Reaction ~ Days", data, residual="ar1(Days | Subject)")
    assert all_fits(correlated).to_frame()["above_lowest"].max() < 1e-6
    curves = trees()
    model = nlmer("size ~ SSlogis(age, Asym, xmid, scal) ~ Asym | tree", curves)
    frame = all_fits(model, 2, X=curves, y=curves["size"]).to_frame()
    assert frame["above_lowest"].max() < 1e-5
    posterior = BayesianMixedRegressor("(1 | Subject)", n_draws=20, n_chains=1, random_state=0)
    posterior.fit(data[["Days", "Subject"]], data["Reaction"])
    with pytest.raises(TypeError, match="has a posterior"):
        all_fits(posterior)
    with pytest.raises(TypeError, match="has a posterior"):
        bootstrap_test(posterior, posterior)
