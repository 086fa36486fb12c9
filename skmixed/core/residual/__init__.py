"""Correlated and unequal residuals: their sums, structures, search and fit."""
