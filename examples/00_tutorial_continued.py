"""
The tutorial, continued
=======================

Once there is a model, what is it good for? Predictions of pupils the model has met and of pupils it
has not, a ranking of classes that knows how uncertain it is, other responses than a score, an
effect that is no straight line, and the whole posterior. The pupils are those of :doc:`the tutorial
<00_tutorial>`; R's line stands beside each step.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import glmer, lmer
from skmixed.bayes import sample
from skmixed.datasets import make_schools
from skmixed.display import RandomEffectsDisplay, SmoothDisplay
from skmixed.inference import coefficient_table, random_effects_table
from skmixed.model_selection import cross_validate

pupils = make_schools()
nested = lmer("extro ~ open + agree + social + (1 | school/class)", pupils)

# %%
# Predictions
# -----------
# A pupil of a class that is known, one of a new class of a known school, one of a new school. Each
# is less certain than the one before.
#
# .. code-block:: r
#
#    predict(nested, rows, allow.new.levels = TRUE)
#    merTools::predictInterval(nested, rows, level = .9)
typical = pupils[["open", "agree", "social"]].median().to_dict()
places = {"school": ["I", "I", "new"], "class": ["a", "new", "new"]}
rows = pd.DataFrame([typical] * 3).assign(**places)
low, high = nested.predict_interval(rows, level=0.9).T
rows[["school", "class"]].assign(predicted=nested.predict(rows), low=low, high=high).round(1)

# %%
# How good are they? That depends on which question is asked: further pupils of these classes, or
# pupils of other classes.
X, y = pupils[["open", "agree", "social", "school", "class"]], pupils["extro"]
scores = cross_validate(nested, X, y, cv=4, generalize_to="both", scoring="neg_mean_absolute_error")
for question in ["known_groups", "new_groups"]:
    print(f"{question}: off by {-scores[f'test_score_{question}'].mean():.1f} points")

# %%
# Expected ranks
# --------------
# The best class, or the luckiest? An expected rank allows for how uncertain every effect is
# (Lingsma et al. 2010); 100 % is a class that is surely above all others.
#
# .. code-block:: r
#
#    merTools::expectedRank(nested, groupFctr = "class:school")
ranks = random_effects_table(nested).to_frame().loc["class:school"]
ranks.sort_values("expected_rank").round(2).head(4)

# %%
RandomEffectsDisplay.from_estimator(nested, factor="class:school")
plt.show()

# %%
# Other responses
# ---------------
# Does a pupil get onto the stage? Yes or no is a logistic model.
#
# .. code-block:: r
#
#    glmer(stage ~ open + social + (1 | school / class), pupils, family = binomial)
rng = np.random.default_rng(0)
chance = 1.0 / (1.0 + np.exp(-(y - y.mean()) / 8.0))
pupils["stage"] = rng.binomial(1, chance)
on_stage = glmer("stage ~ open + social + (1 | school/class)", pupils, family="binomial")
print(on_stage.summary())

# %%
# Effects that are no straight line
# ---------------------------------
# The number of friends levels off with openness. A smooth term finds the curve, and its smoothness
# by REML, beside the classes.
#
# .. code-block:: r
#
#    gamm4::gamm4(friends ~ s(open), random = ~ (1 | school / class), data = pupils)
bend = 12.0 / (1.0 + np.exp(-(pupils["open"] - 40.0) / 4.0))
pupils["friends"] = bend + 0.2 * (y - y.mean()) + rng.normal(0.0, 1.5, len(y))
curved = lmer("friends ~ s(open) + (1 | school/class)", pupils)
SmoothDisplay.from_estimator(curved)
plt.show()

# %%
# The posterior
# -------------
# With six schools their deviation is anybody's guess, and a fit gives one number. Draws from the
# posterior give all that agree with the data.
#
# .. code-block:: r
#
#    rstanarm::stan_lmer(extro ~ open + agree + social + (1 | school / class), data = pupils)
draws = sample(nested, random_state=0)
drawn = draws.parameters["sd_(Intercept)|school"]
low, high = np.quantile(drawn, [0.05, 0.95])
fig, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
ax.hist(np.ravel(drawn), bins=80, range=(0.0, 40.0), density=True)
ax.axvline(nested.random_covariance_["school"].iloc[0, 0] ** 0.5, color="black")
ax.set(xlabel="standard deviation of schools", yticks=[], title="Posterior, and REML's estimate")
plt.show()
print(f"The standard deviation of schools is between {low:.0f} and {high:.0f} (90 %)")

# %%
# Its coefficients need no degrees of freedom; those of the fit have Satterthwaite's.
coefficient_table(nested)
