"""
Random slopes
=============

A random intercept lets people start from different levels; a random slope lets an effect differ
between them as well. Whether it does is a question to the data.
"""

import matplotlib.pyplot as plt

from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy
from skmixed.display import PredictionDisplay, RandomEffectsDisplay
from skmixed.inference import compare_models

X, y = load_sleepstudy(return_X_y=True)
models = {
    "intercepts vary": MixedLinearRegressor("(1 | Subject)").fit(X, y),
    "slopes vary, too": MixedLinearRegressor("(1 + Days | Subject)").fit(X, y),
}

# %%
# Parallel lines, and lines that fan out. The bands hold a person's mean with 95 % probability; the
# dashed line is for a person who is not known.
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    PredictionDisplay.from_estimator(model, X, "Days", levels=["308", "335", "337"], ax=ax)
    ax.set_title(name)
plt.show()

# %%
# The likelihood-ratio test says that slopes differ.
print(compare_models(*models.values()))

# %%
# What a model without random slopes says of the effect of a day is too sure: it takes the days of
# one person for evidence about people.
print("\nLengthening of the reaction time a day, and its standard error:")
for name, model in models.items():
    error = model.coef_covariance_.loc["Days", "Days"] ** 0.5
    print(f"  {name:17} {model.coef_[0]:.2f} +- {error:.2f} ms")

# %%
# Who is out of the ordinary? Coloured intervals leave out zero, the average person.
RandomEffectsDisplay.from_estimator(models["slopes vary, too"])
plt.show()
