"""What is said of the fixed part: coefficients, hypotheses, terms, means, degrees of freedom."""
