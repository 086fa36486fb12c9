"""Validation of X, y, groups and weights of any kind, read once."""
