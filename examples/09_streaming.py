"""
Out-of-core fits from files
===========================

How to fit a model to files that do not fit into memory, predict in batches, and add new rows later.
To keep the example short, the data are 200,000 orders of 5,000 customers in four parquet files. The
same calls accept a Dask or Spark DataFrame, a DuckDB relation, or any generator of data frames.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from skmixed import MixedLinearRegressor, distributed
from skmixed.display import RandomEffectsDisplay

N_CUSTOMERS = 5_000


def orders(rng, n):
    """Orders of customers with random levels and random effects of a discount."""
    customer = rng.integers(0, N_CUSTOMERS, n)
    discount = rng.uniform(0, 0.5, n)
    channel = rng.choice(["app", "shop", "web"], n, p=[0.3, 0.1, 0.6])
    own = np.random.default_rng(7).normal(0, [[2.0], [4.0]], (2, N_CUSTOMERS))
    spent = 40 + 8 * discount - 5 * (channel == "web") + own[0][customer]
    spent += own[1][customer] * discount + rng.normal(0, 6, n)
    return pd.DataFrame(
        {"customer": customer, "discount": discount, "channel": channel, "spent": spent}
    )


rng = np.random.default_rng(0)
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
for number in range(4):
    orders(rng, 50_000).to_parquet(folder / f"orders-{number}.parquet")

# %%
# Fit in one pass over the files. The levels of ``customer`` and ``channel`` are collected on the
# way.
model = MixedLinearRegressor("(discount | customer)", fixed="discount + channel")
distributed.fit(model, folder, target="spent")
print(model.summary())

# %%
# Predictions are computed when the reader is read, one batch of rows at a time.
reader = distributed.predict(model, folder)
with pq.ParquetWriter(folder / "predictions.parquet", reader.schema) as writer:
    for batch in reader:
        writer.write_batch(batch)
found = pq.read_table(folder / "predictions.parquet")["prediction"]
print(f"{len(found)} predictions, the first: {found[0].as_py():.1f}")

# %%
# New rows are added to the sums; the old ones are not read again.
temporary.cleanup()
later = orders(rng, 10_000)
model.partial_fit(later.drop(columns="spent"), later["spent"])
coefficients = dict(
    zip(model.coef_covariance_.columns[1:], model.coef_.round(2).tolist(), strict=True)
)
print(f"after {model.fit_.products.n_rows} orders: {coefficients}")

# %%
# Random effects of all 5,000 customers, sorted. Intervals in colour exclude zero, the average
# customer.
RandomEffectsDisplay.from_estimator(model)
plt.show()
