"""Target encoding: levels, their estimated effects, and the output columns."""
