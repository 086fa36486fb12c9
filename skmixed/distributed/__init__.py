"""Fits to rows that do not fit into memory, or lie on a cluster: one pass, sums that are merged."""

from skmixed.distributed._engines import fit, predict

__all__ = ["fit", "predict"]
