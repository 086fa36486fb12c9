"""Intercept and slope of every subject alone, and where the mixed model moves them."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse

from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy

X, y = load_sleepstudy(return_X_y=True)
model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
centre = np.array([model.intercept_, model.coef_[0]])
shrunk = centre + model.random_effects_["Subject"].to_numpy()
alone = [
    np.polyfit(X["Days"][X["Subject"] == s], y[X["Subject"] == s], 1)[::-1]
    for s in model.random_effects_["Subject"].index
]

figure, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
variances, axes = np.linalg.eigh(model.random_covariance_["Subject"].to_numpy())
angle = np.degrees(np.arctan2(*axes[::-1, 1]))
for deviations in (1, 2):
    width, height = 2 * deviations * np.sqrt(variances[::-1])
    ax.add_patch(Ellipse(centre, width, height, angle=angle, fill=False, ls=":", color="0.5"))
for start, end in zip(alone, shrunk, strict=True):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "0.5"})
ax.plot(*np.transpose(alone), "o", mfc="white", color="C0", label="separate fits")
ax.plot(*shrunk.T, "o", color="C1", label="mixed model")
ax.plot(*centre, "k+", ms=12, label="average subject")
ax.set(xlabel="intercept, ms", ylabel="slope, ms per day")
ax.legend(frameon=False)
