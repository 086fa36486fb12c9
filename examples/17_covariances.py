"""
Structured random-effects covariances
=====================================

How to model random effects that change slowly over visits, with an autoregressive covariance of two
parameters. Patients are seen at eight visits, some of which they miss; the structure predicts the
missed ones from the neighbouring visits.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import lmer
from skmixed.inference import compare_models, confidence_intervals

rng = np.random.default_rng(4)
n_patients, n_visits = 40, 8
patient = np.repeat(np.arange(n_patients), n_visits)
visit = np.tile(np.arange(n_visits), n_patients)
lags = np.abs(np.subtract.outer(np.arange(n_visits), np.arange(n_visits)))
state = rng.normal(size=(n_patients, n_visits)) @ np.linalg.cholesky(0.85**lags).T
table = pd.DataFrame({"patient": patient, "visit": visit})
table["score"] = 5.0 - 0.2 * visit + state[patient, visit] + rng.normal(scale=0.4, size=len(visit))
seen = table[rng.random(len(table)) < 0.6]

# %%
# A random intercept implies the same correlation for all visits, however far apart. In AR(1) it
# decreases with the distance.
intercept = lmer("score ~ visit + (1 | patient)", seen)
ar1 = lmer("score ~ visit + ar1(0 + visit | patient)", seen)
print(ar1.summary())
print("AIC:", round(intercept.aic_, 1), "with intercepts,", round(ar1.aic_, 1), "with AR(1)")

# %%
# Does the variance between patients differ between visits? Test a separate variance for every
# visit.
unequal = lmer("score ~ visit + ar1(0 + visit | patient, hom=False)", seen)
print(compare_models(ar1, unequal, names=["one variance", "several"]))
print(confidence_intervals(ar1))

# %%
# First: correlations of random effects by distance, with the true ones. Second: two patients with
# their true course (dashed), the observed scores, and the predictions for all visits.
figure, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
distance = np.arange(n_visits)
covariance = ar1.random_covariance_["patient"].to_numpy()
ax.plot(distance, covariance[0] / covariance[0, 0], marker="o", label="AR(1)")
ax.plot(distance, np.ones(n_visits), color="C1", label="intercept")
ax.plot(distance, 0.85**distance, color="0.6", linestyle="--", label="true")
ax.set(xlabel="visits apart", ylabel="correlation", ylim=(-0.05, 1.05))
ax.legend()
for number in (3, 7):
    figure, panel = plt.subplots(figsize=(5, 3.5), layout="constrained")
    rows = table[table["patient"] == number]
    known = seen[seen["patient"] == number]
    panel.plot(distance, 5.0 - 0.2 * distance + state[number], color="0.6", linestyle="--")
    panel.plot(distance, ar1.predict(rows), color="C0", label="AR(1)")
    panel.plot(distance, intercept.predict(rows), color="C1", label="intercept")
    panel.scatter(known["visit"], known["score"], color="black", zorder=3)
    panel.set(xlabel="visit", ylabel="score", title=f"patient {number}")
    panel.legend()
plt.show()
