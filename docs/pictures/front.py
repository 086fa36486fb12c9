"""Means of shops before and after shrinkage; intervals for a known and a new subject."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy


def axes_of_figure():
    """Return the axes of a new figure of the size of a panel."""
    return plt.subplots(figsize=(5, 3.7), layout="constrained")[1]


def shrunk(ax=None):
    """Draw means of shops and the estimates that they are shrunk to."""
    ax = ax or axes_of_figure()
    rng = np.random.default_rng(3)
    sizes = np.array([1, 2, 2, 3, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60])
    shop = np.repeat(np.arange(len(sizes)), sizes)
    sales = 50 + rng.normal(scale=4, size=len(sizes))[shop] + rng.normal(scale=10, size=len(shop))
    model = MixedLinearRegressor(group_features="shop").fit(pd.DataFrame({"shop": shop}), sales)
    own = np.bincount(shop, sales) / sizes
    estimates = model.intercept_ + model.random_effects_["shop"]["(Intercept)"].to_numpy()
    place = np.arange(len(sizes))
    ax.axhline(model.intercept_, color="0.6", zorder=0, label="all shops")
    for x, start, end in zip(place, own, estimates, strict=True):
        ax.annotate("", (x, end), (x, start), arrowprops={"arrowstyle": "->", "color": "0.5"})
    ax.plot(place, own, "o", mfc="white", color="C0", label="mean of the shop's rows")
    ax.plot(place, estimates, "o", color="C1", label="estimate of the mixed model")
    ax.set_xticks(place, sizes, size=8)
    ax.set(xlabel="rows of the shop", ylabel="sales", title="The fewer rows, the more shrinkage")
    ax.legend(frameon=False)


def known_and_new(ax=None):
    """Draw predictions with intervals for a subject of the data and for a new one."""
    ax = ax or axes_of_figure()
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    days = np.linspace(0, 9, 50)
    for subject, name, color in [("308", "subject 308", "C1"), ("new", "a new subject", "0.5")]:
        rows = pd.DataFrame({"Days": days, "Subject": subject})
        low, high = model.predict_interval(rows, level=0.9).T
        ax.fill_between(days, low, high, color=color, alpha=0.25, lw=0)
        ax.plot(days, model.predict(rows), color=color, label=f"{name}, 90% interval")
    known = X["Subject"] == "308"
    ax.plot(X["Days"][known], y[known], "o", mfc="white", color="C0", label="data of subject 308")
    ax.set(xlabel="day of the study", ylabel="reaction time, ms", title="Known and new groups")
    ax.legend(frameon=False, loc="upper left")
