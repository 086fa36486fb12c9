"""Estimates of the standard deviation between groups by REML and by ML, six groups of five."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import MixedLinearRegressor

n_groups, n_each, n_sets = 6, 5, 400
rng = np.random.default_rng(0)
group = np.repeat(np.arange(n_groups), n_each)
feature = rng.normal(size=n_groups)[group]  # constant within groups
X = pd.DataFrame({"feature": feature, "group": group})
found = {"reml": [], "ml": []}
for _ in range(n_sets):
    y = rng.normal(size=n_groups)[group] + rng.normal(size=len(group))
    for method, estimates in found.items():
        model = MixedLinearRegressor("(1 | group)", method=method).fit(X, y)
        estimates.append(model.random_covariance_["group"].iloc[0, 0])

for method, estimates in found.items():
    ax = plt.subplots(figsize=(4.4, 3.2), layout="constrained")[1]
    ax.hist(estimates, bins=np.arange(0, 5.1, 0.25), color="0.8")
    ax.axvline(1, color="C0", label="true value, 1")
    mean = np.mean(estimates)
    ax.axvline(mean, color="C1", ls="--", label=f"mean estimate, {mean:.2f}")
    ax.set(title=method.upper(), xlabel="variance between groups", ylim=(0, 150))
    ax.set_ylabel(f"number of {n_sets} data sets")
    ax.legend(frameon=False)
