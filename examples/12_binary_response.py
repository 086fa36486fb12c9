"""
Logistic mixed model for a binary response
==========================================

How to model yes-or-no responses in groups: whether library loans are renewed, when branches differ
and reminders are sent. ``MixedClassifier`` is logistic regression with random effects. It separates
differences between branches from chance, and its probabilities are calibrated for new branches,
too.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from skmixed import MixedClassifier

rng = np.random.default_rng(0)
n_branches, n_loans = 120, 15
level = rng.normal(scale=1.8, size=n_branches)


def loans(branches):
    """Loans of the given branches: with or without a reminder, and the age of the book in years."""
    branch = np.repeat(branches, n_loans)
    reminded, age = rng.integers(2, size=len(branch)), rng.exponential(4.0, len(branch))
    log_odds = -2.0 + 1.2 * reminded - 0.15 * age + level[branch]
    renewed = rng.random(len(branch)) < 1.0 / (1.0 + np.exp(-log_odds))
    return pd.DataFrame({"reminded": reminded, "age": age, "branch": branch}), renewed


known, new = np.arange(60), np.arange(60, n_branches)
X, y = loans(known)

# %%
# Coefficients are log-odds within a branch. The likelihood is Laplace's approximation; the fit
# reports by how many standard errors quadrature would move the estimates.
model = MixedClassifier("(1 | branch)").fit(X, y)
print(model.summary())
print(f"\nquadrature would move an estimate by {model.approximation_shift_:.2f} standard errors")

# %%
# A regression without branches has coefficients closer to zero: marginal effects in the population,
# not those within a branch. Its probabilities ignore branches.
plain = LogisticRegression(C=np.inf).fit(X[["reminded", "age"]], y)
print(f"reminder: {model.coef_[0]:.2f} within a branch, {plain.coef_[0, 0]:.2f} over all")

# %%
# Predict further loans of known and of new branches. For new branches, the average over the
# distribution of branches is right; the probability of an average branch, which lme4 returns, is
# too low.
rows = {"known branches": loans(known), "new branches": loans(new)}
typical = MixedClassifier("(1 | branch)", averaging="plug-in").fit(X, y)
print(f"\n{'log loss':16}{'mixed':>9}{'plug-in':>9}{'plain':>9}")
for name, (later, truth) in rows.items():
    losses = [log_loss(truth, each.predict_proba(later)[:, 1]) for each in (model, typical)] + [
        log_loss(truth, plain.predict_proba(later[["reminded", "age"]])[:, 1])
    ]
    print(f"{name:16}" + "".join(f"{loss:9.3f}" for loss in losses))
later, truth = rows["new branches"]
print(f"\nproportion renewed in new branches: {truth.mean():.3f}")
print(f"predicted, averaged over branches: {model.predict_proba(later)[:, 1].mean():.3f}")
print(f"predicted, at an average branch: {typical.predict_proba(later)[:, 1].mean():.3f}")

# %%
# First: the observed proportion of each branch and its predicted probability, shrunk towards the
# average, most where all or no loans were renewed. Second: probability by age of the book, for an
# average branch and averaged over branches.
shares = y.astype(float)
figure, left = plt.subplots(figsize=(4.5, 4), layout="constrained")
probability = model.predict_proba(X)[:, 1]
by_branch = pd.DataFrame({"share": shares, "p": probability}).groupby(X["branch"]).mean()
left.plot([0, 1], [0, 1], color="0.8")
left.scatter(by_branch["share"], by_branch["p"], s=15)
left.set(xlabel="proportion renewed", ylabel="mean probability", title="branches")
figure, right = plt.subplots(figsize=(4.5, 4), layout="constrained")
ages = pd.DataFrame({"reminded": 1, "age": np.linspace(0.0, 20.0, 50), "branch": -1})
right.plot(ages["age"], model.predict_proba(ages)[:, 1], label="averaged over branches")
right.plot(ages["age"], typical.predict_proba(ages)[:, 1], "--", label="average branch")
right.set(xlabel="age of the book", ylabel="probability", title="with a reminder")
right.legend()
plt.show()
