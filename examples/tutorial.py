"""
The multilevel tutorial, model by model
=======================================

Nine models of pupils in classes in schools, in the order of "Getting started with mixed effect
models in R", except its fourth step, a separate regression for every class. Without an argument
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
    """Models without random effects: complete pooling, or fixed effects of groups."""
    everyone = f"Complete pooling: all {len(data):,} pupils, ignoring schools and classes."
    steps = [
        ("Ordinary regression", everyone, ""),
        ("With class", "A fixed effect of each class label, the same in all schools.", " + class"),
        ("With school", "A fixed effect of each school.", " + school"),
        ("With school:class", "A fixed effect of each class of each school.", " + school:class"),
        ("Without intercept", "The same classes, coded differently.", " + school * class - 1"),
    ]
    for number, (title, text, added) in enumerate(steps, start=1):
        model = show(f"{number}. {title}", text, FIXED + added, data)
        print(f"AIC = {model.aic_:.3f}")
        print(f"{model.score(data, data['extro']):.1%} of the variance is explained.")
        if added == " + school:class":
            print("The coefficients of school:class may be coded differently from R's;")
            print("AIC and residual sd are the same.")
    print(
        "Without an intercept R-Squared is about zero, as in R. Each class has its own coefficient"
    )
    print("now, but the model describes neither the variation between schools nor a new school.")


def varying_intercepts(data):
    """Models in which the levels of the groups come from a common distribution."""
    text = "The intercepts of schools come from a normal distribution, and are shrunk accordingly."
    by_reml = show("6. Random intercepts by school", text, f"{FIXED} + (1 | school)", data)
    by_ml = lmer(f"{FIXED} + (1 | school)", data, reml=False)
    print("\nStandard deviations by REML, the default, and by maximum likelihood, which estimates")
    print("smaller ones because it treats the fixed effects as known:")
    print(pd.DataFrame({"REML": deviations(by_reml), "ML": deviations(by_ml)}).round(2))

    text = "Crossed factors: class a is the same class in every school."
    show("7. School and class, crossed", text, f"{FIXED} + (1 | school) + (1 | class)", data)

    text = "Nested factors: class a of one school has nothing to do with class a of another."
    nested = show("8. Class nested in school", text, f"{FIXED} + (1 | school/class)", data)
    variances = deviations(nested) ** 2
    shares = variances / variances.sum()
    print("Shares of the variance: " + ", ".join(f"{n} {s:.1%}" for n, s in shares.items()))
    return nested


def varying_slope(data, nested):
    """A model in which a coefficient varies as well."""
    text = "The effect of open varies between classes and between schools, too."
    formula = f"{FIXED} + (1 + open | school/class)"
    model = show("9. Random slopes of open, class nested in school", text, formula, data)
    print(f"REML criterion = {model.criterion_:.4f}")
    if model.is_singular_:
        print("Singular fit: the data support fewer variances than the model has.")
    change = "lower" if model.aic_ < nested.aic_ else "higher"
    print(f"The AIC is {change} than without random slopes ({nested.aic_:.1f}).")


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
