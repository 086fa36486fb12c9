"""Curves with parameters that vary: rows, pseudo-data, the integrated likelihood, and the fit."""
