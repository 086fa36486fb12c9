"""
Shrinkage in one picture
========================

What a mixed model does with the estimates of groups, in one figure: it shrinks the regression line
of each of 18 people, whose reaction times were measured over ten days with little sleep, towards
the average line. A separate regression for each person follows the noise of ten measurements; one
regression for all ignores that people differ. The mixed model estimates how much people vary, and
lies in between.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from skmixed import GroupedModels, MixedLinearRegressor
from skmixed.datasets import load_sleepstudy
from skmixed.display import ShrinkageDisplay

X, y = load_sleepstudy(return_X_y=True)
model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)

# %%
# Each arrow leads from a person's separate regression to that person's line in the mixed model,
# towards the cross, which is the average line. Estimates far from the average move most.
display = ShrinkageDisplay.from_estimator(model, X, y)
display.ax_.set(xlabel="reaction time on day 0 [ms]", ylabel="increase per day [ms]")
plt.show()

# %%
# The same in numbers. Subject 335 seems to get faster without sleep; shrinkage removes nearly all
# of this.
print("Line of each person, by a separate regression and by the mixed model:")
lines = pd.concat({"separate": display.own, "shrunk": display.shrunk}, axis=1)
print(lines.loc[["308", "330", "335"]].round(1).to_string())
print(f"Average line: {model.intercept_:.1f} + {model.coef_[0]:.1f} Days")

# %%
# Does shrinkage predict better? Fit to the first five days and predict the other five.
early = X["Days"] < 5
ways = {
    "separate regressions": GroupedModels(group_features="Subject", shrinkage=None),
    "one regression for all": LinearRegression(),
    "mixed model": MixedLinearRegressor("(1 + Days | Subject)"),
}
print("\nRoot mean squared error for days 5 to 9, fitted to days 0 to 4:")
for name, way in ways.items():
    columns = ["Days"] if name == "one regression for all" else ["Days", "Subject"]
    way.fit(X.loc[early, columns], y[early])
    error = np.sqrt(np.mean((way.predict(X.loc[~early, columns]) - y[~early]) ** 2))
    print(f"  {name:26} {error:5.1f} ms")
