"""
Ordered categories
==================

How to model ratings of one to five stars, which have an order but no distances. The cumulative link
model estimates how much noise shifts the ratings of hotels, and how much hotels vary.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmixed import OrdinalMixedClassifier
from skmixed.inference import proportional_odds

rng = np.random.default_rng(0)
n_hotels = 60
hotel = np.repeat(np.arange(n_hotels), 25)
X = pd.DataFrame({"noise": rng.uniform(0.0, 1.0, len(hotel)), "hotel": hotel})
hotel_effect = rng.normal(scale=1.2, size=n_hotels)
latent = hotel_effect[hotel] - 2.0 * X["noise"] + rng.logistic(size=len(hotel))
stars = 1 + np.digitize(latent, [-3.0, -2.0, -0.5, 1.0])

# %%
# Thresholds between the categories replace the intercept.
model = OrdinalMixedClassifier("(1 | hotel)").fit(X, stars)
print(model.summary())

# %%
# Test the assumption of proportional odds: noise shifts all thresholds equally, which is true here.
print(proportional_odds(model, X, stars, n_samples=20, random_state=0))

# %%
# Probabilities of a known hotel are its own; those of a new hotel are averaged over all hotels.
rows = pd.DataFrame({"noise": 0.5, "hotel": [0, -1]})
print("probabilities of one to five stars:")
print(model.predict_proba(rows).round(2))
print("expected stars:", (model.predict_proba(rows) @ model.classes_).round(2))

# %%
# First: predicted stars of a new hotel by noise. Second: true and estimated effects of the hotels.
figure, left = plt.subplots(figsize=(4.5, 4), layout="constrained")
grid = pd.DataFrame({"noise": np.linspace(0.0, 1.0, 50), "hotel": -1})
left.stackplot(grid["noise"], model.predict_proba(grid).T, labels=model.classes_)
left.set(xlabel="noise", ylabel="probability", title="stars of a new hotel", ylim=(0.0, 1.0))
left.legend(loc="lower left")
figure, right = plt.subplots(figsize=(4.5, 4), layout="constrained")
found = model.random_effects_["hotel"]["(Intercept)"]
right.plot([-3.0, 3.0], [-3.0, 3.0], color="0.8")
right.scatter(hotel_effect, found, s=15)
right.set(xlabel="true effect", ylabel="estimate", title="hotels")
plt.show()
