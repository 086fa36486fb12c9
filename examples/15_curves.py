"""
Smooth curves with random effects
=================================

How to fit smooth curves beside random effects, and a smooth curve for every group. The heights of
forty children, measured at eight ages each, follow a common curve, plus a curve of each child, plus
noise. REML estimates how smooth both are, so that there is nothing to tune.
"""

# sphinx_gallery_thumbnail_number = 2

# %%
# The data
# --------
#
# The common curve has a growth spurt; children differ in size, pace and timing.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import MixedLinearRegressor
from skmixed.display import SmoothDisplay
from skmixed.inference import compare_models, smooth_table

rng = np.random.default_rng(0)


def height(age):
    return 75 + 6 * age + 12 / (1 + np.exp(-2 * (age - 12)))


child = np.repeat(np.arange(40), 8)
data = pd.DataFrame({"child": child, "age": rng.uniform(2, 17, len(child))})
size, pace, early = (rng.normal(scale=scale, size=40)[child] for scale in (4.0, 0.4, 0.8))
data["height"] = height(data["age"] + early) + size + pace * data["age"]
data["height"] += rng.normal(scale=0.7, size=len(child))

# %%
# A curve for all, a line for each child
# --------------------------------------
#
# ``s(age)`` is the common curve; random intercepts and slopes let children differ in size and pace.

lines = MixedLinearRegressor("(1 + age | child)", fixed="s(age, k=15)")
lines.fit(data, data["height"])
print(lines.summary())

# %%
# ``edf`` are the effective degrees of freedom of the curve; a straight line has one. The figure
# shows the pointwise confidence band, and the ages of the data below.

SmoothDisplay.from_estimator(lines, data)
plt.show()

# %%
# A curve for each child
# ----------------------
#
# ``(s(age, 6) | child)`` adds departures from the lines, with one further variance. The models are
# compared by restricted likelihood.

curves = MixedLinearRegressor("(s(age, 6) | child)", fixed="s(age, k=15)")
curves.fit(data, data["height"])
print(compare_models(lines, curves))
print(smooth_table(curves))

# %%
# Children have their own curves, which are shrunk towards the common one.

grid = np.linspace(data["age"].min(), data["age"].max(), 60)
fig, ax = plt.subplots(layout="constrained")
for number, colour in ((3, "C0"), (11, "C1"), (25, "C2")):
    own = data[data["child"] == number]
    rows = pd.DataFrame({"age": grid, "child": number})
    ax.plot(own["age"], own["height"], "o", color=colour)
    ax.plot(grid, curves.predict(rows), color=colour, label=f"child {number}")
common = curves.predict(pd.DataFrame({"age": grid}), random="none")
ax.plot(grid, common, color="black", linestyle="--", label="all children")
ax.set(xlabel="age, years", ylabel="height, cm")
ax.legend()

# %%
# Outside the range of the data
# -----------------------------
#
# Outside the range of the data a curve continues as a straight line, with a warning. With a stated
# range, ``s(age, low=0, high=20)``, models can also be fitted in batches.
