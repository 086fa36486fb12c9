"""
Boosting with random effects
============================

Sales depend on price and weather in a way that no formula says, and every shop sells more or less
than others. Boosting with the shop as a feature has to learn the shops one by one, by splits;
boosting with random effects estimates how much shops differ and shrinks each towards the average.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from skmixed import MixedEffectsRegressor, MixedLinearRegressor
from skmixed.display import PredictionDisplay

rng = np.random.default_rng(0)
n_rows, n_shops = 4_000, 300


def sales(shop, of_shop):
    X = pd.DataFrame({"price": rng.uniform(size=len(shop)), "sun": rng.uniform(size=len(shop))})
    f = 5.0 * np.sin(np.pi * X["price"] * X["sun"]) + 8.0 * (X["sun"] - 0.5) ** 2
    y = f + of_shop[shop] + rng.normal(size=len(shop))
    return X.assign(shop=shop), y


of_shop = rng.normal(scale=1.5, size=2 * n_shops)
X, y = sales(rng.integers(n_shops, size=n_rows), of_shop)
known, y_known = sales(rng.integers(n_shops, size=n_rows), of_shop)
new, y_new = sales(rng.integers(n_shops, 2 * n_shops, size=n_rows), of_shop)

# %%
# Three models, judged by shops that they know and by shops that they have never met.
trees = HistGradientBoostingRegressor(early_stopping=True, random_state=0)
mixed = MixedEffectsRegressor(trees, "(1 | shop)").fit(X, y)
models = {
    "boosting, shop as a number": trees.fit(X, y),
    "linear mixed model": MixedLinearRegressor("(1 | shop)").fit(X, y),
    "boosting with random effects": mixed,
}
print("Root mean squared error (the noise alone has 1.00):")
print("                                known shops  new shops")
for name, model in models.items():
    errors = [
        np.sqrt(np.mean((model.predict(rows) - truth) ** 2))
        for rows, truth in [(known, y_known), (new, y_new)]
    ]
    print(f"  {name:30} {errors[0]:10.2f} {errors[1]:10.2f}")

# %%
variance = mixed.random_covariance_["shop"].iloc[0, 0]
print(f"\nstandard deviation between shops {variance**0.5:.2f} (the truth is 1.50),")
print(f"of the residual {mixed.residual_variance_**0.5:.2f}, after {mixed.n_iter_} iterations")
print("early stopping at work:", mixed.regressor_.n_iter_, "trees of at most", trees.max_iter)

# %%
# Sales against sunshine at a middling price: the curve is the trees', its height the shop's. The
# bands are for single sales; among them is the noise.
PredictionDisplay.from_estimator(mixed, X, "sun", interval="observation", level=0.9)
plt.show()

# %%
for name, rows, truth in [("known", known, y_known), ("new", new, y_new)]:
    low, high = mixed.predict_interval(rows, level=0.9).T
    inside, width = np.mean((low < truth) & (truth < high)), (high - low).mean()
    print(f"90 % intervals hold {inside:.0%} of the sales of {name} shops, width {width:.1f}")
