"""What happens to memory that was freed: a training keeps it for the next layer."""

from __future__ import annotations

import ctypes

# The names of malloc.h.
M_MMAP_MAX = -4
M_TRIM_THRESHOLD = -1
NEVER = -1


def keep_freed_memory() -> bool:
    """Have this process keep what it frees for itself, and tell whether the C library can do so (glibc: mallopt(3)).

    By itself glibc gives large blocks back to the system and asks for them anew, and the system clears every page of
    them first. What layers answer are large blocks: a third of the time of a training on a processor went into that.
    The price is that a process stays as large as it once was.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, NEVER))
