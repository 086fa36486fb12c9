"""Searches for the optimum, and what they report."""
