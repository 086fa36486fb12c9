"""One thread for linear algebra on matrices that are too small for more.

BLAS wakes all its threads for matrices of some dozen rows, too: two threads took a search of wide
or crossed terms twice the time of one, and sixteen times on a machine that had other work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

from threadpoolctl import ThreadpoolController

_is_held = Lock()  # by the caller that has set the number, which is one for the whole process


@contextmanager
def one_thread() -> Iterator[None]:
    """Give BLAS one thread, where it has more.

    The caller that sets the number puts it back, in its own Python thread, which some libraries
    count by. Others that begin meanwhile, inside of it or in other Python threads, leave the number
    alone: what they compute is the same, and at most slower.
    """
    if _has_several() and _is_held.acquire(blocking=False):
        try:
            with _blas().limit(limits=1):
                yield
        finally:
            _is_held.release()
    else:
        yield


def _has_several() -> bool:
    """Tell whether BLAS has more than one thread, which takes a microsecond to find out."""
    return any((library.get_num_threads() or 1) > 1 for library in _blas().lib_controllers)


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
