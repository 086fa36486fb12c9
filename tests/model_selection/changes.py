"""The table on which R was asked what becomes of a changed model."""

import numpy as np
import pandas as pd

from skmixed.datasets import load_sleepstudy


def sleep_with_more() -> pd.DataFrame:
    """Return sleepstudy with a factor, a covariate and another factor that matter to nothing.

    In R: i <- 0:179; f <- factor(c("a", "b", "c")[i %% 3 + 1]); z <- sin(i); h <- factor(i %/% 15)
    """
    data, i = load_sleepstudy(), np.arange(180)
    return data.assign(f=np.array(list("abc"))[i % 3], z=np.sin(i), h=(i // 15).astype(str))
