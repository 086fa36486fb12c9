"""Fits to rows that do not fit into memory, or lie on a cluster: one pass, sums that are merged."""

from skmixed.distributed._distributed_fit import fit
from skmixed.distributed._predict import predict

__all__ = ["fit", "predict"]
