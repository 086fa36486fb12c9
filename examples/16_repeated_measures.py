"""
Repeated measures of a trial
============================

Patients come to planned visits, some not to all. How do treatments differ at each of them? The
repeated-measures model of clinical trials, whose residuals may covary between visits in any way.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import lmer
from skmixed.inference import marginal_means, visit_covariance

# %%
# A trial of 160 patients at four visits; the worse a score was, the likelier the patient leaves.
rng = np.random.default_rng(5)
n, weeks = 160, [0, 4, 8, 12]
drug, severity = rng.permutation(n) % 2, rng.normal(30.0, 5.0, n)
apart = np.abs(np.subtract.outer(range(4), range(4)))
deviations = np.array([4.0, 5.0, 6.0, 7.0])
noise = rng.standard_normal((n, 4)) @ np.linalg.cholesky(0.8**apart).T * deviations
score = 10.0 + 0.5 * severity[:, None] - np.arange(4) * (2.0 + 1.5 * drug[:, None]) + noise
leaves = rng.random((n, 3)) < 0.5 / (1.0 + np.exp(22.0 - score[:, :3]))
stays = np.column_stack([np.ones(n, dtype=bool), ~np.logical_or.accumulate(leaves, axis=1)])
who, when = np.nonzero(stays)
trial = pd.DataFrame(
    {
        "subject": who,
        "week": np.take(weeks, when),
        "arm": pd.Categorical.from_codes(drug[who], ["placebo", "drug"]),
        "severity": severity[who],
        "score": score[who, when],
    }
)
model = lmer("score ~ severity + arm * C(week)", trial, residual="us(week | subject)")
print(model.summary(), end="\n\n")

# %%
# Means of the arms at every visit, as if all had stayed. Where many left, the means of those who
# were seen (hollow) are too low: the others would have been worse.
means = marginal_means(model, ["arm", "week"]).to_frame()
seen = trial.groupby(["arm", "week"], observed=True)["score"].mean()
for number, arm in enumerate(["placebo", "drug"]):
    each = means.loc[arm]
    half = each["upper"] - each["estimate"]
    style = {"color": f"C{number}", "capsize": 3, "marker": "o"}
    plt.errorbar(np.array(weeks) + 0.2 * number, each["estimate"], half, label=arm, **style)
    plt.plot(weeks, seen[arm], "o", mfc="none", color=f"C{number}")
plt.xticks(weeks)
plt.xlabel("week")
plt.ylabel("score")
plt.legend()
plt.show()

# %%
# The treatments visit by visit, with degrees of freedom by Kenward and Roger's method.
differences = marginal_means(model, ["arm", "week"], df="kenward-roger").pairs(within="week")
print(differences, end="\n\n")

# %%
# Neighbouring visits are more alike, and later ones vary more.
correlations = visit_covariance(model, kind="correlation").to_frame()
figure, axes = plt.subplots()
image = axes.imshow(correlations, vmin=0.0, vmax=1.0, cmap="Blues")
axes.set_xticks(range(4), weeks)
axes.set_yticks(range(4), weeks)
for i, row in enumerate(correlations.to_numpy()):
    for j, value in enumerate(row):
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", color="w" if value > 0.7 else "k")
figure.colorbar(image, label="correlation")
plt.show()
