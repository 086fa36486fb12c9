"""Time of 1,000 parametric bootstrap refits, beside lme4's bootMer where R is at hand.

Usage: python benchmarks/bootstrap.py
"""

from __future__ import annotations

import shutil
import subprocess

from timing import seconds

from skmixed import MixedLinearRegressor
from skmixed.datasets import load_sleepstudy
from skmixed.inference import bootstrap

N_SAMPLES = 1_000
R_CODE = """
suppressMessages(library(lme4))
m <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy)
f <- function(x) c(fixef(x), as.data.frame(VarCorr(x))$sdcor)
cat(system.time(suppressMessages(suppressWarnings(bootMer(m, f, nsim = 200))))[["elapsed"]] * 5)
"""


def ours(repeats=5):
    """Return the shortest time of a bootstrap of sleepstudy."""
    X, y = load_sleepstudy(return_X_y=True)
    model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    return min(seconds(lambda: bootstrap(model, N_SAMPLES, random_state=0), repeats)[0])


def main():
    """Print both times."""
    mine = ours()
    print(f"skmixed  {mine:7.3f} s for {N_SAMPLES} refits of Reaction ~ Days + (Days | Subject)")
    if shutil.which("Rscript"):
        done = subprocess.run(["Rscript", "-e", R_CODE], capture_output=True, text=True, check=True)
        theirs = float(done.stdout)
        print(f"bootMer  {theirs:7.3f} s, from 200 refits; {theirs / mine:.0f} times as long")


if __name__ == "__main__":
    main()
