"""
Shrinkage in one picture
========================

Eighteen people slept three hours a night, and every day their reaction time was measured. How fast
is each of them, and how much slower a day? Two answers come to mind: a regression for each person,
which takes the noise of ten measurements for the person, and one for all, which takes people for
alike. A mixed model estimates how much people differ and goes as far between the two as each
person's data warrant.
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
# Each arrow leads from the regression of one person to the line that the model gives them, inwards
# to the cross, the line that all people have in common. The farther out, the longer the arrow.
display = ShrinkageDisplay.from_estimator(model, X, y)
display.ax_.set(xlabel="reaction time on day 0 [ms]", ylabel="lengthening a day [ms]")
plt.show()

# %%
# The same in figures. Subject 335 seems to get faster without sleep, which the model all but takes
# back.
print("Line of each person by themselves, and as the model has it:")
lines = pd.concat({"by themselves": display.own, "shrunk": display.shrunk}, axis=1)
print(lines.loc[["308", "330", "335"]].round(1).to_string())
print(f"Line of all people: {model.intercept_:.1f} + {model.coef_[0]:.1f} Days")

# %%
# Is the compromise any good? Learn from the first five days and predict the other five.
early = X["Days"] < 5
ways = {
    "each person by themselves": GroupedModels(group_features="Subject", shrinkage=None),
    "all people alike": LinearRegression(),
    "shrunk": MixedLinearRegressor("(1 + Days | Subject)"),
}
print("\nRoot mean squared error of days 5 to 9, learned from days 0 to 4:")
for name, way in ways.items():
    columns = ["Days"] if name == "all people alike" else ["Days", "Subject"]
    way.fit(X.loc[early, columns], y[early])
    error = np.sqrt(np.mean((way.predict(X.loc[~early, columns]) - y[~early]) ** 2))
    print(f"  {name:26} {error:5.1f} ms")
