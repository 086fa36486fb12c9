"""Families of responses: the density of y given its linear predictor, and what follows from it."""
