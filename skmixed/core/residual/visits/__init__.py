"""Covariances of visits seen in some patterns: their sums, likelihood, search and fit."""
