"""Save the picture of the README, and of examples without one: python docs/pictures/readme.py."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import front  # noqa: E402

plt.switch_backend("agg")
saved = {"dpi": 110, "metadata": {"Software": None}}
static = HERE.parent / "_static"
_, (left, right) = plt.subplots(1, 2, figsize=(10, 3.9), layout="constrained")
front.shrunk(left)
front.known_and_new(right)
plt.savefig(static / "readme.png", **saved)
front.known_and_new()
plt.savefig(static / "thumbnail.png", transparent=True, **saved)
