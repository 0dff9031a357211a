"""Freed memory handed back to the system, where the C library (glibc) keeps it."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

WORTH = 64 << 20
"""Freed bytes from which on handing back is worth its time."""
_COUNTS = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class _Info(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33 and later; `fordblks` are bytes freed and kept."""

    _fields_ = [(name, ctypes.c_size_t) for name in _COUNTS]


def give_back(worth: int = WORTH) -> bool:
    """Hand back what is free inside the heap, and say whether there was enough to do so.

    Tensors of a forward pass that are freed leave holes between those that are kept. glibc (before 2.38) cannot put an
    aligned tensor into a hole of its own size, so that the holes stay empty, a fifth of the heap; and it hands back
    only what lies at the heap's end. Does nothing with another C library.
    """
    libc = _glibc()
    if libc is None or libc.mallinfo2().fordblks < worth:
        return False
    libc.malloc_trim(0)
    return True


@cache
def _glibc() -> Any:
    """The C library of this process if it is a glibc that can be asked, else None."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2") or not hasattr(libc, "malloc_trim"):
        return None
    libc.mallinfo2.restype = _Info
    return libc
