"""
A model for every group, pooled
===============================

The data are the simulated pupils of the package. Regressions in each of 24 classes scatter, one for
all hides that schools differ. ``GroupedModels`` shrinks every class to its school and every school
to all pupils by as much as restricted maximum likelihood finds right, and takes any estimator.
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
# Each class apart: the arguments are in the form of arm's ``display``.
apart = GroupedModels(group_features=["school", "class"], shrinkage=None).fit(X, y)
print("\n".join(str(apart.summary()).splitlines()[:12]), end="\n\n")
print("The coefficients of the first classes, each class by itself:")
print(apart.coef_table().head(4).round(2).iloc[:, :5].to_string(), end="\n\n")

# %%
# Pooled. None of the traits has an effect in truth, so that all differences between the slopes of
# classes are noise. Most of it is taken out, not all: six schools say little of variances.
model = GroupedModels(group_features=["school", "class"]).fit(X, y)
print("The same, shrunk:")
print(model.coef_table(shrunk=True).head(4).round(2).iloc[:, :5].to_string(), end="\n\n")
ShrinkageDisplay.from_estimator(model, columns=["open", "agree"])
plt.show()

# %%
print("How much of each coefficient differs between groups?")
print(model.heterogeneity().round(3).to_string(), end="\n\n")
print("How much of its own does a class keep?")
print(model.weights_.head(4).round(2).to_string(), end="\n\n")

# %%
# Few pupils to learn from: 4 or 5 of a class. The rest are predicted.
few = ShuffleSplit(5, train_size=100, random_state=0)
print("R2 for pupils left out, from 100 pupils")
for name, shrinkage in [("each class apart", None), ("pooled by REML", "blup"), ("half", 0.5)]:
    candidate = GroupedModels(group_features=["school", "class"], shrinkage=shrinkage)
    print(f"  {name:16} {cross_val_score(candidate, X, y, cv=few).mean():.3f}")

# %%
# Any estimator will do. Its predictions are blended with those of the parent.
forest = RandomForestRegressor(20, random_state=0)
blended = GroupedModels(forest, group_features="school").fit(X.drop(columns="class"), y)
print("\nA forest per school keeps of its own:")
print(blended.weights_["school"].round(2).to_string())
