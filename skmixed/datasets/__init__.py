"""Small data sets and generators of grouped data."""

from skmixed.datasets._cbpp import load_cbpp
from skmixed.datasets._orthodont import load_orthodont
from skmixed.datasets._regression import make_mixed_regression
from skmixed.datasets._schools import make_schools
from skmixed.datasets._sleepstudy import load_sleepstudy

__all__ = [
    "load_cbpp",
    "load_orthodont",
    "load_sleepstudy",
    "make_mixed_regression",
    "make_schools",
]
