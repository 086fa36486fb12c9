"""Save the picture of the README: python docs/pictures/readme.py."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt

here = Path(__file__).parent
plt.switch_backend("agg")
runpy.run_path(str(here / "front.py"))
plt.savefig(here.parent / "_static" / "readme.png", dpi=110, metadata={"Software": None})
