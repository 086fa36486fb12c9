"""Simulated pupils in classes in schools."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

_MEAN_EXTRO = 60.0  # mean score, high enough that no pupil's is below zero
_SD_SCHOOL = 9.7  # most of the variance: a model without the schools is a poor one
_SD_CLASS = 2.9  # a clear effect that pooling classes of one letter would hide
_SD_PUPIL = 1.0  # small, so that the levels are told apart by few pupils
# Mean and standard deviation of the three traits, none of which has an effect.
_TRAITS = {"open": (40.0, 6.0), "agree": (35.0, 5.0), "social": (100.0, 15.0)}
_ROMAN = [
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
    (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
]  # fmt: skip


def make_schools(
    n_schools: int = 6, n_classes: int = 4, n_pupils: int = 50, *, random_state: Any = 0
) -> pd.DataFrame:
    """Simulate the extroversion of pupils in classes in schools.

    Schools differ greatly (standard deviation 9.7), classes within a school moderately (2.9) and
    pupils within a class little (1.0), around a mean of 60. The three other traits have no effect.

    The classes of every school are called ``a``, ``b`` and so on: class ``a`` of school ``I`` and
    class ``a`` of school ``II`` are different classes. The appropriate model is therefore
    ``(1 | school/class)``; these data show that ``(1 | school) + (1 | class)`` is a mistake.

    Parameters
    ----------
    n_schools : int, default=6
        Number of schools.
    n_classes : int, default=4
        Number of classes per school.
    n_pupils : int, default=50
        Number of pupils per class.
    random_state : int, RandomState instance or None, default=0
        Seed of the random numbers. With the default, every call returns the same table.

    Returns
    -------
    pandas.DataFrame of shape (n_schools * n_classes * n_pupils, 6)
        One row per pupil, the schools one after the other. The columns are

        - ``extro``, ``open``, ``agree``, ``social``: scores of the pupil, floats;
        - ``class``: letter of the class, a string that repeats across schools;
        - ``school``: Roman numeral of the school, a string.

    See Also
    --------
    make_mixed_regression : Simulated data of any size, with their true parameters.
    load_sleepstudy : Real data with random slopes.

    Examples
    --------
    >>> from skmixed.datasets import make_schools
    >>> pupils = make_schools()
    >>> pupils.shape
    (1200, 6)
    >>> pupils.groupby(["school", "class"]).size().shape
    (24,)
    """
    if min(n_schools, n_classes, n_pupils) < 1:
        raise ValueError(
            "n_schools, n_classes and n_pupils must be at least 1, "
            f"got {n_schools}, {n_classes} and {n_pupils}."
        )
    rng = check_random_state(random_state)
    n_rows = n_schools * n_classes * n_pupils
    room = np.repeat(np.arange(n_schools * n_classes), n_pupils)  # a class of a given school
    school = room // n_classes
    of_school = _SD_SCHOOL * rng.standard_normal(n_schools)
    of_class = _SD_CLASS * rng.standard_normal(n_schools * n_classes)
    noise = _SD_PUPIL * rng.standard_normal(n_rows)
    columns = {"extro": _MEAN_EXTRO + of_school[school] + of_class[room] + noise}
    for name, (mean, sd) in _TRAITS.items():
        columns[name] = mean + sd * rng.standard_normal(n_rows)
    letters = np.array([_letters(i) for i in range(n_classes)], dtype=object)
    numerals = np.array([_roman(i + 1) for i in range(n_schools)], dtype=object)
    columns["class"] = letters[room % n_classes]
    columns["school"] = numerals[school]
    return pd.DataFrame(columns)


def _letters(index):
    """Count a, b, ..., z, aa, ab, ..., as the columns of a spreadsheet."""
    text = ""
    index += 1
    while index:
        index, digit = divmod(index - 1, 26)
        text = chr(ord("a") + digit) + text
    return text


def _roman(number):
    """Write a positive integer in Roman numerals."""
    text = ""
    for value, symbol in _ROMAN:
        count, number = divmod(number, value)
        text += symbol * count
    return text
