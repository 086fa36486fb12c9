"""Rows of five groups in four folds: within groups, and by whole groups."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from sklearn.model_selection import GroupKFold

from skmixed.model_selection import WithinGroupKFold

group = np.repeat(np.arange(5), [6, 4, 7, 5, 6])
rows = np.zeros((len(group), 1))
figure, axes = plt.subplots(2, 1, figsize=(6.4, 4.8), layout="constrained", sharex=True)
splitters = {
    'generalize_to="known_groups"': WithinGroupKFold(4),
    'generalize_to="new_groups"': GroupKFold(4),
}
edges = np.flatnonzero(np.diff(group)) + 0.5
for ax, (title, splitter) in zip(axes, splitters.items(), strict=True):
    tested = np.zeros((4, len(group)))
    for fold, (_, test) in enumerate(splitter.split(rows, groups=group)):
        tested[fold, test] = 1.0
    ax.imshow(tested, aspect="auto", cmap=ListedColormap(["#d6e4f0", "C1"]), interpolation="none")
    ax.vlines(edges, -0.5, 3.5, color="black", lw=1.5)
    ax.set_yticks(range(4), [f"fold {n}" for n in range(1, 5)])
    ax.set_title(title, size=11, family="monospace")
middles = [np.flatnonzero(group == g).mean() for g in range(5)]
axes[1].set_xticks(middles, [f"group {name}" for name in "ABCDE"])
axes[1].set_xlabel("rows: blue for training, orange for prediction")
