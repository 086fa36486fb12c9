"""
A first mixed model
===================

Reaction times of 18 people who slept three hours a night. Every subject has an intercept and a
slope of their own; the model estimates how much these vary and shrinks each subject's pair towards
the average by as much as its ten measurements warrant.
"""

import pandas as pd

from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy
from skmixed.model_selection import cross_validate

X, y = load_sleepstudy(return_X_y=True)
print(X.assign(Reaction=y).head(3), end="\n\n")

# Subject is named in `random`, so it is a grouping column; Days is left for the fixed part.
model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
print(model.summary(), end="\n\n")

print("Deviations from the average line (BLUPs), first subjects:")
print(model.random_effects_["Subject"].head(3).round(2), end="\n\n")

print("A subject the model knows, and one it has never met (who gets the average line):")
rows = pd.DataFrame({"Days": [0, 9, 0, 9], "Subject": ["308", "308", "new", "new"]})
print(rows.assign(prediction=model.predict(rows).round(1)), end="\n\n")

# How far off is it? A number for each of the two questions, in the unit of the response.
errors = cross_validate(model, X, y, cv=6, generalize_to="both", scoring="neg_mean_absolute_error")
known, new = (-errors[f"test_score_{groups}_groups"].mean() for groups in ["known", "new"])
print("Mean absolute error of predictions:")
mean = (y - y.mean()).abs().mean()
print(f"  further days of the same subjects  {known:.0f} ms")
print(f"  subjects it has not seen           {new:.0f} ms  (the mean of all would be {mean:.0f})")
