"""The search over coefficients, covariances and dispersion together: its start, steps and end."""
