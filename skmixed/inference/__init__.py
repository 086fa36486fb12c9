"""Reading a fitted model: pure functions of its row-free `Fit`."""

from skmixed.inference.bootstrap import Bootstrap, bootstrap, bootstrap_intervals
from skmixed.inference.influence import influence
from skmixed.inference.random_effects import random_effects_table
from skmixed.inference.simulation import Draws, sim

__all__ = [
    "Bootstrap",
    "Draws",
    "bootstrap",
    "bootstrap_intervals",
    "influence",
    "random_effects_table",
    "sim",
]
