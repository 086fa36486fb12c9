"""What a group's own mean counts, by its number of rows."""

import matplotlib.pyplot as plt
import numpy as np

n = np.geomspace(1, 1000)
figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
for share in (0.5, 0.2, 0.05, 0.01):
    ratio = (1 - share) / share  # residual variance over variance between groups
    ax.semilogx(n, n / (n + ratio), label=f"{share:.0%} of the variance is between groups")
ax.set(xlabel="rows of the group", ylabel="weight of its own mean", ylim=(0, 1))
figure.legend(frameon=False, loc="outside upper center", ncols=2, fontsize="small")
