"""Other models than one that is fitted: updated, refitted, with terms less or more, searched anew.

They stand here and not in `skmixed.inference` since they fit models, of formulas and by estimators,
of which that package knows nothing.
"""
