"""
Related levels: pedigrees and maps
==================================

How to fit random effects that are correlated between relatives or neighbouring places. A
``Relationship`` holds the known correlations, the model estimates their variance, and levels
without rows are predicted from related ones.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import MixedLinearRegressor, Relationship, lmer
from skmixed.inference import compare_models, heritability
from skmixed.model_selection import profile_range

# %%
# Two hundred calves of ten sires and fifty dams are weighed three times. Their breeding values are
# simulated from the pedigree.
rng = np.random.default_rng(2)
calves = [f"c{i:03d}" for i in range(200)]
pedigree = pd.DataFrame(
    {
        "animal": calves,
        "sire": [f"s{i}" for i in rng.integers(0, 10, 200)],
        "dam": [f"d{i:02d}" for i in rng.integers(0, 50, 200)],
    }
)
related = Relationship.from_pedigree(pedigree)
root = np.linalg.cholesky(related.matrix)
breeding = pd.Series(root @ rng.normal(size=len(related)), related.labels)
records = pd.DataFrame({"animal": np.repeat(calves, 3), "month": np.tile([1, 2, 3], 200)})
records["weight"] = 30 + 12 * records["month"] + 4 * breeding[records["animal"]].to_numpy()
records["weight"] += 5 * rng.normal(size=600)

plain = lmer("weight ~ month + (1 | animal)", records)
animal = lmer("weight ~ month + (1 | animal)", records, relationship={"animal": related})
print(compare_models(plain, animal, names=["independent", "related"]).to_frame()["aic"].round(1))
print(heritability(animal).to_frame().round(2))

# %%
# Calves that were never weighed are predicted from their relatives.
seen = records[~records["animal"].isin(calves[:40])]
model = lmer("weight ~ month + (1 | animal)", seen, relationship={"animal": related})
found = model.random_effects_["animal"]["(Intercept)"]
fig, ax = plt.subplots()
for chosen, label in ((calves[40:], "weighed"), (calves[:40], "never weighed")):
    ax.plot(4 * breeding[chosen], found[chosen], ".", label=label)
    correlation = np.corrcoef(breeding[chosen], found[chosen])[0, 1]
    print(f"{label}: correlation with the truth {correlation:.2f}")
ax.axline((0, 0), slope=1, color="0.7", linewidth=1)
ax.set(xlabel="true breeding value", ylabel="predicted")
ax.legend()
plt.show()

# %%
# Places: correlations decrease with distance, over a range that is estimated by likelihood. Then
# the whole map is predicted from the measured places.
east, north = np.meshgrid(np.arange(15.0), np.arange(15.0))
grid = pd.DataFrame({"east": east.ravel(), "north": north.ravel()})
grid.index = [f"p{i:03d}" for i in range(len(grid))]
truth = Relationship.matern(grid, range=3.0).matrix
level = pd.Series(np.linalg.cholesky(truth) @ rng.normal(size=len(grid)), grid.index)
measured = pd.DataFrame({"place": np.repeat(rng.choice(grid.index, 90, replace=False), 2)})
y = level[measured["place"]].to_numpy() + 0.4 * rng.normal(size=len(measured))
found = profile_range(MixedLinearRegressor("(1 | place)"), measured, y, grid, factor="place")
print(f"range {found.range:.1f}, from {found.interval[0]:.1f} to {found.interval[1]:.1f}")

predicted = found.estimator.predict(pd.DataFrame({"place": grid.index}))
print(f"correlation with the truth {np.corrcoef(level, predicted)[0, 1]:.2f}")
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.4), sharex=True, sharey=True)
for ax, values, title in zip(axes, (level, predicted), ("true", "predicted"), strict=True):
    ax.imshow(np.reshape(values, east.shape), origin="lower", vmin=-2.5, vmax=2.5, cmap="RdBu")
    ax.set_title(title)
places = grid.loc[measured["place"].unique()]
axes[1].plot(places["east"], places["north"], "k.", markersize=3)
plt.show()
