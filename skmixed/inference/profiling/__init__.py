"""The deviance with one parameter held fixed, and the profiles built from it."""
