"""Inference for the fixed part: coefficients, hypotheses, terms, means, degrees of freedom."""
