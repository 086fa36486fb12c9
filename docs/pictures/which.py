"""Questions that lead to an estimator."""

import matplotlib.pyplot as plt

QUESTIONS = [
    ("A linear model: predictions,\ncoefficients, tests?", "MixedLinearRegressor\nlmer"),
    ("The same for classes, counts,\nproportions or grades?",
     "MixedClassifier\nMixedGeneralizedRegressor\nOrdinalMixedClassifier"),
    ("A nonlinear curve with\nmeaningful parameters?", "MixedNonlinearRegressor\nnlmer"),
    ("Boosting or a forest\nwith random effects?", "MixedEffectsRegressor\n"
     "MixedEffectsClassifier"),
    ("A separate model\nfor every group?", "GroupedModels"),
    ("Labels encoded as numbers\nfor any estimator?", "BLUPEncoder"),
]  # fmt: skip
figure, ax = plt.subplots(figsize=(5.6, 7.6), layout="constrained")
box = {"boxstyle": "round,pad=0.5", "fc": "white"}
for row, (question, answer) in enumerate(QUESTIONS):
    y = -1.25 * row
    ax.text(0, y, question, ha="center", va="center", bbox={**box, "ec": "0.4"})
    ax.text(2.5, y, answer, ha="center", va="center", bbox={**box, "ec": "C1"}, family="monospace")
    ax.annotate("", (1.5, y), (0.95, y), arrowprops={"arrowstyle": "->", "color": "C1"})
    ax.text(1.22, y + 0.06, "yes", ha="center", va="bottom", color="C1")
    if row + 1 < len(QUESTIONS):
        arrow = {"arrowstyle": "->", "color": "0.4"}
        ax.annotate("", (0, y - 0.87), (0, y - 0.38), arrowprops=arrow)
        ax.text(0.06, y - 0.63, "no", va="center", color="0.4")
ax.set(xlim=(-0.98, 3.55), ylim=(-1.25 * len(QUESTIONS) + 0.7, 0.5))
ax.axis("off")
