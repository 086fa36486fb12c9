"""
Tests and intervals
===================

Is there an effect, how large may it be, and how much do groups differ? The answers of R's lmerTest
and lme4, from a fit that holds no rows.
"""

import matplotlib.pyplot as plt

from skmixed import lmer
from skmixed.datasets import load_sleepstudy
from skmixed.display import CoefficientDisplay, ProfileDisplay, ResidualsDisplay
from skmixed.inference import coefficient_table, confidence_intervals, ranova

data = load_sleepstudy()
model = lmer("Reaction ~ Days + (Days | Subject)", data)

# %%
# t tests with degrees of freedom by Satterthwaite's method: 17, since 18 people are the evidence
# about people, not their 180 measurements.
print(coefficient_table(model), end="\n\n")

# %%
# Do people differ in the effect of a day? A random slope tested by the likelihood ratio, with the
# distribution that holds where a variance may be zero.
print(ranova(model), end="\n\n")

# %%
# Intervals by profile likelihood, of the standard deviations too.
print(confidence_intervals(model, method="profile"), end="\n\n")

# %%
# They need not be symmetric. Where the curve is straight, estimate and standard error say all; the
# curves of the standard deviations bend, and the upper ends of their intervals are farther away.
ProfileDisplay.from_estimator(model)
plt.show()

# %%
# The correlation of intercepts and slopes can be nearly anything, of so few people.
ProfileDisplay.from_estimator(
    model, kind="density", parameters=["sd_Days|Subject", "cor_Days.(Intercept)|Subject"]
)
plt.show()

# %%
# What other models say of the effect of a day. The estimate is the same, as everyone was measured
# on the same days; the interval is not. The model without random slopes is too sure.
others = {
    "people alike": lmer("Reaction ~ Days", data),
    "intercepts vary": lmer("Reaction ~ Days + (1 | Subject)", data),
    "slopes vary, too": model,
}
display = CoefficientDisplay.from_estimators(others)
print("Intervals of the effect of a day, 95 %:")
for row in display.coefficients.itertuples():
    print(f"  {row.model:17} from {row.lower:5.2f} to {row.upper:5.2f} ms")
plt.show()

# %%
# Are the assumptions met? Two measurements of subject 332 and one or two of 308 lie far out: the
# tails of the residuals are heavier than those of a normal distribution. The random effects are as
# normal as 18 of them can show.
ResidualsDisplay.from_estimator(model, data, data["Reaction"])
plt.show()
