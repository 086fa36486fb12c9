"""
Choosing a random structure in a pipeline
=========================================

The random part of a model is a parameter like any other: a grid search walks it. What is best
depends on the question, further orders of known shops or orders of new ones, and the folds ask it.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmixed import MixedLinearRegressor
from skmixed.display import PredictionDisplay

rng = np.random.default_rng(0)
n_rows, n_shops, n_regions = 3_000, 60, 6
shop = rng.integers(n_shops, size=n_rows)
level, slope = rng.normal(scale=[[2.0], [1.0]], size=(2, n_shops))
of_region = rng.normal(scale=1.0, size=n_regions)
price, advertising = rng.normal(10.0, 2.0, n_rows), rng.exponential(100.0, n_rows)
X = pd.DataFrame(
    {"price": price, "advertising": advertising, "shop": shop, "region": shop % n_regions}
)
effect = -1.5 + slope[shop]
sales = 50.0 + effect * (price - 10.0) + 0.01 * advertising + level[shop]
sales += of_region[shop % n_regions] + rng.normal(scale=3.0, size=n_rows)

# %%
# A scaler for the features; the labels pass it by, and stay columns of a data frame.
scaler = make_column_transformer(
    (StandardScaler(), ["price", "advertising"]),
    remainder="passthrough",
    verbose_feature_names_out=False,
).set_output(transform="pandas")
pipeline = make_pipeline(scaler, MixedLinearRegressor(group_features=["shop", "region"]))

structures = [
    "(1 | shop)",
    "(1 | region/shop)",
    "(1 + price || shop)",
    "(1 + price | region/shop)",
    "(1 + price + advertising | shop)",
]
grid = {"mixedlinearregressor__random": structures}

# %%
# Two questions: ``KFold`` leaves rows of every shop in training, ``GroupKFold`` takes whole shops
# out.
questions = {
    "known shops": list(KFold(5, shuffle=True, random_state=0).split(X)),
    "new shops": list(GroupKFold(5).split(X, groups=shop)),
}
scores = pd.DataFrame(index=pd.Index(structures, name="random"))
for name, folds in questions.items():
    search = GridSearchCV(pipeline, grid, cv=folds).fit(X, sales)
    scores[name] = search.cv_results_["mean_test_score"]
    if name == "known shops":
        best = search
print("R2 held out:")
print(scores.round(3).to_string())
print(f"\nBest for known shops: {best.best_params_['mixedlinearregressor__random']}")

# %%
# Of known shops, a slope of the price that varies is worth most, and what else varies hardly
# matters. Of new shops nobody knows the slope: there only the region helps.
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for (name, column), marker in zip(scores.items(), "os", strict=True):
    ax.plot(column, range(len(column)), marker, label=name)
ax.set_yticks(range(len(structures)), structures)
ax.set_xlabel("R2 held out")
ax.legend()
plt.show()

# %%
# The best pipeline as a whole, in the units of the data: shops that react to prices, and some that
# hardly do.
PredictionDisplay.from_estimator(best.best_estimator_, X, "price", factor=["shop", "region"])
plt.show()
