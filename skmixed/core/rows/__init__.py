"""Passes over rows after a fit: predictions and their errors, rows left out."""
