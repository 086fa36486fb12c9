"""Predictions with intervals for groups of many rows, few rows and none."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import MixedLinearRegressor

rng = np.random.default_rng(4)
sizes = np.array([40, 2, 25, 8, 12, 30])
shop = np.repeat([f"s{n}" for n in range(6)], sizes)
sales = 50 + np.repeat(rng.normal(scale=6, size=6), sizes) + rng.normal(scale=5, size=len(shop))
X = pd.DataFrame({"shop": shop})
model = MixedLinearRegressor(group_features="shop").fit(X, sales)
rows = pd.DataFrame({"shop": ["s0", "s3", "s1", "new"]})
middle = model.predict(rows)
figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
for kind, color, width, what in [
    ("observation", "#d6e4f0", 16, "an observation"),
    ("mean", "C0", 5, "the group's mean"),
]:
    low, high = model.predict_interval(rows, level=0.9, kind=kind).T
    ax.vlines(range(4), low, high, color=color, lw=width, label=f"90% interval of {what}")
ax.plot(range(4), middle, "o", color="C1", label="prediction")
ax.axhline(model.intercept_, color="0.6", zorder=0)
ax.set_xticks(range(4), ["40 rows", "8 rows", "2 rows", "new shop"])
ax.set(ylabel="sales", xlim=(-0.5, 3.5))
figure.legend(frameon=False, loc="outside upper center", ncols=2)
