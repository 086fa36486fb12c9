"""Refusal of arrays of draws that would not fit into memory."""

from __future__ import annotations

from skmixed.core.elimination.crossed import memory_installed

_MOST = 0.5  # of the machine's memory: the rest is for the data and other programs


def check_fits(n_numbers: float, what: str, remedy: str) -> None:
    """Raise MemoryError for more numbers of eight bytes than half of the memory holds."""
    needed, installed = 8.0 * n_numbers, memory_installed()
    if installed is not None and needed > _MOST * installed:
        raise MemoryError(
            f"{what} would take about {needed / 2**30:.1f} GiB; this machine has "
            f"{installed / 2**30:.1f} GiB. {remedy}"
        )
