"""A small table of pupils in classes of schools, and what a fit is compared by."""

import numpy as np
import pandas as pd

SCHOOLS = ["north", "south", "east", "west", "mid"]


def pupils(n=150, seed=0):
    """Rows in no order of the groups; every school has classes a, b, c of its own."""
    rng = np.random.default_rng(seed)
    school = rng.permutation(np.arange(n) % 5)
    letter = rng.integers(3, size=n)
    x, z = rng.normal(size=(2, n))
    of_school = rng.normal(scale=2.0, size=5)[school]
    of_class = rng.normal(scale=1.0, size=(5, 3))[school, letter]
    slope = 0.5 + rng.normal(scale=0.7, size=5)[school]
    y = 3.0 + slope * x - z + of_school + of_class + rng.normal(scale=0.5, size=n)
    return pd.DataFrame(
        {
            "x": x,
            "z": z,
            "school": np.array(SCHOOLS, dtype=object)[school],
            "class": np.array(["a", "b", "c"], dtype=object)[letter],
            "y": y,
        }
    )


def estimates(model):
    """All estimates that do not depend on names and labels, as one array."""
    return np.concatenate(
        [
            [model.intercept_, model.residual_variance_, model.criterion_],
            model.coef_,
            *(np.ravel(covariance) for covariance in model.random_covariance_.values()),
        ]
    )
