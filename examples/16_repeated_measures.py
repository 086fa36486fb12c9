"""
Repeated measures in a clinical trial (MMRM)
============================================

How to compare treatments at every planned visit when some patients drop out: the mixed model for
repeated measures, with an unstructured covariance of the visits.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import lmer
from skmixed.inference import marginal_means, visit_covariance

# %%
# Simulate a trial with 160 patients and four visits; patients with high scores tend to drop out.
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
# Marginal means of the arms at every visit, as if nobody had dropped out. The observed means
# (hollow) are too low where many dropped out, because those patients would have had higher scores.
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
# Treatment contrasts at each visit, with Kenward-Roger degrees of freedom.
differences = marginal_means(model, ["arm", "week"], df="kenward-roger").pairs(within="week")
print(differences, end="\n\n")

# %%
# Neighbouring visits are more strongly correlated.
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
