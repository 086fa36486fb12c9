"""
The tutorial, continued
=======================

How to use the models of :doc:`the tutorial <00_tutorial>`: predictions for known and new classes, a
ranking of classes that accounts for uncertainty, other types of response, a smooth effect, and the
full posterior, each with R's code beside it.
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
# One pupil is in a known class, one in a new class of a known school, and one in a new school. The
# prediction intervals become wider in this order.
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
# How accurate are predictions? That depends on the question: other pupils of these classes, or
# pupils of new schools.
X, y = pupils[["open", "agree", "social", "school", "class"]], pupils["extro"]
scores = cross_validate(nested, X, y, cv=4, generalize_to="both", scoring="neg_mean_absolute_error")
for question in ["known_groups", "new_groups"]:
    print(f"{question}: mean absolute error {-scores[f'test_score_{question}'].mean():.1f} points")

# %%
# Expected ranks
# --------------
# Is the top class the best or the luckiest? The expected rank accounts for the uncertainty of every
# random effect (Lingsma et al. 2010); 100% would be a class that is certainly above all others.
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
# Whether a pupil is on stage, yes or no, is modelled by a logistic mixed model.
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
# Smooth effects
# --------------
# The number of friends levels off with openness. A smooth term estimates the curve, with a
# smoothness chosen by REML, beside the random effects of classes.
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
# With only six schools, the standard deviation between schools is very uncertain, and a fit reports
# a single number. The posterior shows all values that agree with the data and the prior.
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
ax.set(xlabel="standard deviation of schools", yticks=[], title="Posterior and REML estimate")
plt.show()
print(f"The standard deviation of schools is between {low:.0f} and {high:.0f} (90% interval)")

# %%
# For comparison, the coefficients of the REML fit with Satterthwaite degrees of freedom:
coefficient_table(nested)
