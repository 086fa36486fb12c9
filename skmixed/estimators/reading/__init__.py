"""Rows at the door: X, y, groups and weights of any kind, taken in once."""
