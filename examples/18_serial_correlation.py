"""
Forecasts with serial correlation
=================================

How to forecast from residuals that are correlated in time. Weekly sales of shops fluctuate around
their level: a good week tends to be followed by another one. A random intercept cannot represent
this; an AR(1) residual can, and forecasts start from the latest residual.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import root_mean_squared_error

from skmixed import MixedLinearRegressor
from skmixed.inference import compare_models

rng = np.random.default_rng(0)
n_shops, n_weeks, rho = 40, 60, 0.85
noise = rng.normal(size=(n_shops, n_weeks))
for week in range(1, n_weeks):
    noise[:, week] = rho * noise[:, week - 1] + np.sqrt(1 - rho**2) * noise[:, week]
table = pd.DataFrame(
    {
        "shop": np.repeat(np.arange(n_shops), n_weeks),
        "week": np.tile(np.arange(n_weeks), n_shops),
        "promotion": rng.integers(2, size=n_shops * n_weeks),
    }
)
level = rng.normal(scale=6.0, size=n_shops)[table["shop"]]
table["sales"] = 100.0 + level + 5.0 * table["promotion"] + 8.0 * noise.ravel()
past, future = table[table["week"] < 48], table[table["week"] >= 48]

# %%
# Both models have a random intercept of the shop; one has correlated residuals in addition.
alike = MixedLinearRegressor("(1 | shop)", fixed="promotion").fit(past, past["sales"])
serial = MixedLinearRegressor("(1 | shop)", fixed="promotion", residual="ar1(week | shop)")
serial.fit(past, past["sales"])
print(serial.summary())
print(compare_models(alike, serial, names=["independent", "serial"]).to_frame()["aic"].round(1))

# %%
# The correlation explains part of what looked like variance between shops, and the coefficient of
# the promotion is estimated more precisely, because neighbouring weeks of one shop are compared.
for name, model in (("independent", alike), ("serial", serial)):
    error = np.sqrt(model.coef_covariance_.loc["promotion", "promotion"])
    print(f"{name:12} promotion {model.coef_[0]:.2f}, standard error {error:.2f}")

# %%
# Forecast errors for the following weeks: the first weeks benefit most.
for weeks in (1, 4, 12):
    rows = future[future["week"] < 48 + weeks]
    plain = root_mean_squared_error(rows["sales"], serial.predict(rows))
    ahead = root_mean_squared_error(rows["sales"], serial.predict(rows, serial=True))
    print(f"{weeks:2} weeks ahead: plain {plain:.2f}, forecast {ahead:.2f}")

# %%
# Forecasts for two shops with 90% prediction intervals.
for shop in (3, 17):
    figure, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
    before = past[(past["shop"] == shop) & (past["week"] >= 24)]
    after = future[future["shop"] == shop].assign(promotion=0)
    ax.plot(before["week"], before["sales"] - 5.0 * before["promotion"], color="black", lw=1.0)
    for color, settings, label in (("C7", {}, "plain"), ("C0", {"serial": True}, "forecast")):
        mean, low, high = serial.predict(after, interval=0.9, **settings).T
        ax.plot(after["week"], mean, color=color, label=label)
        ax.fill_between(after["week"], low, high, color=color, alpha=0.25, linewidth=0.0)
    ax.set(title=f"shop {shop}", xlabel="week", ylabel="sales without promotions")
    ax.legend(loc="upper left", fontsize="small")
plt.show()
