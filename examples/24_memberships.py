"""
Multiple membership
===================

How to model rows that belong to several levels of a factor: pupils and all the schools they
attended, or matches and their players. ``mm(first, second)`` gives every level one random effect,
whichever column it is in.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import lmer
from skmixed.inference import compare_models

# %%
# Pupils of forty schools, a third of whom changed school once in six years. The effects of the
# schools are weighted by the years spent there.
rng = np.random.default_rng(4)
n, schools = 1_500, [f"s{i:02d}" for i in range(40)]
effect = pd.Series(2.0 * rng.normal(size=40), schools)
pupils = pd.DataFrame({"first": rng.choice(schools, n), "ability": rng.normal(size=n)})
moved = rng.random(n) < 1 / 3
pupils["second"] = np.where(moved, rng.choice(schools, n), pupils["first"])
pupils["before"] = np.where(moved, rng.integers(1, 6, n), 3)
pupils["after"] = 6 - pupils["before"]
parts = [
    pupils["before"] * pupils["first"].map(effect),
    pupils["after"] * pupils["second"].map(effect),
]
pupils["mark"] = 50 + 3 * pupils["ability"] + (parts[0] + parts[1]) / 6 + 3 * rng.normal(size=n)

# %%
# A model of the last school only, which is often all that is recorded, fits worse.
members = "mm(first, second, weights=cbind(before, after))"
last = lmer("mark ~ ability + (1 | second)", pupils, reml=False)
both = lmer(f"mark ~ ability + (1 | {members})", pupils, reml=False)
print(compare_models(last, both, names=["last school", "both schools"]).to_frame()["aic"].round(1))
print(both.summary())

# %%
# Predicted and true effects of the schools:
for model, title in ((last, "last school"), (both, "both schools")):
    figure, ax = plt.subplots(figsize=(4, 3.8), layout="constrained")
    found = next(iter(model.random_effects_.values()))["(Intercept)"]
    error = np.sqrt(np.mean((found - effect) ** 2))
    ax.plot(effect, found[effect.index], ".")
    ax.axline((0, 0), slope=1, color="0.7", linewidth=1)
    ax.set(title=f"{title}: RMSE {error:.2f}", ylim=(-5, 5))
    ax.set(xlabel="true effect", ylabel="predicted")
plt.show()

# %%
# A pupil with a known and an unknown school: half of the school effect is known, and the other half
# varies as schools do.
new = pupils.iloc[[0, 0]].assign(second=["s01", "new"], before=3, after=3)
print(both.predict_interval(new, kind="mean").round(1))
