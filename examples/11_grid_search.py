"""
Select random effects by grid search
====================================

How to tune the random part of a model inside a pipeline, with scikit-learn's ``GridSearchCV``. The
best choice depends on whether known or new shops are to be predicted, and the folds decide which.

See also :doc:`/guide/groups`.
"""

# sphinx_gallery_thumbnail_number = 2

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
region_effect = rng.normal(scale=1.0, size=n_regions)
price, advertising = rng.normal(10.0, 2.0, n_rows), rng.exponential(100.0, n_rows)
X = pd.DataFrame(
    {"price": price, "advertising": advertising, "shop": shop, "region": shop % n_regions}
)
effect = -1.5 + slope[shop]
sales = 50.0 + effect * (price - 10.0) + 0.01 * advertising + level[shop]
sales += region_effect[shop % n_regions] + rng.normal(scale=3.0, size=n_rows)

# %%
# Scale the features; the labels are passed through and remain columns of a data frame. The
# candidates below use different grouping columns, so that all of them are listed in
# `group_features`: one that a candidate does not name is left out, and never becomes a feature.
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
# ``KFold`` with shuffling keeps rows of every shop in training; ``GroupKFold`` holds out whole
# shops.
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
print("Held-out R2:")
print(scores.round(3).to_string())
print(f"\nBest for known shops: {best.best_params_['mixedlinearregressor__random']}")

# %%
# For known shops, a random slope of the price improves the prediction most, and other terms hardly
# matter. The slope of a new shop is unknown: only the region helps.
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for (name, column), marker in zip(scores.items(), "os", strict=True):
    ax.plot(column, range(len(column)), marker, label=name)
ax.set_yticks(range(len(structures)), structures)
ax.set_xlabel("held-out R2")
ax.legend()
plt.show()

# %%
# Predictions of the best pipeline, in the units of the data: some shops respond to the price,
# others hardly do.
PredictionDisplay.from_estimator(best.best_estimator_, X, "price", factor=["shop", "region"])
plt.show()
