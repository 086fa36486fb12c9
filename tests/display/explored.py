"""The arithmetic of the explorer's page, once more in numpy, on the arrays that are in it."""

import numpy as np
from scipy import special

from skmixed.display._explorer_tables import ExplorerTables
from skmixed.display._fitted_models import model_inside
from skmixed.display.explorer import _arrays

MEANS = {
    "identity": lambda eta: eta,
    "log": np.exp,
    "logit": special.expit,
    "probit": special.ndtr,
    "cloglog": lambda eta: -np.expm1(-np.exp(eta)),
}


def arrays_of(model, X, *, groups=None, factor=None, level=0.95, reference=(), max_size=6.0):
    model, transform = model_inside(model)
    given = dict(reference)
    tables = ExplorerTables.of(model, X, groups, factor, level, given, max_size, transform)
    return _arrays(model, tables)


def predicted(page, places, group=None, kind="mean"):
    """Return prediction, lower and upper end at places of columns, of a group by label or a new."""
    u = page["constants"].copy()
    for column in page["moved"]:
        factors = column["factors"].reshape(-1, len(column["touched"]))
        u[column["touched"]] *= factors[places.get(column["name"], column["place"])]
    u = (u - page["center"] * u[0]) / page["scale"]
    products = u[page["first"]] * u[page["second"]]
    number = None if group is None else page["labels"].index(group)
    center = u @ page["coefficients"]
    if number is not None:
        own = page["own"].reshape(len(page["labels"]), -1)[number].astype(float)
        center += u[page["varying"]] @ own
    found = {}
    for name, form in page["forms"].items():
        found[name] = products @ form["common"]
        if number is not None:
            for part in form["parts"]:
                own = part["own"].reshape(len(page["labels"]), -1)[number] * part["scale"]
                found[name] += products[part["places"]] @ own
        if kind == "observation":
            found[name] += page["noise"].get(name, 0.0)
    variance = found["variances"]
    if page["quantiles"] is not None:
        ends = page["quantiles"][kind].reshape(-1, 2)[-1 if number is None else number]
        low, high = center + ends * np.sqrt(variance)
    else:
        slopes = [found[f"slope{n}"] / variance for n in range(page["n_slopes"])]
        spread = page["base"] + np.square(slopes).sum()
        places_of_t = np.linspace(0.0, 1.0, len(page["t"]))
        t = np.interp(min(1.0, spread / 2.0), places_of_t, page["t"])
        half = t * np.sqrt(variance + found["excess"])
        low, high = center - half, center + half
    mean = MEANS[page["link"]]
    if not page["averages"]:
        return np.array([mean(center), mean(low), mean(high)])
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    value = weights @ mean(center + nodes * np.sqrt(max(found["spread"], 0.0))) / weights.sum()
    return np.array([value, mean(low), mean(high)])
