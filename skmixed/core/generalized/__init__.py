"""Generalized linear mixed models: their likelihood approximated, its derivatives, the fit."""
