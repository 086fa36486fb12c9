"""Formulas read: cut into tokens and terms, what they may hold, and the columns they name."""
