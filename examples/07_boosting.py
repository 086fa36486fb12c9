"""
Boosting with random effects
============================

How to combine boosting with random effects, when sales depend on price and weather in a complicated
way and every shop has its own level. Boosting with the shop as a feature must learn the shops by
splits; boosting with random effects estimates the variance between shops and shrinks each towards
the average.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from skmixed import MixedEffectsRegressor, MixedLinearRegressor
from skmixed.display import PredictionDisplay

rng = np.random.default_rng(0)
n_rows, n_shops = 4_000, 300


def sales(shop, shop_effect):
    X = pd.DataFrame({"price": rng.uniform(size=len(shop)), "sun": rng.uniform(size=len(shop))})
    f = 5.0 * np.sin(np.pi * X["price"] * X["sun"]) + 8.0 * (X["sun"] - 0.5) ** 2
    y = f + shop_effect[shop] + rng.normal(size=len(shop))
    return X.assign(shop=shop), y


shop_effect = rng.normal(scale=1.5, size=2 * n_shops)
X, y = sales(rng.integers(n_shops, size=n_rows), shop_effect)
known, y_known = sales(rng.integers(n_shops, size=n_rows), shop_effect)
new, y_new = sales(rng.integers(n_shops, 2 * n_shops, size=n_rows), shop_effect)

# %%
# Compare three models on known shops and on new ones.
trees = HistGradientBoostingRegressor(early_stopping=True, random_state=0)
mixed = MixedEffectsRegressor(trees, "(1 | shop)").fit(X, y)
models = {
    "boosting, shop as numeric column": trees.fit(X, y),
    "linear mixed model": MixedLinearRegressor("(1 | shop)").fit(X, y),
    "boosting with random effects": mixed,
}
print("Root mean squared error (the noise alone has 1.00):")
print("                                    known shops  new shops")
for name, model in models.items():
    errors = [
        np.sqrt(np.mean((model.predict(rows) - truth) ** 2))
        for rows, truth in [(known, y_known), (new, y_new)]
    ]
    print(f"  {name:34} {errors[0]:10.2f} {errors[1]:10.2f}")

# %%
variance = mixed.random_covariance_["shop"].iloc[0, 0]
print(f"\nstandard deviation between shops {variance**0.5:.2f} (true value 1.50),")
print(f"of the residual {mixed.residual_variance_**0.5:.2f}, after {mixed.n_iter_} iterations")
print("early stopping:", mixed.regressor_.n_iter_, "trees of at most", trees.max_iter)

# %%
# Sales by sunshine at an average price: the shape of the curve comes from the trees, its level from
# the random effect of the shop. The bands are prediction intervals, which include the noise.
PredictionDisplay.from_estimator(mixed, X, "sun", interval="observation", level=0.9)
plt.show()

# %%
for name, rows, truth in [("known", known, y_known), ("new", new, y_new)]:
    low, high = mixed.predict_interval(rows, level=0.9).T
    inside, width = np.mean((low < truth) & (truth < high)), (high - low).mean()
    print(f"coverage of 90% intervals, {name} shops: {inside:.0%}; mean width {width:.1f}")
