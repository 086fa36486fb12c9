"""
Unequal residual variances
==========================

How to give every stratum its own residual variance. In the growth data of 27 children, boys scatter
around their growth lines more than twice as much as girls. With a single variance, prediction
intervals are too narrow for boys and too wide for girls.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import lmer
from skmixed.datasets import load_orthodont
from skmixed.inference import compare_models, confidence_intervals, residuals

teeth = load_orthodont()
formula = "distance ~ age * Sex + (age | Subject)"
alike = lmer(formula, teeth)
by_sex = lmer(formula, teeth, residual="var(Sex)")
print(by_sex.summary())

# %%
# A variance for each sex costs one parameter and lowers AIC by nineteen. The confidence interval
# for the ratio of the two standard deviations is far from one.
table = compare_models(alike, by_sex, names=["one variance", "by sex"]).to_frame()
print(table[["aic", "statistic", "p_value"]].round(4))
print(confidence_intervals(by_sex).to_frame().loc[["ratio Female/Male", "sigma"]].round(2))

# %%
# Pearson residuals of the first model reveal the problem: they are too large for boys.
for name, model in (("one variance", alike), ("by sex", by_sex)):
    pearson = residuals(model, teeth, teeth["distance"], kind="pearson")
    spread = pd.Series(pearson).groupby(teeth["Sex"]).std()
    print(f"{name:12} girls {spread['Female']:.2f}, boys {spread['Male']:.2f}")

# %%
# Prediction intervals for a new measurement of a known child, by age.
ages = np.linspace(8.0, 14.0, 25)
for child, sex in (("F03", "Female"), ("M09", "Male")):
    figure, ax = plt.subplots(figsize=(4.5, 3.6), layout="constrained")
    rows = pd.DataFrame({"age": ages, "Sex": sex, "Subject": child})
    for color, model, label in (("C7", alike, "one variance"), ("C0", by_sex, "by sex")):
        low, high = model.predict_interval(rows, level=0.9).T
        ax.fill_between(ages, low, high, color=color, alpha=0.3, linewidth=0.0, label=label)
        ax.plot(ages, model.predict(rows), color=color)
    own = teeth[teeth["Subject"] == child]
    ax.plot(own["age"], own["distance"], "o", color="black", markersize=4.0)
    ax.set(title=f"{child}, {sex.lower()}", ylim=(17, 33))
    ax.set(xlabel="age [years]", ylabel="distance [mm]")
    ax.legend(loc="upper left", fontsize="small")
plt.show()
