"""Shared parts of the estimators of mixed models: fitted states, predictions, diagnostics."""
