"""Means of shops before and after shrinkage; intervals for a known and a new subject."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.9), layout="constrained")

rng = np.random.default_rng(3)
sizes = np.array([1, 2, 2, 3, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60])
shop = np.repeat(np.arange(len(sizes)), sizes)
sales = 50 + rng.normal(scale=4, size=len(sizes))[shop] + rng.normal(scale=10, size=len(shop))
model = MixedLinearRegressor(group_features="shop").fit(pd.DataFrame({"shop": shop}), sales)
own = np.bincount(shop, sales) / sizes
shrunk = model.intercept_ + model.random_effects_["shop"]["(Intercept)"].to_numpy()
place = np.arange(len(sizes))
left.axhline(model.intercept_, color="0.6", zorder=0, label="all shops")
for x, start, end in zip(place, own, shrunk, strict=True):
    left.annotate("", (x, end), (x, start), arrowprops={"arrowstyle": "->", "color": "0.5"})
left.plot(place, own, "o", mfc="white", color="C0", label="mean of the shop's rows")
left.plot(place, shrunk, "o", color="C1", label="estimate of the mixed model")
left.set(
    xticks=place,
    xticklabels=sizes,
    xlabel="rows of the shop",
    ylabel="sales",
    title="The fewer rows, the stronger the pull",
)
left.legend(frameon=False)

X, y = load_sleepstudy(return_X_y=True)
model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
days = np.linspace(0, 9, 50)
for subject, name, color in [("308", "a subject it has met", "C1"), ("new", "a new one", "0.5")]:
    rows = pd.DataFrame({"Days": days, "Subject": subject})
    low, high = model.predict_interval(rows, level=0.9).T
    right.fill_between(days, low, high, color=color, alpha=0.25, lw=0)
    right.plot(days, model.predict(rows), color=color, label=f"{name}, 90 % interval")
known = X["Subject"] == "308"
right.plot(X["Days"][known], y[known], "o", mfc="white", color="C0", label="rows of the former")
right.set(xlabel="days of little sleep", ylabel="reaction time, ms", title="Known and new groups")
right.legend(frameon=False, loc="upper left")
