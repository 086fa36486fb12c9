"""Pictures are drawn without a screen and closed after each test; sales of shops to explore."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="session")
def shops():
    rng = np.random.default_rng(2)
    n = 300
    table = pd.DataFrame(
        {
            "shop": rng.choice([f"shop {number}" for number in range(20)], n),
            "price": rng.uniform(1.0, 9.0, n).round(),
            "season": rng.choice(["spring", "autumn"], n),
        }
    )
    own = rng.normal(size=(20, 2)) * [3.0, 0.5]
    own = own[table["shop"].str.split().str[1].astype(int)]
    table["sales"] = 30 + own[:, 0] + (own[:, 1] - 2.0) * table["price"] + rng.normal(0, 2, n)
    table["sales"] += 4.0 * (table["season"] == "spring")
    table["returns"] = rng.poisson(np.exp(own[:, 0] / 3.0))
    return table
