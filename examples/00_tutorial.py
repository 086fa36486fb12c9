"""
The multilevel tutorial, model by model
=======================================

Twelve hundred pupils of six schools, each with four classes a to d: how extroverted are they, and
does it go with how open, agreeable and social they are? Nine models, from ordinary regression to
slopes that vary between classes, each with what it says, the picture that belongs to it, and the
line of R that fits the same one. The pupils are simulated, so that the truth is known: schools
differ by a standard deviation of 9.7, the classes of a school by 2.9, pupils by 1, and the traits
matter for nothing.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import GroupedModels, lmer
from skmixed.datasets import make_schools
from skmixed.display import PredictionDisplay, RandomEffectsDisplay, ShrinkageDisplay
from skmixed.inference import compare_models, variance_partition

pupils = make_schools()
traits = "extro ~ open + agree + social"
pupils.head(3).round(1)

# %%
# 1. Ordinary regression
# ----------------------
# All pupils alike, as if schools were all the same. In R:
#
# .. code-block:: r
#
#    display(lm(extro ~ open + agree + social, data = pupils))
#
# `lmer` without a random term is that regression.
everyone = lmer(traits, pupils)
print(everyone.summary())

# %%
# A residual deviation of some ten points: the model knows nothing of where a pupil comes from. That
# is a good deal.
fig, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
names = sorted(pupils["school"].unique())
ax.boxplot([pupils.loc[pupils["school"] == name, "extro"] for name in names])
ax.set_xticks(range(1, 7), names)
ax.set(xlabel="school", ylabel="extroversion")
plt.show()

# %%
# 2 and 3. A coefficient for each class, or each school
# -----------------------------------------------------
# The usual remedy are dummy variables.
#
# .. code-block:: r
#
#    lm(extro ~ open + agree + social + class, data = pupils)
#    lm(extro ~ open + agree + social + school, data = pupils)
#
# The letters of classes explain next to nothing, since class a of one school has nothing to do with
# class a of another. Schools explain most.
by_class = lmer(f"{traits} + class", pupils)
by_school = lmer(f"{traits} + school", pupils)
for name, model in {"all alike": everyone, "class": by_class, "school": by_school}.items():
    print(f"{name:10} AIC {model.aic_:7.1f}   residual sd {model.residual_variance_**0.5:.2f}")

# %%
# 4 and 5. A coefficient for every cell
# -------------------------------------
# .. code-block:: r
#
#    lm(extro ~ open + agree + social + school:class, data = pupils)
#    lm(extro ~ open + agree + social + school * class - 1, data = pupils)
#
# Twenty-four classes are twenty-four coefficients, however they are coded. They describe these
# classes well, and say nothing of how classes differ in general, or of the next one.
cells = lmer(f"{traits} + school:class", pupils)
print(f"cells      AIC {cells.aic_:7.1f}   residual sd {cells.residual_variance_**0.5:.2f}")
means = pupils.pivot_table(index="school", columns="class", values="extro")
fig, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
image = ax.imshow(means, cmap="viridis")
ax.set_xticks(range(4), means.columns)
ax.set_yticks(range(6), means.index)
ax.set(xlabel="class", ylabel="school", title="Mean extroversion of every class")
fig.colorbar(image)
plt.show()

# %%
# One more step in this direction is a regression for every class by itself:
#
# .. code-block:: r
#
#    dlply(pupils, .(school, class), function(rows) lm(extro ~ open + agree + social, rows))
X = pupils[["open", "agree", "social", "school", "class"]]
separate = GroupedModels(group_features=["school", "class"], shrinkage=None).fit(X, pupils["extro"])
separate.summary(group=("I", "a"))

# %%
# 6. Varying intercepts
# ---------------------
# A mixed model takes the levels of schools for draws from one distribution and estimates its
# spread. Each school is pulled to the mean of all by as much as that spread and its number of
# pupils warrant.
#
# .. code-block:: r
#
#    display(lmer(extro ~ open + agree + social + (1 | school), data = pupils))
schools = lmer(f"{traits} + (1 | school)", pupils)
print(schools.summary())

# %%
# The caterpillar: every school with its interval.
RandomEffectsDisplay.from_estimator(schools)
plt.show()

# %%
# With two hundred pupils each, schools are known well and hardly shrunk. Of eight pupils a school,
# too, they keep to the line on which nothing is shrunk: schools differ by far more than their
# pupils do.
few = pupils.groupby(["school", "class"]).head(2)
ShrinkageDisplay.from_estimator(lmer("extro ~ (1 | school)", few), few, few["extro"])
plt.show()

# %%
# Restricted maximum likelihood, the default, allows for the estimation of the mean; maximum
# likelihood finds less spread. In R it is ``REML = FALSE``.
by_ml = lmer(f"{traits} + (1 | school)", pupils, reml=False)
deviations = {
    name: variance_partition(model).to_frame()["estimate"] ** 0.5
    for name, model in {"REML": schools, "ML": by_ml}.items()
}
pd.DataFrame(deviations).round(2)

# %%
# 7. Crossed
# ----------
# .. code-block:: r
#
#    lmer(extro ~ open + agree + social + (1 | school) + (1 | class), data = pupils)
#
# Two factors side by side. Class a is taken for one class wherever it is, which is a mistake here:
# what classes differ stays in the residual.
crossed = lmer(f"{traits} + (1 | school) + (1 | class)", pupils)
print(crossed.summary())

# %%
# 8. Nested
# ---------
# .. code-block:: r
#
#    lmer(extro ~ open + agree + social + (1 | school / class), data = pupils)
#
# Class a of one school is another class than that of the next.
nested = lmer(f"{traits} + (1 | school/class)", pupils)
print(nested.summary())
RandomEffectsDisplay.from_estimator(nested)
plt.show()

# %%
# The three deviations are those that the pupils were made with. As shares of the variance:
variances = variance_partition(nested).to_frame()["estimate"]
(variances / variances.sum()).map("{:.1%}".format)

# %%
# 9. Varying slopes
# -----------------
# .. code-block:: r
#
#    lmer(extro ~ open + agree + social + (1 + open | school / class), data = pupils)
#
# Does openness matter more in some classes than in others?
slopes = lmer(f"{traits} + (1 + open | school/class)", pupils)
print(slopes.summary())

# %%
# The lines of some classes over openness, and that of a class of a new school with its interval.
# They run parallel: no slope differs from the next by anything that matters.
PredictionDisplay.from_estimator(slopes, X, "open", factor="class:school")
plt.show()

# %%
# Which one?
# ----------
# .. code-block:: r
#
#    anova(crossed, nested, slopes)
#
# Models of one fixed part are compared by their likelihoods. The varying slopes gain next to
# nothing, and the boundary of their variances makes the p-value larger than it should be. The
# nested model is the one that made the pupils.
compare_models(crossed, nested, slopes)

# %%
# Simulation
# ----------
# A model that is right makes data like those that it was fitted to.
#
# .. code-block:: r
#
#    simulate(nested, nsim = 20, seed = 1)
drawn = nested.simulate(X, n_samples=20, random_state=1)
fig, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
edges = np.linspace(pupils["extro"].min() - 15, pupils["extro"].max() + 15, 50)
for sample in np.asarray(drawn).reshape(20, -1):
    ax.hist(sample, bins=edges, histtype="step", color="tab:blue", alpha=0.2)
ax.hist(pupils["extro"], bins=edges, histtype="step", color="black", linewidth=2)
ax.set(xlabel="extroversion", ylabel="pupils", title="The data, black, and twenty simulations")
plt.show()
