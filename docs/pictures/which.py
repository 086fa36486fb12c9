"""Questions that lead to an estimator."""

import matplotlib.pyplot as plt

QUESTIONS = [
    ("Are coefficients, variances\nor tests wanted?", "MixedLinearRegressor\nlmer"),
    ("The same of classes,\ncounts, shares, ranks?", "MixedClassifier\nMixedGeneralizedRegressor\n"
     "OrdinalMixedClassifier"),
    ("A curve with parameters\nthat mean something?", "MixedNonlinearRegressor\nnlmer"),
    ("Boosting or a forest, and\ngroups that differ?", "MixedEffectsRegressor\n"
     "MixedEffectsClassifier"),
    ("Does everything differ\nbetween groups?", "GroupedModels"),
    ("Labels as numbers for\nwhatever follows?", "BLUPEncoder"),
]  # fmt: skip
figure, ax = plt.subplots(figsize=(8, 7), layout="constrained")
box = {"boxstyle": "round,pad=0.5", "fc": "white"}
for row, (question, answer) in enumerate(QUESTIONS):
    y = -1.25 * row
    ax.text(0, y, question, ha="center", va="center", bbox={**box, "ec": "0.4"})
    ax.text(3.1, y, answer, ha="center", va="center", bbox={**box, "ec": "C1"}, family="monospace")
    ax.annotate("", (1.95, y), (1.02, y), arrowprops={"arrowstyle": "->", "color": "C1"})
    ax.text(1.45, y + 0.07, "yes", ha="center", va="bottom", size=9, color="C1")
    if row + 1 < len(QUESTIONS):
        arrow = {"arrowstyle": "->", "color": "0.4"}
        ax.annotate("", (0, y - 0.9), (0, y - 0.36), arrowprops=arrow)
        ax.text(0.06, y - 0.63, "no", va="center", size=9, color="0.4")
ax.set(xlim=(-1.2, 4.4), ylim=(-1.25 * len(QUESTIONS) + 0.6, 0.7))
ax.axis("off")
