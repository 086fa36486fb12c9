"""Generators of random numbers from what scikit-learn calls a random state."""

from __future__ import annotations

from typing import Any

import numpy as np


def generator_of(random_state: Any) -> np.random.Generator:
    """Return a generator of random numbers.

    A Generator is returned itself, so that a second call goes on from there; a RandomState gives a
    seed, and goes on too; from None every call starts anew.
    """
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(0, 2**31, size=4)  # 124 bits
    return np.random.default_rng(random_state)
