"""
Nested groups
=============

Pupils sit in classes, which sit in schools, and every school calls its classes a, b, c and d. Class
a of one school has nothing to do with class a of another. A model has to be told: ``school/class``.
This example shows what goes wrong otherwise; :doc:`the tutorial <00_tutorial>` goes through nine
models of the same data, from ordinary regression on.
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
# Crossed is a mistake here: it looks for what all classes called a have in common, which is
# nothing, and leaves what classes differ to the residual.
crossed = lmer("extro ~ open + agree + social + (1 | school) + (1 | class)", pupils)
nested = lmer("extro ~ open + agree + social + (1 | school/class)", pupils)
for name, model in {"crossed": crossed, "nested": nested}.items():
    parts = variance_partition(model).to_frame()["estimate"]
    deviations = ", ".join(f"{part} {value**0.5:.2f}" for part, value in parts.items())
    print(f"{name}: standard deviations {deviations}; AIC {model.aic_:.0f}")
print("The truth: school 9.7, class within school 2.9, pupil 1.0, and traits without effect.")

# %%
# Of the nested model, the 24 classes about their schools, and the 6 schools.
RandomEffectsDisplay.from_estimator(nested)
plt.show()

# %%
# Predictions know three cases: a class that is known, a new class of a known school, and a new
# school. Each is less certain than the one before.
typical = pupils[["open", "agree", "social"]].median().to_dict()
rows = pd.DataFrame([typical] * 3).assign(
    school=["I", "I", "a new one"], **{"class": ["a", "a new one", "a new one"]}
)
low, high = nested.predict_interval(rows, level=0.9).T
print("\nAn average pupil, with 90 % intervals:")
for place, row in rows.iterrows():
    where = f"school {row['school']}, class {row['class']}"
    middle = nested.predict(rows.loc[[place]])[0]
    print(f"  {where:34} {middle:5.1f}  from {low[place]:5.1f} to {high[place]:5.1f}")
