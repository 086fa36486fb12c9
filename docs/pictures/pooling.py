"""Four subjects with 10, 5, 3 and 2 days: their own line, the line of all, the mixed model's."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy

X, y = load_sleepstudy(return_X_y=True)
kept = {"309": 10, "308": 5, "335": 3, "332": 2}
few = np.ones(len(y), bool)
for subject, n in kept.items():
    few &= (X["Subject"] != subject).to_numpy() | (X["Days"] < n).to_numpy()
X_few, y_few = X[few], y[few]

mixed = MixedLinearRegressor("(Days | Subject)").fit(X_few, y_few)
together = LinearRegression().fit(X_few[["Days"]], y_few)

figure, axes = plt.subplots(2, 2, figsize=(6.4, 5), sharex=True, sharey=True, layout="constrained")
for ax, (subject, n) in zip(axes.flat, kept.items(), strict=True):
    rows = pd.DataFrame({"Days": np.arange(10.0), "Subject": subject})
    mine = (X_few["Subject"] == subject).to_numpy()
    alone = LinearRegression().fit(X_few.loc[mine, ["Days"]], y_few[mine])
    ax.plot(rows["Days"], together.predict(rows[["Days"]]), color="0.6", label="complete pooling")
    ax.plot(rows["Days"], alone.predict(rows[["Days"]]), "C0--", label="no pooling")
    ax.plot(rows["Days"], mixed.predict(rows), "C1", lw=2, label="partial pooling")
    rest = (X["Subject"] == subject).to_numpy() & ~few
    ax.plot(X_few["Days"][mine], y_few[mine], "o", color="C0")
    ax.plot(X["Days"][rest], y[rest], "o", mfc="white", color="0.6")
    ax.set(title=f"subject {subject}, {n} days", ylim=(150, 500))
figure.supxlabel("day of the study", size="medium")
figure.supylabel("reaction time, ms", size="medium")
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
