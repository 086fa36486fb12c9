"""Profile of the standard deviation of intercepts: zeta, and the interval it gives."""

import matplotlib.pyplot as plt
import numpy as np

from skmixed import lmer
from skmixed.datasets import load_sleepstudy
from skmixed.inference import confidence_intervals, profile

model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
curves = profile(model, points=10).to_frame()
names = ["sd_(Intercept)|Subject", "cor_Days.(Intercept)|Subject", "Days"]
limits = confidence_intervals(model, method="profile").to_frame()
figure, axes = plt.subplots(1, 3, figsize=(10, 3), sharey=True, layout="constrained")
for ax, name in zip(axes, names, strict=True):
    curve = curves[curves["parameter"] == name]
    ax.plot(curve["value"], curve["zeta"], "C1")
    ends = limits.loc[name, ["lower", "upper"]].to_numpy(float)
    ax.plot(ends, [-1.96, 1.96], "o", color="C0")
    ax.axhline(0, color="0.8", zorder=0)
    ax.set(title=name, xlabel="value", yticks=np.arange(-2, 3))
axes[0].set_ylabel("zeta")
