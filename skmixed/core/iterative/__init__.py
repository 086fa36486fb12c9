"""Crossed factors whose dense complement does not fit: conjugate gradients and random traces."""
