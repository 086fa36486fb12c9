"""
Crossed effects
===============

Judges taste wines, and every judge tastes many. Some judges are severe and some wines are good;
neither is nested in the other. A wine that met severe judges only has a low mean, but that is not
the wine's fault.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import MixedLinearRegressor
from skmixed.display import RandomEffectsDisplay
from skmixed.inference import variance_partition

rng = np.random.default_rng(0)
n_judges, n_wines, n_tastings = 25, 40, 300
quality = rng.normal(scale=1.0, size=n_wines)
mildness = rng.normal(scale=1.5, size=n_judges)
wine, judge = rng.integers(n_wines, size=n_tastings), rng.integers(n_judges, size=n_tastings)
price = rng.uniform(5.0, 50.0, n_wines)
X = pd.DataFrame({"price": price[wine], "wine": wine, "judge": judge})
score = 80.0 + 0.05 * X["price"] + quality[wine] + mildness[judge] + rng.normal(size=n_tastings)

# %%
# A term for each factor; the model finds out by itself that they cross.
model = MixedLinearRegressor("(1 | wine) + (1 | judge)").fit(X, score)
print(model.summary())

# %%
print(variance_partition(model))
print("The truth: judges 2.25, wines 1.00, noise 1.00.")

# %%
# Wines and judges, from the lowest to the highest.
RandomEffectsDisplay.from_estimator(model)
plt.show()

# %%
# How well is the quality of a wine found? Its mean score has the judges in it, and so has a model
# that knows of wines only, which shrinks a little instead.
rest = score - model.intercept_ - model.coef_[0] * X["price"]
alone = MixedLinearRegressor("(1 | wine)").fit(X[["price", "wine"]], score)
found = {
    "mean of its scores, less what the price explains": rest.groupby(wine).mean(),
    "model with wines": alone.random_effects_["wine"]["(Intercept)"],
    "model with wines and judges": model.random_effects_["wine"]["(Intercept)"],
}
print("\nRoot mean squared error of the qualities of the wines:")
for name, effect in found.items():
    print(f"  {name:49} {np.sqrt(np.mean((effect - quality[effect.index]) ** 2)):.2f}")
