"""One fit, here and in other packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


def minus_two_log_likelihood(model):
    """Return the value that fits by likelihood are compared by, restricted or not."""
    return -2.0 * model.log_likelihood_


@dataclass(frozen=True)
class Case:
    """A fit here, and calls that give CPU seconds and a value of the same fit elsewhere."""

    title: str
    n_rows: int
    fit: Callable
    peers: dict[str, Callable] = field(default_factory=dict)
    value: Callable = minus_two_log_likelihood
    relative: bool = False  # whether the difference of the values is divided by theirs
