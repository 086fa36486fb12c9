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
for name in names:
    ax = plt.subplots(figsize=(3.4, 2.6), layout="constrained")[1]
    curve = curves[curves["parameter"] == name]
    ax.plot(curve["value"], curve["zeta"], "C1")
    ends = limits.loc[name, ["lower", "upper"]].to_numpy(float)
    ax.plot(ends, [-1.96, 1.96], "o", color="C0")
    ax.axhline(0, color="0.8", zorder=0)
    ax.set(xlabel=name, ylabel="zeta", yticks=np.arange(-2, 3))
