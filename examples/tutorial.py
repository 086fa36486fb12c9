"""
The multilevel tutorial, model by model
=======================================

Pupils in classes in schools. The models are those of "Getting started with mixed effect models in
R", in its order, but for its fourth step, a separate regression for every class. With no argument
they are fitted to simulated schools; ``--data CSV`` takes a file with the columns extro, open,
agree, social, class and school.
"""

import argparse

import pandas as pd

from skmixed import lmer
from skmixed.datasets import make_schools

FIXED = "extro ~ open + agree + social"


def show(title, text, formula, data):
    """Fit one model, print it under its heading, and return it."""
    model = lmer(formula, data)
    print(f"\n### {title}\n{text}\n\n{model.summary()}")
    return model


def deviations(model):
    """Standard deviations of the error terms of a model with random intercepts only."""
    return model.summary().error_terms.set_index("Groups")["Std.Dev."]


def ordinary_regressions(data):
    """Models without random effects: all pupils alike, or a coefficient for every group."""
    everyone = f"All {len(data):,} pupils, as if they had nothing in common."
    steps = [
        ("Ordinary regression", everyone, ""),
        ("With class", "A level for each label: class a is taken for one class.", " + class"),
        ("With school", "A level for each school.", " + school"),
        ("With school:class", "A level for each class of each school.", " + school:class"),
        ("Without intercept", "The same cells, coded another way.", " + school * class - 1"),
    ]
    for number, (title, text, added) in enumerate(steps, start=1):
        model = show(f"{number}. {title}", text, FIXED + added, data)
        print(f"AIC = {model.aic_:.3f}")
        print(f"{model.score(data, data['extro']):.1%} of the variance is explained.")
        if added == " + school:class":
            print("The coefficients of school:class alone may be coded otherwise than in R;")
            print("that changes neither the AIC nor the residual sd.")
    print("Without an intercept R-Squared is about zero, as in R. Each cell has a coefficient of")
    print("its own now, so nothing is said of how schools differ in general, or of the next one.")


def varying_intercepts(data):
    """Models in which the levels of the groups come from a common distribution."""
    text = "School levels are draws from one distribution, and shrunk by what its spread says."
    by_reml = show("6. Varying intercept by school", text, f"{FIXED} + (1 | school)", data)
    by_ml = lmer(f"{FIXED} + (1 | school)", data, reml=False)
    print("\nStandard deviations by REML, the default, and by maximum likelihood, which finds less")
    print("spread because it takes the fixed coefficients for known:")
    print(pd.DataFrame({"REML": deviations(by_reml), "ML": deviations(by_ml)}).round(2))

    text = "Two factors side by side: class a is one class again, whatever the school."
    show("7. School and class, crossed", text, f"{FIXED} + (1 | school) + (1 | class)", data)

    text = "Class a of one school has nothing to do with class a of another."
    nested = show("8. Class within school", text, f"{FIXED} + (1 | school/class)", data)
    variances = deviations(nested) ** 2
    shares = variances / variances.sum()
    print("Shares of the variance: " + ", ".join(f"{n} {s:.1%}" for n, s in shares.items()))
    return nested


def varying_slope(data, nested):
    """A model in which a coefficient varies as well."""
    text = "The effect of open may differ between classes and between schools, too."
    formula = f"{FIXED} + (1 + open | school/class)"
    model = show("9. Varying slope of open, class within school", text, formula, data)
    print(f"REML criterion = {model.criterion_:.4f}")
    if model.is_singular_:
        print("Singular: the data ask for fewer variances than the model has.")
    change = "lower" if model.aic_ < nested.aic_ else "higher"
    print(f"The AIC is {change} than without varying slopes ({nested.aic_:.1f}).")


def main():
    """Fit all models in order."""
    parser = argparse.ArgumentParser(description="Nine models of pupils in classes in schools.")
    parser.add_argument("--data", help="CSV file; simulated schools by default")
    path = parser.parse_args().data
    data = pd.read_csv(path) if path else make_schools()
    print(data.head(3))
    ordinary_regressions(data)
    nested = varying_intercepts(data)
    varying_slope(data, nested)


if __name__ == "__main__":
    main()
