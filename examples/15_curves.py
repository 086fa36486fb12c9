"""
Curves beside groups
====================

Growth is no straight line. Forty children are measured at eight ages each; the height of a child
is a curve that all share, a curve of its own about it, and noise. The smoothness of both is
estimated by restricted likelihood, so that there is nothing to tune.
"""

# %%
# The data
# --------
#
# The common curve has a spurt; children differ in size, in pace, and in when they grow.

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
# ``s(age)`` is the curve; a random intercept and slope let children differ in size and pace.

lines = MixedLinearRegressor("(1 + age | child)", fixed="s(age, k=15)")
lines.fit(data, data["height"])
print(lines.summary())

# %%
# ``edf`` says how much of a curve there is: a line would count one. The picture has its pointwise
# band, and the ages of the data below.

SmoothDisplay.from_estimator(lines, data)

# %%
# A curve for each child
# ----------------------
#
# ``(s(age, 6) | child)`` adds departures from the lines, of one more variance. Restricted
# likelihood compares the two.

curves = MixedLinearRegressor("(s(age, 6) | child)", fixed="s(age, k=15)")
curves.fit(data, data["height"])
print(compare_models(lines, curves))
print(smooth_table(curves))

# %%
# Children with few measurements are drawn to the common curve, and known ones keep their own.

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
# Beyond the range
# ----------------
#
# A curve goes on as a straight line where there were no rows, which is said; a range can be given,
# ``s(age, low=0, high=20)``, and then rows may come in parts, too.
