"""Structured covariances of random effects: glmmTMB, and nlme for homogeneous symmetry."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from r_fits import in_r, r_table
from structures_case import Case

from skmixed import lmer

_LAGS = np.abs(np.subtract.outer(np.arange(20), np.arange(20)))
_FACTORS = "d$g <- factor(d$g); d$f <- factor(d$f)"


def _visits(seed, n_groups, n_times, *, twice, latent):
    """Draw responses of groups at times: AR(1) effects, or two latent ones, and noise."""
    rng = np.random.default_rng(seed)
    rows = pd.MultiIndex.from_product(
        [range(n_groups), range(n_times), range(1 + twice)], names=["g", "t", "r"]
    ).to_frame(index=False)
    root = np.linalg.cholesky(0.7 ** _LAGS[:n_times, :n_times])
    if latent:
        angle = np.linspace(0.0, 2.0, n_times)[:, None]
        root = np.hstack([np.cos(angle), np.sin(angle)])
    drawn = rng.standard_normal((n_groups, root.shape[1])) @ root.T
    rows["y"] = drawn[rows["g"], rows["t"]] + rng.standard_normal(len(rows))
    kept = rng.random(len(rows)) < (0.8 if twice else 1.0)
    return rows[kept].reset_index(drop=True).assign(f=lambda d: pd.Categorical(d["t"]))


def effects(arguments):
    """Yield structures by table; the large ones are fast, so that all are always there."""
    sets = {
        "400 x 6, AR(1)": (_visits(2, 400, 6, twice=True, latent=False), "t", "ar1 cs toep"),
        "400 x 6, two latent": (_visits(3, 400, 6, twice=True, latent=True), "t", "rr us"),
        "200 x 20, one row each": (_visits(4, 200, 20, twice=False, latent=False), "t", "ar1"),
    }
    machines = r_table("Machines", "nlme")
    if machines is not None:
        machines = machines.rename(columns={"Worker": "g", "Machine": "f", "score": "y"})
        sets = {"Machines, 6 x 3": (machines, "f", "homcs cs ar1 toep")} | sets
    for title, (table, fixed, names) in sets.items():
        for name in names.split():
            package, call = "glmmTMB", f"glmmTMB(y ~ {fixed} + {name}(0 + f | g), d, REML = TRUE)"
            if name == "homcs":
                package = "nlme"
                call = f"lme(y ~ {fixed}, d, random = list(g = pdCompSymm(~ f - 1)))"
            yield Case(
                f"{title}: `{name}`",
                len(table),
                partial(lmer, f"y ~ {fixed} + {name}(0 + f | g)", table),
                {package: partial(in_r, table, call, package, _FACTORS)},
            )
