"""Random numbers that do not depend on how work is split."""

from __future__ import annotations

from typing import Any

import numpy as np


def generator_of(random_state: Any) -> np.random.Generator:
    """Return a generator of random numbers.

    Parameters
    ----------
    random_state : None, int, SeedSequence, RandomState or Generator
        A seed, or where the seed is drawn from; None is a new one every time.

    Returns
    -------
    Generator
        A generator given is returned itself, so that a second call goes on from there.
    """
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(0, 2**31, size=4)
    return np.random.default_rng(random_state)
