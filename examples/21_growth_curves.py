"""
Nonlinear growth curves
=======================

How to fit a logistic growth curve whose limit varies between groups. The trunks of five orange
trees were measured seven times (Draper and Smith 1998). A nonlinear mixed model estimates the
curves of all trees together, and predicts the growth of a new tree.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import MixedNonlinearRegressor
from skmixed.display import PredictionDisplay
from skmixed.inference import compare_models

trunks = [
    *([30, 58, 87, 115, 120, 142, 145], [33, 69, 111, 156, 172, 203, 203]),
    *([30, 51, 75, 108, 115, 139, 140], [32, 62, 112, 167, 179, 209, 214]),
    [30, 49, 81, 125, 142, 174, 177],
]
ages = [118, 484, 664, 1004, 1231, 1372, 1582]
X = pd.DataFrame({"tree": np.repeat([1, 2, 3, 4, 5], 7), "age": np.tile(ages, 5)})
y = pd.Series(np.ravel(trunks), name="trunk")
model = MixedNonlinearRegressor("logistic", random="Asym | tree").fit(X, y)
print(model.summary(digits=1))

# %%
# Curves of the trees, and of a new tree.
display = PredictionDisplay.from_estimator(model, X, "age", new=True)
display.ax_.plot(X["age"], y, ".", color="0.4", markersize=4)
display.ax_.set(xlabel="age, days", ylabel="trunk, mm")

# %%
# Does the age at half of the limit vary between trees, too? A second variance hardly lowers the
# deviance.
both = MixedNonlinearRegressor("logistic", random="Asym + xmid || tree").fit(X, y)
print(compare_models(model, both).to_frame()[["aic", "statistic", "p_boundary"]].round(3))

# %%
# Prediction for a new tree by age, with 90% prediction intervals for a measurement. They are
# asymmetric around the mean.
grid = pd.DataFrame({"tree": 99, "age": np.linspace(100, 2500, 60)})
mean, (low, high) = model.predict(grid), model.predict_interval(grid, level=0.9).T
figure, ax = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
ax.fill_between(grid["age"], low, high, color="#0072B2", alpha=0.2, linewidth=0)
ax.plot(grid["age"], mean, color="#0072B2")
ax.plot(X["age"], y, ".", color="0.4", markersize=4)
ax.set(xlabel="age, days", ylabel="trunk, mm")
plt.show()
