"""An unbalanced table with two factors and a covariate, made of the sleep study."""

import numpy as np

from skmixed.datasets import load_sleepstudy


def unbalanced():
    """In R: D <- D[(row * 7) %% 5 != 0,] with A, B and x made of the row counted from 0."""
    table = load_sleepstudy()
    rows = np.arange(len(table))
    kept = rows * 7 % 5 != 0
    rows = rows[kept]
    return table[kept].assign(
        A=np.array(list("abc"))[rows // 2 % 3],
        B=np.array(list("uv"))[rows * 3 // 4 % 2],
        x=table["Days"][kept] / 2,
    )
