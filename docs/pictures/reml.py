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

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
for ax, (method, estimates) in zip(axes, found.items(), strict=True):
    ax.hist(estimates, bins=np.arange(0, 5.1, 0.25), color="0.8")
    ax.axvline(1, color="C0", label="truth, 1")
    mean = np.mean(estimates)
    ax.axvline(mean, color="C1", ls="--", label=f"mean of the estimates, {mean:.2f}")
    ax.set(title=method.upper(), xlabel="variance between groups")
    ax.legend(frameon=False)
axes[0].set_ylabel(f"of {n_sets} sets of data")
