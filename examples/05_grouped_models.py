"""
One model per group, shrunk
===========================

How to fit a separate model to every group without overfitting. Separate regressions for 24 classes
vary widely; one for all hides that schools differ. ``GroupedModels`` shrinks every class towards
its school and every school towards all pupils, by an amount that REML estimates, and accepts any
estimator.
"""

import matplotlib.pyplot as plt
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import ShuffleSplit, cross_val_score

from skmixed import GroupedModels
from skmixed.datasets import make_schools
from skmixed.display import ShrinkageDisplay

pupils = make_schools()
X, y = pupils[["open", "agree", "social", "school", "class"]], pupils["extro"]

# %%
# Separate regressions; the summary has the format of arm's ``display``.
separate = GroupedModels(group_features=["school", "class"], shrinkage=None).fit(X, y)
print("\n".join(str(separate.summary()).splitlines()[:12]), end="\n\n")
print("Coefficients of the first classes, separate regressions:")
print(separate.coef_table().head(4).round(2).iloc[:, :5].to_string(), end="\n\n")

# %%
# Partial pooling. The traits have no effect in truth, so that all differences between the slopes of
# classes are noise. Shrinkage removes most of it, though not all, because six schools contain
# little information about variances.
model = GroupedModels(group_features=["school", "class"]).fit(X, y)
print("The same, shrunk:")
print(model.coef_table(shrunk=True).head(4).round(2).iloc[:, :5].to_string(), end="\n\n")
ShrinkageDisplay.from_estimator(model, columns=["open", "agree"])
plt.show()

# %%
print("How much does each coefficient vary between groups?")
print(model.heterogeneity().round(3).to_string(), end="\n\n")
print("What share of its own estimate does a class keep?")
print(model.weights_.head(4).round(2).to_string(), end="\n\n")

# %%
# Training with few pupils, 4 or 5 per class; the others are predicted.
few = ShuffleSplit(5, train_size=100, random_state=0)
print("R2 for held-out pupils, fitted to 100 pupils")
for name, shrinkage in [("separate", None), ("shrunk by REML", "blup"), ("half", 0.5)]:
    candidate = GroupedModels(group_features=["school", "class"], shrinkage=shrinkage)
    print(f"  {name:16} {cross_val_score(candidate, X, y, cv=few).mean():.3f}")

# %%
# Any estimator can be used; predictions are then blended with those of the parent.
forest = RandomForestRegressor(20, random_state=0)
blended = GroupedModels(forest, group_features="school").fit(X.drop(columns="class"), y)
print("\nShare of its own predictions that the forest of a school keeps:")
print(blended.weights_["school"].round(2).to_string())
