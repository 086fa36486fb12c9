"""Mixed models as scikit-learn estimators."""
