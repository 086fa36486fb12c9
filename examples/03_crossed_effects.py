"""
Crossed effects
===============

How good is a wine, if judges differ in severity and every judge tastes many wines? Wines and judges
are crossed factors. A wine that was tasted by severe judges only has a low mean score, and a model
with both factors corrects for that.
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
# One term per factor; that the factors are crossed need not be declared.
model = MixedLinearRegressor("(1 | wine) + (1 | judge)").fit(X, score)
print(model.summary())

# %%
print(variance_partition(model))
print("True variances: judges 2.25, wines 1.00, noise 1.00.")

# %%
# Random effects of wines and judges, sorted:
RandomEffectsDisplay.from_estimator(model)
plt.show()

# %%
# How accurate are the estimated qualities of wines? The mean score of a wine includes the severity
# of its judges; so does a model of wines only, apart from some shrinkage.
rest = score - model.intercept_ - model.coef_[0] * X["price"]
alone = MixedLinearRegressor("(1 | wine)").fit(X[["price", "wine"]], score)
found = {
    "mean score, minus the effect of the price": rest.groupby(wine).mean(),
    "model with wines": alone.random_effects_["wine"]["(Intercept)"],
    "model with wines and judges": model.random_effects_["wine"]["(Intercept)"],
}
print("\nRoot mean squared error of the estimated qualities:")
for name, effect in found.items():
    print(f"  {name:42} {np.sqrt(np.mean((effect - quality[effect.index]) ** 2)):.2f}")
