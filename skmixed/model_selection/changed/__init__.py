"""Changes of a fitted model: updates, refits, terms removed or added, other searches.

They are here and not in `skmixed.inference` because they fit models, by formulas and estimators, of
which that package is independent.
"""
