"""
A first mixed model
===================

This example fits a mixed model to the reaction times of 18 people over ten days with three hours of
sleep a night, predicts for known and for new subjects, and measures the error of both kinds of
prediction. Every subject has a random intercept and a random slope; the model estimates how much
these vary and shrinks each subject's estimates towards the average line.
"""

import pandas as pd

from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy
from skmixed.model_selection import cross_validate

X, y = load_sleepstudy(return_X_y=True)
print(X.assign(Reaction=y).head(3), end="\n\n")

# Subject, named in `random`, is the grouping factor; the other column, Days, is a fixed effect.
model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
print(model.summary(), end="\n\n")

print("Deviations from the average line (BLUPs) of the first subjects:")
print(model.random_effects_["Subject"].head(3).round(2), end="\n\n")

print("Predictions for a known subject and for a new one, which the model has never met:")
rows = pd.DataFrame({"Days": [0, 9, 0, 9], "Subject": ["308", "308", "new", "new"]})
print(rows.assign(prediction=model.predict(rows).round(1)), end="\n\n")

# How accurate are they? Cross-validation with held-out rows and with held-out subjects.
errors = cross_validate(model, X, y, cv=6, generalize_to="both", scoring="neg_mean_absolute_error")
known, new = (-errors[f"test_score_{groups}_groups"].mean() for groups in ["known", "new"])
baseline = (y - y.mean()).abs().mean()
print("Mean absolute error of predictions (cross-validated):")
print(f"  other days of known subjects  {known:.0f} ms")
print(f"  new subjects                  {new:.0f} ms")
print(f"  mean of all rows, as baseline {baseline:.0f} ms")
