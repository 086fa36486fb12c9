"""The families that models may ask for by name."""

from __future__ import annotations

from skmixed.core.families.binomial import Binomial, Cloglog, Logit, Probit
from skmixed.core.families.family import MeanFamily
from skmixed.core.families.gamma import GammaFamily
from skmixed.core.families.negative_binomial import NegativeBinomial
from skmixed.core.families.poisson import Poisson

FAMILIES: dict[str, tuple[type[MeanFamily], ...]] = {
    "binomial": (Logit, Probit, Cloglog),
    "poisson": (Poisson,),
    "gamma": (GammaFamily,),
    "negative_binomial": (NegativeBinomial,),
}
"""The links of every family; "auto" is the first."""

BINOMIAL: dict[str, type[Binomial]] = {each.link: each for each in (Logit, Probit, Cloglog)}
"""The families of two outcomes, by their links."""


def family_of(name: str, link: str = "auto") -> MeanFamily:
    """Return a family by its name and link; raises ValueError, saying which there are."""
    if name not in FAMILIES:
        raise ValueError(f"family must be one of {_listed(FAMILIES)}, got {name!r}")
    links = {family.link: family for family in FAMILIES[name]}
    if link == "auto":
        return FAMILIES[name][0]()
    if link not in links:
        raise ValueError(f"link of family {name!r} must be 'auto' or {_listed(links)}: {link!r}")
    return links[link]()


def _listed(names: object) -> str:
    return ", ".join(repr(name) for name in names)  # type: ignore[attr-defined]
