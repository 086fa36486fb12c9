"""Out-of-core and distributed fits: one pass over the rows, whose sums are merged."""

from skmixed.distributed._engines import fit, predict

__all__ = ["fit", "predict"]
