"""
Categories in an order
======================

Guests give hotels one to five stars. Stars have an order, and no distances: a cumulative link model
finds by how much a column shifts them, and how far hotels differ.
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
of_hotel = rng.normal(scale=1.2, size=n_hotels)
latent = of_hotel[hotel] - 2.0 * X["noise"] + rng.logistic(size=len(hotel))
stars = 1 + np.digitize(latent, [-3.0, -2.0, -0.5, 1.0])

# %%
# Thresholds between the stars take the place of an intercept.
model = OrdinalMixedClassifier("(1 | hotel)").fit(X, stars)
print(model.summary())

# %%
# The assumption behind it is that noise shifts every threshold alike, as it does here.
print(proportional_odds(model, X, stars, n_samples=20, random_state=0))

# %%
# A hotel that is known has its own probabilities, a new one those of all hotels together.
rows = pd.DataFrame({"noise": 0.5, "hotel": [0, -1]})
print("probabilities of one to five stars:")
print(model.predict_proba(rows).round(2))
print("expected stars:", (model.predict_proba(rows) @ model.classes_).round(2))

# %%
# Left, the stars of a new hotel by its noise; right, the hotels' true effects and those found.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
grid = pd.DataFrame({"noise": np.linspace(0.0, 1.0, 50), "hotel": -1})
left.stackplot(grid["noise"], model.predict_proba(grid).T, labels=model.classes_)
left.set(xlabel="noise", ylabel="probability", title="stars of a new hotel", ylim=(0.0, 1.0))
left.legend(loc="lower left")
found = model.random_effects_["hotel"]["(Intercept)"]
right.plot([-3.0, 3.0], [-3.0, 3.0], color="0.8")
right.scatter(of_hotel, found, s=15)
right.set(xlabel="true effect", ylabel="estimate", title="hotels")
plt.show()
