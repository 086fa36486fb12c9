"""
Counts and rates
================

How to model counts over different exposures, and what to do about overdispersion. The number of
stops of machines depends on their load, their running hours and the machine; the negative binomial
family allows for more variation than the Poisson family.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import MixedGeneralizedRegressor

rng = np.random.default_rng(0)
n_machines, n_weeks = 50, 16
machine = np.repeat(np.arange(n_machines), n_weeks)
X = pd.DataFrame({"load": rng.uniform(0.0, 1.0, len(machine)), "machine": machine})
X["hours"] = rng.integers(10, 100, len(machine))
machine_effect = rng.normal(scale=0.6, size=n_machines)
rate = np.exp(-3.5 + 1.5 * X["load"] + machine_effect[machine])
week = rng.gamma(2.0, 0.5, len(machine))  # unobserved variation between weeks
stops = rng.poisson(rate * X["hours"] * week)

# %%
# ``exposure`` names the column to which the mean is proportional. In the Poisson family the
# variance equals the mean, given the machine.
poisson = MixedGeneralizedRegressor("(1 | machine)", exposure="hours").fit(X, stops)
counts = MixedGeneralizedRegressor(
    "(1 | machine)", family="negative_binomial", exposure="hours"
).fit(X, stops)
print(counts.summary())

# %%
# The counts are overdispersed: the negative binomial family estimates this (the true theta is 2),
# its AIC is far lower, and the standard errors of the Poisson model are too small.
print(f"{'':18}{'AIC':>8}{'load':>8}{'error':>8}{'sd':>8}")
for name, model in {"poisson": poisson, "negative binomial": counts}.items():
    error = np.sqrt(model.coef_covariance_.loc["load", "load"])
    spread = np.sqrt(model.random_covariance_["machine"].iloc[0, 0])
    print(f"{name:18}{model.aic_:8.0f}{model.coef_[0]:8.2f}{error:8.3f}{spread:8.2f}")
print(f"\ntheta: {counts.dispersion_:.2f}")

# %%
# The prediction for a new machine is averaged over the distribution of machines. It is larger than
# that of a typical machine, because the mean of exp exceeds exp of the mean.
rows = pd.DataFrame({"load": 0.5, "machine": [0, -1], "hours": 100})
print("stops in 100 hours, machine 0 and a new one:", counts.predict(rows).round(1))
typical = MixedGeneralizedRegressor(
    "(1 | machine)", family="negative_binomial", exposure="hours", averaging="plug-in"
).fit(X, stops)
print("the same, with random effects of zero for the new one:", typical.predict(rows).round(1))

# %%
# First: true and estimated effects of the machines. Second: variance of the counts by their mean,
# compared with the two families.
figure, left = plt.subplots(figsize=(4.5, 4), layout="constrained")
found = counts.random_effects_["machine"]["(Intercept)"]
left.plot([-1.5, 1.5], [-1.5, 1.5], color="0.8")
left.scatter(machine_effect, found, s=15)
left.set(xlabel="true effect", ylabel="estimate", title="machines, log rate")
figure, right = plt.subplots(figsize=(4.5, 4), layout="constrained")
mean = counts.predict(X)
bins = pd.qcut(mean, 12)
groups = pd.DataFrame({"mean": mean, "square": (stops - mean) ** 2}).groupby(bins, observed=True)
right.loglog(groups["mean"].mean(), groups["square"].mean(), "o", label="counts")
grid = np.geomspace(mean.min(), mean.max(), 50)
right.loglog(grid, grid, "--", label="Poisson")
right.loglog(grid, grid + grid**2 / counts.dispersion_, label="negative binomial")
right.set(xlabel="mean", ylabel="mean squared residual", title="variance")
right.legend()
plt.show()
