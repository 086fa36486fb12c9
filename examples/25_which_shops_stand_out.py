"""
Which shops stand out
=====================

How to rank groups fairly when some have hundreds of rows and others three. The mean of three rows
is mostly chance, so the smallest shops are at the top and at the bottom of a list of means. Random
effects are shrunk the more, the less is known of a shop, and expected ranks take the remaining
uncertainty into account.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import MixedLinearRegressor
from skmixed.display import RandomEffectsDisplay
from skmixed.inference import random_effects_table

rng = np.random.default_rng(0)
n_shops, n_small = 200, 40
size = np.where(np.arange(n_shops) < n_small, 3, rng.integers(20, 200, size=n_shops))
shop = np.repeat(np.arange(n_shops), size)
effect = rng.normal(scale=3.0, size=n_shops)
price, promo = rng.uniform(5.0, 15.0, len(shop)), rng.random(len(shop)) < 0.2
X = pd.DataFrame({"price": price, "promo": promo, "shop": [f"S{number:03d}" for number in shop]})
units = pd.Series(60.0 - 2.0 * price + 8.0 * promo + effect[shop])
units += rng.normal(scale=10.0, size=len(shop))

# %%
# The mean of a shop also depends on its prices and promotions, for which the model adjusts. With
# shops nested in regions, ``(1 | region/shop)``, the table would name the factor
# ``"shop:region"``, and a shop would be the pair of its label and its region.
model = MixedLinearRegressor("(1 | shop)").fit(X, units)
table = random_effects_table(model).to_frame().loc["shop"].droplevel("column")
table["rows"] = X.groupby("shop").size()
table["mean"] = units.groupby(X["shop"]).mean() - units.mean()
table["truth"] = pd.Series(effect, index=table.index)
print(model.summary(), end="\n\n")

# %%
# ``estimate`` is the random effect of a shop with its 95% interval. ``expected_rank`` is 1 plus the
# expected number of shops below it, so that a shop of which little is known has a rank near the
# middle; ``percentile`` is the same as a percentage.
ranked = table.sort_values("expected_rank", ascending=False)
columns = ["rows", "mean", "estimate", "lower", "upper", "expected_rank"]
print("Top ten by expected rank:")
print(ranked[columns].head(10).round(1).to_string(), end="\n\n")
print("Bottom ten:")
print(ranked[columns].tail(10).round(1).to_string(), end="\n\n")

# %%
# A fifth of the shops have three rows, but half of the ten highest means are theirs. By random
# effects none of them is on top, since a mean of three rows is shrunk to a quarter: 3 / (3 + r),
# where r = 9 is the residual variance over that between shops. The true effects tell which list is
# right.
print("Ten highest by    shops of three rows    mean of their true effects")
for name, by in [
    ("mean", "mean"),
    ("random effect", "estimate"),
    ("expected rank", "expected_rank"),
]:
    top = table.nlargest(10, by)
    print(f"{name:<18}{(top['rows'] == 3).sum():>2}{top['truth'].mean():>27.1f}")
clear = (table["lower"] > 0.0) | (table["upper"] < 0.0)
print(f"\n{clear.sum()} of {n_shops} shops differ from the average beyond their 95% interval,")
print(f"{(clear & (table['rows'] == 3)).sum()} of them with three rows.")

# %%
# The twenty highest and lowest, with their intervals: neighbours in the list overlap, so that their
# order is uncertain, and which shops are far from zero is not.
RandomEffectsDisplay.from_estimator(model, max_levels=40)
plt.show()
