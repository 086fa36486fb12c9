"""The deviance with a parameter held, and the profiles that are made of it."""
