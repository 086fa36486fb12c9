"""Crossed factors by conjugate gradients, with traces estimated by random vectors."""
