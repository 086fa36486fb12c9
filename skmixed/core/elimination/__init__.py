"""Eliminating the random effects: V in factored form at one value of lambda."""
