"""
The multilevel tutorial, model by model
=======================================

Are open, agreeable and social pupils more extroverted, and how much do schools and classes differ?
This tutorial answers with nine models for 1,200 pupils in 24 classes of six schools, from ordinary
regression to random slopes, each with its summary, a suitable figure, and R's code for the same
model. The data are simulated, so that the truth is known: the standard deviation is 9.7 between
schools, 2.9 between the classes of a school and 1 between pupils, and the traits have no effect.
"""

# sphinx_gallery_thumbnail_number = 2

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
# Complete pooling ignores schools and classes. In R:
#
# .. code-block:: r
#
#    display(lm(extro ~ open + agree + social, data = pupils))
#
# `lmer` without a random term fits this regression.
everyone = lmer(traits, pupils)
print(everyone.summary())

# %%
# The residual standard deviation is about ten points, because the model ignores the schools, which
# differ considerably.
fig, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
names = sorted(pupils["school"].unique())
ax.boxplot([pupils.loc[pupils["school"] == name, "extro"] for name in names])
ax.set_xticks(range(1, 7), names)
ax.set(xlabel="school", ylabel="extroversion")
plt.show()

# %%
# 2 and 3. Fixed effects of classes or schools
# --------------------------------------------
# The usual remedy is dummy variables.
#
# .. code-block:: r
#
#    lm(extro ~ open + agree + social + class, data = pupils)
#    lm(extro ~ open + agree + social + school, data = pupils)
#
# The class labels explain next to nothing, since class a of one school has nothing to do with class
# a of another. Schools explain most of the variation.
by_class = lmer(f"{traits} + class", pupils)
by_school = lmer(f"{traits} + school", pupils)
for name, model in {"pooled": everyone, "class": by_class, "school": by_school}.items():
    print(f"{name:10} AIC {model.aic_:7.1f}   residual sd {model.residual_variance_**0.5:.2f}")

# %%
# 4 and 5. A fixed effect for every class of every school
# -------------------------------------------------------
# .. code-block:: r
#
#    lm(extro ~ open + agree + social + school:class, data = pupils)
#    lm(extro ~ open + agree + social + school * class - 1, data = pupils)
#
# Twenty-four classes need twenty-four coefficients, however they are coded. These describe the 24
# classes well, but neither the variation between classes nor a new class.
cells = lmer(f"{traits} + school:class", pupils)
print(f"cells      AIC {cells.aic_:7.1f}   residual sd {cells.residual_variance_**0.5:.2f}")
means = pupils.pivot_table(index="school", columns="class", values="extro")
fig, ax = plt.subplots(figsize=(4, 4), layout="constrained")
image = ax.imshow(means, aspect="auto", cmap="viridis")
ax.set_xticks(range(4), means.columns)
ax.set_yticks(range(6), means.index)
ax.set(xlabel="class", ylabel="school", title="Mean extroversion of every class")
fig.colorbar(image)
plt.show()

# %%
# The extreme case of no pooling is a separate regression for every class:
#
# .. code-block:: r
#
#    dlply(pupils, .(school, class), function(rows) lm(extro ~ open + agree + social, rows))
X = pupils[["open", "agree", "social", "school", "class"]]
separate = GroupedModels(group_features=["school", "class"], shrinkage=None).fit(X, pupils["extro"])
separate.summary(group=("I", "a"))

# %%
# 6. Random intercepts
# --------------------
# A mixed model assumes that the intercepts of schools come from a common distribution and estimates
# its standard deviation. Each school is shrunk towards the overall mean, by an amount that depends
# on this standard deviation and its number of pupils.
#
# .. code-block:: r
#
#    display(lmer(extro ~ open + agree + social + (1 | school), data = pupils))
schools = lmer(f"{traits} + (1 | school)", pupils)
print(schools.summary())

# %%
# The random effects of the schools with their intervals (a caterpillar plot):
RandomEffectsDisplay.from_estimator(schools)
plt.show()

# %%
# With two hundred pupils each, schools are estimated precisely and hardly shrunk. Even with eight
# pupils per school, the estimates stay close to the line of no shrinkage, because schools differ by
# far more than the pupils of a school do.
few = pupils.groupby(["school", "class"]).head(2)
ShrinkageDisplay.from_estimator(lmer("extro ~ (1 | school)", few), few, few["extro"])
plt.show()

# %%
# Restricted maximum likelihood, the default, accounts for the estimation of the fixed effects;
# maximum likelihood estimates smaller variances. In R it is ``REML = FALSE``.
by_ml = lmer(f"{traits} + (1 | school)", pupils, reml=False)
deviations = {
    name: variance_partition(model).to_frame()["estimate"] ** 0.5
    for name, model in {"REML": schools, "ML": by_ml}.items()
}
pd.DataFrame(deviations).round(2)

# %%
# 7. Crossed random intercepts
# ----------------------------
# .. code-block:: r
#
#    lmer(extro ~ open + agree + social + (1 | school) + (1 | class), data = pupils)
#
# Two crossed factors treat class a as the same class in every school. This is a mistake here: the
# variation between classes remains in the residual.
crossed = lmer(f"{traits} + (1 | school) + (1 | class)", pupils)
print(crossed.summary())

# %%
# 8. Nested random intercepts
# ---------------------------
# .. code-block:: r
#
#    lmer(extro ~ open + agree + social + (1 | school / class), data = pupils)
#
# With nested factors, class a of one school is a different class from class a of another.
nested = lmer(f"{traits} + (1 | school/class)", pupils)
print(nested.summary())
RandomEffectsDisplay.from_estimator(nested)
plt.show()

# %%
# The three standard deviations are close to the true ones. As shares of the variance:
variances = variance_partition(nested).to_frame()["estimate"]
(variances / variances.sum()).map("{:.1%}".format)

# %%
# 9. Random slopes
# ----------------
# .. code-block:: r
#
#    lmer(extro ~ open + agree + social + (1 + open | school / class), data = pupils)
#
# Does the effect of openness vary between classes?
slopes = lmer(f"{traits} + (1 + open | school/class)", pupils)
print(slopes.summary())

# %%
# Predictions over openness for some classes, and for a class of a new school with its interval. The
# lines are parallel: the slopes hardly differ.
PredictionDisplay.from_estimator(slopes, X, "open", factor="class:school")
plt.show()

# %%
# Which model fits best?
# ----------------------
# .. code-block:: r
#
#    anova(crossed, nested, slopes)
#
# Models with the same fixed part are compared by their restricted likelihoods. Random slopes gain
# next to nothing; their p-value is too large, because variances of zero are on the boundary. The
# nested model is the one that generated the data.
compare_models(crossed, nested, slopes)

# %%
# Simulation
# ----------
# A model that fits generates data like the observed data.
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
ax.set(xlabel="extroversion", ylabel="pupils", title="Data (black) and twenty simulations")
plt.show()
