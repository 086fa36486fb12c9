"""Searches for the minimum of the criterion."""
