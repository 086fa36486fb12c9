"""
New customers
=============

How to update a fitted model with new customers, without refitting and without the old data.
``update_groups`` computes the random effects of new groups, and updates those of known ones, from a
few new rows; fixed effects and variances stay as fitted.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import MixedLinearRegressor
from skmixed.display import RandomEffectsDisplay

rng = np.random.default_rng(0)
spending = rng.normal(scale=[[8.0], [12.0]], size=(2, 1_000))  # level, effect of a discount


def orders(customer):
    """Orders of given customers, whose number is their name."""
    discount = rng.uniform(0.0, 0.5, len(customer))
    spent = 50.0 + 20.0 * discount + spending[0][customer] + spending[1][customer] * discount
    frame = pd.DataFrame({"discount": discount, "customer": customer})
    return frame, spent + rng.normal(scale=10.0, size=len(customer))


def rms(errors):
    """Root mean square."""
    return np.sqrt(np.mean(np.square(errors)))


# %%
# Fit to last year's orders: 500 customers with 4 to 12 orders each.
old = np.repeat(np.arange(500), rng.integers(4, 13, size=500))
model = MixedLinearRegressor("(1 + discount | customer)").fit(*orders(old))
deviations = np.sqrt(np.diag(model.random_covariance_["customer"]))
print(f"Customers known: {model.n_groups_['customer']}; standard deviations of their")
print(f"level {deviations[0]:.1f} (true value 8.0) and slope {deviations[1]:.1f} (true value 12.0)")

# %%
# This year 500 new customers order once a week. After each week the model is updated, and predicts
# later orders of the same customers. For comparison: the mean of each customer's orders so far.
new = np.arange(500, 1_000)
later, spent_later = orders(np.repeat(new, 4))
so_far = np.zeros(500)
errors = [{"orders": 0, "model": rms(spent_later - model.predict(later))}]
for week in range(1, 11):
    X, spent = orders(new)
    model.update_groups(X, spent)
    so_far += spent
    row = {"orders": week, "model": rms(spent_later - model.predict(later))}
    row["mean of own orders"] = rms(spent_later - so_far[later["customer"] - 500] / week)
    errors.append(row)
errors = pd.DataFrame(errors).set_index("orders")
print("\nRoot mean squared error of later orders (the noise alone has 10.0):")
print(errors.loc[[0, 1, 2, 5, 10]].round(2).to_string(na_rep="-"))

# %%
# A single order improves the prediction, because the model knows how noisy it is. The plain mean of
# one order is worse than the prediction for an average customer.
figure, ax = plt.subplots(layout="constrained")
for (name, column), marker in zip(errors.items(), "os", strict=True):
    ax.plot(column.index, column, marker=marker, label=name)
ax.axhline(10.0, color="grey", linestyle="--", label="noise")
ax.set(xlabel="orders of a new customer so far", ylabel="RMSE of later orders")
ax.legend()
plt.show()

# %%
# The model now knows 1,000 customers; the figure shows the ten lowest and the ten highest.
print(f"Customers known: {model.n_groups_['customer']}")
RandomEffectsDisplay.from_estimator(model, max_levels=20)
plt.show()
