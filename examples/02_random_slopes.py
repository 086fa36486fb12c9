"""
Random slopes
=============

When does an effect differ between people, and what happens if a model ignores it? This example
compares random intercepts, which give everybody a level of their own, with random slopes, which
also let the effect of a day vary.
"""

import matplotlib.pyplot as plt

from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy
from skmixed.display import PredictionDisplay, RandomEffectsDisplay
from skmixed.inference import compare_models

X, y = load_sleepstudy(return_X_y=True)
models = {
    "random intercepts": MixedLinearRegressor("(1 | Subject)").fit(X, y),
    "random slopes": MixedLinearRegressor("(1 + Days | Subject)").fit(X, y),
}

# %%
# Parallel lines, and lines that fan out. The bands are 95% confidence intervals for a person's
# mean; the dashed line is the prediction for a new person.
for name, model in models.items():
    figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
    PredictionDisplay.from_estimator(model, X, "Days", levels=["308", "335", "337"], ax=ax)
    ax.set(title=name, ylim=(180, 480))
plt.show()

# %%
# The likelihood-ratio test shows that slopes vary.
print(compare_models(*models.values()))

# %%
# Without random slopes, the standard error of the effect of a day is too small: the model treats
# the days of one person as independent evidence about people.
print("\nIncrease of the reaction time per day, with standard error:")
for name, model in models.items():
    error = model.coef_covariance_.loc["Days", "Days"] ** 0.5
    print(f"  {name:17} {model.coef_[0]:.2f} +- {error:.2f} ms")

# %%
# Which people differ clearly from the average? Intervals in colour exclude zero, the average
# person.
RandomEffectsDisplay.from_estimator(models["random slopes"])
plt.show()
