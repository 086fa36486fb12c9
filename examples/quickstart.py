"""
A first mixed model
===================

Reaction times of 18 people who slept three hours a night. Every subject has an intercept and a
slope of their own; the model estimates how much these vary and shrinks each subject's pair towards
the average by as much as its ten measurements warrant.
"""

import pandas as pd
from sklearn.model_selection import GroupKFold, KFold, cross_val_score

from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy

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

# KFold leaves days of every subject in the training part; GroupKFold takes whole subjects
# out, so that only the average line is left to predict them by.
known = cross_val_score(model, X, y, cv=KFold(5, shuffle=True, random_state=0))
new = cross_val_score(model, X, y, groups=X["Subject"], cv=GroupKFold(6))
print("How well does it predict ...")
print(f"  further days of the same subjects?  R2 = {known.mean():.2f}  (KFold over rows)")
print(f"  subjects it has not seen?           R2 = {new.mean():.2f}  (GroupKFold over subjects)")
