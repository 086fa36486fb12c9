"""Growth of a facial distance in girls and boys."""

from __future__ import annotations

from typing import Literal, overload

import pandas as pd

# Child, then the distance (mm) at ages 8, 10, 12 and 14. Published facts: Potthoff & Roy (1964).
_DISTANCE = """
M01 26 25 29 31
M02 21.5 22.5 23 26.5
M03 23 22.5 24 27.5
M04 25.5 27.5 26.5 27
M05 20 23.5 22.5 26
M06 24.5 25.5 27 28.5
M07 22 22 24.5 26.5
M08 24 21.5 24.5 25.5
M09 23 20.5 31 26
M10 27.5 28 31 31.5
M11 23 23 23.5 25
M12 21.5 23.5 24 28
M13 17 24.5 26 29.5
M14 22.5 25.5 25.5 26
M15 23 24.5 26 30
M16 22 21.5 23.5 25
F01 21 20 21.5 23
F02 21 21.5 24 25.5
F03 20.5 24 24.5 26
F04 23.5 24.5 25 26.5
F05 21.5 23 22.5 23.5
F06 20 21 21 22.5
F07 21.5 22.5 23 25
F08 23 23 23.5 24
F09 20 21 22 21.5
F10 16.5 19 19 19.5
F11 24.5 25 28 28
"""
_AGES = (8, 10, 12, 14)  # years, the same of every child
_SEXES = {"M": "Male", "F": "Female"}  # by the first letter of a label


@overload
def load_orthodont(*, return_X_y: Literal[False] = False) -> pd.DataFrame: ...


@overload
def load_orthodont(*, return_X_y: Literal[True]) -> tuple[pd.DataFrame, pd.Series[float]]: ...


def load_orthodont(
    *, return_X_y: bool = False
) -> pd.DataFrame | tuple[pd.DataFrame, pd.Series[float]]:
    """Load the orthodontic growth of 16 boys and 11 girls, measured at ages 8, 10, 12 and 14.

    Each row is a distance on the face of one child, measured on X-rays. Boys vary twice as much
    about their growth lines as girls, and residuals are correlated from one age to the next: a
    standard example of repeated measures with unequal residual variances.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return the other columns and the response as a pair.

    Returns
    -------
    pandas.DataFrame of shape (108, 4), or (pandas.DataFrame, pandas.Series)
        The columns are

        - ``distance``: from the pituitary to the pterygomaxillary fissure in millimetres, float;
        - ``age``: in years, integers 8, 10, 12 and 14;
        - ``Subject``: label of the child, a string;
        - ``Sex``: "Male" or "Female".

    See Also
    --------
    load_sleepstudy : Repeated measures at ten times.

    References
    ----------
    .. [1] Potthoff, R. F. and Roy, S. N. (1964). A generalized multivariate analysis of variance
       model useful especially for growth curve problems. Biometrika 51, 313-326.
       :doi:`10.1093/biomet/51.3-4.313`.

    Examples
    --------
    >>> from skmixed.datasets import load_orthodont
    >>> load_orthodont().head(3)
       distance  age Subject   Sex
    0      26.0    8     M01  Male
    1      25.0   10     M01  Male
    2      29.0   12     M01  Male
    """
    children = [line.split() for line in _DISTANCE.strip().splitlines()]
    rows = [
        (float(distance), age, child, _SEXES[child[0]])
        for child, *distances in children
        for age, distance in zip(_AGES, distances, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["distance", "age", "Subject", "Sex"])
    if return_X_y:
        return frame[["age", "Subject", "Sex"]], frame["distance"]
    return frame
