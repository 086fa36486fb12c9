"""
Meta-analysis
=============

How to combine trials with known standard errors, and explain why they disagree, by random-effects
meta-analysis and meta-regression. The data are thirteen trials of the BCG vaccine against
tuberculosis, with 262 to 177,000 people; each has an estimated log relative risk and its standard
error.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import lmer
from skmixed.inference import coefficient_table, confidence_intervals, robust_covariance

# Cases and non-cases, with and without the vaccine, and latitude (Colditz et al. 1994).
trials = pd.DataFrame(
    [
        ("Aronson 1948", 4, 119, 11, 128, 44),
        ("Ferguson 1949", 6, 300, 29, 274, 55),
        ("Rosenthal 1960", 3, 228, 11, 209, 42),
        ("Hart 1977", 62, 13536, 248, 12619, 52),
        ("Frimodt-Moller 1973", 33, 5036, 47, 5761, 13),
        ("Stein 1953", 180, 1361, 372, 1079, 44),
        ("Vandiviere 1973", 8, 2537, 10, 619, 19),
        ("TPT Madras 1980", 505, 87886, 499, 87892, 13),
        ("Coetzee 1968", 29, 7470, 45, 7232, 27),
        ("Rosenthal 1961", 17, 1699, 65, 1600, 42),
        ("Comstock 1974", 186, 50448, 141, 27197, 18),
        ("Comstock 1969", 5, 2493, 3, 2338, 33),
        ("Comstock 1976", 27, 16886, 29, 17825, 33),
    ],
    columns=["trial", "ill", "well", "ill_without", "well_without", "latitude"],
)
n, n_without = trials["ill"] + trials["well"], trials["ill_without"] + trials["well_without"]
trials["log_ratio"] = np.log((trials["ill"] / n) / (trials["ill_without"] / n_without))
trials["variance"] = 1 / trials["ill"] - 1 / n + 1 / trials["ill_without"] - 1 / n_without

# %%
# Sampling variances are known: the residual variance is fixed at one, with their inverses as
# weights. The remaining variation between trials is a random intercept.
known = {"weights": "1 / variance", "residual_variance": 1}
model = lmer("log_ratio ~ 1 + (1 | trial)", trials, **known)
table = coefficient_table(model, df="normal", level=0.95).to_frame()
print(np.exp(table[["estimate", "lower", "upper"]]).round(2))
print(confidence_intervals(model, method="profile").to_frame().round(2))

# %%
# The vaccine halves the risk, but trials differ by far more than chance. Latitude explains three
# quarters of the variance between trials: near the equator, other mycobacteria protect everybody.
by_latitude = lmer("log_ratio ~ latitude + (1 | trial)", trials, **known)
tau2 = [float(m.random_covariance_["trial"].iloc[0, 0]) for m in (model, by_latitude)]
print(f"variance between trials {tau2[0]:.3f}, given latitude {tau2[1]:.3f}")
weights = 1 / trials["variance"]
robust = robust_covariance(by_latitude, trials, trials["log_ratio"], weights)
print(coefficient_table(by_latitude, covariance=robust))

# %%
# First: estimates of the trials with intervals, and the shrunken estimates. Second: the
# meta-regression, with intervals for the true effect in a new trial.
figure, left = plt.subplots(figsize=(5, 4.2), layout="constrained")
order, place = trials["log_ratio"].argsort(), np.arange(len(trials))
half = 1.96 * np.sqrt(trials["variance"])
left.errorbar(
    trials["log_ratio"].iloc[order],
    place,
    xerr=half.iloc[order],
    fmt="o",
    color="C7",
    label="trial",
)
left.plot(model.predict(trials)[order], place, "o", color="C0", label="shrunken")
left.axvline(model.intercept_, color="C0", linewidth=1.0)
left.set(yticks=place, yticklabels=trials["trial"].iloc[order], xlabel="log of relative risk")
left.legend(loc="lower right", fontsize="small")
figure, right = plt.subplots(figsize=(4.5, 4.2), layout="constrained")
new = pd.DataFrame({"latitude": np.linspace(10, 57, 40), "trial": "a new one"})
low, high = by_latitude.predict_interval(new, kind="mean").T
right.fill_between(new["latitude"], low, high, alpha=0.3, linewidth=0.0)
right.plot(new["latitude"], by_latitude.predict(new))
right.scatter(trials["latitude"], trials["log_ratio"], s=12 * np.sqrt(weights), color="C7")
right.set(xlabel="latitude", ylabel="log of relative risk")
plt.show()
