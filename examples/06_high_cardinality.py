"""
A column with thousands of labels
=================================

Customers rate what they buy. There are 3,000 customers, few ratings of each, and a regressor wants
numbers. ``BLUPEncoder`` gives every customer their mean, shrunk by as much as the number of their
ratings and the differences between customers warrant; nothing is tuned. ``TargetEncoder`` of
scikit-learn shrinks, too, by the spread of each customer's own few ratings.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, TargetEncoder

from skmixed import BLUPEncoder

rng = np.random.default_rng(0)
n_rows, n_customers = 12_000, 3_000
customer = rng.integers(n_customers, size=n_rows)
price = rng.normal(size=n_rows)
liking = rng.normal(scale=0.8, size=n_customers)
y = 3.0 - 0.5 * price + liking[customer] + rng.normal(size=n_rows)
X = pd.DataFrame(
    {
        "customer": [f"c{number}" for number in customer],
        "voucher": [f"v{number}" for number in rng.integers(2_000, size=n_rows)],  # noise
        "price": price,
    }
)

# %%
# A column of customers, who differ, and one of vouchers, which do not matter.
encoder = BLUPEncoder(columns=["customer", "voucher"], extra=["count"], random_state=0)
encoder.set_output(transform="pandas")
print("What the regressor is shown in training, every row encoded by the other folds:")
print(encoder.fit_transform(X, y).head(3).round(2), end="\n\n")

for name, covariance in zip(["customer", "voucher"], encoder.random_covariance_, strict=True):
    print(f"variance between labels of {name}: {covariance[0, 0, 0]:.2f}")
print("The truth is 0.64 and 0. Vouchers are encoded as next to nothing.", end="\n\n")

# %%
# The mean rating of a customer, and what it is encoded as: the deviation from the mean of all
# ratings, shrunk. Every number of ratings has a line of its own, flatter for fewer. Along the grey
# line nothing would be shrunk.
encoded = encoder.fit(X, y).transform(X)["customer"]
seen = pd.DataFrame({"customer": customer, "rating": y, "encoded": encoded})
seen = seen.groupby("customer").agg(
    n=("rating", "size"), mean=("rating", "mean"), encoded=("encoded", "first")
)
figure, ax = plt.subplots(layout="constrained")
points = ax.scatter(seen["mean"], seen["encoded"], c=seen["n"], s=6, cmap="viridis")
figure.colorbar(points, label="ratings of the customer")
ax.axline((y.mean(), 0.0), slope=1.0, color="grey", linewidth=0.8)
ax.set(xlabel="mean rating", ylabel="encoded as")
plt.show()

# %%
# Does the regressor behind it profit?
labels = ["customer", "voucher"]
folds = KFold(5, shuffle=True, random_state=0)
encoders = {
    "BLUPEncoder": BLUPEncoder(random_state=0),
    "TargetEncoder": TargetEncoder(),
    "one-hot": OneHotEncoder(handle_unknown="ignore"),
}
print("Held-out R2 of least squares, five folds (the truth would have 0.47):")
for name, encoder in encoders.items():
    columns = make_column_transformer((encoder, labels), remainder="passthrough")
    model = make_pipeline(columns, LinearRegression())
    scores = cross_validate(model, X, y, cv=folds)
    print(f"  {name:14} {scores['test_score'].mean():.3f}")
