"""
Nested groups
=============

How to model pupils in classes in schools, and what goes wrong if classes are not nested in schools.
Every school calls its classes a, b, c and d, but class a of one school has nothing to do with class
a of another, which a model is told by ``school/class``.

See also :doc:`the tutorial <00_tutorial>`, nine models of the same data.
"""

import matplotlib.pyplot as plt
import pandas as pd

from skmixed import lmer
from skmixed.datasets import make_schools
from skmixed.display import RandomEffectsDisplay
from skmixed.inference import variance_partition

pupils = make_schools()
print(pupils.head(3).round(1), end="\n\n")

# %%
# Crossed factors are a mistake here: the model looks for what all classes called a have in common,
# which is nothing, and leaves the variation between classes in the residual.
crossed = lmer("extro ~ open + agree + social + (1 | school) + (1 | class)", pupils)
nested = lmer("extro ~ open + agree + social + (1 | school/class)", pupils)
for name, model in {"crossed": crossed, "nested": nested}.items():
    parts = variance_partition(model).to_frame()["estimate"]
    deviations = ", ".join(f"{part} {value**0.5:.2f}" for part, value in parts.items())
    print(f"{name}: standard deviations {deviations}; AIC {model.aic_:.0f}")
print("True values: school 9.7, class within school 2.9, pupil 1.0; traits have no effect.")

# %%
# Random effects of the nested model: 24 classes, relative to their schools, and 6 schools.
RandomEffectsDisplay.from_estimator(nested)
plt.show()

# %%
# There are three kinds of predictions: for a known class, for a new class of a known school, and
# for a new school. The prediction intervals become wider in this order.
typical = pupils[["open", "agree", "social"]].median().to_dict()
rows = pd.DataFrame([typical] * 3).assign(
    school=["I", "I", "new"], **{"class": ["a", "new", "new"]}
)
low, high = nested.predict_interval(rows, level=0.9).T
print("\nPrediction for an average pupil, with 90% prediction interval:")
for place, row in rows.iterrows():
    where = f"school {row['school']}, class {row['class']}"
    middle = nested.predict(rows.loc[[place]])[0]
    print(f"  {where:24} {middle:5.1f}  from {low[place]:5.1f} to {high[place]:5.1f}")
