"""
Tests and intervals
===================

How to test fixed and random effects, compute confidence intervals and check assumptions. The
figures are those of R's lmerTest and lme4.

See also :doc:`/guide/intervals`.
"""

# sphinx_gallery_thumbnail_number = 4

import matplotlib.pyplot as plt

from skmixed import lmer
from skmixed.datasets import load_sleepstudy
from skmixed.display import CoefficientDisplay, ProfileDisplay, ResidualsDisplay
from skmixed.inference import coefficient_table, confidence_intervals, ranova

data = load_sleepstudy()
model = lmer("Reaction ~ Days + (Days | Subject)", data)

# %%
# t tests with Satterthwaite's method have 17 degrees of freedom here, because the evidence about
# people is 18 subjects, not 180 measurements.
print(coefficient_table(model), end="\n\n")

# %%
# Does the effect of a day vary between people? The likelihood-ratio test of the random slope uses
# the distribution that applies if a variance may be zero.
print(ranova(model), end="\n\n")

# %%
# Profile-likelihood intervals of all parameters, including standard deviations:
print(confidence_intervals(model, method="profile"), end="\n\n")

# %%
# Profile intervals may be asymmetric. Where the curve is straight, the Wald interval is accurate.
# The curves of the standard deviations are bent, so that their intervals reach further up than
# down.
ProfileDisplay.from_estimator(model)
plt.show()

# %%
# With so few people, the correlation of intercepts and slopes can be almost anything.
ProfileDisplay.from_estimator(
    model, kind="density", parameters=["sd_Days|Subject", "cor_Days.(Intercept)|Subject"]
)
plt.show()

# %%
# The effect of a day in three models. The estimates are equal, because everyone was measured on the
# same days; the intervals are not. The model without random slopes has too narrow an interval.
others = {
    "no random effects": lmer("Reaction ~ Days", data),
    "random intercepts": lmer("Reaction ~ Days + (1 | Subject)", data),
    "random slopes": model,
}
display = CoefficientDisplay.from_estimators(others)
print("95% confidence intervals for the effect of a day:")
for row in display.coefficients.itertuples():
    print(f"  {row.model:17} from {row.lower:5.2f} to {row.upper:5.2f} ms")
plt.show()

# %%
# Residuals: a few measurements of subjects 332 and 308 are outliers, and the tails are heavier than
# those of a normal distribution. The random effects look normal, as far as 18 of them can show.
ResidualsDisplay.from_estimator(model, data, data["Reaction"])
plt.show()
