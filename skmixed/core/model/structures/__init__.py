"""The covariance structures that models may ask for."""
