"""The multilevel tutorial, model by model: pupils in classes in schools.

Follows the order of "Getting started with mixed effect models in R". With no argument it runs on
simulated schools; `--data CSV` takes a file with the columns extro, open, agree, social, class and
school.
"""

import argparse

import pandas as pd

from skmixed import lmer
from skmixed.datasets import make_schools


def show(title, text, model, comment=None):
    """Print one model under its heading."""
    print(f"\n### {title}\n{text}\n")
    print(model.summary())
    if comment:
        print(comment)


def ordinary_models(data):
    """Models without random effects: all pupils alike, or a dummy for every class and school."""
    fixed = "extro ~ open + agree + social"
    show(
        "1. Ordinary regression",
        "All 1,200 pupils as if they had nothing in common.",
        model := lmer(fixed, data),
        f"AIC = {model.aic_:.3f}",
    )
    for number, (term, text) in enumerate(
        [
            ("class", "A different level for each class label, the same in all schools."),
            ("school", "A different level for each school."),
            ("school:class", "A different level for each class in each school."),
            ("school * class - 1", "The same fit as before, written without an intercept."),
        ],
        start=2,
    ):
        model = lmer(f"{fixed} + {term}", data)
        comment = f"AIC = {model.aic_:.3f}"
        if term == "school:class":
            comment += " (the coefficients of school:class alone are coded otherwise than in R)"
        show(f"{number}. With {term}", text, model, comment)


def varying_intercepts(data):
    """Models in which the average of a group varies, from a common distribution."""
    fixed = "extro ~ open + agree + social"
    show(
        "6. Varying intercept by school",
        "School averages are drawn from one distribution, whose spread is estimated.",
        model := lmer(f"{fixed} + (1 | school)", data),
    )
    by_ml = lmer(f"{fixed} + (1 | school)", data, reml=False)
    deviations = [m.random_covariance_["school"].iloc[0, 0] ** 0.5 for m in (model, by_ml)]
    print(
        f"Maximum likelihood instead of REML: school {deviations[1]:.2f} in place of "
        f"{deviations[0]:.2f}, as it does not count the fixed coefficients."
    )
    show(
        "7. School and class, crossed",
        "Class a is taken to mean the same in every school, which it does not.",
        lmer(f"{fixed} + (1 | school) + (1 | class)", data),
    )
    show(
        "8. Class within school",
        "Class a of one school has nothing to do with class a of another: 24 classes.",
        lmer(f"{fixed} + (1 | school/class)", data),
    )


def varying_slope(data):
    """A model in which a coefficient varies as well."""
    show(
        "9. Varying slope of open, class within school",
        "The effect of open may differ between classes and schools.",
        model := lmer("extro ~ open + agree + social + (1 + open | school/class)", data),
    )
    print(f"REML criterion = {model.criterion_:.4f}")


def main():
    """Run all models in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="CSV file; simulated schools by default")
    path = parser.parse_args().data
    data = pd.read_csv(path) if path else make_schools()
    print(data.head(3))
    ordinary_models(data)
    varying_intercepts(data)
    varying_slope(data)


if __name__ == "__main__":
    main()
