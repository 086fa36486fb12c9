"""
Posteriors
==========

How to draw from the posterior of a mixed model in a fraction of a second, answer questions about
probabilities, check the model, and compare priors when a variance is estimated as zero.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import BayesianMixedRegressor, MixedLinearRegressor
from skmixed.bayes import (
    HalfNormal,
    Normal,
    Prior,
    posterior_predictive_check,
    prior_predict,
    sample,
)
from skmixed.datasets import load_sleepstudy
from skmixed.display import PredictiveCheckDisplay

X, y = load_sleepstudy(return_X_y=True)
model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
draws = sample(model, random_state=0)
print(draws)

# %%
# The data are reaction times of eighteen people who sleep three hours a night. Draws are
# arrays, from which any probability can be computed: that the standard deviation of slopes exceeds
# 5 ms a day, or that the slope of subject 309 is below that of subject 308.
parameters = draws.parameters
effects = draws.effects("Subject", ["308", "309"])
print("P(sd of slopes > 5):", (parameters["sd_Days|Subject"] > 5).mean().round(2))
print("P(309 below 308):", (effects[:, :, 1, 1] < effects[:, :, 0, 1]).mean().round(2))
deviations = np.sqrt(np.diag(model.random_covariance_["Subject"]))
for name, fitted in (("Days", model.coef_[0]), ("sd_Days|Subject", deviations[1])):
    figure, ax = plt.subplots(figsize=(4.5, 3.4), layout="constrained")
    ax.hist(parameters[name].ravel(), bins=60, density=True, alpha=0.6)
    ax.axvline(fitted, color="black", linestyle="--", label="REML")
    ax.set(xlabel=f"{name} [ms per day]", ylabel="density")
    ax.legend()

# %%
# Posterior predictive checks simulate responses for the same days and people, and compare
# statistics with the data. The model has the same residual variance for everybody; the check by
# subject shows that some are steadier than that, and subject 332 is less steady.
check = posterior_predictive_check(model, draws, X, y, by="Subject", random_state=0)
print(check.to_frame().loc["sd"].sort_values("p_value").head(3).round(2))
PredictiveCheckDisplay.from_estimator(model, X, y, draws=draws, kind="density", random_state=0)
PredictiveCheckDisplay(check, response="Reaction").plot(kind="sd")
plt.show()

# %%
# Leave-one-group-out cross-validation: how well are all days of a new subject predicted jointly?
# Random slopes improve the prediction.
for random in ("(Days | Subject)", "(1 | Subject)"):
    other = BayesianMixedRegressor(random, random_state=0).fit(X, y)
    left_out = other.loo(X, y, leave_out="Subject")
    print(f"log density of new people, {random}: {left_out.total:.0f}")

# %%
# Six batches of dyestuff that hardly differ (Box & Tiao 1973, simulated): REML estimates a variance
# of zero. The posterior shows which small values are plausible; most of its mass is near zero.
batches = pd.DataFrame({"batch": np.repeat(list("ABCDEF"), 5)})
content = np.fromstring(
    "7.298 3.846 2.434 9.566 7.99 5.22 6.556 0.608 11.788 -0.892 0.11 10.386 13.434 5.51 8.166 "
    "2.212 4.852 7.092 9.288 4.98 0.282 9.014 4.458 9.446 7.198 1.722 4.782 8.106 0.758 3.758",
    sep=" ",
)
edge = MixedLinearRegressor("(1 | batch)").fit(batches, content)
print("singular:", edge.is_singular_)
priors = {
    "weak": "weak",
    "half-normal(1)": Prior(scales=HalfNormal(1.0)),
    "half-normal(4)": Prior(scales=HalfNormal(4.0), coef={"(Intercept)": Normal(5, 10)}),
}
figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
for name, prior in priors.items():
    values = sample(edge, prior, random_state=0).parameters["sd_(Intercept)|batch"]
    print(f"{name}: median {np.median(values):.2f}, 95 % below {np.quantile(values, 0.95):.1f}")
    ax.hist(values.ravel(), bins=np.linspace(0, 6, 60), density=True, histtype="step", label=name)
ax.set(xlabel="sd between batches", ylabel="density")
ax.legend()
plt.show()

# %%
# Prior predictive simulation shows what a prior implies before any data: here, the range of yields
# under the last prior and under a wider one.
figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
for scale in (4.0, 40.0):
    prior = Prior(HalfNormal(scale), coef={"(Intercept)": Normal(5, 10)}, sigma=HalfNormal(scale))
    expected = prior_predict(edge, batches, prior=prior, n_draws=2000, random_state=0)
    ranges = np.log10(np.ptp(expected, axis=0))
    ax.hist(ranges, bins=60, density=True, histtype="step", label=f"half-normal({scale:.0f})")
ax.axvline(np.log10(np.ptp(content)), color="black", linestyle="--", label="observed")
ax.set(xlabel="log10 of the range of all yields", ylabel="density")
ax.legend()
plt.show()
