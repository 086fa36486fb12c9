"""Arguments as R's functions have them: accepted here, or refused with what to write instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Arguments of R's functions, and what to write instead.
_SPELLED_IN_R = {
    "control": "the gradient is exact, so there is no choice of optimiser; max_iter and tol "
    "limit the search",
    "offset": "write offset(x) into the formula",
    "subset": "pass the rows themselves, data[data['x'] > 0] or data.query('x > 0')",
    "contrasts": "write them into the formula, C(x, contr.sum)",
    "start": "searches find their own starts; skmixed.model_selection.all_fits tries others",
    "ziformula": "zeros have no model of their own; fit a MixedClassifier to whether a row is "
    "zero, and another model to the rows that are not",
    "dispformula": "write residual='var(f)' of lmer for unequal variances; dispersions of other "
    "families do not vary",
}

# Parameters that the formula or R's arguments determine, and what to write instead.
DECIDED = {
    **_SPELLED_IN_R,
    "correlation": "write residual='ar1(visit | subject)'",
    "method": "write reml=True or reml=False",
    "REML": "write reml=True or reml=False",
    "random": "write the random terms into the formula",
    "fixed": "write the fixed part into the formula",
    "groups": "name the grouping columns in the formula",
    "weighting": "weights are precisions, as in R; for frequencies use the `sample_weight` of "
    "MixedLinearRegressor",
    "sample_weight": "write weights=...",
}
DECIDED_FOR_GLMER = {
    **_SPELLED_IN_R,
    **{name: DECIDED[name] for name in ("random", "fixed", "groups", "sample_weight")},
    "nAGQ": "write quadrature=...",
}
DECIDED_FOR_NLMER = {
    **{name: _SPELLED_IN_R[name] for name in ("control", "subset")},
    **{name: DECIDED[name] for name in ("random", "groups", "sample_weight", "weighting")},
    "model": "write the curve into the formula",
    "inputs": "write the columns between the brackets of the curve",
    "nAGQ": "the Laplace approximation, one node, is always used",
}

_FAMILIES_OF_R = {"gamma": "gamma", "nbinom2": "negative_binomial", "gaussian": "gaussian"}


def check_call(
    caller: str, formula: Any, data: Any, params: Mapping[str, Any], decided: Mapping[str, str]
) -> None:
    """Raise TypeError for swapped arguments, and for parameters that the formula determines."""
    if not isinstance(formula, str):
        if isinstance(data, str):
            raise TypeError(
                f"{caller} takes the formula first, then the data: {caller}({data!r}, data)"
            )
        raise TypeError(f"formula is a {type(formula).__name__}; a string, as in R, is expected")
    for name, instead in decided.items():
        if name in params:
            raise TypeError(f"{caller} does not accept {name!r}: {instead}")


def family_of_r(family: Any, link: Any) -> tuple[Any, Any]:
    """Return a family and link as they are called here; others go on to the estimator as they are.

    R has a link within the family, ``binomial(link = "probit")``, and names in capitals. Raises
    ValueError for two links, and for normal responses.
    """
    found = re.fullmatch(r"(\w+)\s*(?:\(\s*(?:link\s*=\s*)?['\"]?(\w*)['\"]?\s*\))?", str(family))
    if not isinstance(family, str) or found is None:
        return family, link
    name = _FAMILIES_OF_R.get(found[1].lower(), found[1].lower())
    if name == "gaussian":
        raise ValueError(f"family={family!r} are normal responses: write lmer(formula, data)")
    if not found[2]:
        return name, link
    if link not in ("auto", found[2]):
        raise ValueError(f"family={family!r} has another link than link={link!r}")
    return name, found[2]
