"""Sales of shops that differ so much that a model without the groups explains next to nothing.

The shops explain nine tenths of the variance, and the columns of numbers two hundredths. A tool
that loses the groups on the way is seen at once.
"""

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold

from skmixed import MixedLinearRegressor

N_SHOPS = 12
FOLDS = KFold(4, shuffle=True, random_state=0)
WITH_GROUPS, WITHOUT = 0.85, 0.1  # R2 lies above the first with the groups, below the other without


def sales(n=240, seed=0):
    """Rows in no order of the shops; `size` has no effect."""
    rng = np.random.default_rng(seed)
    shop = rng.permutation(np.arange(n) % N_SHOPS)
    price, size = rng.normal(size=(2, n))
    of_shop = rng.normal(size=N_SHOPS)
    of_shop *= 4.0 / of_shop.std()
    y = 20.0 - 0.5 * price + of_shop[shop] + rng.normal(size=n)
    labels = np.array([f"shop {i}" for i in range(N_SHOPS)], dtype=object)
    return pd.DataFrame({"price": price, "size": size, "shop": labels[shop], "y": y})


TABLE = sales()
X, NUMBERS = TABLE[["price", "size", "shop"]], TABLE[["price", "size"]]
SHOP, Y = TABLE["shop"], TABLE["y"]
CODED = NUMBERS.assign(shop=SHOP.str.removeprefix("shop ").astype(float)).to_numpy()
# A factor that has nothing to do with sales, for splitters to split by.
REGION = pd.Series(np.arange(len(TABLE)) % 8, name="region")

MIXED = MixedLinearRegressor("(1 | shop)")
BY_POSITION = MixedLinearRegressor(group_features=[2])
PLAIN = MixedLinearRegressor()  # of NUMBERS, least squares
